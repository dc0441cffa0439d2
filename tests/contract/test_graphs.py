"""Every shape of graph ends as it should, and its tasks with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.graphs import SHAPES
from tests.contract.server import Server

AHEAD = 8  # runs under way while a test waits for its own: not all, as each pytest-xdist worker runs a part


@pytest.fixture(scope="session")
def started(shared_server: Server, experiment_id: str) -> Callable[[str], str]:
    """The id of a shape's run; starting one starts the next ones too."""
    names, run_ids = list(SHAPES), dict[str, str]()

    def start(name: str) -> str:
        at = names.index(name)
        for coming in names[at : at + AHEAD]:
            if coming not in run_ids:
                shape = SHAPES[coming]
                run_ids[coming] = shared_server.start(experiment_id, shape.pipeline, shape.arguments)
        return run_ids[name]

    return start


@pytest.mark.parametrize("name", SHAPES)
def test_a_graph_ends_as_it_should_and_its_tasks_with_it(server, started, name):
    shape = SHAPES[name]

    run = server.ended(started(name))

    assert (states(run, server.documents(shape.pipeline)[0], shape.tasks), run.state) == (shape.tasks, shape.ends)


def states(run: Any, spec: dict[str, Any], wanted: dict[str, list[str]]) -> dict[str, list[str]]:
    """The states in which tasks of the pipeline are found. A server may have nodes of its own beside them (Argo: `root`,
    `say-driver`, `executor`), and may list as skipped what never began."""
    graphs = [spec["root"], *spec["components"].values()]
    tasks = {name for graph in graphs for name in graph.get("dag", {}).get("tasks", {})}
    found: dict[str, list[str]] = {}
    for detail in sorted(run.run_details.task_details, key=lambda detail: detail.state or ""):
        name = detail.display_name
        if name in tasks and (name in wanted or detail.state not in (None, "SKIPPED")):
            found.setdefault(name, []).append(detail.state)
    return found


def test_iterations_stand_between_a_loop_and_its_steps(server, started, only_here):
    run = server.ended(started("nested loop"))

    by_id = {detail.task_id: detail for detail in run.run_details.task_details}
    lines = set()
    for detail in by_id.values():
        line = [detail.display_name]
        while detail.parent_task_id:
            parent = by_id[detail.parent_task_id]
            assert detail.task_id in [child.task_id for child in parent.child_tasks]
            detail = parent
            line.insert(0, detail.display_name)
        lines.add("/".join(line))
    outer = [f"for-loop-2/for-loop-2-iteration-{number}" for number in (0, 1)]
    inner = [f"{path}/for-loop-4/for-loop-4-iteration-{number}" for path in outer for number in (0, 1)]
    assert lines == {
        "for-loop-2",
        *outer,
        *(f"{path}/for-loop-4" for path in outer),
        *inner,
        *(f"{path}/join" for path in inner),
    }


def test_a_step_is_tried_again_until_it_succeeds(server, started, only_here):
    run = server.ended(started("retry"))

    [task] = [detail for detail in run.run_details.task_details if detail.display_name == "not-before"]
    log = server.read(f"/apis/v1alpha1/runs/{run.run_id}/nodes/{task.pod_name}/log").decode()
    assert log.count("too early") >= 1
    assert log.count("tried") > log.count("ValueError: too early")
