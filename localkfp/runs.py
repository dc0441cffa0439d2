"""Runs: each is one execution of a package, PENDING when made here; the executor writes what becomes of it."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import sqlite3
import tarfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from typing_extensions import TypedDict

from localkfp import database, experiments, packages, pipelines
from localkfp.database import move, new_id, now
from localkfp.errors import ApiError, Code, found, internal, invalid, not_found
from localkfp.gateway import endpoint
from localkfp.listing import listed, populated, select
from localkfp.packages import Package

if TYPE_CHECKING:
    from localkfp.server import LocalKfp


class Config(TypedDict, total=False):
    parameters: dict[str, Any]
    pipeline_root: str


class Submission(TypedDict, total=False):
    """What runs and recurring runs are made of alike."""

    display_name: str
    description: str
    experiment_id: str
    namespace: str
    service_account: str
    pipeline_spec: dict[str, Any]
    pipeline_version_reference: dict[str, str]
    runtime_config: Config


REFERENCE = ("pipeline_id", "pipeline_version_id")
# What a run and a recurring run are told by alike
NAMED = ("experiment_id", "namespace", "display_name", "description", "service_account")
STATE = ("run_id", "recurring_run_id", "storage_state", "state", "created_at", "scheduled_at", "finished_at")
LISTED_BY = {name: name for name in (*NAMED, *STATE, *REFERENCE)}
LISTED_BY |= {"id": "run_id", "name": "display_name", "status": "state"}
# An experiment is in one namespace: who names it need not name that too
IN_SCOPE = "experiment_id = :experiment_id or (:experiment_id = '' and namespace = :namespace)"
GET = "select * from runs where run_id = :run_id"
LIST = f"select * from runs where {IN_SCOPE}"
STORE = "update runs set storage_state = :storage_state where run_id = :run_id"
# Who retries a run owns it: the server that ran it first may be gone
FORGET_END = "update runs set owner = :owner, outcome = null, error = null where run_id = :run_id"
FORGET_TASKS = "delete from tasks where run_id = :run_id and state <> 'SUCCEEDED'"
DELETE_ENDED = "delete from runs where run_id = :run_id and finished_at is not null"
TASKS = """
select run_id, task_id, task_id as pod_name, name as display_name, parent_id as parent_task_id, state, state_history,
       error, started_at as create_time, started_at as start_time, finished_at as end_time
  from tasks
 where run_id in (select value from json_each(:run_ids))
 order by started_at, task_id
"""
TASK = "select outputs from tasks where run_id = :run_id and task_id = :task_id"
PIPELINE = """
select pipeline_id, namespace
  from pipelines
  join pipeline_versions using (pipeline_id)
 where pipeline_version_id = :pipeline_version_id
"""
SEEN = "update experiments set last_run_created_at = :created_at where experiment_id = :experiment_id"
SECONDS_TO_END = 30


def create(kfp: LocalKfp, body: Mapping[str, Any]) -> dict[str, Any]:
    """A new run; what cannot run here is refused now, and not when it runs."""
    with kfp.database.write() as db:
        run_id = submit(kfp, db, body, macros={})
        made = next(_as_json(db, [find(db, run_id)]))  # as it was made: it may run before it is looked at again
    kfp.executor.wake()
    return made


def get(kfp: LocalKfp, run_id: str) -> dict[str, Any]:
    with kfp.database.read() as db:
        return next(_as_json(db, [find(db, run_id)]))


def list_(kfp: LocalKfp, query: Mapping[str, str]) -> dict[str, Any]:
    with kfp.database.read() as db:
        page = select(db, LIST, key="run_id", fields=LISTED_BY, query=query, values=scope_of(db, query))
        return listed("runs", list(_as_json(db, page.rows)), page)


def terminate(kfp: LocalKfp, run_id: str) -> None:
    with kfp.database.write() as db:
        find(db, run_id)
        if not move(db, run_id, "CANCELING", ("PENDING", "RUNNING")):
            raise invalid(f"Failed to terminate a run {run_id}. Row not found")
    kfp.executor.wake()


def retry(kfp: LocalKfp, run_id: str) -> None:
    """Run it once more under its own id; tasks that succeeded stay, and are not run again."""
    with kfp.database.write() as db:
        package = find(db, run_id)["package"]
        if not move(db, run_id, "PENDING", ("FAILED", "CANCELED")):
            raise ApiError(Code.ABORTED, "Workflow must be Failed/Error to retry")
        kfp.executor.check(Package.from_json(json.loads(package)))
        db.execute(FORGET_END, {"run_id": run_id, "owner": kfp.executor.server_id})
        db.execute(FORGET_TASKS, {"run_id": run_id})
    kfp.executor.wake()


def archive(kfp: LocalKfp, run_id: str) -> None:
    with kfp.database.write() as db:
        find(db, run_id)
        db.execute(STORE, {"run_id": run_id, "storage_state": "ARCHIVED"})


def unarchive(kfp: LocalKfp, run_id: str) -> None:
    """Not before its experiment is."""
    with kfp.database.write() as db:
        experiment = experiments.find(db, find(db, run_id)["experiment_id"])
        if experiment["storage_state"] == "ARCHIVED":
            said = f"Failed to unarchive run {run_id} as experiment {experiment['experiment_id']} must be un-archived first"
            raise ApiError(Code.FAILED_PRECONDITION, said)
        db.execute(STORE, {"run_id": run_id, "storage_state": "AVAILABLE"})


def delete(kfp: LocalKfp, run_id: str) -> None:
    """End it first, if it is active: no process of it is left that would write into a folder which is gone."""
    get(kfp, run_id)
    deadline = time.monotonic() + SECONDS_TO_END
    while not _delete_ended(kfp, run_id):
        if time.monotonic() > deadline:
            raise internal(f"Failed to delete run {run_id}: it did not end within {SECONDS_TO_END} s")
        time.sleep(0.02)
    # A container may have written there as root: what may not be removed is left, rather than half of the run
    shutil.rmtree(kfp.folder / "runs" / run_id, ignore_errors=True)


def log(kfp: LocalKfp, run_id: str, node_id: str) -> Path:
    """Where the output of a task is, or that of the run itself; there is no such file before the first word."""
    folder = kfp.folder / "runs" / run_id
    with kfp.database.read() as db:
        find(db, run_id)
        if node_id in ("", "run"):
            return folder / "run.log"
        _outputs(db, run_id, node_id)
    return folder / "logs" / f"{node_id}.log"


def artifact(kfp: LocalKfp, run_id: str, path: str) -> Path:
    """A file or folder among the run's artifacts; what lies elsewhere, be it by a link, is not found."""
    with kfp.database.read() as db:
        find(db, run_id)
    folder = (kfp.folder / "runs" / run_id / "artifacts").resolve()
    try:
        file = (folder / path).resolve(strict=True)
    except (OSError, ValueError, RuntimeError):  # also for what is no path: too long, with a zero, a loop of links
        raise not_found("artifact file", path) from None
    if not file.is_relative_to(folder) or not (file.is_file() or file.is_dir()):
        raise not_found("artifact file", path)
    return file


def read_artifact(kfp: LocalKfp, run_id: str, node_id: str, name: str) -> dict[str, Any]:
    """A file as it is, a folder as a .tar.gz of it."""
    with kfp.database.read() as db:
        written = _outputs(db, run_id, node_id).get("artifacts", {}).get(name)
    path = artifact(kfp, run_id, found(written or None, "artifact", name)[0]["uri"])
    data = path.read_bytes() if path.is_file() else _packed(path)
    return {"data": base64.b64encode(data).decode()}


def submit(
    kfp: LocalKfp, db: sqlite3.Connection, body: Mapping[str, Any], macros: Mapping[str, str], **origin: str
) -> str:
    """A PENDING run in the caller's transaction, and its id; the caller wakes the executor after it.

    `[[RunUUID]]` and its like in parameters stand for what is known only now.
    """
    row = {**columns_of(kfp, db, body), "run_id": new_id(), "created_at": now(), **origin}
    known = {"RunUUID": row["run_id"], "CurrentTime": stamp(row["created_at"]), **macros}
    for name, value in known.items():
        row["parameters"] = row["parameters"].replace(f"[[{name}]]", value)
    insert(kfp, db, row)
    return str(row["run_id"])


def insert(kfp: LocalKfp, db: sqlite3.Connection, row: Mapping[str, Any]) -> None:
    """A run that begins PENDING, or as what the row says."""
    state, created_at = row.get("state", "PENDING"), row["created_at"]
    known = {
        "owner": kfp.executor.server_id,
        "storage_state": "AVAILABLE",
        "state": state,
        "state_history": json.dumps([{"update_time": created_at, "state": state}]),
        "scheduled_at": created_at,
    }
    database.insert(db, "runs", {**known, **row})
    db.execute(SEEN, row)


def columns_of(kfp: LocalKfp, db: sqlite3.Connection, body: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked for, as runs and recurring runs keep it, if it can be executed on this machine.

    Of a pipeline named without a version it is the newest one.
    """
    if not body.get("display_name"):
        raise invalid("Run name cannot be empty")
    experiment = experiments.resolve(db, body.get("experiment_id", ""), body.get("namespace", ""))
    reference, home = body.get("pipeline_version_reference", {}), ""
    pipeline_id, version_id = (reference.get(name) or None for name in REFERENCE)
    if pipeline_id or version_id:
        try:
            package, version_id = pipelines.package_of(db, pipeline_id or "", version_id or "")
        except ApiError as error:  # to the server it is its own mistake
            raise ApiError(Code.INTERNAL, "Internal Server Error", outer=error.message) from None
        [pipeline_id, home] = db.execute(PIPELINE, {"pipeline_version_id": version_id}).fetchone()
    else:
        package = Package.from_json(body.get("pipeline_spec", {}))
    if home not in ("", experiment["namespace"]):  # of no namespace is a pipeline for all of them
        told = f"pipeline {pipeline_id} is of namespace '{home}', and the experiment of '{experiment['namespace']}'"
        raise invalid(f"{told}: take both from one namespace")
    config = body.get("runtime_config", {})
    if config.get("pipeline_root"):
        told = f"pipeline_root is {config['pipeline_root']}, but this server keeps artifacts in a folder of its own"
        raise invalid(f"{told}: leave pipeline_root out")
    parameters = packages.check_parameters(package, config.get("parameters", {}))
    kfp.executor.check(package)
    return {
        "experiment_id": experiment["experiment_id"],
        "namespace": experiment["namespace"],
        "display_name": body["display_name"],
        "description": body.get("description", ""),
        "service_account": body.get("service_account") or "pipeline-runner",
        "package": json.dumps(package.as_json()),
        "pipeline_id": pipeline_id,
        "pipeline_version_id": version_id,
        "parameters": json.dumps(parameters),
    }


def stamp(time: str) -> str:
    """As a macro writes it: 20260102030405."""
    return re.sub(r"\D", "", time)[:14]


def scope_of(db: sqlite3.Connection, query: Mapping[str, str]) -> dict[str, str]:
    """What a list is of: an experiment, if one is named and exists, or else a namespace."""
    if experiment_id := query.get("experiment_id", ""):
        experiments.find(db, experiment_id)
    return {"experiment_id": experiment_id, "namespace": query.get("namespace", "")}


def find(db: sqlite3.Connection, run_id: str) -> sqlite3.Row:
    return found(db.execute(GET, {"run_id": run_id}).fetchone(), "Run", run_id)


def asked_for(row: sqlite3.Row) -> dict[str, Any]:
    """What a run and a recurring run tell alike; the package itself only where it is of no pipeline."""
    reference = {name: row[name] for name in REFERENCE if row[name]}
    return {
        **{name: row[name] for name in NAMED},
        "pipeline_version_reference": reference,
        "pipeline_spec": None if reference else json.loads(row["package"]),
        "runtime_config": populated({"parameters": json.loads(row["parameters"])}),
    }


def _delete_ended(kfp: LocalKfp, run_id: str) -> bool:
    """True when it is gone, by whomever; asked again, as somebody may retry it meanwhile."""
    with kfp.database.write() as db:
        is_to_end = move(db, run_id, "CANCELING", ("PENDING", "RUNNING"))
        db.execute(DELETE_ENDED, {"run_id": run_id})
        is_gone = db.execute(GET, {"run_id": run_id}).fetchone() is None
    if is_to_end:
        kfp.executor.wake()
    return is_gone


def _as_json(db: sqlite3.Connection, rows: Sequence[sqlite3.Row]) -> Iterator[dict[str, Any]]:
    """The same of each, whether one was asked for or a list."""
    tasks, children = defaultdict(list), defaultdict(list)
    for task in db.execute(TASKS, {"run_ids": json.dumps([row["run_id"] for row in rows])}):
        tasks[task["run_id"]].append(task)
        children[task["parent_task_id"]].append({"task_id": task["task_id"]})
    for row in rows:
        details = [
            populated({**dict(task), **_end_of(task), "child_tasks": children[task["task_id"]]})
            for task in tasks[row["run_id"]]
        ]
        run_details = populated({"task_details": details})
        yield populated(
            {**{name: row[name] for name in STATE}, **asked_for(row), **_end_of(row), "run_details": run_details}
        )


def _end_of(row: sqlite3.Row) -> dict[str, Any]:
    error = {"code": Code.INTERNAL.grpc, "message": row["error"]} if row["error"] else None
    return {"state_history": json.loads(row["state_history"]), "error": error}


def _outputs(db: sqlite3.Connection, run_id: str, node_id: str) -> Any:
    find(db, run_id)
    task = db.execute(TASK, {"run_id": run_id, "task_id": node_id}).fetchone()
    return json.loads(found(task, "pods", node_id)["outputs"])


def _packed(folder: Path) -> bytes:
    """Links in it stay links: what they point at is not packed."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(folder, folder.name)
    return packed.getvalue()


def _read_log(request: Request) -> Response:
    path = log(request.app.state.kfp, request.path_params["run_id"], request.path_params["node_id"])
    return StreamingResponse(_chunks(path), media_type="text/plain")


def _chunks(path: Path) -> Iterator[bytes]:
    """All there is when its end is reached: a log may grow while it is read, and need not be there yet."""
    if path.is_file():
        with path.open("rb") as file:
            while chunk := file.read(1 << 16):
                yield chunk


ALL = "/apis/v2beta1/runs"
ONE = f"{ALL}/{{run_id}}"
NODE = "runs/{run_id}/nodes/{node_id}"
ARTIFACT = endpoint(read_artifact, "run_id", "node_id", "name", failed="Failed to read artifact")
ROUTES = [
    Route(ALL, endpoint(create, body=Submission, failed="Failed to create a new run"), methods=["POST"]),
    Route(ALL, endpoint(list_, query=True, failed="Failed to list runs")),
    Route(ONE, endpoint(get, "run_id", failed="Failed to get a run")),
    Route(ONE, endpoint(delete, "run_id", failed="Failed to delete a run"), methods=["DELETE"]),
    Route(f"{ONE}:terminate", endpoint(terminate, "run_id", failed="Failed to terminate a run"), methods=["POST"]),
    Route(f"{ONE}:retry", endpoint(retry, "run_id", failed="Failed to retry a run"), methods=["POST"]),
    Route(f"{ONE}:archive", endpoint(archive, "run_id", failed="Failed to archive a run"), methods=["POST"]),
    Route(f"{ONE}:unarchive", endpoint(unarchive, "run_id", failed="Failed to unarchive a run"), methods=["POST"]),
    Route(f"/apis/v1alpha1/{NODE}/log", _read_log),
    Route(f"/apis/v2beta1/{NODE}/artifacts/{{name}}:read", ARTIFACT),
]
