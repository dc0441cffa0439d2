"""What only MLflow has: runs, its file on one machine, and what its import costs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from storage.objects import StorageError
from storage.registry import ModelVersion, open_registry
from tests.storage.registry.conftest import register

if TYPE_CHECKING:  # at run time only after open_registry, which tells MLflow not to call out
    from mlflow import MlflowClient

ROOT = Path(__file__).parents[3]
ONE = "1" * 64

REGISTER = """
import sys
from storage.registry import open_registry
url, model, sha256 = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
version, created = open_registry(url).register(model, url="s3://store/m", sha256=sha256, metrics={"a": 1.0}, lineage={})
print(version.version, created)
"""


@pytest.fixture(params=["mlflow_file", "mlflow_server"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


def client_of(url: str) -> MlflowClient:
    from mlflow import MlflowClient

    return MlflowClient(url, url)


def states_of_runs(url: str, model: str) -> list[str]:
    experiment = client_of(url).get_experiment_by_name(model)
    return [run.info.status for run in client_of(url).search_runs([experiment.experiment_id])] if experiment else []


def test_a_repeat_leaves_one_run_and_a_refused_metric_none(registry, model, url):
    with pytest.raises(StorageError):
        register(registry, model, ONE, metrics={"time.top_1": float("nan")})
    assert states_of_runs(url, model) == []

    register(registry, model, ONE)
    register(registry, model, ONE)

    assert states_of_runs(url, model) == ["FINISHED"]


def test_what_mlflow_refuses_is_said_in_its_words(registry, model):
    register(registry, model, ONE)

    with pytest.raises(StorageError) as refused:
        registry.set_alias(model, "champion", "9")

    assert refused.value.what.endswith(f"Model Version (name={model}, version=9) not found")


@pytest.mark.parametrize("died_before", ["log_batch", "set_terminated", "create_model_version"])
def test_a_repeat_after_a_death_in_the_middle_ends_in_one_version_and_one_run(
    registry, url, model, monkeypatch, died_before
):
    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"mlflow.MlflowClient.{died_before}", die)
        with pytest.raises(KeyboardInterrupt):
            register(registry, model, ONE)
    assert registry.versions(model) == []

    version, created = register(registry, model, ONE, metrics={"time.top_1": 0.25})

    assert (version.version, version.metrics, created) == ("1", {"time.top_1": 0.25}, True)
    assert registry.versions(model) == [version]
    assert states_of_runs(url, model) == ["FINISHED"]


def test_of_two_who_register_at_once_without_a_lock_the_first_stays(mlflow_server, model):
    first = open_registry(mlflow_server)
    from storage.registry.mlflow import MlflowRegistry

    class Late(MlflowRegistry):
        def find(self, name: str, sha256: str) -> ModelVersion | None:
            register(first, name, sha256)  # another does all, after we have looked and seen nothing
            return None

    answer = register(Late(mlflow_server), model, ONE)

    there = first.versions(model)
    assert [(version.version, version.sha256) for version in there] == [("1", ONE)]
    assert answer == (there[0], False)


def test_a_version_that_a_person_made_by_hand_is_listed_too(registry, model, url):
    client = client_of(url)
    client.create_registered_model(model)
    client.create_model_version(model, "s3://by/hand")

    assert registry.versions(model) == [
        ModelVersion(name=model, version="1", url="s3://by/hand", sha256="", metrics={}, lineage={}, aliases=())
    ]
    assert register(registry, model, ONE)[0].version == "2"


# A file


def test_two_processes_that_start_on_a_new_file_end_in_one_version(tmp_path, model):
    url = f"sqlite:///{tmp_path}/new/registry.db"
    command = [sys.executable, "-c", REGISTER, url, model, ONE]
    both = [
        subprocess.Popen(
            command,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in both:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"

    said = [process.communicate("go\n", timeout=120) for process in both]

    assert sorted(out for out, _ in said) == ["1 False\n", "1 True\n"]
    assert [err for _, err in said] == ["", ""]  # and MLflow keeps quiet
    assert len(open_registry(url).versions(model)) == 1
    assert sorted(os.listdir(tmp_path)) == ["new"]  # no ./mlruns in the current folder
    assert sorted(os.listdir(tmp_path / "new")) == ["registry.db", "registry.db.lock"]


def test_a_relative_file_is_below_the_current_folder_for_ever(tmp_path, model, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    registry = open_registry("sqlite:///state/registry.db")

    monkeypatch.chdir(tmp_path / "elsewhere")
    register(registry, model, ONE)

    assert (tmp_path / "state" / "registry.db").is_file()
    assert os.listdir(tmp_path / "elsewhere") == []


def test_a_file_that_is_no_database_is_a_sentence(tmp_path):
    (tmp_path / "registry.db").write_text("a table of contents, say\n" * 100)

    with pytest.raises(StorageError) as refused:
        open_registry(f"sqlite:///{tmp_path}/registry.db")

    assert str(refused.value) == (
        "the registry failed: file is not a database\n"
        f"  where: sqlite:///{tmp_path}/registry.db\n"
        "  to do: check the URL, and that one may write there"
    )


# The URL, and what importing costs


def test_a_server_that_does_not_answer_is_a_sentence(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    with pytest.raises(StorageError) as refused:
        open_registry("http://127.0.0.1:9").versions("m")

    assert refused.value.what.startswith("the registry failed: API request to http://127.0.0.1:9/")
    assert (refused.value.where, refused.value.do) == (
        "http://127.0.0.1:9",
        "check the URL, and that one may write there",
    )


def test_mlflow_is_imported_only_when_a_registry_is_opened_and_calls_nowhere(tmp_path):
    script = (
        "import os, sys, storage.registry\n"
        "before = set(os.environ)\n"
        "assert 'mlflow' not in sys.modules\n"
        "storage.registry.open_registry('sqlite:///registry.db')\n"
        "from mlflow.telemetry import get_telemetry_client\n"
        "assert get_telemetry_client() is None\n"
        "print(sorted(set(os.environ) - before))"
    )
    quiet = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PYTEST_", "CI"))}
    env = {**quiet, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}

    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True)

    assert SimpleNamespace(code=done.returncode, err=done.stderr) == SimpleNamespace(code=0, err="")
    assert "MLFLOW_DISABLE_TELEMETRY" in done.stdout
    assert sorted(os.listdir(tmp_path)) == ["registry.db", "registry.db.lock"]
