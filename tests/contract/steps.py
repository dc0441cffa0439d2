"""Steps of which the graphs are made. What a step saw shows only in whether `expect` after it fails, as on any server."""

# No `annotations` from __future__ here: KFP's compiler reads the real ones. And it knows no `X | None`.
# ruff: noqa: UP045

from typing import NamedTuple, Optional

from kfp import dsl

IMAGE = "python:3.12"  # exchanged in the compiled package for the image that the suite was told


@dsl.component(base_image=IMAGE)
def say(text: str) -> str:
    print(text)
    return text


@dsl.component(base_image=IMAGE)
def join(left: str, right: str) -> str:
    return left + right


@dsl.component(base_image=IMAGE)
def expect(actual: str, wanted: str):
    if actual != wanted:
        raise ValueError(f"got {actual!r}, wanted {wanted!r}")


@dsl.component(base_image=IMAGE)
def fail(text: str) -> str:
    raise ValueError(text)


@dsl.component(base_image=IMAGE)
def sleep(seconds: float) -> str:
    import time

    time.sleep(seconds)
    return "awake"


@dsl.component(base_image=IMAGE)
def number(value: int) -> int:
    return value


@dsl.component(base_image=IMAGE)
def numbers(up_to: int) -> list[int]:
    return list(range(1, up_to + 1))


@dsl.component(base_image=IMAGE)
def double(value: int) -> int:
    return 2 * value


@dsl.component(base_image=IMAGE)
def truth(value: bool) -> bool:
    return value


@dsl.component(base_image=IMAGE)
def as_json_list(value: list) -> str:
    import json

    return json.dumps(value)


@dsl.component(base_image=IMAGE)
def as_json(text: str, whole: int, part: float, yes: bool, some: list, more: dict) -> str:
    import json

    return json.dumps([text, whole, part, yes, some, more])


@dsl.component(base_image=IMAGE)
def parts(text: str) -> NamedTuple("Parts", [("first", str), ("rest", str)]):  # type: ignore[valid-type]  # KFP's way
    return text[:1], text[1:]


@dsl.component(base_image=IMAGE)
def optional_text(text: Optional[str] = None) -> str:
    return "nothing" if text is None else text


@dsl.component(base_image=IMAGE)
def write_dataset(text: str, data: dsl.Output[dsl.Dataset]) -> str:
    """What it says is where it wrote, for an importer."""
    with open(data.path, "w") as file:
        file.write(text)
    data.metadata["text"] = text
    return data.uri


@dsl.component(base_image=IMAGE)
def read_dataset(data: dsl.Input[dsl.Dataset]) -> str:
    with open(data.path) as file:
        return file.read()


@dsl.component(base_image=IMAGE)
def read_metadata(data: dsl.Input[dsl.Dataset]) -> str:
    return str(data.metadata["text"])


@dsl.component(base_image=IMAGE)
def read_datasets(all_data: dsl.Input[list[dsl.Dataset]]) -> str:
    texts = []
    for data in all_data:
        with open(data.path) as file:
            texts.append(file.read())
    return " ".join(sorted(texts))


@dsl.component(base_image=IMAGE)
def read_optional(data: Optional[dsl.Input[dsl.Dataset]] = None) -> str:
    if data is None:
        return "nothing"
    with open(data.path) as file:
        return file.read()


@dsl.component(base_image=IMAGE)
def write_artifacts(
    plain: dsl.Output[dsl.Artifact],
    data: dsl.Output[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    classes: dsl.Output[dsl.ClassificationMetrics],
    page: dsl.Output[dsl.HTML],
    note: dsl.Output[dsl.Markdown],
):
    import os

    for artifact in (plain, data, page, note):
        with open(artifact.path, "w") as file:
            file.write(f"of {artifact.name}")
    os.makedirs(model.path)
    with open(os.path.join(model.path, "weights"), "w") as file:
        file.write("of weights")
    model.metadata["framework"] = "none"
    metrics.log_metric("accuracy", 0.5)
    classes.log_confusion_matrix(["no", "yes"], [[1, 2], [3, 4]])


@dsl.component(base_image=IMAGE)
def read_artifacts(
    plain: dsl.Input[dsl.Artifact],
    data: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    metrics: dsl.Input[dsl.Metrics],
    classes: dsl.Input[dsl.ClassificationMetrics],
    page: dsl.Input[dsl.HTML],
    note: dsl.Input[dsl.Markdown],
) -> str:
    import os

    seen = []
    for path in (plain.path, data.path, os.path.join(model.path, "weights"), page.path, note.path):
        with open(path) as file:
            seen.append(file.read())
    seen.append(model.metadata["framework"])
    seen.append(str(metrics.metadata["accuracy"]))
    seen.append("yes" if "confusionMatrix" in classes.metadata else "no")
    return ", ".join(seen)


@dsl.component(base_image=IMAGE)
def moment(seconds_from_now: float) -> float:
    import time

    return time.time() + seconds_from_now


@dsl.component(base_image=IMAGE)
def not_before(moment: float):
    """Its first try comes too early, unless a step takes longer to start than the moment is away."""
    import time

    print("tried")
    if time.time() < moment:
        raise ValueError("too early")


@dsl.component(base_image=IMAGE)
def last_words(wanted_state: str, wanted_task: str, status: dsl.PipelineTaskFinalStatus):
    """Nothing may come after an exit step, so it judges by itself what it was told."""
    told = (status.state, status.pipeline_task_name)
    if told != (wanted_state, wanted_task):
        raise ValueError(f"was told {told}")


@dsl.component(base_image=IMAGE)
def environment(name: str) -> str:
    import os

    return os.environ[name]


@dsl.component(base_image=IMAGE)
def check_placeholders(job_id: str, job_name: str, resource_name: str, created: str, scheduled: str, task: str):
    from datetime import datetime

    if "{{" in job_id + job_name + resource_name + created + scheduled + task:
        raise ValueError("a placeholder was not replaced")
    for given in (created, scheduled):
        datetime.fromisoformat(given.replace("Z", "+00:00"))
