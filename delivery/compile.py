"""From a pipeline's function to its package: linted first, and the same bytes on every machine."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from delivery.errors import Failed, WrongUse, meant

PIPELINES = "pipelines"  # the package that holds them; tests name their own
OUT = Path("build/packages")
KFP_DEFAULT_IMAGE = re.compile(r"python:\d+\.\d+")  # which one depends on the date, not on our code


def pipeline_module(name: str, package: str = PIPELINES) -> ModuleType:
    """The module of a pipeline; an unknown name is told the known ones."""
    rooms = import_module(PIPELINES)
    try:
        with _imported_in_peace():
            module: ModuleType = rooms.module(name, package)
    except rooms.UnknownPipeline as error:
        where = f"the package `{package}`"
        raise WrongUse(f"there is no pipeline `{name}`", where=where, do=meant(name, error.known)) from error
    return module


def pipeline_names(package: str = PIPELINES) -> list[str]:
    """All pipelines that the package holds."""
    with _imported_in_peace():
        return list(import_module(PIPELINES).names(package))


@contextmanager
def _imported_in_peace() -> Iterator[None]:
    """A pipeline reads its gates when it is imported: a mistake in them is a sentence."""
    from models.gates import WrongGates  # here, as it takes a moment, and `mlops --help` needs none of it

    try:
        with _quiet_kfp():
            yield
    except WrongGates as error:
        do = "mend the file; what each gate means: models/gates.py"
        raise WrongUse(str(error), where=error.path, do=do) from error


def compile_pipeline(name: str, out_dir: Path, package: str = PIPELINES) -> Path:
    """`<name>.yaml` in the folder, whole or not at all; a package that the lint refuses is never written."""
    pipeline = getattr(pipeline_module(name, package), name)
    target = out_dir / f"{name}.yaml"
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out_dir, prefix=".compile-") as scratch:
            compiled = Path(scratch) / target.name
            _compile(pipeline, compiled)
            problems = lint(read_package(compiled))
            if problems:
                raise Failed(
                    f"the pipeline `{name}` may not be packaged: " + "; ".join(problems),
                    where=f"{package}.{name}",
                    do="mend each of these in the pipeline or its components, then compile again",
                )
            os.replace(compiled, target)
    except OSError as error:
        sentence = f"the package cannot be written: {error.strerror or error}"
        raise Failed(sentence, where=target, do="name a folder that can be written: --out DIR") from error
    return target


def read_package(path: Path) -> dict[str, Any]:
    """The pipeline of a package as plain values; what a platform adds stands in a second document, and is left out."""
    return read_spec(path.read_bytes())


def read_spec(package: bytes) -> dict[str, Any]:
    """The same of a package's content."""
    spec: dict[str, Any] = next(yaml.load_all(package, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    return spec


def sha256(path: Path) -> str:
    """The name that a package has by its bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def graph_of(spec: dict[str, Any]) -> dict[str, list[str]]:
    """Step -> upstream steps in the order they can run; groups are opened, an exit handler waits for nothing."""
    graph: dict[str, list[str]] = {}
    for _, dag in _dags(spec):
        for key, task in dag.items():
            if "executorLabel" in spec["components"][task["componentRef"]["name"]]:
                upstream = [up for up in task.get("dependentTasks", []) if "dag" not in _component(spec, dag[up])]
                graph[_step(key)] = [_step(up) for up in upstream]
    last = [_step(key) for _, dag in _dags(spec) for key, task in dag.items() if _is_exit_task(task)]
    ordered: dict[str, list[str]] = {}
    while len(ordered) < len(graph):
        ready = [s for s in graph if s not in ordered and all(up in ordered for up in graph[s])]
        inner = [step for step in ready if step not in last]
        ordered.update({step: graph[step] for step in inner or ready})
    return ordered


def lint(spec: dict[str, Any]) -> list[str]:
    """Every sentence of every check; an empty list lets the package be written and run."""
    return [sentence for check in CHECKS for sentence in check(spec)]


def _images_are_named(spec: dict[str, Any]) -> Iterator[str]:
    for step, container in _containers(spec):
        image = container.get("image", "")
        if not image or KFP_DEFAULT_IMAGE.fullmatch(image):
            yield f"{step} has no image of its own but KFP's default `{image}` (set base_image)"


def _resources_are_limited(spec: dict[str, Any]) -> Iterator[str]:
    for step, container in _containers(spec):
        limits = container.get("resources", {})
        for what, key in (("cpu", "resourceCpuLimit"), ("memory", "resourceMemoryLimit")):
            if not limits.get(key):
                yield f"{step} has no {what} limit (call .set_{what}_limit)"


def _nothing_is_installed(spec: dict[str, Any]) -> Iterator[str]:
    for step, container in _containers(spec):
        if any("pip install" in part for part in container.get("command", [])[:3]):
            yield f"{step} installs packages when it runs (set install_kfp_package=False and no packages_to_install)"


def _tasks_are_shown_by_name(spec: dict[str, Any]) -> Iterator[str]:
    for _, dag in _dags(spec):
        for key, task in dag.items():
            if "executorLabel" in _component(spec, task) and task.get("taskInfo", {}).get("name", key) == key:
                yield f"{_step(key)} has no display name (call .set_display_name)"


CHECKS: list[Callable[[dict[str, Any]], Iterator[str]]] = [
    _images_are_named,
    _resources_are_limited,
    _nothing_is_installed,
    _tasks_are_shown_by_name,
]


def _dags(spec: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "root", spec["root"]["dag"]["tasks"]
    for name, component in spec.get("components", {}).items():
        if "dag" in component:
            yield name, component["dag"]["tasks"]


def _containers(spec: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, executor in spec["deploymentSpec"]["executors"].items():
        if "container" in executor:
            yield _step(name.removeprefix("exec-")), executor["container"]


def _component(spec: dict[str, Any], task: dict[str, Any]) -> dict[str, Any]:
    component: dict[str, Any] = spec["components"][task["componentRef"]["name"]]
    return component


def _is_exit_task(task: dict[str, Any]) -> bool:
    return bool(task.get("triggerPolicy", {}).get("strategy") == "ALL_UPSTREAM_TASKS_COMPLETED")


def _step(task: str) -> str:
    return task.replace("-", "_")  # KFP writes fetch_data as fetch-data


def _compile(pipeline: Any, target: Path) -> None:  # Any: kfp has no public type for a pipeline
    with _quiet_kfp():
        from kfp import compiler

        compiler.Compiler().compile(pipeline, str(target))


@contextmanager
def _quiet_kfp() -> Iterator[None]:
    """KFP's own notices about its future say nothing to a user of this project; everyone else's warnings pass."""
    with warnings.catch_warnings():
        for category in (FutureWarning, UserWarning, DeprecationWarning):
            warnings.filterwarnings("ignore", category=category, module=r"kfp(\.|$)")
        warnings.filterwarnings("ignore", message="The default base_image", category=FutureWarning)  # the lint says it
        yield
