"""Experiments: runs are grouped by them, and a run without one goes to its namespace's `Default`."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from starlette.routing import Route
from typing_extensions import TypedDict

from localkfp.database import insert, new_id, now
from localkfp.errors import ApiError, Code, already_exists, found, invalid
from localkfp.gateway import endpoint
from localkfp.listing import listed, populated, select

if TYPE_CHECKING:
    from localkfp.server import LocalKfp

DEFAULT = "Default"
DEFAULT_DESCRIPTION = "All runs created without specifying an experiment will be grouped here."
NEVER = "1970-01-01T00:00:00.000000Z"  # the server says so of an experiment's last run when there was none
LISTED_BY = {
    **{name: name for name in ("experiment_id", "display_name", "description", "created_at", "last_run_created_at")},
    "storage_state": "storage_state",
    "id": "experiment_id",
    "name": "display_name",
}

GET = "select * from experiments where experiment_id = :experiment_id"
GET_BY_NAME = "select * from experiments where namespace = :namespace and display_name = :display_name"
LIST = "select * from experiments where namespace = :namespace"
STORE = "update experiments set storage_state = :storage_state where experiment_id = :experiment_id"
ARCHIVE_RUNS = "update runs set storage_state = 'ARCHIVED' where experiment_id = :experiment_id"
DISABLE_RECURRING_RUNS = """
update recurring_runs
   set mode = 'DISABLE', next_at = null, updated_at = :now
 where experiment_id = :experiment_id
"""
DELETE = "delete from experiments where experiment_id = :experiment_id"


class Experiment(TypedDict, total=False):
    display_name: str
    description: str
    namespace: str


def create(kfp: LocalKfp, body: Experiment) -> dict[str, Any]:
    if not body.get("display_name"):
        raise invalid("Experiment must have a non-empty name")
    with kfp.database.write() as db:
        row = _insert(db, body["display_name"], body.get("namespace", ""), body.get("description", ""))
        return populated(dict(row))


def get(kfp: LocalKfp, experiment_id: str) -> dict[str, Any]:
    with kfp.database.read() as db:
        return populated(dict(find(db, experiment_id)))


def list_(kfp: LocalKfp, query: Mapping[str, str]) -> dict[str, Any]:
    values = {"namespace": query.get("namespace", "")}
    with kfp.database.read() as db:
        page = select(db, LIST, key="experiment_id", fields=LISTED_BY, query=query, values=values)
    return listed("experiments", [populated(dict(row)) for row in page.rows], page)


def archive(kfp: LocalKfp, experiment_id: str) -> None:
    """Its runs are archived with it and its recurring runs stop; an unknown id is no error, as on the server."""
    values = {"experiment_id": experiment_id, "storage_state": "ARCHIVED", "now": now()}
    with kfp.database.write() as db:
        for statement in (STORE, ARCHIVE_RUNS, DISABLE_RECURRING_RUNS):
            db.execute(statement, values)


def unarchive(kfp: LocalKfp, experiment_id: str) -> None:
    """What was archived with it stays so."""
    with kfp.database.write() as db:
        db.execute(STORE, {"experiment_id": experiment_id, "storage_state": "AVAILABLE"})


def delete(kfp: LocalKfp, experiment_id: str) -> None:
    """Its runs stay."""
    with kfp.database.write() as db:
        if find(db, experiment_id)["display_name"] == DEFAULT:
            raise ApiError(Code.ABORTED, "The default experiment cannot be deleted")
        db.execute(DELETE, {"experiment_id": experiment_id})


def find(db: sqlite3.Connection, experiment_id: str) -> sqlite3.Row:
    return found(db.execute(GET, {"experiment_id": experiment_id}).fetchone(), "Experiment", experiment_id)


def resolve(db: sqlite3.Connection, experiment_id: str, namespace: str) -> sqlite3.Row:
    """The experiment that a run asks for; the namespace's default one, made when missing, where it names none."""
    if not experiment_id:
        default = db.execute(GET_BY_NAME, {"namespace": namespace, "display_name": DEFAULT}).fetchone()
        return default or _insert(db, DEFAULT, namespace, DEFAULT_DESCRIPTION)
    row = find(db, experiment_id)
    if namespace not in ("", row["namespace"]):
        told = f"belongs to namespace '{row['namespace']}' instead of '{namespace}'"
        raise invalid(f"Experiment {experiment_id} {told}")
    return row


def _insert(db: sqlite3.Connection, name: str, namespace: str, description: str) -> sqlite3.Row:
    experiment_id = new_id()
    named = {"experiment_id": experiment_id, "namespace": namespace, "display_name": name, "description": description}
    times = {"created_at": now(), "last_run_created_at": NEVER}
    if not insert(db, "experiments", {**named, **times, "storage_state": "AVAILABLE"}):
        raise already_exists("experiment", name)
    return find(db, experiment_id)


ALL = "/apis/v2beta1/experiments"
ONE = f"{ALL}/{{experiment_id}}"
ROUTES = [
    Route(ALL, endpoint(create, body=Experiment, failed="Failed to create a experiment"), methods=["POST"]),
    Route(ALL, endpoint(list_, query=True, failed="Failed to list experiments")),
    Route(ONE, endpoint(get, "experiment_id", failed="Failed to fetch experiment")),
    Route(ONE, endpoint(delete, "experiment_id", failed="Failed to delete experiment"), methods=["DELETE"]),
    Route(f"{ONE}:archive", endpoint(archive, "experiment_id"), methods=["POST"]),
    Route(f"{ONE}:unarchive", endpoint(unarchive, "experiment_id"), methods=["POST"]),
]
