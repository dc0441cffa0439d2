from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest

from localkfp.graph import Box, Drawing, draw, progress

WIDE = {f"step-{number}": ["first"] for number in range(4)}
# name -> graph: who waits for whom
GRAPHS: dict[str, dict[str, list[str]]] = {
    "one step": {"only": []},
    "a chain": {"a": [], "b": ["a"], "c": ["b"]},
    "a diamond": {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]},
    "a line past a step": {"a": [], "b": ["a"], "c": ["b"], "side": ["a"], "d": ["c", "side"]},
    "wide": {"first": [], **WIDE, "last": list(WIDE)},
    "two apart": {"a": [], "b": ["a"], "x": [], "y": ["x"]},
}


def step(*waits: str, **more: Any) -> dict[str, Any]:
    return {"componentRef": {"name": "comp-step"}, "dependentTasks": list(waits), **more}


def group(component: str, *waits: str, **more: Any) -> dict[str, Any]:
    return {"componentRef": {"name": component}, "dependentTasks": list(waits), **more}


def spec(tasks: dict[str, Any], **components: dict[str, Any]) -> dict[str, Any]:
    inside = {name.replace("_", "-"): {"dag": {"tasks": tasks}} for name, tasks in components.items()}
    return {"root": {"dag": {"tasks": tasks}}, "components": {"comp-step": {"executorLabel": "exec-step"}, **inside}}


def boxes(drawn: Drawing) -> dict[str, Box]:
    return {box.path: box for box in drawn.boxes}


def lines(drawn: Drawing) -> set[tuple[str, str]]:
    return {(line.source, line.target) for line in drawn.lines}


def apart(one: Box, other: Box) -> bool:
    beside = one.x + one.width <= other.x or other.x + other.width <= one.x
    return beside or one.y + one.height <= other.y or other.y + other.height <= one.y


def holds(outer: Box, inner: Box) -> bool:
    across = outer.x <= inner.x and inner.x + inner.width <= outer.x + outer.width
    return across and outer.y <= inner.y and inner.y + inner.height <= outer.y + outer.height


@pytest.mark.parametrize("waits", GRAPHS.values(), ids=GRAPHS)
def test_who_waits_stands_below_and_no_box_touches_another(waits: dict[str, list[str]]) -> None:
    drawn = draw(spec({name: step(*upstream) for name, upstream in waits.items()}))

    found = boxes(drawn)
    assert found.keys() == waits.keys()
    assert all(apart(one, other) for one, other in combinations(drawn.boxes, 2))
    for name, upstream in waits.items():
        assert all(found[other].y + found[other].height < found[name].y for other in upstream)
    assert all(box.x >= 0 and box.x + box.width <= drawn.width for box in drawn.boxes)
    assert all(box.y >= 0 and box.y + box.height <= drawn.height for box in drawn.boxes)


def test_a_line_goes_past_a_step_and_not_behind_it() -> None:
    drawn = draw(spec({name: step(*upstream) for name, upstream in GRAPHS["a line past a step"].items()}))

    [past] = [line for line in drawn.lines if (line.source, line.target) == ("side", "d")]
    passed = boxes(drawn)["c"]
    level = [x for x, y in past.points if passed.y <= y <= passed.y + passed.height]
    assert level
    assert all(x < passed.x or x > passed.x + passed.width for x in level)


def test_a_line_starts_at_one_box_and_ends_at_the_other() -> None:
    drawn = draw(spec({"a": step(), "b": step("a")}))

    [line], found = drawn.lines, boxes(drawn)
    assert line.points[0] == (found["a"].x + found["a"].width / 2, found["a"].y + found["a"].height)
    assert line.points[-1] == (found["b"].x + found["b"].width / 2, found["b"].y)
    assert line.path.startswith(f"M{line.points[0][0]:.1f} {line.points[0][1]:.1f} ")
    assert line.path.endswith(f" {line.points[-1][0]:.1f} {line.points[-1][1]:.1f}")


def test_a_line_that_others_imply_is_left_out() -> None:
    drawn = draw(spec({"a": step(), "b": step("a"), "c": step("a", "b")}))

    assert lines(drawn) == {("a", "b"), ("b", "c")}


def test_whose_output_a_task_takes_it_waits_for_though_the_compiler_does_not_say_so() -> None:
    takes = {"parameters": {"xs": {"taskOutputParameter": {"producerTask": "a", "outputParameterKey": "Output"}}}}

    drawn = draw(spec({"a": step(), "b": step(inputs=takes), "c": step("nobody")}))

    assert lines(drawn) == {("a", "b")}


def test_a_group_is_drawn_around_its_own_steps_however_deep() -> None:
    drawn = draw(
        spec(
            {"first": step(), "outer": group("comp-outer", "first"), "last": step("outer")},
            comp_outer={"a": step(), "inner": group("comp-inner", "a")},
            comp_inner={"b": step(), "c": step("b")},
        )
    )

    found = boxes(drawn)
    assert list(found) == ["first", "outer", "outer/a", "outer/inner", "outer/inner/b", "outer/inner/c", "last"]
    assert {path for path, box in found.items() if box.group} == {"outer", "outer/inner"}
    assert all(holds(found["outer"], found[path]) for path in found if path.startswith("outer/"))
    assert all(holds(found["outer/inner"], found[path]) for path in ("outer/inner/b", "outer/inner/c"))
    assert apart(found["outer/a"], found["outer/inner"])
    assert apart(found["first"], found["outer"])
    assert ("outer/inner/b", "outer/inner/c") in lines(drawn)


def test_tasks_side_by_side_stand_in_the_order_of_their_names() -> None:
    drawn = draw(spec({name: step() for name in ("say-10", "say-2", "say", "ask-3")}))

    assert [box.name for box in sorted(drawn.boxes, key=lambda box: box.x)] == ["ask-3", "say", "say-2", "say-10"]


def test_a_component_within_itself_is_opened_once() -> None:
    drawn = draw(spec({"a": group("comp-a")}, comp_a={"again": group("comp-a")}))

    assert list(boxes(drawn)) == ["a", "a/again"]


@pytest.mark.parametrize(
    ("task", "note"),
    [
        ({"triggerPolicy": {"condition": "inputs.parameter_values['pipelinechannel--flip-Output'] ==\n  'heads'"}},
         "if flip-Output == 'heads'"),
        ({"parameterIterator": {"items": {"raw": "[1, 2]"}}}, "for each of [1, 2]"),
        ({"parameterIterator": {"items": {"inputParameter": "pipelinechannel--list-Output"}}}, "for each of list-Output"),
        ({"artifactIterator": {"items": {"inputArtifact": "pipelinechannel--parts"}}}, "for each of parts"),
        ({"taskInfo": {"name": "the whole of it"}}, "the whole of it"),
        ({"taskInfo": {"name": "group"}}, ""),
    ],
)  # fmt: skip
def test_a_group_says_what_it_does_with_its_steps(task: dict[str, Any], note: str) -> None:
    drawn = draw(spec({"group": group("comp-group", **task)}, comp_group={"a": step()}))

    assert boxes(drawn)["group"].note == note


def test_the_exit_task_hangs_on_its_group_by_a_line_of_its_own_kind() -> None:
    always = {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
    tasks = {"exit-handler-1": group("comp-all"), "report": step("exit-handler-1", triggerPolicy=always)}

    drawn = draw(spec(tasks, comp_all={"a": step(), "b": step("a")}))

    kinds = {(line.source, line.target): line.always for line in drawn.lines}
    assert kinds == {("exit-handler-1", "report"): True, ("exit-handler-1/a", "exit-handler-1/b"): False}
    assert apart(boxes(drawn)["report"], boxes(drawn)["exit-handler-1"])


def test_a_long_name_loses_its_middle_and_keeps_it_in_the_title() -> None:
    name = "train-model-for-every-country-of-the-world-2"

    [box] = draw(spec({name: step()})).boxes

    short = box.short(box.name)
    assert (len(short) < len(name), short[:6], short[-2:], "…" in short) == (True, "train-", "-2", True)
    assert box.short("fetch") == "fetch"
    assert box.title == name


@pytest.mark.parametrize("nothing", [{}, {"root": {}}, {"root": {"dag": {}}}])
def test_nothing_is_drawn_of_a_pipeline_without_tasks(nothing: dict[str, Any]) -> None:
    assert (draw(nothing).boxes, draw(nothing).lines) == ([], [])


def test_a_cycle_is_drawn_somehow() -> None:
    assert len(draw(spec({"a": step("b"), "b": step("a")})).boxes) == 2


def row(path: str, state: str, start: str = "1", end: str | None = "2") -> dict[str, Any]:
    name = path.rpartition("/")[2]
    return {"task_id": path, "path": path, "name": name, "state": state, "started_at": start, "finished_at": end}


def test_the_iterations_of_a_loop_are_one_box_in_the_worst_of_their_states() -> None:
    found = progress(
        [
            row("loop", "RUNNING", "0", None),
            row("loop/loop-iteration-0", "SUCCEEDED"),
            row("loop/loop-iteration-0/say", "SUCCEEDED", "1", "2"),
            row("loop/loop-iteration-1", "FAILED"),
            row("loop/loop-iteration-1/say", "FAILED", "3", "4"),
            row("loop/loop-iteration-1/in", "RUNNING", "5", None),
            row("loop/loop-iteration-1/in/in-iteration-7/deep", "SUCCEEDED"),
        ]
    )

    assert found.keys() == {"loop", "loop/say", "loop/in", "loop/in/deep"}
    said = found["loop/say"]
    assert (said.state, said.times, said.started_at, said.finished_at) == ("FAILED", 2, "1", "4")
    assert said.task_id == "loop/loop-iteration-1/say"  # where it failed is what one wants to see
    assert found["loop"].finished_at is None


def test_a_step_whose_name_looks_like_an_iteration_is_none() -> None:
    assert progress([row("group", "SUCCEEDED"), row("group/other-iteration-1", "FAILED")]).keys() == {
        "group",
        "group/other-iteration-1",
    }
