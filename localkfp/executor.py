"""Starts the runs of a server, ends them, and writes how they ended; takes over those of servers that are gone."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

from localkfp import packages, worker
from localkfp.database import Database, move, new_id, now
from localkfp.engine import Containers, Engine
from localkfp.packages import Package

log = logging.getLogger(__name__)

OPEN = """
select run_id, state, package
  from runs
 where owner = :owner
   and state in ('PENDING', 'RUNNING', 'CANCELING')
 order by created_at, run_id
"""
OTHER_OWNERS = """
select distinct owner
  from runs
 where owner <> :owner
   and state in ('PENDING', 'RUNNING', 'CANCELING')
"""
INHERIT = """
update runs
   set owner = :owner
 where owner = :gone
   and state in ('PENDING', 'RUNNING', 'CANCELING')
"""
CUT_OFF = """
update tasks
   set state = :state,
       state_history = json_insert(state_history, '$[#]', json_object('update_time', :now, 'state', :state)),
       error = 'the run ended before it did',
       finished_at = :now
 where run_id = :run_id
   and state = 'RUNNING'
"""


class Executor:
    """One thread that looks at the database; whoever changed something there may wake it."""

    def __init__(
        self,
        database: Database,
        folder: Path,
        images: Callable[[], Mapping[str, Path | None]],
        parallel: int,
        fire: Callable[[], float | None],
        containers: Containers | None = None,
    ) -> None:
        self.containers = containers or Containers()
        self.database, self.folder, self.images, self.parallel, self.fire = database, folder, images, parallel, fire
        self.server_id = new_id()
        self.engine = Engine()
        self.active: dict[str, subprocess.Popen[str]] = {}
        self._ended: SimpleQueue[tuple[subprocess.Popen[str], str | None, str]] = SimpleQueue()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._lock: IO[str] | None = None
        self._worker: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Runs of a server that is gone are ended, or begun, before this returns."""
        servers = self.folder / "servers"
        servers.mkdir(parents=True, exist_ok=True)
        self._lock = (servers / f"{self.server_id}.lock").open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._stopping.clear()
        self._take_over()
        self._thread = threading.Thread(target=self._loop, name="localkfp-executor", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Its runs end; what is pending waits for the next server on the folder."""
        self._stopping.set()
        self._wake.set()
        if self._thread:
            self._thread.join()
            self._thread = None
        self._end_worker()
        for run_id in sorted(self.active):
            self._finish(run_id, "localkfp was stopped while it ran")
        self.active.clear()
        if self._lock:
            Path(self._lock.name).unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def wake(self) -> None:
        self._wake.set()

    def check(self, package: Package) -> None:
        """Refuses a package that cannot run here and now."""
        packages.check(package, self.images(), self.engine, os.environ)

    def _loop(self) -> None:
        while not self._stopping.is_set():
            pause = 0.2 if self.active else 1.0
            try:
                self._turn()
                self._take_over()
                due = self.fire()
                pause = min(pause, max(due, 0.05)) if due is not None else pause
            except Exception:
                log.exception("localkfp's executor could not go on, and tries again")
            self._wake.wait(pause)
            self._wake.clear()

    def _turn(self) -> None:
        while not self._ended.empty():
            process, ended, reason = self._ended.get()
            for run_id in [one for one, its in self.active.items() if its is process and ended in (one, None)]:
                del self.active[run_id]
                self._finish(run_id, reason)
        with self.database.read() as db:
            rows = db.execute(OPEN, {"owner": self.server_id}).fetchall()
        running = {row["run_id"] for row in rows if row["state"] == "RUNNING"}
        for run_id in self.active.keys() - running:  # to be canceled, or deleted
            _tell(self.active[run_id], {"kill": run_id})
        for row in rows:
            if row["run_id"] in self.active:
                continue
            if row["state"] != "PENDING":
                self._finish(row["run_id"], "the process that ran it is gone")
            elif len(self.active) < self.parallel:
                self._begin(row["run_id"], row["package"])

    def _begin(self, run_id: str, stored: str) -> None:
        try:
            package = Package.from_json(json.loads(stored))
            self.check(package)  # again: the server that took the run may have been another
        except Exception as refused:  # and whatever it is, it stops no other run
            with self.database.write() as db:
                move(db, run_id, "FAILED", ["PENDING"], str(refused))
            return
        with self.database.write() as db:
            if not move(db, run_id, "RUNNING", ["PENDING"]):
                return
        folder, scratch, images = self.folder / "runs" / run_id, _scratch(run_id), self.images()
        folder.mkdir(parents=True, exist_ok=True)
        scratch.mkdir(mode=0o700, exist_ok=True)
        start = {
            "run_id": run_id,
            "database": str(self.database.path.absolute()),
            "folder": str(folder.absolute()),
            "scratch": str(scratch),
            "images": {image: str(code.absolute()) if code else None for image, code in images.items()},
            "uses_docker": not packages.runs_in_processes(package, images),
            "environment": dict(os.environ),
            "containers": self.containers.as_json(),
        }
        self.active[run_id] = self._worker_process()
        _tell(self.active[run_id], {"start": start})

    def _finish(self, run_id: str, reason: str) -> None:
        """The state that follows from what the run's process said; `reason` is the error if it said nothing."""
        with self.database.write() as db:
            row = db.execute("select state, outcome from runs where run_id = ?", [run_id]).fetchone()
            if row is not None:
                canceled = row["state"] == "CANCELING"
                to = "CANCELED" if canceled else row["outcome"] or "FAILED"
                move(db, run_id, to, ["RUNNING", "CANCELING"], None if canceled or row["outcome"] else reason)
                state = "CANCELED" if canceled else "FAILED"
                db.execute(CUT_OFF, {"run_id": run_id, "state": state, "now": now()})
        shutil.rmtree(_scratch(run_id), ignore_errors=True)
        if row is None:
            shutil.rmtree(self.folder / "runs" / run_id, ignore_errors=True)

    def _take_over(self) -> None:
        """A server is gone when the lock on its file is, which the processes of its runs hold as well."""
        with self.database.read() as db:
            owners = [row["owner"] for row in db.execute(OTHER_OWNERS, {"owner": self.server_id})]
        for gone in owners:
            with (self.folder / "servers" / f"{gone}.lock").open("a") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                with self.database.write() as db:
                    db.execute(INHERIT, {"owner": self.server_id, "gone": gone})
                    rows = db.execute(OPEN, {"owner": self.server_id}).fetchall()
                for row in rows:
                    if row["state"] != "PENDING" and row["run_id"] not in self.active:
                        worker.sweep(row["run_id"])
                        self.engine.remove(row["run_id"])
                        self._finish(row["run_id"], "localkfp was killed while it ran")
                Path(lock.name).unlink(missing_ok=True)  # two may come here, one after the other

    def _worker_process(self) -> subprocess.Popen[str]:
        """The fork server: started for the first run, and anew when it is gone."""
        if self._worker is None or self._worker.poll() is not None:
            root = str(Path(__file__).parent.parent)
            self._worker = subprocess.Popen(
                [sys.executable, "-c", "from localkfp.worker import main; main()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))},
                pass_fds=[self._lock.fileno()] if self._lock else [],
                start_new_session=True,  # Ctrl-C is for the server, which ends its runs in order
            )
            threading.Thread(target=self._listen, args=[self._worker], daemon=True).start()
        return self._worker

    def _listen(self, process: subprocess.Popen[str]) -> None:
        """What it writes ends when it and the last process of its runs have."""
        for line in process.stdout or ():
            answer = json.loads(line)
            code = answer["code"]
            said = f"by signal {-code}" if code < 0 else f"with exit code {code}"
            reason = f"the run's process ended {said} before it could say how the run went"
            self._ended.put((process, answer["ended"], reason))
            self._wake.set()
        self._ended.put((process, None, "the process that forks runs is gone"))
        self._wake.set()

    def _end_worker(self) -> None:
        if self._worker and self._worker.stdin:
            with suppress(BrokenPipeError):  # it is gone, and an order that it never read stands in the buffer
                self._worker.stdin.close()
            try:
                self._worker.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self._worker.kill()
                self._worker.wait()
            self._worker = None


def _scratch(run_id: str) -> Path:
    """Short, as a socket in it has a path of at most some hundred bytes; from the id, so that whoever ends it finds it."""
    return Path(tempfile.gettempdir(), f"localkfp-{run_id[:8]}")


def _tell(process: subprocess.Popen[str], order: dict[str, Any]) -> None:
    """Lost on a process that has just gone: then its end ends the run."""
    if process.stdin:
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
