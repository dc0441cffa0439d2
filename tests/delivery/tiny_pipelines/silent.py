"""Steps that know nothing of records: their progress is what the endpoint says."""

from kfp import dsl

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def first() -> str:
    """A word."""
    return "word"


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def second(word: str, fail: bool):
    """Fails when told to."""
    if fail:
        raise ValueError("second was told to fail")


@dsl.pipeline(name="silent")
def silent(fail: bool = False):
    """One after the other."""
    one = first().set_cpu_limit("1").set_memory_limit("200M").set_display_name("First")
    second(word=one.output, fail=fail).set_cpu_limit("1").set_memory_limit("200M").set_display_name("Second")
