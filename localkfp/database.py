"""The state of a server: one SQLite file, which several servers and their runs' processes may share."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

ENDED = ("SUCCEEDED", "FAILED", "CANCELED")
SCHEMA = """
create table if not exists experiments (
  experiment_id text primary key,
  namespace text not null,
  display_name text not null,
  description text not null,
  created_at text not null,
  last_run_created_at text not null,
  storage_state text not null check (storage_state in ('AVAILABLE', 'ARCHIVED')),
  unique (namespace, display_name)
);
create table if not exists images (
  image text primary key,
  folder text
);
create table if not exists pipelines (
  pipeline_id text primary key,
  namespace text not null,
  name text not null,
  display_name text not null,
  description text not null,
  tags text not null,
  created_at text not null,
  unique (namespace, name)
);
create table if not exists pipeline_versions (
  pipeline_version_id text primary key,
  pipeline_id text not null references pipelines on delete cascade,
  name text not null,
  display_name text not null,
  description text not null,
  tags text not null,
  package text not null,
  package_url text not null,
  created_at text not null,
  unique (pipeline_id, name)
);
create table if not exists runs (
  run_id text primary key,
  experiment_id text not null,
  namespace text not null,
  display_name text not null,
  description text not null,
  storage_state text not null check (storage_state in ('AVAILABLE', 'ARCHIVED')),
  state text not null check (state in ('PENDING', 'RUNNING', 'CANCELING', 'SUCCEEDED', 'FAILED', 'CANCELED')),
  state_history text not null,
  outcome text check (outcome in ('SUCCEEDED', 'FAILED')),
  error text,
  package text not null,
  pipeline_id text,
  pipeline_version_id text,
  parameters text not null,
  service_account text not null,
  recurring_run_id text,
  owner text not null,
  created_at text not null,
  scheduled_at text not null,
  started_at text,
  finished_at text
);
create index if not exists runs_by_owner on runs (owner, state, created_at);
create table if not exists tasks (
  task_id text primary key,
  run_id text not null references runs on delete cascade,
  path text not null,
  name text not null,
  display_name text not null,
  parent_id text,
  state text not null check (state in ('RUNNING', 'SUCCEEDED', 'FAILED', 'SKIPPED', 'CANCELED')),
  state_history text not null,
  inputs text not null,
  outputs text not null,
  error text,
  started_at text not null,
  finished_at text
);
create index if not exists tasks_by_run on tasks (run_id, started_at);
create table if not exists recurring_runs (
  recurring_run_id text primary key,
  experiment_id text not null,
  namespace text not null,
  display_name text not null,
  description text not null,
  mode text not null check (mode in ('ENABLE', 'DISABLE')),
  trigger text not null,
  max_concurrency integer not null,
  no_catchup integer not null check (no_catchup in (0, 1)),
  package text,
  pipeline_id text,
  pipeline_version_id text,
  parameters text not null,
  service_account text not null,
  fired integer not null,
  last_at text not null,
  next_at text,
  created_at text not null,
  updated_at text not null
);
"""

MOVE = """
update runs
   set state = :to,
       state_history = json_insert(state_history, '$[#]', json_object('update_time', :now, 'state', :to)),
       error = coalesce(:error, error),
       started_at = case when :to = 'RUNNING' then :now else started_at end,
       finished_at = case when :to in ('SUCCEEDED', 'FAILED', 'CANCELED') then :now end
 where run_id = :run_id
   and state in (select value from json_each(:allowed))
"""

# The process of a run says how it went; only the executor that owns it, or the one that takes over, makes it the state.
SET_OUTCOME = """
update runs
   set outcome = :outcome, error = :error
 where run_id = :run_id
   and state in ('RUNNING', 'CANCELING')
"""


class Database:
    """A connection for each use: SQLite's own locks do the rest, between threads and between processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._connected() as db:
            db.execute("pragma journal_mode = wal")
            db.executescript(SCHEMA)

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """One consistent view, however many statements."""
        with self._connected() as db:
            db.execute("begin")
            yield db

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """All of the block or nothing of it; the write lock is taken at once, so that no read in it is outdated."""
        with self._connected() as db:
            db.execute("begin immediate")
            try:
                yield db
            except BaseException:
                db.execute("rollback")
                raise
            db.execute("commit")

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        db = sqlite3.connect(self.path, timeout=30, isolation_level=None)
        try:
            db.row_factory = sqlite3.Row
            db.execute("pragma foreign_keys = on")
            db.execute("pragma synchronous = normal")
            yield db
        finally:
            db.close()


def insert(db: sqlite3.Connection, table: str, row: Mapping[str, Any]) -> bool:
    """False where a row of that key or name is there already; the names of columns come from our own code only."""
    values = ", ".join(f":{name}" for name in row)
    sql = f"insert into {table} ({', '.join(row)}) values ({values}) on conflict do nothing"
    return db.execute(sql, row).rowcount == 1


def move(db: sqlite3.Connection, run_id: str, to: str, allowed: Collection[str], error: str | None = None) -> bool:
    """Change a run's state, if it is in one of the allowed ones; False when it was not."""
    values = {"run_id": run_id, "to": to, "allowed": json.dumps(list(allowed)), "error": error, "now": now()}
    return db.execute(MOVE, values).rowcount == 1


def set_outcome(db: sqlite3.Connection, run_id: str, outcome: str, error: str | None) -> None:
    """What the run's own process found, for the executor to turn into a state."""
    db.execute(SET_OUTCOME, {"run_id": run_id, "outcome": outcome, "error": error})


def now() -> str:
    """RFC 3339, UTC; always as long, so that text sorts by time."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def moment(text: str) -> datetime:
    """What `now` wrote; until Python 3.11 `fromisoformat` knows no Z."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def new_id() -> str:
    return str(uuid.uuid4())
