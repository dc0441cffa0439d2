"""Pages for a person: each draws what the API answers, and gives just that to who asks for JSON."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.convertors import PathConvertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Route

from localkfp import experiments, files, graph, pipelines, recurring, runs
from localkfp.database import ENDED
from localkfp.errors import ApiError, found
from localkfp.rendering import namespace, refuse, show, wants_json

if TYPE_CHECKING:
    from localkfp.server import LocalKfp

TASKS = """
select task_id, parent_id, path, name, display_name, state, inputs, outputs, error, started_at, finished_at
  from tasks
 where run_id = :run_id
 order by started_at, task_id
"""
RUN = "select namespace, package from runs where run_id = :run_id"
VERSIONS = """
select pipeline_id, pipeline_version_id, display_name, description, created_at
  from pipeline_versions
 where pipeline_id in (select value from json_each(:pipeline_ids))
 order by created_at desc, pipeline_version_id desc
"""
PACKAGE = "select package from pipeline_versions where pipeline_version_id = :pipeline_version_id"
NEXT_AT = "select recurring_run_id, next_at from recurring_runs"
NEWEST_FIRST = "created_at desc"
ACTIONS = {"terminate": runs.terminate, "retry": runs.retry, "archive": runs.archive, "unarchive": runs.unarchive}
HARMLESS = {
    # What a step wrote is shown, and can do nothing: no script of it runs, and it is of no origin
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
View = Callable[["LocalKfp", Request], Response]


def see_runs(kfp: LocalKfp, request: Request) -> Response:
    archived = "archived" in request.query_params
    wanted = {"key": "storage_state", "operation": "EQUALS", "string_value": "ARCHIVED" if archived else "AVAILABLE"}
    asked = {**_asked(kfp, request), "filter": json.dumps({"predicates": [wanted]})}
    answer = runs.list_(kfp, asked)
    live = any(run["state"] not in ENDED for run in answer.get("runs", []))
    return show(kfp, request, "runs.html.j2", answer, asked=asked, archived=archived, live=live)


def see_run(kfp: LocalKfp, request: Request) -> Response:
    run = runs.get(kfp, request.path_params["run_id"])
    stored, tasks = _stored(kfp, run["run_id"])
    artifacts = [(task, one) for task in tasks for one in _artifacts(kfp, run["run_id"], task)]
    return show(
        kfp,
        request,
        "run.html.j2",
        run,
        run=run,
        namespace=stored["namespace"],
        tasks=tasks,
        live=run["state"] not in ENDED,
        ended=run["state"] in ENDED,
        drawing=graph.draw(_spec(stored)),
        progress=graph.progress(tasks),
        artifacts=artifacts,
        metrics=[(task, *item) for task, one in artifacts if one.kind == "Metrics" for item in one.values.items()],
        log=files.last_lines(runs.log(kfp, run["run_id"], "run")),
    )


def see_task(kfp: LocalKfp, request: Request) -> Response:
    """A task as JSON is its entry in the run's."""
    run_id, task_id = request.path_params["run_id"], request.path_params["task_id"]
    log = files.last_lines(runs.log(kfp, run_id, task_id))
    run = runs.get(kfp, run_id)
    stored, tasks = _stored(kfp, run_id)
    [task] = [task for task in tasks if task["task_id"] == task_id]
    [answer] = [one for one in run["run_details"]["task_details"] if one["task_id"] == task_id]
    return show(
        kfp,
        request,
        "task.html.j2",
        answer,
        run=run,
        task=task,
        namespace=stored["namespace"],
        within=[one for one in tasks if one["parent_id"] == task_id],
        live=task["state"] == "RUNNING",
        artifacts=_artifacts(kfp, run_id, task),
        log=log,
    )


def see_pipelines(kfp: LocalKfp, request: Request) -> Response:
    asked = _asked(kfp, request)
    answer = pipelines.list_(kfp, asked)
    versions = _versions(kfp, *(one["pipeline_id"] for one in answer.get("pipelines", [])))
    return show(kfp, request, "pipelines.html.j2", answer, asked=asked, versions=versions)


def see_pipeline(kfp: LocalKfp, request: Request) -> Response:
    pipeline = pipelines.get(kfp, request.path_params["pipeline_id"])
    versions = _versions(kfp, pipeline["pipeline_id"])
    wanted = request.query_params.get("version")
    shown = next((one for one in versions if wanted in (None, one["pipeline_version_id"])), None)
    spec: Mapping[str, Any] = {}
    if shown:
        with kfp.database.read() as db:
            spec = _spec(db.execute(PACKAGE, dict(shown)).fetchone())
    return show(
        kfp,
        request,
        "pipeline.html.j2",
        pipeline,
        namespace=pipeline.get("namespace", ""),
        versions=versions,
        shown=shown,
        drawing=graph.draw(spec),
        inputs=spec.get("root", {}).get("inputDefinitions", {}).get("parameters", {}),
    )


def see_experiments(kfp: LocalKfp, request: Request) -> Response:
    asked = _asked(kfp, request)
    return show(kfp, request, "experiments.html.j2", experiments.list_(kfp, asked), asked=asked)


def see_recurring_runs(kfp: LocalKfp, request: Request) -> Response:
    asked = _asked(kfp, request)
    answer = recurring.list_(kfp, asked)
    with kfp.database.read() as db:
        next_at = dict(db.execute(NEXT_AT).fetchall())
    return show(kfp, request, "recurring.html.j2", answer, asked=asked, next_at=next_at)


def see_artifact(kfp: LocalKfp, request: Request) -> Response:
    """A file as a task wrote it, of a type that a browser only shows; HTML is HTML where KFP calls it so."""
    run_id = request.path_params["run_id"]
    file = runs.artifact(kfp, run_id, request.path_params["path"])
    if file.is_dir():
        return refuse(kfp, request, 404, f"{file.name} is a folder; the page of its task names what is in it")
    found = [one for task in _stored(kfp, run_id)[1] for one in _artifacts(kfp, run_id, task)]
    is_page = any(one.page and Path(one.uri).resolve() == file for one in found)
    kind = "text/html" if is_page else "text/plain" if files.is_text(file) else "application/octet-stream"
    return FileResponse(file, media_type=kind, headers=HARMLESS)


def nowhere(kfp: LocalKfp, request: Request) -> Response:
    return refuse(kfp, request, 404, f"There is nothing at {request.url.path}")


def button(action: Callable[[LocalKfp, str], None]) -> View:
    """What it does is done; then its run is seen again."""

    def press(kfp: LocalKfp, request: Request) -> Response:
        action(kfp, request.path_params["run_id"])
        return RedirectResponse(request.url.path.rpartition("/")[0], status_code=303)

    return press


def page(view: View) -> Callable[[Request], Response]:
    """An endpoint of a view; a refusal is told to a person as a page, and to a program as the API tells it."""

    def endpoint(request: Request) -> Response:
        kfp = request.app.state.kfp
        try:
            return view(kfp, request)
        except ApiError as error:
            if wants_json(request):
                raise
            return refuse(kfp, request, error.code.http, error.message)

    return endpoint


def _asked(kfp: LocalKfp, request: Request) -> dict[str, str]:
    """The query of a list, as the API takes it."""
    given = {name: request.query_params.get(name, "") for name in ("experiment_id", "page_token")}
    return {**given, "namespace": namespace(kfp, request), "sort_by": NEWEST_FIRST}


def _stored(kfp: LocalKfp, run_id: str) -> tuple[sqlite3.Row, list[dict[str, Any]]]:
    """What the API does not tell of a run: its package, its tasks' values, and how deep each task is in groups."""
    with kfp.database.read() as db:
        stored = found(db.execute(RUN, {"run_id": run_id}).fetchone(), "Run", run_id)
        rows = [dict(row) for row in db.execute(TASKS, {"run_id": run_id})]
    for row in rows:
        row |= {"inputs": json.loads(row["inputs"]), "outputs": json.loads(row["outputs"])}
    return stored, list(_by_group(rows, None, 0))


def _by_group(rows: list[dict[str, Any]], parent_id: str | None, depth: int) -> Iterator[dict[str, Any]]:
    for row in rows:
        if row["parent_id"] == parent_id:
            yield {**row, "depth": depth}
            yield from _by_group(rows, row["task_id"], depth + 1)


def _versions(kfp: LocalKfp, *pipeline_ids: str) -> list[sqlite3.Row]:
    """The newest first, and without their packages, which are long."""
    with kfp.database.read() as db:
        return db.execute(VERSIONS, {"pipeline_ids": json.dumps(pipeline_ids)}).fetchall()


def _spec(row: sqlite3.Row) -> Mapping[str, Any]:
    """The pipeline's spec out of a package, which has two documents where it has settings for Kubernetes."""
    package = json.loads(row["package"])
    spec: Mapping[str, Any] = package.get("pipeline_spec", package)
    return spec


def _artifacts(kfp: LocalKfp, run_id: str, task: Mapping[str, Any]) -> list[files.Artifact]:
    return list(files.artifacts(kfp.folder / "runs" / run_id / "artifacts", run_id, task["outputs"]))


class Elsewhere(PathConvertor):
    """Every path but the API's, which tells in its own words what is not there."""

    regex = "(?!apis/|localkfp/).*"


register_url_convertor("elsewhere", Elsewhere())
ROUTES = [
    Route("/", page(see_runs)),
    Route("/runs/{run_id}", page(see_run)),
    Route("/runs/{run_id}/tasks/{task_id}", page(see_task)),
    Route("/runs/{run_id}/artifacts/{path:path}", page(see_artifact)),
    Route("/pipelines", page(see_pipelines)),
    Route("/pipelines/{pipeline_id}", page(see_pipeline)),
    Route("/experiments", page(see_experiments)),
    Route("/recurringruns", page(see_recurring_runs)),
    *(Route(f"/runs/{{run_id}}/{word}", page(button(act)), methods=["POST"]) for word, act in ACTIONS.items()),
    Route("/{path:elsewhere}", page(nowhere)),
]
