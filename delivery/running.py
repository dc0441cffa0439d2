"""`mlops run` and `mlops report` in full: from a name to a finished run and its page."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from delivery import local, parameters, progress
from delivery.compile import compile_pipeline, graph_of, pipeline_module, read_package
from delivery.environments import Environment
from delivery.errors import WrongUse, in_our_words, meant
from storage import objects

RUN_ID = re.compile(r"(?P<pipeline>[a-z0-9_]+)-\d{8}-\d{6}-[0-9a-f]{4}")
LATEST = 5


def plan(environment: Environment, pipeline: str | None, given: Sequence[str], package: str) -> local.Plan:
    """All that can be known before it runs is checked here: name, package, parameters. It writes nothing."""
    name = pipeline or environment.default_pipeline
    if not name:
        where = f"environments/{environment.name}.yaml"
        raise WrongUse("no pipeline is named, and there is no default", where=where, do="`mlops run PIPELINE`")
    module = pipeline_module(name, package)
    with tempfile.TemporaryDirectory(prefix="mlops-") as scratch:
        compiled = compile_pipeline(name, Path(scratch), package)
        spec, content = read_package(compiled), compiled.read_bytes()
    arguments = parameters.arguments(spec, environment, name, given)
    check = getattr(module, "check_parameters", None)
    if check and (wrong := check(parameters.with_defaults(spec, arguments))):
        where = f"parameters of {name}: -p, or environments/{environment.name}.yaml"
        raise WrongUse("; ".join(wrong), where=where, do="set them as said, and run again")
    run_id = local.new_run_id(name)
    return local.Plan(
        run_id=run_id,
        pipeline=name,
        package=content,
        arguments=arguments,
        graph=getattr(module, "GRAPH", None) or graph_of(spec),
        store=arguments.get("store", environment.store),
        folder=environment.work / run_id,
        root=environment.root,
    )


def run(plan: local.Plan, talk: Console) -> local.RunResult:
    """Run it, shown on `talk`; there is a page afterwards, though the run's own exit handler did not come to it."""
    progress.plain(talk, f"run {plan.run_id}")
    with progress.shown(talk) as watch:
        result = local.run_package(plan, watch)
    if result.report_url or not result.records:
        return result
    try:
        return replace(result, report_url=_build_page(plan.store, plan.run_id, plan.graph, plan.pipeline))
    except Exception as error:  # the run's own end matters more than its page
        progress.plain(talk, f"note: no page could be made of it: {getattr(error, 'what', error)}")
        return result


def report(environment: Environment, run_id: str, package: str) -> str:
    """Where the page of that run is, made anew; a run that is not there is told the ones that are."""
    named = RUN_ID.fullmatch(run_id)
    folder = objects.join(environment.store, "runs", run_id) if named else ""
    if not named or not any(name.endswith(".json") for name in objects.names(folder)):
        raise _unknown_run(environment, run_id)
    name = named["pipeline"]
    module = pipeline_module(name, package)
    graph = getattr(module, "GRAPH", None)
    if graph is None:
        with tempfile.TemporaryDirectory(prefix="mlops-") as scratch:
            graph = graph_of(read_package(compile_pipeline(name, Path(scratch), package)))
    return path_or_url(_build_page(environment.store, run_id, graph, name))


def path_or_url(url: str) -> str:
    """A file by its path, for a person to open; anything else as it is."""
    return "/" + url.removeprefix("file:").lstrip("/") if url.startswith("file:") else url


def _build_page(store: str, run_id: str, graph: dict[str, list[str]], title: str) -> str:
    from components.report.step import build_report

    try:
        return build_report(store, run_id, graph, title=title).url
    except Exception as error:
        raise in_our_words(error) or error from error


def _unknown_run(environment: Environment, run_id: str) -> WrongUse:
    work = environment.work
    folders = work.iterdir() if work.is_dir() else []
    known = sorted((folder.name for folder in folders if RUN_ID.fullmatch(folder.name)), key=_moment)
    near = meant(run_id, known)
    latest = ", ".join(f"`{name}`" for name in reversed(known[-LATEST:])) or "none; start one with `mlops run`"
    do = near if near.startswith("did you mean") else f"take one of the latest runs of this machine: {latest}"
    return WrongUse(f"there is no run `{run_id}` in {environment.name}", where=environment.store, do=do)


def _moment(run_id: str) -> str:
    return "-".join(run_id.rsplit("-", 3)[1:3])
