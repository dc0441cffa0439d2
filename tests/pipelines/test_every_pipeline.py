"""What every pipeline is held to, a new one too. (For limits and display names the lint asks: there is no package without.)"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from delivery.compile import PIPELINES, compile_pipeline, pipeline_module, pipeline_names
from tests.pipelines.conftest import ROOT, TOY_PIPELINES, Package

Tasks = Mapping[str, Any]
ALL = [(name, package) for package in (PIPELINES, TOY_PIPELINES) for name in pipeline_names(package)]
DRAWN = [(name, package) for name, package in ALL if hasattr(pipeline_module(name, package), "GRAPH")]
COMPILE = """
import sys
from pathlib import Path
from delivery.compile import compile_pipeline
compile_pipeline(sys.argv[1], Path(sys.argv[3]), sys.argv[2])
"""
EXIT = "ALL_UPSTREAM_TASKS_COMPLETED"


def named(pipelines: list[tuple[str, str]]) -> list[Any]:
    return [pytest.param(name, package, id=name) for name, package in pipelines]


def dags(spec: dict[str, Any]) -> Iterator[Tasks]:
    yield spec["root"]["dag"]["tasks"]
    yield from (component["dag"]["tasks"] for component in spec["components"].values() if "dag" in component)


def inside(spec: dict[str, Any], task: dict[str, Any]) -> Tasks:
    """The tasks of a group (an exit handler's, a loop's, a condition's); none where the task is a step."""
    tasks: Tasks = spec["components"][task["componentRef"]["name"]].get("dag", {}).get("tasks", {})
    return tasks


def steps_of(spec: dict[str, Any], name: str, task: dict[str, Any]) -> set[str]:
    """The step itself, or all steps of the group."""
    group = inside(spec, task)
    return set().union(*(steps_of(spec, *item) for item in group.items())) if group else {name.replace("-", "_")}


def upstream(spec: dict[str, Any], tasks: Tasks, before: frozenset[str] = frozenset()) -> dict[str, set[str]]:
    """Step -> the steps that it waits for; what a group waits for, each of its steps does."""
    found: dict[str, set[str]] = {}
    for name, task in tasks.items():
        waits = before.union(*(steps_of(spec, up, tasks[up]) for up in task.get("dependentTasks", [])))
        group = inside(spec, task)
        found |= upstream(spec, group, waits) if group else {name.replace("-", "_"): set(waits)}
    return found


def reached(graph: Mapping[str, Any], step: str) -> set[str]:
    """What comes before a step by any path: a drawing leaves out what another line implies."""
    before = graph.get(step, ())
    return set(before).union(*(reached(graph, up) for up in before))


@pytest.mark.parametrize(("name", "package"), named(DRAWN))
def test_the_drawing_is_the_compiled_graph(tmp_path, name, package):
    spec = Package.compiled(name, tmp_path, package).documents[0]
    compiled, drawn = upstream(spec, spec["root"]["dag"]["tasks"]), pipeline_module(name, package).GRAPH
    at_exit = {
        task.replace("-", "_")
        for tasks in dags(spec)
        for task, of in tasks.items()
        if of.get("triggerPolicy", {}).get("strategy") == EXIT
    }

    assert {step: reached(drawn, step) for step in drawn} == {
        step: reached(compiled, step) for step in compiled if step in drawn or step not in at_exit
    }


@pytest.mark.parametrize(("name", "package"), named(ALL))
def test_every_step_asks_for_its_resources_and_knows_its_run(tmp_path, name, package):
    spec, *others = Package.compiled(name, tmp_path, package).documents
    settings = others[0]["platforms"]["kubernetes"]["deploymentSpec"]["executors"] if others else {}
    run_id = {"name": "PIPELINE_RUN_ID", "fieldPath": "metadata.labels['pipeline/runid']"}

    for step, executor in spec["deploymentSpec"]["executors"].items():
        if "container" in executor:
            resources = executor["container"].get("resources", {})
            assert resources.get("resourceCpuRequest"), f"{step} has no cpu request"
            assert resources.get("resourceMemoryRequest"), f"{step} has no memory request"
            assert run_id in settings.get(step, {}).get("fieldPathAsEnv", []), f"{step} does not get PIPELINE_RUN_ID"


@pytest.mark.parametrize(("name", "package"), named(ALL))
def test_no_run_can_loosen_a_gate(tmp_path, name, package):
    spec = Package.compiled(name, tmp_path, package).documents[0]
    given = {
        task: of["inputs"]["parameters"]["gates"]
        for tasks in dags(spec)
        for task, of in tasks.items()
        if "gates" in of.get("inputs", {}).get("parameters", {})
    }

    assert {task for task, gates in given.items() if "constant" not in gates.get("runtimeValue", {})} == set()


@pytest.mark.parametrize("seed", ["0", "1"])
@pytest.mark.parametrize(("name", "package"), named(ALL))
def test_it_compiles_to_the_same_bytes_anywhere(tmp_path, name, package, seed):
    here, there = tmp_path / "here", tmp_path / "there"
    there.mkdir()

    subprocess.run(
        [sys.executable, "-c", COMPILE, name, package, str(there)],
        cwd=there,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed},
        check=True,
    )

    assert sha256(there / f"{name}.yaml") == sha256(compile_pipeline(name, here, package))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
