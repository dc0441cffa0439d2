"""Whatever a step did or died of stands in the store: `<store>/runs/<run id>/<step>.json`.

An exit handler gets no artifacts and no cause from KFP; the page of a run is made from this folder, and from nothing else.
"""

from __future__ import annotations

import json
import math
import os
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from typing import Any

from components.errors import GateRefused
from storage import objects


def run_id() -> str:
    """The run that this step belongs to. From the environment, as a parameter would be in every step's cache key."""
    return os.environ.get("PIPELINE_RUN_ID") or "unnamed"


def run_folder(store: str, run: str | None = None) -> str:
    """The URL of a run's records and pages; of this run, if none is named."""
    return objects.join(store, "runs", run or run_id())


@contextmanager
def recorded(step: str, store: str) -> Iterator[dict[str, Any]]:
    """Write the step's record: RUNNING at once, its facts and its end when the block ends. The error goes on.

    The block puts its facts into the dictionary; what it put there before it failed is kept, so that a refusal shows its numbers.
    """
    url = objects.join(run_folder(store), f"{step}.json")
    started = datetime.now(timezone.utc)
    facts: dict[str, Any] = {}
    record = {
        "step": step,
        "state": "RUNNING",
        "started": _iso(started),
        "finished": None,
        "seconds": None,
        "error": None,
    }
    objects.write_json(url, {**record, "facts": facts})
    try:
        yield facts
    except BaseException as error:
        with suppress(objects.StorageError):  # a store that is gone must not hide what the step died of
            _finish(url, record, started, facts, state="FAILED", error=_told(error))
        raise
    _finish(url, record, started, facts, state="SUCCEEDED", error=None)


def _finish(url: str, record: Mapping[str, Any], started: datetime, facts: Mapping[str, Any], **end: Any) -> None:
    now = datetime.now(timezone.utc)
    seconds = round((now - started).total_seconds(), 3)
    objects.write_json(url, {**record, **end, "finished": _iso(now), "seconds": seconds, "facts": plain(facts)})


def _told(error: BaseException) -> dict[str, Any]:
    """The error in the words of the record; an error that names no cure keeps its type, as that is all there is."""
    what = getattr(error, "what", None) or f"{type(error).__name__}: {error}"
    return {
        "kind": "gate" if isinstance(error, GateRefused) else "error",
        "gate": getattr(error, "gate", None),
        "what": what,
        "where": getattr(error, "where", ""),
        "do": getattr(error, "do", ""),
        "traceback": "".join(traceback.format_exception(type(error), error, error.__traceback__)),
    }


def plain(value: Any) -> Any:
    """As strict JSON has it: numpy's numbers as Python's, dates as text, and NaN and the infinities as words."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, str) or value is None or isinstance(value, bool):
        return value
    if isinstance(value, Sequence) or hasattr(value, "tolist"):
        items = value.tolist() if hasattr(value, "tolist") else value
        return [plain(item) for item in items] if isinstance(items, (list, tuple)) else plain(items)
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(value)
    return value if isinstance(value, (int, float)) else str(value)


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")
