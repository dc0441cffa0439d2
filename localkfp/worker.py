"""The process that forks a process for each run: it has imported KFP once, and leaves nothing behind a run's end.

It reads a JSON object a line: {"start": {...}}, {"kill": run_id}; and writes {"ended": run_id, "code": n}. A run's
process leads a group. With the run ends its group, and every process that carries its LOCALKFP_RUN_ID, as a step may
have started one in a session of its own. When the server is gone, this process ends all runs; when this process is
gone, each run ends itself.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from localkfp.engine import Engine

GRACE = 3.0
POLL = 0.5


@dataclass
class Child:
    """A run's process, which is also its group."""

    pid: int
    scratch: Path
    uses_docker: bool
    kill_at: float = field(default=float("inf"))


def sweep(run_id: str, leader: int | None = None) -> None:
    """No process of the run is left: neither in its group, nor with its mark."""
    if leader is not None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, signal.SIGKILL)
    clean, end = 0, time.monotonic() + GRACE
    while clean < 2 and time.monotonic() < end:  # twice: what forks while it is looked for may be missed once
        found = _marked(run_id)
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        clean = 0 if found else clean + 1
        time.sleep(0.01)


def _marked(run_id: str) -> list[int]:
    """Where there is no /proc, a step's own sessions are not found."""
    mark = f"LOCALKFP_RUN_ID={run_id}".encode()
    pids = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                pids.append(int(entry.name))
    return pids


class ForkServer:
    """One thread, so that a fork copies no lock that somebody holds."""

    def __init__(self) -> None:
        self.children: dict[str, Child] = {}
        self.server = os.getppid()
        self.answers = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)  # what a library prints is no answer
        self.woken, waker = os.pipe()
        os.set_blocking(waker, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> None:
        rest = b""
        while os.getppid() == self.server:
            readable, _, _ = select.select([0, self.woken], [], [], POLL)
            if 0 in readable:
                data = os.read(0, 1 << 16)
                if not data:
                    break
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._obey(json.loads(line))
            if self.woken in readable:
                os.read(self.woken, 1 << 10)
            self._reap()
            for child in self.children.values():
                if child.kill_at < time.monotonic():
                    _kill(child.pid, signal.SIGKILL)
        for run_id, child in self.children.items():
            _kill(child.pid, signal.SIGKILL)
            self._clean(run_id, child)

    def _obey(self, order: dict[str, Any]) -> None:
        if "start" in order:
            start = order["start"]
            pid = os.fork()
            if pid == 0:
                self._be_run(start)
            self.children[start["run_id"]] = Child(pid, Path(start["scratch"]), start["uses_docker"])
        elif (child := self.children.get(order["kill"])) and child.kill_at == float("inf"):  # it may be said often
            child.kill_at = time.monotonic() + GRACE
            _kill(child.pid, signal.SIGTERM)

    def _reap(self) -> None:
        for run_id, child in list(self.children.items()):
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                del self.children[run_id]
                self._clean(run_id, child)
                self.answers.write(json.dumps({"ended": run_id, "code": os.waitstatus_to_exitcode(status)}) + "\n")

    def _clean(self, run_id: str, child: Child) -> None:
        sweep(run_id, child.pid)
        if child.uses_docker:
            Engine().remove(run_id)
        shutil.rmtree(child.scratch, ignore_errors=True)

    def _be_run(self, start: dict[str, Any]) -> None:
        """Never returns: what comes after is the fork server's business.

        `answers` stays open, and the server's lock too: so it is seen that this process lives, be its parents gone.
        """
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            log = os.open(Path(start["folder"]) / "run.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(log, 1)
            os.dup2(log, 2)
            sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # it is a text file's
            threading.Thread(target=_end_with_parent, args=[start, os.getppid()], daemon=True).start()

            from localkfp.execution import Run, Start  # imported before the fork, by `main`

            Run(Start.from_json(start)).execute()
            code = 0
        except BaseException:
            traceback.print_exc()
            code = 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _end_with_parent(start: dict[str, Any], parent: int) -> None:
    """For when both the server and the fork server were killed: nobody else is left to end this run."""
    while os.getppid() == parent:
        time.sleep(POLL)
    run = os.getpid()
    if os.fork() == 0:  # not from within: a run whose steps end before itself takes them for failed, and goes on
        os.setsid()
        sweep(start["run_id"], run)
        shutil.rmtree(start["scratch"], ignore_errors=True)
        os._exit(0)


def _kill(pid: int, number: signal.Signals) -> None:
    """The group, or the process alone while it has made none."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def main() -> None:
    import localkfp.execution  # noqa: F401  # KFP takes most of a second to import: here once, for all runs

    ForkServer().serve()
    os._exit(0)  # all is said, and taking all of KFP apart takes longer than saying it
