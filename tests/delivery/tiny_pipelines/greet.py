"""Two steps and an exit handler, which write their records themselves, and can be told to fail in every way."""

from kfp import dsl, kubernetes

from components import IMAGE

MODEL = "none"
GRAPH = {"make_words": [], "say_words": ["make_words"]}


def _limited(task: dsl.PipelineTask, name: str) -> dsl.PipelineTask:
    task.set_cpu_limit("1").set_memory_limit("200M").set_display_name(name).set_caching_options(False)
    kubernetes.use_field_path_as_env(task, env_name="PIPELINE_RUN_ID", field_path="metadata.labels['pipeline/runid']")
    return task


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def make_words(store: str, name: str, options: dict, times: int) -> str:
    """Words for `name`, as often as asked, and a record of it."""
    import os
    from datetime import datetime, timezone

    from storage import objects

    gate = {"name": "words.times", "value": times, "condition": ">=", "limit": 1, "passed": times >= 1}
    record = {
        "step": "make_words",
        "state": "SUCCEEDED",
        "started": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        "seconds": 0.1,
        "error": None,
        "facts": {"gates": [gate], "sets": {"time": {"rows": 3, "top_1": 0.5}}, "options": options},
    }
    objects.write_json(objects.join(store, "runs", os.environ["PIPELINE_RUN_ID"], "make_words.json"), record)
    return " ".join([name] * times)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def say_words(store: str, words: str, fail: str):
    """Say them, or fail: as a gate, with a sentence, with a bare error, without a record, by a kill, or never."""
    import os
    import signal
    import subprocess
    import time
    from datetime import datetime, timezone
    from typing import Any

    from storage import objects

    folder = objects.join(store, "runs", os.environ["PIPELINE_RUN_ID"])
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    record: dict[str, Any] = {"step": "say_words", "state": "RUNNING", "started": now, "error": None, "facts": {}}
    if fail == "unrecorded":
        raise ValueError("there is no record of this")
    objects.write_json(objects.join(folder, "say_words.json"), record)
    if fail == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if fail == "sleep":
        sleeper = subprocess.Popen(["sleep", "300"])
        objects.write_json(objects.join(folder, "pids.txt"), [os.getpid(), sleeper.pid])
        time.sleep(300)
    errors = {
        "gate": {
            "kind": "gate",
            "gate": "tone",
            "what": "the tone is 3, allowed 2",
            "where": "words",
            "do": "say less",
        },
        "sentence": {"kind": "error", "what": "the mouth is shut", "where": "here", "do": "open it", "traceback": ""},
        "bare": {"kind": "error", "what": "KeyError: 'x'", "traceback": "Traceback ...\nKeyError: 'x'\n"},
    }
    if fail in errors:
        record.update(state="FAILED", finished=now, seconds=0.2, error=errors[fail])
    else:
        verdict = {"verdict": "promote", "reasons": ["it speaks better than silence"]}
        record.update(state="SUCCEEDED", finished=now, seconds=0.2, facts=verdict)
    objects.write_json(objects.join(folder, "say_words.json"), record)
    if fail in errors:
        raise RuntimeError(fail)
    print(words)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def write_page(store: str, page: bool):
    """The page, whatever happened."""
    import os

    from storage import objects

    if page:
        url = objects.join(store, "runs", os.environ["PIPELINE_RUN_ID"], "report.html")
        objects.write_bytes(url, b"<h1>by the exit handler</h1>")


@dsl.pipeline(name="greet", description="Says words.")
def greet(
    store: str,
    environment: str,
    git_commit: str,
    name: str,
    times: int = 1,
    loudness: float = 0.5,
    politely: bool = False,
    fail: str = "",
    page: bool = True,
    options: dict = {"tone": 1},  # noqa: B006 - KFP makes a constant of it
    listeners: list = [],  # noqa: B006
):
    """The drawing: make, then say; the page at the end."""
    handler = _limited(write_page(store=store, page=page), "Write the page")
    with dsl.ExitHandler(handler, name="greet-run"):
        made = _limited(make_words(store=store, name=name, options=options, times=times), "Make words")
        _limited(say_words(store=store, words=made.output, fail=fail), "Say words")


def check_parameters(parameters: dict) -> list[str]:
    """`options.tone` is a small number."""
    return [] if parameters["options"].get("tone", 0) < 5 else ["options.tone is 5 or more"]
