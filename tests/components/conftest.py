"""The toy model on its way through the steps: each folder is made once, and a test that damages one takes a copy."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import models
from models import Model
from storage import objects
from storage.registry import Registry, open_registry

if TYPE_CHECKING:  # TensorFlow takes seconds to import, and most tests do without
    from components.train_model.step import Trained

TOY = "tests.toy"


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run whose steps write their records to `store`."""

    store: str
    run_id: str

    def record(self, step: str) -> dict[str, Any]:
        found: dict[str, Any] = objects.read_json(objects.join(self.store, "runs", self.run_id, f"{step}.json"))
        return found

    def facts(self, step: str) -> dict[str, Any]:
        """Of a step that succeeded."""
        record = self.record(step)
        assert (record["state"], record["error"]) == ("SUCCEEDED", None)
        facts: dict[str, Any] = record["facts"]
        return facts

    def error(self, step: str) -> dict[str, Any]:
        """Of a step that failed, in the three strings and the kind that every reader gets."""
        record = self.record(step)
        assert record["state"] == "FAILED"
        return {key: record["error"][key] for key in ("kind", "gate", "what", "where", "do")}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run that keeps its records in a folder."""
    monkeypatch.setenv("PIPELINE_RUN_ID", "run-7")
    return Run(store=str(tmp_path / "store"), run_id="run-7")


@pytest.fixture
def s3_run(s3: Any, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run that keeps its records on S3."""
    monkeypatch.setenv("PIPELINE_RUN_ID", "run-7")
    return Run(store=s3.bucket("store") + "/mlops", run_id="run-7")


@pytest.fixture(scope="session")
def toy() -> Model:
    return models.load(TOY)


@pytest.fixture(scope="session")
def tables(toy: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from components.fetch_data.step import fetch

    folder = tmp_path_factory.mktemp("toy") / "tables"
    fetch("synthetic:", folder, toy)
    return folder


@pytest.fixture(scope="session")
def prepared(tables: Path, toy: Model) -> Path:
    from components.prepare_data.step import prepare

    folder = tables.parent / "prepared"
    folder.mkdir()
    assert prepare(tables, folder, toy)
    return folder


@pytest.fixture(scope="session")
def training(prepared: Path, toy: Model) -> Trained:
    """What the training said; the files are in `trained`."""
    from components.train_model.step import train

    return train(prepared, prepared.parent / "trained", TOY, toy, {})


@pytest.fixture(scope="session")
def trained(training: Trained, prepared: Path) -> Path:
    return prepared.parent / "trained"


@pytest.fixture(scope="session")
def evaluation(prepared: Path, trained: Path, toy: Model) -> Path:
    from components.evaluate_model.step import evaluate

    folder = prepared.parent / "evaluation"
    evaluate(prepared, trained, folder, toy, {"model": TOY, "data_version": "d4ta", "git_commit": "c0ffee"})
    return folder


@pytest.fixture(scope="session")
def onnx_model(prepared: Path, trained: Path, toy: Model) -> Path:
    from components.convert_to_onnx.step import convert

    convert(prepared, trained, prepared.parent / "model.onnx", toy, {"model": TOY})
    return prepared.parent / "model.onnx"


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[Path], Path]:
    """A copy of a folder or a file, for a test that changes it."""

    def copy(source: Path) -> Path:
        target = tmp_path / "copies" / source.name
        if source.is_dir():
            return Path(shutil.copytree(source, target))
        target.parent.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(source, target))

    return copy


@pytest.fixture(scope="session")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("registry") / "registry.db"
    open_registry(f"sqlite:///{file}")
    return file


@pytest.fixture
def registry_url(empty_registry: Path, tmp_path: Path) -> str:
    """A registry of the test's own; a copy, as MLflow takes seconds to make its tables."""
    return f"sqlite:///{shutil.copy(empty_registry, tmp_path / 'registry.db')}"


@pytest.fixture
def registry(registry_url: str) -> Registry:
    return open_registry(registry_url)
