"""A compiled package, run on this machine by KFP's own local runner, in a process that leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path
from types import FrameType
from typing import Any

from delivery.environments import child_environment
from delivery.errors import Failed, Interrupted
from storage import objects

Records = dict[str, dict[str, Any]]
POLL_SECONDS = 0.2
POLL_REMOTE_SECONDS = 1.0  # a store over the network is asked less often: each look is some requests
PATIENCE_SECONDS = 5.0  # between asking a run to end and ending it
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
KFP_EVENT = re.compile(
    r"- (Executing task '(?P<begun>[^']+)'|Task '(?P<ended>[^']+)' finished with status (?P<how>\w+))"
)


class State(Enum):
    """Where one step of a run stands."""

    WAITING = "waiting"  # it has written no record, and KFP has not named it
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # by an error or by a gate; its record says which
    LOST = "lost"  # it began, the run is over, and it never wrote how it ended


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What is known of one step at one moment."""

    step: str
    state: State
    seconds: float | None = None
    told: str = ""  # why it failed, in its own words


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One run, before it starts: nothing of it is decided later."""

    run_id: str
    pipeline: str
    package: bytes
    arguments: dict[str, Any]
    graph: dict[str, list[str]]  # step -> the steps that it waits for
    store: str
    folder: Path  # local: the log, and KFP's artifacts
    root: Path

    @property
    def log(self) -> Path:
        return self.folder / "run.log"


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """How a run ended, with all that its steps wrote down."""

    run_id: str
    state: str  # SUCCEEDED or FAILED
    records: Records
    progress: list[Progress]
    report_url: str | None
    log: Path


def new_run_id(pipeline: str) -> str:
    """`<pipeline>-<day>-<time>-<four hex digits>`: sorts by time, and two runs of one second differ."""
    return f"{pipeline}-{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def run_package(plan: Plan, watch: Callable[[list[Progress]], None]) -> RunResult:
    """Run it to its end, telling `watch` how far it is; on Ctrl-C and SIGTERM every process of it is ended."""
    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix="mlops-"))  # not in the folder: sockets need short paths
    except OSError as error:
        sentence = f"the run's folder cannot be made: {error.strerror or error}"
        raise Failed(sentence, where=plan.folder, do="free the place, or make it writable") from error
    try:
        with _stopped_by_signal(plan), _started(plan, scratch) as child:
            seen = _Seen(plan)
            remote = "://" in plan.store and not plan.store.startswith("file:")
            pause = POLL_REMOTE_SECONDS if remote else POLL_SECONDS
            while child.poll() is None:
                watch(seen.now(over=False))
                with suppress(subprocess.TimeoutExpired):
                    child.wait(pause)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    progress = seen.now(over=True)
    watch(progress)
    good = child.returncode == 0 and not any(step.state in (State.FAILED, State.LOST) for step in progress)
    return RunResult(
        run_id=plan.run_id,
        state="SUCCEEDED" if good else "FAILED",
        records=seen.records,
        progress=progress,
        report_url=seen.page(),
        log=plan.log,
    )


def log_lines(log: Path) -> list[str]:
    """The lines of a run's log, without colours and blank lines."""
    if not log.exists():
        return []
    lines = COLOUR.sub("", log.read_text(encoding="utf-8", errors="replace")).splitlines()
    return [line.rstrip() for line in lines if line.strip()]


class _Seen:
    """What the run has told so far: its records, and of a step without one what KFP's log says."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.records: Records = {}
        self.folder = objects.join(plan.store, "runs", plan.run_id)
        self._logged: dict[str, State] = {}
        self._log_position = 0

    def now(self, *, over: bool) -> list[Progress]:
        self._read_log()  # before the records: a step writes its record first, and KFP its line later
        with suppress(objects.StorageError):  # seen late is better than a run lost to one bad answer
            self._read_records()
        steps = dict.fromkeys([*self.plan.graph, *self.records])
        return [_progress_of(step, self.records.get(step), self._logged.get(step), over=over) for step in steps]

    def page(self) -> str | None:
        url = objects.join(self.folder, "report.html")
        with suppress(objects.StorageError):
            return url if objects.exists(url) else None
        return None

    def _read_records(self) -> None:
        for name in objects.names(self.folder):
            step, _, kind = name.rpartition(".")
            settled = self.records.get(step, {}).get("state") == "SUCCEEDED"  # a failed one may be tried again
            if kind == "json" and not settled:
                record = objects.read_json(objects.join(self.folder, name))
                if isinstance(record, dict):
                    self.records[step] = record

    def _read_log(self) -> None:
        with self.plan.log.open("rb") as log:
            log.seek(self._log_position)
            fresh, newline, _ = log.read().rpartition(b"\n")
        self._log_position += len(fresh) + len(newline)
        for event in KFP_EVENT.finditer(COLOUR.sub("", fresh.decode("utf-8", "replace"))):
            task = event["begun"] or event["ended"]
            ended = State.SUCCEEDED if event["how"] == "SUCCESS" else State.FAILED
            self._logged[task.replace("-", "_")] = State.RUNNING if event["begun"] else ended


def _progress_of(step: str, record: Mapping[str, Any] | None, logged: State | None, *, over: bool) -> Progress:
    if record is None:
        state = logged or State.WAITING
        return Progress(step=step, state=State.LOST if over and state is State.RUNNING else state)
    if record.get("state") == "SUCCEEDED":
        return Progress(step=step, state=State.SUCCEEDED, seconds=record.get("seconds"))
    if record.get("state") == "FAILED":
        told = (record.get("error") or {}).get("what", "")
        return Progress(step=step, state=State.FAILED, seconds=record.get("seconds"), told=told)
    if over or logged is State.FAILED:  # killed before it could write down how it ended
        return Progress(step=step, state=State.LOST, told="it ended without writing a result")
    return Progress(step=step, state=State.RUNNING, seconds=_seconds_since(record.get("started")))


def _seconds_since(started: str | None) -> float | None:
    try:
        return max(0.0, (datetime.now(timezone.utc) - datetime.fromisoformat(started or "")).total_seconds())
    except (TypeError, ValueError):
        return None


@contextmanager
def _started(plan: Plan, scratch: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The run's process, leader of a group of its own; whatever happens, the group is gone afterwards."""
    (plan.folder / "package.yaml").write_bytes(plan.package)
    (plan.folder / "arguments.json").write_text(json.dumps(plan.arguments, indent=1), encoding="utf-8")
    with plan.log.open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "delivery.local", str(plan.folder), str(os.getpid())],
            cwd=plan.root,
            env=child_environment(plan.root, plan.run_id, scratch),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield child
    finally:
        _end_group(child)


def _end_group(child: subprocess.Popen[bytes]) -> None:
    try:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGTERM)
            child.wait(PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        pass
    finally:  # also on a second Ctrl-C, and for what a step left running
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


@contextmanager
def _stopped_by_signal(plan: Plan) -> Iterator[None]:
    """SIGTERM is taken as Ctrl-C is; both become one sentence."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    in_main = threading.current_thread() is threading.main_thread()  # elsewhere Python allows no handlers
    before = signal.signal(signal.SIGTERM, stop) if in_main else None
    try:
        yield
    except KeyboardInterrupt as error:
        do = f"`mlops run {plan.pipeline}` starts anew; `mlops report {plan.run_id}` shows how far it came"
        what = f"run {plan.run_id} was stopped, and all its processes are ended"
        raise Interrupted(what, where=plan.log, do=do) from error
    finally:
        if in_main:
            signal.signal(signal.SIGTERM, before)


def _run_here(folder: Path, parent: int) -> int:
    """The child's side: KFP runs the package in this process, its steps in processes of their own."""
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()
    arguments = json.loads((folder / "arguments.json").read_text(encoding="utf-8"))
    warnings.filterwarnings("ignore", message="You may be attemping", category=RuntimeWarning)  # the image is ours
    warnings.filterwarnings("ignore", message="Task .* have no effect", category=UserWarning)  # display name, limits
    from kfp import components, local

    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(folder / "artifacts"), raise_on_error=True)
    try:
        components.load_component_from_file(str(folder / "package.yaml"))(**arguments)
    except RuntimeError as error:
        print(COLOUR.sub("", str(error)))  # a step failed; its own traceback stands above, and KFP's would say nothing
        return 1
    return 0


def _die_with(parent: int) -> None:
    """A parent that was killed ends nothing itself, so the group ends when its parent is another one."""
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    raise SystemExit(_run_here(Path(sys.argv[1]), int(sys.argv[2])))
