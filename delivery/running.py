"""`mlops run` and `mlops report` in full: from a name to a finished run and its page."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from delivery import parameters, progress
from delivery.compile import compile_pipeline, graph_of, pipeline_module, read_package
from delivery.environments import Environment
from delivery.errors import Failed, WrongUse, in_our_words, meant
from delivery.kubeflow import Kubeflow, connected
from delivery.runs import RUN_NAME, Plan, RunResult, new_run_name
from delivery.watching import run_to_end
from storage import objects

LATEST = 5
NEAR = 50  # runs that a name is compared with


def plan(environment: Environment, pipeline: str | None, given: Sequence[str], package: str) -> Plan:
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
    run_name = new_run_name(name)
    return Plan(
        run_name=run_name,
        pipeline=name,
        package=content,
        arguments=arguments,
        graph=getattr(module, "GRAPH", None) or graph_of(spec),
        store=arguments.get("store", environment.store),
        folder=environment.logs / run_name,
    )


def run(environment: Environment, plan: Plan, talk: Console) -> RunResult:
    """Run the plan where the environment says."""
    with connected(environment) as kfp:
        return watched(kfp, plan, talk)


def watched(
    kfp: Kubeflow,
    plan: Plan,
    talk: Console,
    *,
    start: Callable[[], str] | None = None,
    stall_seconds: float | None = None,
) -> RunResult:
    """A run shown on `talk`; there is a page afterwards, though the run's own exit handler did not come to it.

    `start` gives the id of the run, where the plan is not to be submitted as it is.
    """

    def begun(run_id: str) -> None:
        progress.plain(talk, f"run {plan.run_name} ({run_id})")

    with progress.shown(talk) as watch:
        result = run_to_end(kfp, plan, watch, begun, start=start, stall_seconds=stall_seconds)
    if result.report_url or not result.records:
        return result
    try:
        return replace(result, report_url=_build_page(plan.store, result.run_id, plan.graph, plan.pipeline))
    except Exception as error:  # the run's own end matters more than its page
        progress.plain(talk, f"note: no page could be made of it: {getattr(error, 'what', error)}")
        return result


def report(environment: Environment, run: str, package: str) -> str:
    """Where the page of the run of that name or id is, made anew; a run that is not there is told the ones that are."""
    if environment.endpoint == "local" and not environment.kfp.is_dir():  # looking makes no folder
        raise _unknown_run(environment, run, [])
    with connected(environment) as kfp:
        found = kfp.find(run)
        if found is None:
            raise _unknown_run(environment, run, kfp.latest(NEAR))
        run_name, run_id, spec = found["display_name"], found["run_id"], kfp.spec(found)
    named = RUN_NAME.fullmatch(run_name)
    name = named["pipeline"] if named else str(spec.get("pipelineInfo", {}).get("name", "")).replace("-", "_")
    graph = getattr(pipeline_module(name, package), "GRAPH", None) or (graph_of(spec) if spec else {})
    store = found.get("runtime_config", {}).get("parameters", {}).get("store", environment.store)
    folder = objects.join(store, "runs", run_id)
    if not any(file.endswith(".json") for file in objects.names(folder)):
        do = f"its steps wrote none, or it has just begun: {environment.logs / run_name}"
        raise Failed(f"run {run_name} has no records to make a page of", where=folder, do=do)
    return path_or_url(_build_page(store, run_id, graph, name))


def path_or_url(url: str) -> str:
    """A file by its path, for a person to open; anything else as it is."""
    return "/" + url.removeprefix("file:").lstrip("/") if url.startswith("file:") else url


def _build_page(store: str, run_id: str, graph: dict[str, list[str]], title: str) -> str:
    from components.report.step import build_report

    try:
        return build_report(store, run_id, graph, title=title).url
    except Exception as error:
        raise in_our_words(error) or error from error


def _unknown_run(environment: Environment, run: str, known: list[str]) -> WrongUse:
    near = meant(run, known)
    latest = ", ".join(f"`{name}`" for name in known[:LATEST]) or "none; start one with `mlops run`"
    do = near if near.startswith("did you mean") else f"take one of the latest runs: {latest}"
    return WrongUse(f"there is no run `{run}` in {environment.name}", where=environment.endpoint_setting, do=do)
