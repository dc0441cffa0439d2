"""A run in plain values: what it is before it starts, how far it is, and how it ended."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path
from typing import Any

Records = dict[str, dict[str, Any]]
RUN_NAME = re.compile(r"(?P<pipeline>[a-z0-9_]+)-\d{8}-\d{6}-[0-9a-f]{4}")


class State(Enum):
    """Where one step of a run stands."""

    WAITING = "waiting"  # it has written no record, and the endpoint has not named it
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # by an error or by a gate; its record says which
    LOST = "lost"  # it began, the run is over, and it never wrote how it ended


STATES = {  # the endpoint's words; a task that it left out stays waiting
    "RUNNING": State.RUNNING,
    "SUCCEEDED": State.SUCCEEDED,
    "FAILED": State.FAILED,
    "CANCELED": State.LOST,
}


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What is known of one step at one moment."""

    step: str
    state: State
    seconds: float | None = None
    told: str = ""  # why it failed, in its own words


@dataclass(frozen=True, kw_only=True)
class Task:
    """What the endpoint says of one task."""

    step: str
    state: State
    started: str | None = None
    finished: str | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One run, before it starts: nothing of it is decided later, but the id that the endpoint gives it."""

    run_name: str
    pipeline: str
    package: bytes
    arguments: dict[str, Any]
    graph: dict[str, list[str]]  # step -> the steps that it waits for
    store: str
    folder: Path  # local: what the steps printed

    @property
    def log(self) -> Path:
        return self.folder / "run.log"


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """How a run ended, with all that its steps wrote down and printed."""

    run_name: str
    run_id: str
    state: str  # SUCCEEDED, FAILED, CANCELED, or another word of the endpoint
    records: Records
    progress: list[Progress]
    report_url: str | None
    log: Path
    printed: dict[str, list[str]] = field(default_factory=dict)  # step -> lines
    error: str = ""  # why, in the endpoint's words


def new_run_name(pipeline: str) -> str:
    """`<pipeline>-<day>-<time>-<four hex digits>`: sorts by time, and two runs of one second differ."""
    return f"{pipeline}-{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def progress(graph: Iterable[str], tasks: Iterable[Task], records: Records, *, over: bool) -> list[Progress]:
    """Every step of the graph, then any other with a record: by its record, and without one by its task."""
    told: dict[str, Task] = {}
    for task in tasks:  # a step in a loop has many: the one that matters most speaks for it
        told[task.step] = max(task, told.get(task.step, task), key=_weight)
    steps = dict.fromkeys([*graph, *records])
    return [_progress_of(step, records.get(step), told.get(step), over=over) for step in steps]


def _weight(task: Task) -> int:
    return [State.WAITING, State.SUCCEEDED, State.RUNNING, State.LOST, State.FAILED].index(task.state)


def _progress_of(step: str, record: Mapping[str, Any] | None, task: Task | None, *, over: bool) -> Progress:
    if record is None:
        if task is None:
            return Progress(step=step, state=State.WAITING)
        state = State.LOST if over and task.state is State.RUNNING else task.state
        return Progress(step=step, state=state, seconds=_seconds(task.started, task.finished))
    if record.get("state") == "SUCCEEDED":
        return Progress(step=step, state=State.SUCCEEDED, seconds=record.get("seconds"))
    if record.get("state") == "FAILED":
        said = (record.get("error") or {}).get("what", "")
        return Progress(step=step, state=State.FAILED, seconds=record.get("seconds"), told=said)
    if over or (task and task.state in (State.FAILED, State.LOST)):  # killed before it could write how it ended
        return Progress(step=step, state=State.LOST, told="it ended without writing a result")
    return Progress(step=step, state=State.RUNNING, seconds=_seconds(record.get("started"), None))


def _seconds(started: str | None, finished: str | None) -> float | None:
    start, end = _moment(started), _moment(finished)
    if start is None:
        return None
    if end is None or end < start:  # not ended: a cluster says 1970
        end = datetime.now(timezone.utc)
    return max(0.0, (end - start).total_seconds())


def _moment(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat((text or "").replace("Z", "+00:00")).astimezone(timezone.utc)
    except (TypeError, ValueError, AttributeError):  # a record is what a step wrote: anything
        return None
