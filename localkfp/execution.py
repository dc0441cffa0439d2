"""One run, in a process of its own: the package made fit for this machine, and KFP's local runner on it."""

from __future__ import annotations

import errno
import json
import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from google.protobuf import json_format
from kfp import dsl, local
from kfp.local import utils
from kfp.local.orchestrator import enhanced_dag_orchestrator
from kfp.local.status import Status
from kfp.pipeline_spec import pipeline_spec_pb2

from localkfp import packages
from localkfp.database import Database, set_outcome
from localkfp.engine import Containers, run_container
from localkfp.packages import Package, entries
from localkfp.preamble import split_preamble
from localkfp.seams import Seams
from localkfp.tasks import Record, Task, error_in


@dataclass(frozen=True)
class Start:
    """What the executor says of a run that is to begin."""

    run_id: str
    database: Path
    folder: Path
    scratch: Path
    images: dict[str, Path | None]
    environment: dict[str, str]
    containers: Containers
    uses_docker: bool

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Start:
        paths = {name: Path(value[name]) for name in ("database", "folder", "scratch")}
        images = {image: Path(folder) if folder else None for image, folder in value["images"].items()}
        containers = Containers.from_json(value["containers"])
        return cls(
            run_id=value["run_id"],
            images=images,
            environment=value["environment"],
            containers=containers,
            **paths,
            uses_docker=value["uses_docker"],
        )


class Run:
    """Asked to stop, it begins no further step."""

    def __init__(self, start: Start) -> None:
        self.start = start
        self.database = Database(start.database)
        self.record = Record(self.database, start.run_id)
        self.stopping: list[int] = []  # the signals that came; a handler may take no lock
        with self.database.read() as db:
            self.row = db.execute("select * from runs where run_id = ?", [start.run_id]).fetchone()

    def execute(self) -> None:
        """However it ends, that is said: in the run's log, and as its outcome."""
        signal.signal(signal.SIGTERM, lambda number, _: self.stopping.append(number))
        logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(message)s", force=True)
        warnings.simplefilter("ignore")  # what KFP warns of, `without_effect` says once
        if self.start.uses_docker and self.start.containers.may_be_another_user:
            os.umask(0)  # they write into folders that are made here
        for folder in ("artifacts", "logs", "work", "workspace"):
            (self.start.folder / folder).mkdir(parents=True, exist_ok=True)
        try:
            error = self._execute()
        except Exception as raised:
            logging.exception("the run could not go on")
            error = str(raised) or repr(raised)
        if not error:
            shutil.rmtree(self.start.folder / "workspace", ignore_errors=True)  # a step may have removed it
        logging.info("the run %s", f"failed: {error}" if error else "succeeded")
        with self.database.write() as db:
            set_outcome(db, self.start.run_id, "FAILED" if error else "SUCCEEDED", error)

    def _execute(self) -> str | None:
        """The error of the run, or None."""
        package = Package.from_json(json.loads(self.row["package"]))
        in_processes = packages.runs_in_processes(package, self.start.images)
        local.init(
            local.SubprocessRunner(use_venv=False) if in_processes else local.DockerRunner(),
            pipeline_root=str(self.start.folder / "artifacts"),
            workspace_root=str(self.start.folder / "workspace"),
        )
        Seams(self.record, self._step, self._container, self._error_of).install()
        for line in packages.without_effect(package):
            logging.info(line)
        spec = json_format.ParseDict(self._on_this_machine(package, in_processes), pipeline_spec_pb2.PipelineSpec())
        executors = spec.deployment_spec["executors"].items()
        _, ended = enhanced_dag_orchestrator.run_enhanced_dag(
            pipeline_resource_name=package.name,
            dag_component_spec=spec.root,
            executors={name: utils.struct_to_executor_spec(executor) for name, executor in executors},
            components=dict(spec.components.items()),
            dag_arguments=json.loads(self.row["parameters"]),
            pipeline_root=local.config.LocalExecutionConfig.instance.pipeline_root,
            runner=local.config.LocalExecutionConfig.instance.runner,
            unique_pipeline_id=self.start.run_id,
            fail_stack=[],
        )
        return None if ended == Status.SUCCESS else next(iter(self.record.failures), "a task failed")

    def _on_this_machine(self, package: Package, in_processes: bool) -> dict[str, Any]:
        """The spec with this run's facts in it, and with what this machine has in place of images and a cluster."""
        facts = {
            dsl.PIPELINE_JOB_NAME_PLACEHOLDER: self.row["display_name"],
            dsl.PIPELINE_JOB_RESOURCE_NAME_PLACEHOLDER: f"{package.name}-{self.start.run_id[:5]}",
            dsl.PIPELINE_JOB_ID_PLACEHOLDER: self.start.run_id,
            dsl.PIPELINE_JOB_CREATE_TIME_UTC_PLACEHOLDER: f"{self.row['created_at'][:19]}Z",
            dsl.PIPELINE_JOB_SCHEDULE_TIME_UTC_PLACEHOLDER: f"{self.row['scheduled_at'][:19]}Z",
        }
        text = json.dumps({**package.pipeline_spec, "deploymentSpec": {"executors": package.executors}})
        for placeholder, value in facts.items():
            text = text.replace(placeholder, json.dumps(value)[1:-1])
        spec: dict[str, Any] = json.loads(text)
        for name, executor in spec["deploymentSpec"]["executors"].items():
            if "container" in executor:
                container = executor["container"]
                env = {one["name"]: one.get("value", "") for one in container.get("env", [])}
                env |= self._from_cluster(package.on_kubernetes(name), name.removeprefix("exec-"))
                if in_processes:
                    env |= self._code_of(container["image"], env.get("PYTHONPATH"))
                    _, [*shell, script, code] = split_preamble(container["command"])
                    container["command"] = [*shell, script.replace("python3", shlex.quote(sys.executable)), code]
                container["env"] = [{"name": key, "value": value} for key, value in env.items()]
        return spec

    def _from_cluster(self, settings: Mapping[str, Any], task: str) -> dict[str, str]:
        pod, given = f"{task}-{self.start.run_id}", self.start.environment
        fields = {
            "metadata.labels['pipeline/runid']": self.start.run_id,
            "metadata.namespace": self.row["namespace"],
            "metadata.name": pod,
            "metadata.uid": pod,
        }
        env = {one["name"]: fields[one["fieldPath"]] for one in entries(settings, "fieldPathAsEnv")}
        for one in [*entries(settings, "secretAsEnv"), *entries(settings, "configMapAsEnv")]:
            env |= {key["envVar"]: given[key["envVar"]] for key in entries(one, "keyToEnv") if key["envVar"] in given}
        return env

    def _code_of(self, image: str, own: str | None) -> dict[str, str]:
        parts = packages.folder_of(image, self.start.images), own or self.start.environment.get("PYTHONPATH")
        path = os.pathsep.join(str(part) for part in parts if part)
        return {"PYTHONPATH": path} if path else {}

    def _step(self, full_command: list[str], env_vars: Mapping[str, str] | None = None) -> int:
        """A step in a process, which ends with it; what it started on the side ends with the run."""
        env = {
            **self.start.environment,
            "PYTHONUNBUFFERED": "1",
            "LOCALKFP_RUN_ID": self.start.run_id,
            "TMPDIR": str(self.start.scratch),
            **(env_vars or {}),
        }

        def execute(task: Task, log: IO[bytes]) -> int:
            place = self.start.folder / "work" / task.task_id  # its own, as a container's would be
            place.mkdir(exist_ok=True)
            null, out = subprocess.DEVNULL, subprocess.STDOUT
            try:
                return subprocess.call(full_command, stdin=null, stdout=log, stderr=out, cwd=place, env=env)
            except OSError as error:
                if error.errno != errno.E2BIG:
                    raise
                raise ValueError("its parameters are too long for a command line: pass them as an artifact") from error
            finally:
                with suppress(OSError):
                    place.rmdir()  # most leave nothing there

        return self._logged(execute)

    def _container(self, *given: Any, **options: Any) -> int:
        options = self.start.containers.with_options(options)
        return self._logged(lambda _, log: run_container(log, self.start.run_id, *given, **options))

    def _logged(self, execute: Callable[[Task, IO[bytes]], int]) -> int:
        """The exit code of the current task's step."""
        self._end_if_asked()
        task = self.record.current.get()
        if task is None:
            raise RuntimeError("a step outside of any task")  # KFP would have to call it past `execute_task`
        with self._log(task).open("ab") as log:
            task.log_from = log.tell()
            task.exit_code = execute(task, log)
        self._end_if_asked()
        return task.exit_code

    def _end_if_asked(self) -> None:
        if self.stopping:
            os._exit(128 + signal.SIGTERM)

    def _error_of(self, task: Task) -> str:
        return error_in(self._log(task), task.exit_code, task.log_from)

    def _log(self, task: Task) -> Path:
        return self.start.folder / "logs" / f"{task.task_id}.log"
