"""Recurring runs: each makes a run at every tick of its schedule, one for all the servers that share the folder."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from starlette.routing import Route
from typing_extensions import TypedDict

from localkfp import runs
from localkfp.database import insert, new_id, now
from localkfp.errors import ApiError, found, invalid
from localkfp.gateway import Int64, Timestamp, endpoint
from localkfp.listing import listed, populated, select
from localkfp.schedule import Schedule, seconds_until

if TYPE_CHECKING:
    from localkfp.server import LocalKfp


class When(TypedDict, total=False):
    cron: str
    interval_second: Int64
    start_time: Timestamp
    end_time: Timestamp


class RecurringRun(runs.Submission, total=False):
    trigger: dict[Literal["cron_schedule", "periodic_schedule"], When]
    mode: Literal["ENABLE", "DISABLE"]
    max_concurrency: Int64
    no_catchup: bool


SECONDS_TO_NEXT_LOOK = 1.0  # at what is due, and held back by runs that are active
SHOWN = ("recurring_run_id", "mode", "created_at", "updated_at")
LISTED_BY = {name: name for name in (*SHOWN, *runs.NAMED, *runs.REFERENCE)}
LISTED_BY |= {"id": "recurring_run_id", "name": "display_name"}
THIS = "where recurring_run_id = :recurring_run_id"
GET = f"select * from recurring_runs {THIS}"
LIST = f"select * from recurring_runs where {runs.IN_SCOPE}"
SET_MODE = f"update recurring_runs set mode = :mode, next_at = :next_at, updated_at = :now {THIS}"
DELETE = f"delete from recurring_runs {THIS}"
NEXT = "select recurring_run_id, next_at from recurring_runs where mode = 'ENABLE' and next_at is not null"
ACTIVE = f"select count(*) from runs {THIS} and finished_at is null"
FIRED = f"update recurring_runs set fired = fired + 1, last_at = :last_at, next_at = :next_at {THIS}"


def create(kfp: LocalKfp, body: Mapping[str, Any], at: str = "") -> dict[str, Any]:
    """What its runs could not be made of now is refused now."""
    at = at or now()
    if not 1 <= (most := body.get("max_concurrency", 0)) <= 10:
        raise invalid(f"Max concurrency of a recurring run must be at least 1 and at most 10. Received {most}")
    try:
        schedule = Schedule.of(body.get("trigger", {}))
    except ValueError as error:
        raise invalid(str(error)) from None
    mode, last = body.get("mode", "DISABLE"), schedule.start or at
    with kfp.database.write() as db:
        row = {
            **runs.columns_of(kfp, db, body),
            "recurring_run_id": new_id(),
            "mode": mode,
            "trigger": json.dumps(body["trigger"]),
            "max_concurrency": most,
            "no_catchup": body.get("no_catchup", False),
            "fired": 0,
            "last_at": last,
            "next_at": schedule.after(last) if mode == "ENABLE" else None,
            "created_at": at,
            "updated_at": at,
        }
        if row["pipeline_id"]:  # each run takes what the reference means then
            version_id = body["pipeline_version_reference"].get("pipeline_version_id") or None
            row |= {"package": None, "pipeline_version_id": version_id}
        insert(db, "recurring_runs", row)
        return _as_json(_find(db, row["recurring_run_id"]))


def get(kfp: LocalKfp, recurring_run_id: str) -> dict[str, Any]:
    with kfp.database.read() as db:
        return _as_json(_find(db, recurring_run_id))


def list_(kfp: LocalKfp, query: Mapping[str, str]) -> dict[str, Any]:
    with kfp.database.read() as db:
        scope = runs.scope_of(db, query)
        page = select(db, LIST, key="recurring_run_id", fields=LISTED_BY, query=query, values=scope)
    return listed("recurringRuns", [_as_json(row) for row in page.rows], page)  # in camelCase, as the client reads it


def enable(kfp: LocalKfp, recurring_run_id: str, at: str = "") -> None:
    """Of the ticks that passed while it was disabled none is made up for, unless it catches up."""
    at = at or now()
    with kfp.database.write() as db:
        row = _find(db, recurring_run_id)
        if row["mode"] == "ENABLE":
            return
        schedule = Schedule.of(json.loads(row["trigger"]))
        tick = schedule.after(row["last_at"])
        if row["no_catchup"] and tick and tick <= at:
            tick = schedule.after(schedule.latest(tick, at))
        db.execute(SET_MODE, {"recurring_run_id": recurring_run_id, "mode": "ENABLE", "next_at": tick, "now": at})


def disable(kfp: LocalKfp, recurring_run_id: str) -> None:
    """Its active runs go on."""
    with kfp.database.write() as db:
        _find(db, recurring_run_id)
        db.execute(SET_MODE, {"recurring_run_id": recurring_run_id, "mode": "DISABLE", "next_at": None, "now": now()})


def delete(kfp: LocalKfp, recurring_run_id: str) -> None:
    """Its runs stay."""
    with kfp.database.write() as db:
        _find(db, recurring_run_id)
        db.execute(DELETE, {"recurring_run_id": recurring_run_id})


def fire(kfp: LocalKfp, at: str = "") -> float | None:
    """Make the runs that are due; the seconds until there is more to do, None where nothing is enabled."""
    at = at or now()
    with kfp.database.read() as db:
        due = [row["recurring_run_id"] for row in db.execute(NEXT) if row["next_at"] <= at]
    for recurring_run_id in due:
        while _fire(kfp, recurring_run_id, at):
            kfp.executor.wake()
    with kfp.database.read() as db:
        waits = [seconds_until(row["next_at"], at) for row in db.execute(NEXT)]
    return min((wait if wait > 0 else SECONDS_TO_NEXT_LOOK for wait in waits), default=None)


def _fire(kfp: LocalKfp, recurring_run_id: str, at: str) -> bool:
    """Make one run that is due, and set the next tick, in one transaction: of several servers one does both."""
    named = {"recurring_run_id": recurring_run_id}
    with kfp.database.write() as db:
        row = db.execute(GET, named).fetchone()
        if row is None or not row["next_at"] or row["next_at"] > at:
            return False
        [active] = db.execute(ACTIVE, named).fetchone()
        if active >= row["max_concurrency"]:
            return False
        schedule, tick = Schedule.of(json.loads(row["trigger"])), row["next_at"]
        if row["no_catchup"]:
            tick = schedule.latest(tick, at)
        db.execute(FIRED, {**named, "last_at": tick, "next_at": schedule.after(tick)})
        body, macros = _submission(row), {"ScheduledTime": runs.stamp(tick), "Index": str(row["fired"] + 1)}
        origin = {**named, "scheduled_at": tick, "created_at": at}
        try:
            runs.submit(kfp, db, body, macros, **origin)
        except Exception as error:  # a mistake of ours too must neither stop the other schedules nor come for ever
            reason = error.chain if isinstance(error, ApiError) else repr(error)
            known = {name: row[name] for name in (*runs.NAMED, *runs.REFERENCE, "parameters")}
            known |= {"display_name": body["display_name"], "package": row["package"] or "{}"}
            failed = {"run_id": new_id(), "state": "FAILED", "error": reason, "finished_at": at}
            runs.insert(kfp, db, {**known, **failed, **origin})
            return False  # what else is due waits for the next look: failures are quick, and would come in a flood
    return True


def _submission(row: sqlite3.Row) -> dict[str, Any]:
    """What a client would send for the run of the next tick."""
    return {
        **{name: row[name] for name in runs.NAMED},
        "display_name": f"{row['display_name']}-{row['fired'] + 1}",
        "runtime_config": {"parameters": json.loads(row["parameters"])},
        "pipeline_version_reference": {name: row[name] for name in runs.REFERENCE if row[name]},
        "pipeline_spec": json.loads(row["package"] or "{}"),
    }


def _find(db: sqlite3.Connection, recurring_run_id: str) -> sqlite3.Row:
    row = db.execute(GET, {"recurring_run_id": recurring_run_id}).fetchone()
    return found(row, "Job", recurring_run_id)


def _as_json(row: sqlite3.Row) -> dict[str, Any]:
    fields = {
        **{name: row[name] for name in SHOWN},
        **runs.asked_for(row),
        "trigger": json.loads(row["trigger"]),
        "max_concurrency": str(row["max_concurrency"]),
        "no_catchup": bool(row["no_catchup"]),
        "status": f"{row['mode']}D",
    }
    return populated(fields)


ALL = "/apis/v2beta1/recurringruns"
ONE = f"{ALL}/{{recurring_run_id}}"
ID = "recurring_run_id"
ROUTES = [
    Route(ALL, endpoint(create, body=RecurringRun, failed="Failed to create a recurring run"), methods=["POST"]),
    Route(ALL, endpoint(list_, query=True, failed="Failed to list recurring runs")),
    Route(ONE, endpoint(get, ID, failed="Failed to fetch a recurring run")),
    Route(ONE, endpoint(delete, ID, failed="Failed to delete a recurring run"), methods=["DELETE"]),
    Route(f"{ONE}:enable", endpoint(enable, ID, failed="Failed to enable a recurring run"), methods=["POST"]),
    Route(f"{ONE}:disable", endpoint(disable, ID, failed="Failed to disable a recurring run"), methods=["POST"]),
]
