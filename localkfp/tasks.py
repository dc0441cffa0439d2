"""The record of what a run executed: a row for each task, group and iteration, written by the run's own process."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localkfp.database import Database, now
from localkfp.files import last_lines

BEGIN = """
insert into tasks (
  task_id, run_id, path, name, display_name, parent_id, state, state_history, inputs, outputs, started_at
)
values (
  :task_id, :run_id, :path, :name, :display_name, :parent_id, 'RUNNING',
  json_array(json_object('update_time', :now, 'state', 'RUNNING')), :inputs, '{}', :now
)
on conflict (task_id) do update
  set state = excluded.state,
      state_history = excluded.state_history,
      inputs = excluded.inputs,
      outputs = excluded.outputs,
      error = null,
      started_at = excluded.started_at,
      finished_at = null
"""
END = """
update tasks
   set state = :state,
       state_history = json_insert(state_history, '$[#]', json_object('update_time', :now, 'state', :state)),
       outputs = :outputs,
       error = :error,
       finished_at = :now
 where task_id = :task_id
"""
SUCCEEDED_BEFORE = """
select outputs
  from tasks
 where task_id = :task_id
   and state = 'SUCCEEDED'
   and inputs = :inputs
"""
LONGEST = 1000  # a list of runs tells the error of each
KFPS_OWN = re.compile(r"^\[KFP Executor [^\n]*\n(\{\n.*?^\}\n)?", re.MULTILINE | re.DOTALL)  # that, and a step's inputs


@dataclass
class Task:
    """Where in the run's tree a task stands; its id follows from that, so that a retried run finds it again."""

    run_id: str
    name: str
    display_name: str
    parent: Task | None
    exit_code: int = 0
    log_from: int = 0  # where its last try begins

    @property
    def path(self) -> str:
        return f"{self.parent.path}/{self.name}" if self.parent else self.name

    @property
    def task_id(self) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.run_id}/{self.path}"))


class Record:
    """Writes the tasks of one run, and knows in which of them a thread is."""

    def __init__(self, database: Database, run_id: str) -> None:
        self.database, self.run_id = database, run_id
        self.current: ContextVar[Task | None] = ContextVar("current", default=None)
        self.failures: list[str] = []

    def task(self, name: str, display_name: str = "") -> Task:
        return Task(self.run_id, name, display_name or name, self.current.get())

    @contextmanager
    def within(self, task: Task) -> Iterator[None]:
        inside = self.current.set(task)
        try:
            yield
        finally:
            self.current.reset(inside)

    def begin(self, task: Task, inputs: Mapping[str, Any]) -> None:
        values = {"task_id": task.task_id, "run_id": task.run_id, "path": task.path, "name": task.name}
        with self.database.write() as db:
            db.execute(
                BEGIN,
                {
                    **values,
                    "display_name": task.display_name,
                    "parent_id": task.parent.task_id if task.parent else None,
                    "inputs": _json(inputs),
                    "now": now(),
                },
            )

    def end(self, task: Task, state: str, outputs: Mapping[str, Any] | None = None, error: str | None = None) -> None:
        if error:
            self.failures.append(f"{task.name}: {error}")
        values = {"task_id": task.task_id, "state": state, "outputs": _json(outputs or {}), "error": error}
        with self.database.write() as db:
            db.execute(END, {**values, "now": now()})

    def outputs_before(self, task: Task, inputs: Mapping[str, Any]) -> dict[str, Any] | None:
        """What the task gave when it succeeded with the same inputs, in an earlier try of the run."""
        with self.database.read() as db:
            row = db.execute(SUCCEEDED_BEFORE, {"task_id": task.task_id, "inputs": _json(inputs)}).fetchone()
        return json.loads(row["outputs"]) if row else None


def error_in(log: Path, exit_code: int, begin: int = 0) -> str:
    """The exception's own line where a step died of one, else the last thing it said, since `begin`."""
    lines = [line[:LONGEST] for line in KFPS_OWN.sub("", last_lines(log, begin).text + "\n").splitlines()]
    traces = [number for number, line in enumerate(lines) if line.startswith("Traceback (most recent call last):")]
    for line in lines[traces[-1] + 1 :] if traces else []:
        if line and not line[0].isspace():
            return line
    said = f"ended by signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f"{last} ({said})" if last else said


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False, sort_keys=True)
