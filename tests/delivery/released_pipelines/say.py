"""One step, which says what the code that it was released with says."""

from kfp import dsl, kubernetes

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def say_word(out: str):
    """The project's word, in a file."""
    from pathlib import Path

    from components.word import WORD  # type: ignore[import-not-found]  # each test writes its own

    Path(out).write_text(WORD)


@dsl.pipeline(name="say", description="Says a wörd, and which one, its code knows.")
def say(out: str = "yes"):
    """A second document, and a text that YAML would read as true, are in its package."""
    task = say_word(out=out).set_cpu_limit("1").set_memory_limit("200M").set_display_name("Say word")
    kubernetes.use_field_path_as_env(task, env_name="PIPELINE_RUN_ID", field_path="metadata.labels['pipeline/runid']")
