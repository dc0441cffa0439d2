"""A machine with an executor and no server: runs are put into the database, as the server puts them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kfp import compiler

from localkfp.database import ENDED, Database, new_id, now
from localkfp.engine import Containers
from localkfp.executor import Executor
from localkfp.packages import Package

ADD = """
insert into runs (
  run_id, experiment_id, namespace, display_name, description, storage_state, state, state_history, package, parameters,
  service_account, owner, created_at, scheduled_at
)
values (:run_id, 'e', 'ns', :name, '', 'AVAILABLE', 'PENDING', '[]', :package, :parameters, '', :owner, :now, :now)
"""


def compiled(pipeline: Any) -> Package:
    """As it comes to a server: through the file that the compiler writes."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "package.yaml")
        compiler.Compiler().compile(pipeline, str(path))
        return Package.from_bytes(path.read_bytes(), path.name)


@dataclass
class Ran:
    """A run that has ended, and its tasks by their paths."""

    run: dict[str, Any]
    tasks: dict[str, dict[str, Any]]
    folder: Path

    @property
    def state(self) -> str:
        return str(self.run["state"])

    @property
    def states(self) -> dict[str, str]:
        return {path: task["state"] for path, task in self.tasks.items()}

    def output(self, path: str, name: str = "Output") -> Any:
        return json.loads(self.tasks[path]["outputs"])["parameters"][name]

    def artifact(self, path: str, name: str) -> Any:
        [found] = json.loads(self.tasks[path]["outputs"])["artifacts"][name]
        return found

    def log(self, path: str = "") -> str:
        name = f"logs/{self.tasks[path]['task_id']}.log" if path else "run.log"
        return (self.folder / name).read_text()


class Machine:
    def __init__(
        self,
        folder: Path,
        parallel: int = 2,
        images: Mapping[str, Path | None] | None = None,
        containers: Containers | None = None,
    ) -> None:
        self.folder, self.parallel, self.images = folder, parallel, images or {}
        self.database = Database(folder / "localkfp.db")
        self.executor = Executor(
            self.database, folder, lambda: self.images, parallel, fire=lambda: None, containers=containers
        )

    def start(self) -> Machine:
        self.executor.start()
        return self

    def add(self, package: Package, name: str = "a run", **parameters: Any) -> str:
        """A run that is pending."""
        run_id = new_id()
        values = {"run_id": run_id, "name": name, "owner": self.executor.server_id, "now": now()}
        with self.database.write() as db:
            db.execute(ADD, {**values, "package": json.dumps(package.as_json()), "parameters": json.dumps(parameters)})
        self.executor.wake()
        return run_id

    def run(self, pipeline: Any, name: str = "a run", **parameters: Any) -> Ran:
        package = pipeline if isinstance(pipeline, Package) else compiled(pipeline)
        return self.ended(self.add(package, name, **parameters))

    def ended(self, run_id: str) -> Ran:
        self.wait(lambda: self.row(run_id)["state"] in ENDED)
        with self.database.read() as db:
            rows = db.execute("select * from tasks where run_id = ? order by started_at", [run_id]).fetchall()
        tasks = {row["path"]: dict(row) for row in rows}
        return Ran(self.row(run_id), tasks, self.folder / "runs" / run_id)

    def row(self, run_id: str) -> dict[str, Any]:
        with self.database.read() as db:
            return dict(db.execute("select * from runs where run_id = ?", [run_id]).fetchone())

    def wait(self, until: Callable[[], Any], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < deadline, "this should have been so by now"
            time.sleep(0.02)
