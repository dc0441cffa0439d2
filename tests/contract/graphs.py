"""Shapes of graphs, as data: what is run, how it ends, and in which state each of its tasks is found then.

A group (a condition, a loop, an exit handler, a nested pipeline) is a task too. A name stands once for each time the
task ran. What is not named did not run: a server may list it as skipped, or leave it out.
"""

# No `annotations` from __future__ here: KFP's compiler reads the real ones. And it knows no `X | None`.
# ruff: noqa: UP045
from dataclasses import dataclass, field
from typing import Any, Optional

from kfp import dsl, kubernetes

from tests.contract import steps

OK = ["SUCCEEDED"]
FAILED = ["FAILED"]
SKIPPED = ["SKIPPED"]


@dataclass(frozen=True, kw_only=True)
class Shape:
    pipeline: Any  # KFP says no types
    arguments: dict[str, Any] = field(default_factory=dict)
    ends: str = "SUCCEEDED"
    tasks: dict[str, list[str]]


@dsl.pipeline(name="one-step")
def one_step(text: str = "a"):
    steps.say(text=text)


@dsl.pipeline(name="sleeping")
def sleeping(seconds: float = 600.0):
    steps.sleep(seconds=seconds)


@dsl.pipeline(name="line")
def line(text: str = "a"):
    first = steps.say(text=text)
    second = steps.join(left=first.output, right="b")
    third = steps.join(left=second.output, right="c")
    steps.expect(actual=third.output, wanted="abc")


@dsl.pipeline(name="fork-and-join")
def fork_and_join():
    left, right = steps.say(text="l"), steps.say(text="r")
    joined = steps.join(left=left.output, right=right.output)
    alone = steps.say(text="x").after(left)
    steps.expect(actual=joined.output, wanted="lr").after(alone)


@dsl.pipeline(name="parameters-of-each-type")
def each_type(text: str, whole: int, part: float, yes: bool, some: list, more: dict):
    seen = steps.as_json(text=text, whole=whole, part=part, yes=yes, some=some, more=more)
    steps.expect(
        actual=seen.output, wanted='["it\'s \\"x\\" ${HOME} \\n \\u00fc", 3, 0.5, true, [1, 2.5, "z"], {"n": 4}]'
    )


@dsl.pipeline(name="defaults")
def defaults(text: str = "d", whole: int = 3, part: float = 1.5, yes: bool = True):
    some: list[Any] = [1, [2]]
    seen = steps.as_json(text=text, whole=whole, part=part, yes=yes, some=some, more={"a": {"b": 1}})
    steps.expect(actual=seen.output, wanted='["d", 3, 1.5, true, [1, [2]], {"a": {"b": 1}}]')


@dsl.pipeline(name="empty-values")
def empty_values(text: str, whole: int, part: float, yes: bool, some: list, more: dict):
    seen = steps.as_json(text=text, whole=whole, part=part, yes=yes, some=some, more=more)
    steps.expect(actual=seen.output, wanted='["", 0, -1.5, false, [], {}]')
    said = steps.say(text=text)
    steps.expect(actual=steps.optional_text(text=said.output).output, wanted="")
    with dsl.If(steps.number(value=whole).output == 0):
        steps.say(text="taken")


@dsl.pipeline(name="condition-on-a-text")
def condition_on_a_text(text: str):
    with dsl.If(text == "yes"):
        steps.say(text="taken")
    steps.say(text="always")


@dsl.pipeline(name="condition-on-an-output")
def condition_on_an_output(value: int):
    made = steps.number(value=value)
    with dsl.If(made.output > 5):
        steps.say(text="taken")


@dsl.pipeline(name="condition-on-a-truth")
def condition_on_a_truth(value: bool):
    made = steps.truth(value=value)
    with dsl.If(made.output == True):  # noqa: E712 - what is compared is a channel, not a bool
        steps.say(text="taken")


@dsl.pipeline(name="condition-on-an-odd-text")
def condition_on_an_odd_text(text: str):
    said = steps.say(text=text)
    with dsl.If(said.output != "yes"):
        steps.expect(actual=said.output, wanted="it's \"odd\" && 'yes' || 1")


@dsl.pipeline(name="condition-on-a-named-output")
def condition_on_a_named_output():
    made = steps.parts(text="abc")
    with dsl.If(made.outputs["rest"] == "bc"):
        steps.expect(actual=made.outputs["first"], wanted="a")


@dsl.pipeline(name="artifact-into-a-condition")
def artifact_into_a_condition():
    written = steps.write_dataset(text="there")
    with dsl.If(written.outputs["Output"] != ""):
        steps.expect(actual=steps.read_dataset(data=written.outputs["data"]).output, wanted="there")


@dsl.pipeline(name="inner-choice")
def inner_choice(value: int) -> str:
    made = steps.number(value=value)
    with dsl.If(made.output < 0):
        low = steps.say(text="low")
    with dsl.Elif(made.output < 10):
        middle = steps.say(text="middle")
    with dsl.Else():
        high = steps.say(text="high")
    return dsl.OneOf(low.output, middle.output, high.output)


@dsl.pipeline(name="choice")
def choice(value: int, wanted: str):
    steps.expect(actual=inner_choice(value=value).output, wanted=wanted)


@dsl.pipeline(name="choice-fed-on")
def choice_fed_on(text: str):
    with dsl.If(text == "yes"):
        with dsl.If(text != "no"):
            steps.expect(actual=steps.say(text="deep").output, wanted="deep")
        left = steps.say(text="left")
    with dsl.Else():
        right = steps.say(text="right")
    steps.expect(actual=dsl.OneOf(left.output, right.output), wanted="left")


@dsl.pipeline(name="loop-over-constants")
def loop_over_constants():
    with dsl.ParallelFor(["a", "b", "c"]) as item:
        steps.say(text=item)


@dsl.pipeline(name="loop-over-a-parameter")
def loop_over_a_parameter(items: list[str]):
    with dsl.ParallelFor(items, parallelism=1) as item:
        steps.expect(actual=item, wanted="same")


@dsl.pipeline(name="loop-over-an-output")
def loop_over_an_output():
    with dsl.ParallelFor(steps.numbers(up_to=3).output) as item:
        doubled = steps.double(value=item)
    seen = steps.as_json_list(value=dsl.Collected(doubled.output))
    steps.expect(actual=seen.output, wanted="[2, 4, 6]")


@dsl.pipeline(name="loop-over-nothing")
def loop_over_nothing(items: list[str]):
    with dsl.ParallelFor(items) as item:
        steps.say(text=item)


@dsl.pipeline(name="loop-over-dicts")
def loop_over_dicts():
    with dsl.ParallelFor([{"left": "a", "right": "b"}, {"left": "", "right": "ab"}]) as item:
        joined = steps.join(left=item.left, right=item.right)
        steps.expect(actual=joined.output, wanted="ab")


@dsl.pipeline(name="loop-with-a-condition")
def loop_with_a_condition():
    with dsl.ParallelFor([1, 2, 3]) as item:
        made = steps.number(value=item)
        with dsl.If(made.output >= 2):
            steps.say(text="taken")


@dsl.pipeline(name="loop-with-a-failure")
def loop_with_a_failure():
    with dsl.ParallelFor(["good", "bad"], parallelism=1) as item:
        steps.expect(actual=item, wanted="good")
    steps.say(text="beside")


@dsl.pipeline(name="nested-loop")
def nested_loop():
    with dsl.ParallelFor(["a", "b"]) as outer, dsl.ParallelFor(["x", "y"]) as inner:
        steps.join(left=outer, right=inner)


@dsl.pipeline(name="loop-with-values-from-outside")
def loop_with_values_from_outside(tail: str = "z"):
    said = steps.say(text="x")
    with dsl.ParallelFor(["a", "b"]) as item:
        first = steps.join(left=item, right=said.output)
        second = steps.join(left=first.output, right=tail)
    seen = steps.as_json_list(value=dsl.Collected(second.output))
    steps.expect(actual=seen.output, wanted='["axz", "bxz"]')


@dsl.pipeline(name="nested-loop-collected")
def nested_loop_collected():
    with dsl.ParallelFor(["a", "b"]) as outer, dsl.ParallelFor(["x", "y"]) as inner:
        joined = steps.join(left=outer, right=inner)
    seen = steps.as_json_list(value=dsl.Collected(joined.output))
    steps.expect(actual=seen.output, wanted='[["ax", "ay"], ["bx", "by"]]')


@dsl.pipeline(name="loop-of-artifacts")
def loop_of_artifacts():
    with dsl.ParallelFor(["a", "b"]) as item:
        written = steps.write_dataset(text=item)
    seen = steps.read_datasets(all_data=dsl.Collected(written.outputs["data"]))
    steps.expect(actual=seen.output, wanted="a b")


@dsl.pipeline(name="inner")
def inner(text: str) -> str:
    return steps.join(left=steps.say(text=text).output, right="!").output


@dsl.pipeline(name="middle")
def middle(text: str) -> str:
    return inner(text=text).output


@dsl.pipeline(name="nested-pipelines")
def nested_pipelines():
    once, deeper = inner(text="a"), middle(text="b")
    both = steps.join(left=once.output, right=deeper.output)
    steps.expect(actual=both.output, wanted="a!b!")


@dsl.pipeline(name="inner-writer")
def inner_writer(text: str) -> dsl.Dataset:
    return steps.write_dataset(text=text).outputs["data"]


@dsl.pipeline(name="inner-loop")
def inner_loop(items: list[str]) -> list[str]:
    with dsl.ParallelFor(items) as item:
        joined = steps.join(left=item, right="!")
    return dsl.Collected(joined.output)


@dsl.pipeline(name="outputs-of-nested-pipelines")
def outputs_of_nested_pipelines(items: list[str]):
    written = inner_writer(text="there")
    steps.expect(actual=steps.read_dataset(data=written.output).output, wanted="there")
    seen = steps.as_json_list(value=inner_loop(items=items).output)
    steps.expect(actual=seen.output, wanted='["a!", "b!"]')


@dsl.pipeline(name="inner-failure")
def inner_failure():
    steps.fail(text="no")


@dsl.pipeline(name="nested-failure")
def nested_failure():
    inner_failure()


@dsl.pipeline(name="exit-after-success")
def exit_after_success():
    with dsl.ExitHandler(steps.last_words(wanted_state="SUCCEEDED", wanted_task="exit-handler-1")):
        steps.say(text="work")


@dsl.pipeline(name="exit-after-failure")
def exit_after_failure():
    with dsl.ExitHandler(steps.last_words(wanted_state="FAILED", wanted_task="exit-handler-1")):
        steps.fail(text="work")


@dsl.pipeline(name="exit-that-fails")
def exit_that_fails():
    with dsl.ExitHandler(steps.fail(text="the end")):
        steps.say(text="work")


@dsl.pipeline(name="failing-step")
def failing_step():
    failed = steps.fail(text="no rows")
    steps.say(text="beside")
    steps.join(left=failed.output, right="never")


@dsl.pipeline(name="in-spite-of-a-failure")
def in_spite_of_a_failure():
    failed = steps.fail(text="no")
    steps.say(text="all the same").after(failed).ignore_upstream_failure()


@dsl.pipeline(name="retry")
def retry():
    moment = steps.moment(seconds_from_now=1.5)
    tried = steps.not_before(moment=moment.output)
    tried.set_retry(num_retries=20, backoff_duration="1s", backoff_factor=1.0)


@dsl.pipeline(name="until-a-moment")
def until_a_moment(seconds: float):
    steps.not_before(moment=steps.moment(seconds_from_now=seconds).output)


@dsl.pipeline(name="retry-in-vain")
def retry_in_vain():
    steps.fail(text="again").set_retry(num_retries=1, backoff_duration="0s")


@dsl.pipeline(name="optional-inputs")
def optional_inputs(given: Optional[str] = None, absent: Optional[str] = None):
    steps.expect(actual=steps.optional_text(text=given).output, wanted="given")
    steps.expect(actual=steps.optional_text(text=absent).output, wanted="nothing")
    steps.expect(actual=steps.optional_text().output, wanted="nothing")


@dsl.pipeline(name="inner-optional")
def inner_optional(data: Optional[dsl.Input[dsl.Dataset]] = None) -> str:
    return steps.read_optional(data=data).output


@dsl.pipeline(name="optional-artifacts")
def optional_artifacts():
    written = steps.write_dataset(text="there")
    steps.expect(actual=steps.read_optional(data=written.outputs["data"]).output, wanted="there")
    steps.expect(actual=steps.read_optional().output, wanted="nothing")
    steps.expect(actual=inner_optional(data=written.outputs["data"]).output, wanted="there")
    steps.expect(actual=inner_optional().output, wanted="nothing")


@dsl.pipeline(name="artifacts-of-each-type")
def each_artifact():
    made = steps.write_artifacts()
    seen = steps.read_artifacts(**made.outputs)
    wanted = "of plain, of data, of weights, of page, of note, none, 0.5, yes"
    steps.expect(actual=seen.output, wanted=wanted)


@dsl.pipeline(name="importer")
def importer():
    written = steps.write_dataset(text="there")
    found = dsl.importer(
        artifact_uri=written.outputs["Output"], artifact_class=dsl.Dataset, metadata={"text": "imported"}
    )
    steps.expect(actual=steps.read_dataset(data=found.output).output, wanted="there")
    steps.expect(actual=steps.read_metadata(data=found.output).output, wanted="imported")


@dsl.pipeline(name="settings")
def settings():
    given = steps.environment(name="GIVEN").set_env_variable("GIVEN", "it's ${HOME}")
    given.set_cpu_limit("1").set_memory_limit("1G").set_display_name("Another name")
    kubernetes.set_timeout(given, seconds=600)
    steps.expect(actual=given.output, wanted="it's ${HOME}")


@dsl.pipeline(name="placeholders")
def placeholders():
    labelled = steps.environment(name="RUN_ID")
    kubernetes.use_field_path_as_env(labelled, env_name="RUN_ID", field_path="metadata.labels['pipeline/runid']")
    steps.expect(actual=labelled.output, wanted=dsl.PIPELINE_JOB_ID_PLACEHOLDER)
    steps.check_placeholders(
        job_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
        job_name=dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
        resource_name=dsl.PIPELINE_JOB_RESOURCE_NAME_PLACEHOLDER,
        created=dsl.PIPELINE_JOB_CREATE_TIME_UTC_PLACEHOLDER,
        scheduled=dsl.PIPELINE_JOB_SCHEDULE_TIME_UTC_PLACEHOLDER,
        task=dsl.PIPELINE_TASK_NAME_PLACEHOLDER,
    )


ODD = 'it\'s "x" ${HOME} \n ü'
SHAPES = {
    "line": Shape(pipeline=line, tasks={"say": OK, "join": OK, "join-2": OK, "expect": OK}),
    "line with another input": Shape(
        pipeline=line,
        arguments={"text": "z"},
        ends="FAILED",
        tasks={"say": OK, "join": OK, "join-2": OK, "expect": FAILED},
    ),
    "fork and join": Shape(
        pipeline=fork_and_join, tasks={"say": OK, "say-2": OK, "say-3": OK, "join": OK, "expect": OK}
    ),
    "parameters of each type": Shape(
        pipeline=each_type,
        arguments={"text": ODD, "whole": 3, "part": 0.5, "yes": True, "some": [1, 2.5, "z"], "more": {"n": 4}},
        tasks={"as-json": OK, "expect": OK},
    ),
    "defaults": Shape(pipeline=defaults, tasks={"as-json": OK, "expect": OK}),
    "empty values": Shape(
        pipeline=empty_values,
        arguments={"text": "", "whole": 0, "part": -1.5, "yes": False, "some": [], "more": {}},
        tasks={
            "as-json": OK,
            "expect": OK,
            "say": OK,
            "optional-text": OK,
            "expect-2": OK,
            "number": OK,
            "condition-1": OK,
            "say-2": OK,
        },
    ),
    "condition taken": Shape(
        pipeline=condition_on_a_text, arguments={"text": "yes"}, tasks={"condition-1": OK, "say": OK, "say-2": OK}
    ),
    "condition not taken": Shape(
        pipeline=condition_on_a_text, arguments={"text": "no"}, tasks={"condition-1": SKIPPED, "say-2": OK}
    ),
    "condition on an output taken": Shape(
        pipeline=condition_on_an_output, arguments={"value": 6}, tasks={"number": OK, "condition-1": OK, "say": OK}
    ),
    "condition on an output not taken": Shape(
        pipeline=condition_on_an_output, arguments={"value": 5}, tasks={"number": OK, "condition-1": SKIPPED}
    ),
    "condition on a truth taken": Shape(
        pipeline=condition_on_a_truth, arguments={"value": True}, tasks={"truth": OK, "condition-1": OK, "say": OK}
    ),
    "condition on a truth not taken": Shape(
        pipeline=condition_on_a_truth, arguments={"value": False}, tasks={"truth": OK, "condition-1": SKIPPED}
    ),
    "condition on an odd text": Shape(
        pipeline=condition_on_an_odd_text,
        arguments={"text": "it's \"odd\" && 'yes' || 1"},
        tasks={"say": OK, "condition-1": OK, "expect": OK},
    ),
    "condition on a named output": Shape(
        pipeline=condition_on_a_named_output, tasks={"parts": OK, "condition-1": OK, "expect": OK}
    ),
    "artifact into a condition": Shape(
        pipeline=artifact_into_a_condition,
        tasks={"write-dataset": OK, "condition-1": OK, "read-dataset": OK, "expect": OK},
    ),
    "if": Shape(
        pipeline=choice,
        arguments={"value": -1, "wanted": "low"},
        tasks={
            "inner-choice": OK,
            "number": OK,
            "condition-branches-1": OK,
            "condition-2": OK,
            "condition-3": SKIPPED,
            "condition-4": SKIPPED,
            "say": OK,
            "expect": OK,
        },
    ),
    "elif": Shape(
        pipeline=choice,
        arguments={"value": 3, "wanted": "middle"},
        tasks={
            "inner-choice": OK,
            "number": OK,
            "condition-branches-1": OK,
            "condition-2": SKIPPED,
            "condition-3": OK,
            "condition-4": SKIPPED,
            "say-2": OK,
            "expect": OK,
        },
    ),
    "else": Shape(
        pipeline=choice,
        arguments={"value": 30, "wanted": "high"},
        tasks={
            "inner-choice": OK,
            "number": OK,
            "condition-branches-1": OK,
            "condition-2": SKIPPED,
            "condition-3": SKIPPED,
            "condition-4": OK,
            "say-3": OK,
            "expect": OK,
        },
    ),
    "choice fed on": Shape(
        pipeline=choice_fed_on,
        arguments={"text": "yes"},
        tasks={
            "condition-branches-1": OK,
            "condition-2": OK,
            "condition-3": OK,
            "condition-4": SKIPPED,
            "say": OK,
            "expect": OK,
            "say-2": OK,
            "expect-2": OK,
        },
    ),
    "loop over constants": Shape(pipeline=loop_over_constants, tasks={"for-loop-2": OK, "say": 3 * OK}),
    "loop over a parameter": Shape(
        pipeline=loop_over_a_parameter,
        arguments={"items": ["same", "same"]},
        tasks={"for-loop-1": OK, "expect": 2 * OK},
    ),
    "loop over an output, collected": Shape(
        pipeline=loop_over_an_output,
        tasks={"numbers": OK, "for-loop-1": OK, "double": 3 * OK, "as-json-list": OK, "expect": OK},
    ),
    "loop over nothing": Shape(pipeline=loop_over_nothing, arguments={"items": []}, tasks={"for-loop-1": OK}),
    "loop over dicts": Shape(pipeline=loop_over_dicts, tasks={"for-loop-2": OK, "join": 2 * OK, "expect": 2 * OK}),
    "loop with a condition": Shape(
        pipeline=loop_with_a_condition,
        tasks={"for-loop-2": OK, "number": 3 * OK, "condition-3": SKIPPED + 2 * OK, "say": 2 * OK},
    ),
    "loop with a failure": Shape(
        pipeline=loop_with_a_failure, ends="FAILED", tasks={"for-loop-2": FAILED, "expect": FAILED + OK, "say": OK}
    ),
    "nested loop": Shape(pipeline=nested_loop, tasks={"for-loop-2": OK, "for-loop-4": 2 * OK, "join": 4 * OK}),
    "loop with values from outside": Shape(
        pipeline=loop_with_values_from_outside,
        tasks={"say": OK, "for-loop-2": OK, "join": 2 * OK, "join-2": 2 * OK, "as-json-list": OK, "expect": OK},
    ),
    # Known here only: whether a cluster collects lists of lists was not tried.
    "nested loop, collected": Shape(
        pipeline=nested_loop_collected,
        tasks={"for-loop-2": OK, "for-loop-4": 2 * OK, "join": 4 * OK, "as-json-list": OK, "expect": OK},
    ),
    "loop of artifacts": Shape(
        pipeline=loop_of_artifacts,
        tasks={"for-loop-2": OK, "write-dataset": 2 * OK, "read-datasets": OK, "expect": OK},
    ),
    "nested pipelines": Shape(
        pipeline=nested_pipelines,
        tasks={"inner": 2 * OK, "middle": OK, "say": 2 * OK, "join": 3 * OK, "expect": OK},
    ),
    "outputs of nested pipelines": Shape(
        pipeline=outputs_of_nested_pipelines,
        arguments={"items": ["a", "b"]},
        tasks={
            "inner-writer": OK,
            "write-dataset": OK,
            "read-dataset": OK,
            "inner-loop": OK,
            "for-loop-1": OK,
            "join": 2 * OK,
            "as-json-list": OK,
            "expect": OK,
            "expect-2": OK,
        },
    ),
    "nested failure": Shape(pipeline=nested_failure, ends="FAILED", tasks={"inner-failure": FAILED, "fail": FAILED}),
    "exit after success": Shape(pipeline=exit_after_success, tasks={"exit-handler-1": OK, "say": OK, "last-words": OK}),
    "exit after failure": Shape(
        pipeline=exit_after_failure,
        ends="FAILED",
        tasks={"exit-handler-1": FAILED, "fail": FAILED, "last-words": OK},
    ),
    "exit that fails": Shape(
        pipeline=exit_that_fails, ends="FAILED", tasks={"exit-handler-1": OK, "say": OK, "fail": FAILED}
    ),
    "failing step": Shape(pipeline=failing_step, ends="FAILED", tasks={"fail": FAILED, "say": OK}),
    # Known here only: what Argo calls a graph whose last step succeeds after a failed one was not tried.
    "in spite of a failure": Shape(pipeline=in_spite_of_a_failure, ends="FAILED", tasks={"fail": FAILED, "say": OK}),
    "retry": Shape(pipeline=retry, tasks={"moment": OK, "not-before": OK}),
    "retry in vain": Shape(pipeline=retry_in_vain, ends="FAILED", tasks={"fail": FAILED}),
    "optional inputs": Shape(
        pipeline=optional_inputs,
        arguments={"given": "given"},
        tasks={f"{step}{number}": OK for step in ("optional-text", "expect") for number in ("", "-2", "-3")},
    ),
    "optional artifacts": Shape(
        pipeline=optional_artifacts,
        tasks={
            "write-dataset": OK,
            "read-optional": 3 * OK,
            "read-optional-2": OK,
            "inner-optional": OK,
            "inner-optional-2": OK,
            **{f"expect{number}": OK for number in ("", "-2", "-3", "-4")},
        },
    ),
    "artifacts of each type": Shape(
        pipeline=each_artifact, tasks={"write-artifacts": OK, "read-artifacts": OK, "expect": OK}
    ),
    "importer": Shape(
        pipeline=importer,
        tasks={
            "write-dataset": OK,
            "importer": OK,
            "read-dataset": OK,
            "read-metadata": OK,
            "expect": OK,
            "expect-2": OK,
        },
    ),
    "settings": Shape(pipeline=settings, tasks={"environment": OK, "expect": OK}),
    "placeholders": Shape(pipeline=placeholders, tasks={"environment": OK, "expect": OK, "check-placeholders": OK}),
}
