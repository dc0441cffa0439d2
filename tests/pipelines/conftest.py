"""The main flow, whole, on the toy model: compiled as any pipeline is, and run."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

import models
from components import IMAGE
from delivery.compile import PIPELINES, compile_pipeline
from delivery.environments import Environment
from delivery.kubeflow import connected
from delivery.runs import Plan, Records, RunResult
from delivery.watching import run_to_end
from localkfp.server import ThreadedLocalKfp
from storage import objects
from storage.registry import open_registry

ROOT = Path(__file__).parents[2]
TOY, TOY_PIPELINES = "tests.toy", "tests.toy_pipelines"


@dataclass
class Package:
    """A compiled package that a test may change before it runs."""

    documents: list[dict[str, Any]]

    @classmethod
    def compiled(cls, pipeline: str, folder: Path, package: str = PIPELINES) -> Package:
        path = compile_pipeline(pipeline, folder, package)
        return cls(list(yaml.safe_load_all(path.read_text(encoding="utf-8"))))

    def tamper(self, step: str, before: str, code: str) -> Package:
        """Put a line into a step's own code, before the line that begins with `before`: what a bug or a stranger would do."""
        command = self.documents[0]["deploymentSpec"]["executors"][f"exec-{step.replace('_', '-')}"]["container"][
            "command"
        ]
        [at] = [number for number, text in enumerate(command) if f"def {step}(" in text]
        lines = command[at].splitlines()
        [line] = [number for number, text in enumerate(lines) if text.lstrip().startswith(before)]
        indent = lines[line][: len(lines[line]) - len(lines[line].lstrip())]
        command[at] = "\n".join([*lines[:line], *(indent + part for part in code.splitlines()), *lines[line:]])
        return self

    def let_kfp_cache(self, step: str) -> Package:
        """Take back what the pipeline says of a step: that KFP may not cache it."""
        for component in self.documents[0]["components"].values():
            for name, task in component.get("dag", {}).get("tasks", {}).items():
                if name == step.replace("_", "-"):
                    task["cachingOptions"] = {"enableCache": True}
        return self

    def content(self) -> bytes:
        return yaml.safe_dump_all(self.documents).encode()


@dataclass
class World:
    """A store, a registry and data of their own, in which packages run."""

    folder: Path
    store: str
    source: str
    endpoint: str  # the KFP API that runs them
    runs: int = 0
    latest: str = ""  # the id of the latest run
    registries: int = 1

    def forget_models(self) -> None:
        """From now on another registry, which knows no model."""
        self.registries += 1

    @property
    def registry_url(self) -> str:
        return f"sqlite:///{self.folder}/registry-{self.registries}.db"

    @property
    def registry(self) -> Any:
        return open_registry(self.registry_url)

    def data(self, **options: Any) -> None:
        """Write tables of the toy model to the source, in place of what was there."""
        folder = self.folder / "made"
        folder.mkdir(exist_ok=True)
        models.load(TOY).generate(folder, **options)
        for table in folder.iterdir():
            objects.upload(table, objects.join(self.source, table.name))

    def run(self, package: Package, **arguments: Any) -> RunResult:
        self.runs += 1
        plan = Plan(
            run_name=f"toy-{self.runs}",
            pipeline="toy",
            package=package.content(),
            arguments={"source": self.source, "store": self.store, "registry": self.registry_url, **arguments},
            graph={},
            store=self.store,
            folder=self.folder / f"run-{self.runs}",
        )
        environment = Environment(
            name="toy", endpoint=self.endpoint, store=self.store, registry=self.registry_url, root=self.folder
        )
        with connected(environment) as kfp:
            result = run_to_end(kfp, plan, lambda _: None)
        self.latest = result.run_id
        return result

    def run_with_cache(self, package: Package, cache: Path, **given: Any) -> Records:
        """Run it with KFP's own cache, which `mlops run` leaves off; returns the records that this run wrote."""
        self.runs += 1
        self.latest = run = f"cached-{self.runs}"
        path = self.folder / f"{run}.yaml"
        path.write_bytes(package.content())
        arguments = {"source": self.source, "store": self.store, "registry": self.registry_url, **given}
        subprocess.run(
            [
                sys.executable,
                "-c",
                RUN_WITH_CACHE,
                str(path),
                str(self.folder / run),
                str(cache),
                json.dumps(arguments),
            ],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PIPELINE_RUN_ID": run},
            check=False,  # the records say how it ended
            capture_output=True,
        )
        folder = objects.join(self.store, "runs", run)
        found = [
            objects.read_json(objects.join(folder, name)) for name in objects.names(folder) if name.endswith(".json")
        ]
        return {record["step"]: record for record in found}

    def page(self, name: str = "report.html") -> str:
        """A page of the latest run; if none is named, the one that the exit handler wrote."""
        return objects.read_bytes(objects.join(self.store, "runs", self.latest, name)).decode()


RUN_WITH_CACHE = """
import json, sys
from kfp import components, local
package, root, cache, arguments = sys.argv[1:]
local.init(local.SubprocessRunner(use_venv=False), pipeline_root=root, enable_caching=True, cache_root=cache)
components.load_component_from_file(package)(**json.loads(arguments))
"""


@dataclass(frozen=True)
class MadeChampion:
    """A good model of the toy's data with seed 1, made by the steps."""

    content: bytes

    def put_into(self, world: World, contract: str | None = None) -> None:
        """Make it the champion of that world, as if made under that contract."""
        sha256 = hashlib.sha256(self.content).hexdigest()
        url = f"{world.store}/models/toy/{sha256}/model.onnx"
        objects.write_bytes(url, self.content)
        lineage = {"contract": contract or models.load(TOY).CONTRACT.fingerprint()}
        world.registry.register("toy", url=url, sha256=sha256, metrics={}, lineage=lineage)
        world.registry.set_alias("toy", "champion", "1")


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory) -> MadeChampion:
    from components.convert_to_onnx.step import convert
    from components.fetch_data.step import fetch
    from components.prepare_data.step import prepare
    from components.train_model.step import train

    folder, toy = tmp_path_factory.mktemp("champion"), models.load(TOY)
    (folder / "prepared").mkdir()
    fetched = fetch("synthetic:?seed=1", folder / "tables", toy)
    prepare(folder / "tables", folder / "prepared", toy)
    train(folder / "prepared", folder / "trained", TOY, toy, {})
    metadata = {"model": TOY, "data_version": fetched.data_version, "contract": toy.CONTRACT.fingerprint()}
    convert(folder / "prepared", folder / "trained", folder / "model.onnx", toy, metadata)
    return MadeChampion((folder / "model.onnx").read_bytes())


@pytest.fixture
def package(tmp_path: Path) -> Callable[[], Package]:
    return lambda: Package.compiled("toy", tmp_path / "package", TOY_PIPELINES)


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A KFP API for all tests of this process; what its steps write at home is not the home of who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home-of-steps")))
        with ThreadedLocalKfp(images={IMAGE: ROOT}) as server:
            yield server.url


@pytest.fixture
def world(tmp_path: Path, endpoint: str) -> World:
    folder = tmp_path / "world"
    folder.mkdir()
    return World(folder=folder, store=f"file:{folder}/store", source=f"file:{folder}/source", endpoint=endpoint)


@pytest.fixture
def s3_world(tmp_path: Path, s3: Any, endpoint: str) -> World:
    store, source = s3.bucket("models") + "/store", s3.bucket("data") + "/charts"
    return World(folder=tmp_path, store=store, source=source, endpoint=endpoint)


def states(result: RunResult) -> dict[str, str]:
    """Step -> state, as the records have it."""
    return {step: record["state"] for step, record in result.records.items()}


__all__ = ["Package", "World", "states"]
