"""Everything that a pipeline may say, on KFP's local runner as it is here."""

import json
from collections.abc import Iterator
from typing import NamedTuple, Optional

import pytest
from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Metrics, Model, Output, PipelineTaskFinalStatus

from tests.localkfp.machine import Machine

component = dsl.component(base_image="python:3.12", install_kfp_package=False)
OptionalText = Optional[str]  # noqa: UP045  # KFP reads no `str | None`
OptionalNumber = Optional[int]  # noqa: UP045
OptionalDataset = Optional[Input[Dataset]]  # noqa: UP045


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    machine = Machine(tmp_path_factory.mktemp("machine")).start()
    yield machine
    machine.executor.stop()


@component
def say(text: str) -> str:
    print(text)
    return text


@component
def add(a: int, b: int) -> int:
    return a + b


@component
def pair(first: str, second: str) -> str:
    return first + second


@component
def types_of(items: list, options: dict, ratio: float) -> str:
    kinds = [type(item).__name__ for item in items]
    return f"{kinds} {type(options['n']).__name__} {sorted(options.items())} {type(ratio).__name__}"


@component
def numbers(up_to: int) -> list[int]:
    return list(range(up_to))


@component
def total(items: list[int]) -> int:
    return sum(items)


@component
def fail(text: str) -> str:
    raise ValueError(text)


@component
def write(text: str, data: Output[Dataset]):
    data.metadata["rows"] = 3
    with open(data.path, "w") as file:
        file.write(text)


@component
def read(data: Input[Dataset]) -> str:
    with open(data.path) as file:
        return file.read()


@component
def read_all(data: Input[list[Dataset]]) -> str:
    return " ".join(open(one.path).read() for one in data)


@component
def measure() -> NamedTuple("Measured", [("accuracy", float), ("name", str)]):  # type: ignore[valid-type]  # KFP's way
    import collections

    Measured = collections.namedtuple("Measured", ["accuracy", "name"])
    return Measured(accuracy=0.9, name="it's")


def test_a_line_of_steps(here):
    @dsl.pipeline(name="line")
    def line(n: int = 3):
        add(a=add(a=n, b=1).output, b=1)

    ran = here.run(line, n=5)

    assert ran.state == "SUCCEEDED"
    assert ran.states == {"add": "SUCCEEDED", "add-2": "SUCCEEDED"}
    assert ran.output("add-2") == 7


def test_branches_that_do_not_depend_on_a_failed_step_go_on(here):
    @dsl.pipeline(name="fork")
    def fork():
        failed = fail(text="no rows")
        say(text="alone")
        say(text=failed.output)

    ran = here.run(fork)

    assert ran.state == "FAILED"
    assert ran.run["error"] == "fail: ValueError: no rows"
    assert ran.states == {"fail": "FAILED", "say": "SUCCEEDED"}
    assert ran.tasks["fail"]["error"] == "ValueError: no rows"


@pytest.mark.parametrize(("n", "branch"), [(1, "one"), (5, "many"), (0, "none")])
def test_one_branch_of_several_runs_and_the_others_are_skipped(here, n, branch):
    @dsl.pipeline(name="branches")
    def branches(n: int = 1) -> str:
        with dsl.If(n == 1):
            one = say(text="one")
        with dsl.Elif(n > 1):
            many = say(text="many")
        with dsl.Else():
            none = say(text="none")
        return say(text=dsl.OneOf(one.output, many.output, none.output)).output

    ran = here.run(branches, n=n)

    assert ran.state == "SUCCEEDED", ran.log()
    assert sorted(ran.states.values()) == sorted(["SUCCEEDED"] * 4 + ["SKIPPED"] * 2)
    assert ran.output("say-4") == branch


def test_a_condition_on_a_named_output_and_on_a_text_with_a_quote(here):
    @dsl.pipeline(name="conditions")
    def conditions(text: str = "it's"):
        measured = measure()
        with dsl.If(measured.outputs["accuracy"] > 0.5), dsl.If(measured.outputs["name"] != text):
            say(text="others")
        with dsl.If(measured.outputs["name"] == text):
            say(text="same")

    ran = here.run(conditions)

    assert ran.state == "SUCCEEDED"
    assert ran.states == {
        "measure": "SUCCEEDED",
        "condition-1": "SUCCEEDED",
        "condition-1/condition-2": "SKIPPED",
        "condition-3": "SUCCEEDED",
        "condition-3/say-2": "SUCCEEDED",
    }


def test_a_condition_without_an_answer_fails_the_run(here):
    @dsl.pipeline(name="unanswered")
    def unanswered(text: OptionalText = None):
        with dsl.If(text == "a"):
            say(text="a")

    ran = here.run(unanswered)

    assert ran.state == "FAILED"
    assert ran.states == {"condition-1": "FAILED"}
    assert "text has no value" in ran.run["error"]


def test_a_loop_and_what_is_collected_of_it(here):
    @dsl.pipeline(name="loop")
    def loop() -> int:
        one = add(a=1, b=0)
        with dsl.ParallelFor([1, 2, 3]) as item:
            each = add(a=item, b=one.output)
        return total(items=dsl.Collected(each.output)).output

    ran = here.run(loop)

    assert ran.state == "SUCCEEDED", ran.log()
    assert [ran.output(f"for-loop-2/for-loop-2-iteration-{i}/add-2") for i in range(3)] == [2, 3, 4]
    assert ran.output("total") == 9
    assert ran.output("for-loop-2", "pipelinechannel--add-2-Output") == [2, 3, 4]


def test_a_loop_over_nothing_collects_nothing(here):
    @dsl.pipeline(name="empty")
    def empty():
        with dsl.ParallelFor(numbers(up_to=0).output) as item:
            each = add(a=item, b=1)
        total(items=dsl.Collected(each.output))

    ran = here.run(empty)

    assert ran.states == {"numbers": "SUCCEEDED", "for-loop-1": "SUCCEEDED", "total": "SUCCEEDED"}
    assert ran.output("total") == 0


def test_loops_in_loops_see_the_items_of_both(here):
    @dsl.pipeline(name="nested-loops")
    def nested_loops(names: list = ["a", "b"], sizes: list = ["x", "y"]):  # noqa: B006
        with dsl.If(say(text="go").output == "go"), dsl.ParallelFor(names) as name, dsl.ParallelFor(sizes) as size:
            pair(first=name, second=size)

    ran = here.run(nested_loops)

    assert ran.state == "SUCCEEDED", ran.log()
    said = {path: ran.output(path) for path in ran.tasks if path.endswith("/pair")}
    assert sorted(said.values()) == ["ax", "ay", "bx", "by"]
    outer, inner = "condition-1/for-loop-2/for-loop-2-iteration-1", "for-loop-3/for-loop-3-iteration-0"
    assert said[f"{outer}/{inner}/pair"] == "bx"


def test_a_loop_over_dicts_and_a_condition_in_a_loop(here):
    @dsl.pipeline(name="loop-over-dicts")
    def loop_over_dicts():
        with dsl.ParallelFor([{"n": 1, "m": 5}, {"n": 2, "m": 6}], parallelism=1) as size:
            add(a=size.m, b=size.n)
        with dsl.ParallelFor(["a", "b"], parallelism=1) as name, dsl.If(name == "b"):
            say(text=name)

    ran = here.run(loop_over_dicts)

    assert ran.state == "SUCCEEDED", ran.log()
    assert [ran.output(path) for path in ran.tasks if path.endswith("/add")] == [6, 8]
    assert [state for path, state in ran.states.items() if path.endswith("condition-5")] == ["SKIPPED", "SUCCEEDED"]
    assert [ran.output(path) for path in ran.tasks if path.endswith("/say")] == ["b"]


def test_artifacts_of_a_loop_are_collected(here):
    @dsl.pipeline(name="collected")
    def collected():
        with dsl.ParallelFor(["a", "b"]) as item:
            each = write(text=item)
        read_all(data=dsl.Collected(each.outputs["data"]))

    ran = here.run(collected)

    assert ran.state == "SUCCEEDED", ran.log()
    assert ran.output("read-all") == "a b"


def test_a_pipeline_in_a_pipeline_given_artifacts_alone(here):
    @dsl.pipeline(name="inner")
    def inner(found: Input[Dataset]) -> str:
        return read(data=found).output

    @dsl.pipeline(name="outer")
    def outer():
        inner(found=write(text="a").outputs["data"])
        inner(found=write(text="b").outputs["data"])

    ran = here.run(outer)

    assert ran.state == "SUCCEEDED", ran.log()
    assert [ran.output(path) for path in ("inner/read", "inner-2/read")] == ["a", "b"]


def test_numbers_reach_a_step_as_from_the_server(here):
    @dsl.pipeline(name="whole-numbers")
    def whole_numbers(options: dict):
        types_of(items=[1, 2.5, "a"], options=options, ratio=2.0)
        types_of(items=numbers(up_to=2).output, options={"n": 0.5}, ratio=2.0)

    ran = here.run(whole_numbers, options={"n": 1, "x": None})

    assert ran.state == "SUCCEEDED", ran.log()
    assert ran.output("types-of") == "['int', 'float', 'str'] int [('n', 1), ('x', None)] float"
    assert ran.output("types-of-2") == "['int', 'int'] float [('n', 0.5)] float"


def test_what_is_optional_and_not_given_is_the_default_or_none(here):
    @component
    def optional(
        text: str = "own",
        number: Optional[int] = None,  # noqa: UP045  # KFP reads no `int | None`
        data: Optional[Input[Dataset]] = None,  # noqa: UP045
    ) -> str:
        return f"{text} {number} {data}"

    @dsl.pipeline(name="inner")
    def inner(text: str = "inner's", data: OptionalDataset = None):
        optional(text=text, data=data)

    @dsl.pipeline(name="optionals")
    def optionals(text: OptionalText = None, number: OptionalNumber = None, data: OptionalDataset = None):
        optional(text=text, number=number, data=data)
        inner()
        with dsl.ParallelFor([1]) as item, dsl.If(item == 1):
            optional(text=text, number=number)

    ran = here.run(optionals)

    assert ran.state == "SUCCEEDED", ran.log()
    assert ran.output("optional") == "own None None"
    assert ran.output("inner/optional") == "inner's None None"
    [in_groups] = [path for path in ran.tasks if path.startswith("for-loop") and "/optional" in path]
    assert ran.output(in_groups) == "own None None"


def test_an_exit_task_runs_and_hears_how_its_group_ended(here):
    @component
    def report(status: PipelineTaskFinalStatus) -> str:
        return f"{status.state} {status.pipeline_task_name}"

    @dsl.pipeline(name="guarded")
    def guarded(text: str = "", fails: bool = True):
        with dsl.ExitHandler(report()), dsl.If(fails == True):  # noqa: E712
            fail(text=text)

    bad, good = here.run(guarded, text="boom"), here.run(guarded, fails=False)

    assert (bad.state, good.state) == ("FAILED", "SUCCEEDED")
    assert bad.output("report") == "FAILED exit-handler-1"
    assert good.output("report") == "SUCCEEDED exit-handler-1"
    assert bad.run["error"] == "fail: ValueError: boom"


def test_an_imported_artifact_and_every_kind_of_output(here, tmp_path):
    @component
    def make(model: Output[Model], numbers: Output[Metrics], page: Output[dsl.HTML], text: Output[dsl.Markdown]):
        model.metadata["layers"] = [1, 2]
        numbers.log_metric("accuracy", 0.5)
        for file in (model, page, text):
            with open(file.path, "w") as opened:
                opened.write("<p>")

    @component
    def classify(curve: Output[dsl.ClassificationMetrics]):
        curve.log_roc_curve([0.0, 1.0], [0.0, 1.0], [0.5, 0.1])

    @component
    def use(given: Input[Artifact], model: Input[Model]) -> str:
        return f"{open(given.path).read()} {given.metadata} {model.metadata}"

    @dsl.pipeline(name="artifacts")
    def artifacts(uri: str):
        found = dsl.importer(artifact_uri=uri, artifact_class=Dataset, metadata={"rows": 7})
        made = make()
        classify()
        use(given=found.output, model=made.outputs["model"])

    (tmp_path / "data").write_text("imported")

    ran = here.run(artifacts, uri=str(tmp_path / "data"))

    assert ran.state == "SUCCEEDED", ran.log()
    assert ran.output("use") == "imported {'rows': 7} {'layers': [1, 2]}"
    assert ran.artifact("make", "numbers")["metadata"] == {"accuracy": 0.5}
    assert ran.artifact("make", "page")["type"]["schemaTitle"] == "system.HTML"
    assert "confidenceMetrics" in json.dumps(ran.artifact("classify", "curve")["metadata"])
    assert ran.artifact("make", "model")["uri"].startswith(str(ran.folder / "artifacts"))


def test_a_step_is_tried_again_as_often_as_it_asks(here, tmp_path):
    @component
    def flaky(path: str) -> int:
        with open(path, "a+") as file:
            file.write("x")
            file.seek(0)
            tries = len(file.read())
        assert tries > 2, f"try {tries}"
        return tries

    @dsl.pipeline(name="tries")
    def tries(path: str):
        flaky(path=path).set_retry(2, backoff_duration="0s")

    ran = here.run(tries, path=str(tmp_path / "tries"))

    assert ran.output("flaky") == 3
    assert "AssertionError: try 2" in ran.log("flaky")


def test_the_workspace_is_shared_by_the_steps_and_gone_after_the_run(here):
    @component
    def keep(path: str):
        with open(f"{path}/kept", "w") as file:
            file.write("kept")

    @component
    def find(path: str) -> str:
        return open(f"{path}/kept").read()

    workspace = dsl.PipelineConfig(workspace=dsl.WorkspaceConfig(size="1Gi"))

    @dsl.pipeline(name="shared", pipeline_config=workspace)
    def shared():
        find(path=dsl.WORKSPACE_PATH_PLACEHOLDER).after(keep(path=dsl.WORKSPACE_PATH_PLACEHOLDER))

    ran = here.run(shared)

    assert ran.state == "SUCCEEDED", ran.log()
    assert ran.output("find") == "kept"
    assert not (ran.folder / "workspace").exists()


def test_a_step_that_ends_well_without_its_output_has_failed(here):
    @component
    def leave() -> str:
        raise SystemExit(0)

    @dsl.pipeline(name="left")
    def left():
        say(text=leave().output)

    ran = here.run(left)

    assert ran.state == "FAILED"
    assert ran.states == {"leave": "FAILED"}
    assert ran.run["error"] == "leave: it ended without an error, and without a value of its output Output"
