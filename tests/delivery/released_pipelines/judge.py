"""Two steps with the gates of a model."""

from kfp import dsl

from components import IMAGE
from models import load

MODEL = "tests.toy"
GATES = load(MODEL).GATES.constants()


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def weigh(gates: dict) -> bool:
    """By the gates."""
    return bool(gates)


@dsl.pipeline(name="judge")
def judge(careful: bool = True):
    """Once at the top, once in a group."""
    weigh(gates=GATES).set_cpu_limit("1").set_memory_limit("200M").set_display_name("Weigh")
    with dsl.If(careful == True, name="careful"):  # noqa: E712  # KFP makes a condition of it
        weigh(gates=GATES).set_cpu_limit("1").set_memory_limit("200M").set_display_name("Weigh again")
