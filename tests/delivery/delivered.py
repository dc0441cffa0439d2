"""A project under git with two environments on this machine, whose pipeline trains in a second: what the delivery verbs work on."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from delivery.environments import Environment, read_environment
from delivery.ledger import Entry, Ledger
from storage.registry import open_registry
from tests.storage.registry.kubeflow_server import KubeflowServer

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
PIPELINES = "answer_pipelines"
SETTINGS = """\
endpoint: local
store: file:.mlops/{name}
registry: {registry}
default_pipeline: answer
parameters: {{answer: {{}}}}
"""
CODE = 'NAME = "{name}"\nQUALITY = {quality}\n'


@dataclass(frozen=True)
class Project:
    """`mlops` is the whole command, in this project."""

    root: Path
    mlops: Callable[..., Any]

    def git(self, *words: str) -> str:
        done = subprocess.run(["git", *words], cwd=self.root, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def write(self, path: str, text: str) -> None:
        (self.root / path).write_text(text, encoding="utf-8")

    def configure(self, environment: str, **settings: Any) -> None:
        """Other settings for an environment, a line each, and a commit of them."""
        path = self.root / f"environments/{environment}.yaml"
        kept = [line for line in path.read_text().splitlines() if line.partition(":")[0] not in settings]
        path.write_text("\n".join([*kept, *(f"{key}: {json.dumps(value)}" for key, value in settings.items()), ""]))
        self.commit(f"configure {environment}")

    def schedule(self, environment: str, cron: str) -> None:
        """Another schedule in an environment's file, and a commit of it."""
        self.configure(environment, schedules={"answer": cron})

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)

    def code(self, name: str, quality: float) -> None:
        """Commit another code of the steps, whose model is that good."""
        self.write("models/answer.py", CODE.format(name=name, quality=quality))
        self.commit(name)

    def release(self, name: str, quality: float) -> str:
        """Commit that code and build its release; what comes back is the release's id."""
        self.code(name, quality)
        return str(self.mlops("release").ok.split()[0])

    def delivered(self, name: str, quality: float, tag: str = "") -> str:
        """The same, proved in local-dev, and tagged."""
        release = self.release(name, quality)
        assert self.mlops("deploy", release).ok
        if tag:
            self.git("tag", tag)
        return release

    def environment(self, name: str) -> Environment:
        return read_environment(name, self.root)

    def current(self, name: str) -> Entry:
        entry = Ledger(self.environment(name).store, "answer").current()
        assert entry, f"nothing is current in {name}"
        return entry

    def is_empty(self, name: str) -> bool:
        """Nothing was ever current there."""
        return Ledger(self.environment(name).store, "answer").current() is None

    def champion(self, name: str) -> str:
        """The text that the champion of that environment is, from its store."""
        environment = self.environment(name)
        held = open_registry(environment.registry).alias("answer", "champion")
        return (Path(environment.store[5:]) / "models/answer" / held.sha256 / "model.onnx").read_text() if held else ""

    def file(self, environment: str, pattern: str) -> Path:
        """The one file of the store of that environment that matches."""
        (found,) = Path(self.environment(environment).store[5:]).glob(pattern)
        return found


class Site:
    """Where a project is made, and put back to how it was: its folder, its environments, and their registries."""

    def __init__(self, folder: Path, registries: dict[str, KubeflowServer]) -> None:
        self.root, self.registries = folder / "project", registries
        self._saved: dict[str, dict[str, Any]] = {}
        self._make()
        self.save("new")

    def save(self, state: str) -> None:
        shutil.rmtree(self.root.with_name(state), ignore_errors=True)
        shutil.copytree(self.root, self.root.with_name(state))
        self._saved[state] = {name: copy.deepcopy(server.resources) for name, server in self.registries.items()}

    def restore(self, state: str, part: str = "") -> bool:
        """False when there is no such state yet; then nothing is changed. `part` is a folder, where the others are as they were."""
        if state not in self._saved:
            return False
        for path in (self.root / part).iterdir():  # the folder itself may be somebody's current directory
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(self.root.with_name(state) / part, self.root / part, dirs_exist_ok=True)
        for name, server in self.registries.items():
            server.resources[:] = copy.deepcopy(self._saved[state][name])
        return True

    def _make(self) -> None:
        """The code of this repository's steps and the pipeline of the tests, committed."""
        for room, source in {**dict.fromkeys(("components", "models", "storage"), REPOSITORY), PIPELINES: HERE}.items():
            shutil.copytree(source / room, self.root / room, ignore=shutil.ignore_patterns("__pycache__"))
        (self.root / "environments").mkdir()
        project = Project(self.root, lambda: None)
        for name, server in self.registries.items():
            project.write(f"environments/{name}.yaml", SETTINGS.format(name=name, registry=f"kubeflow+{server.url}"))
        project.write("pyproject.toml", "")
        project.write(".gitignore", ".mlops/\nbuild/\n__pycache__/\n")
        project.git("init", "--quiet", "--initial-branch", "main")
        for key, value in {"user.name": "Ada", "user.email": "ada@mlops.example", "commit.gpgsign": "false"}.items():
            project.git("config", key, value)
        project.code("first", 0.6)


def forget_code() -> None:
    """The next command compiles what the files say then, as a new process would."""
    for name in [name for name in sys.modules if name.partition(".")[0] == PIPELINES]:
        del sys.modules[name]


def run_command(root: Path, words: list[str], log: Path) -> None:
    """The whole command in this process, which has nothing else to do; its exit code is the process's."""
    from delivery.cli import main

    with log.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(root)
    main(words, pipelines=PIPELINES)
