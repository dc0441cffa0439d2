from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from storage.objects import StorageError
from storage.registry import ModelVersion, Registry, open_registry

if TYPE_CHECKING:  # at run time only after open_registry, which tells MLflow not to call out
    from mlflow import MlflowClient

ROOT = Path(__file__).parents[3]
ONE, TWO = "1" * 64, "2" * 64

# MLflow's own server asks for packages that we do not need; its Flask application is the REST API, and asks for none.
SERVER = """
import os, sys
store = f"sqlite:///{sys.argv[1]}/server.db"
os.environ.update(_MLFLOW_SERVER_FILE_STORE=store, _MLFLOW_SERVER_REGISTRY_STORE=store)
os.environ.update(_MLFLOW_SERVER_ARTIFACT_ROOT=f"{sys.argv[1]}/artifacts", MLFLOW_DISABLE_TELEMETRY="true")
from mlflow.server import app
from werkzeug.serving import make_server
server = make_server("127.0.0.1", 0, app, threaded=True)
print(server.server_port, flush=True)
server.serve_forever()
"""

REGISTER = """
import sys
from storage.registry import open_registry
url, model, sha256 = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
version, created = open_registry(url).register(model, url="s3://store/m", sha256=sha256, metrics={"a": 1.0}, lineage={})
print(version.version, created)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    with (folder / "log").open("w") as log:
        command = [sys.executable, "-c", SERVER, str(folder)]
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout
    port = process.stdout.readline().strip()
    assert port, (folder / "log").read_text()
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('registry')}/a folder/registry.db"


@pytest.fixture(params=["file", "server"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def registry(url: str) -> Registry:
    return open_registry(url)


@pytest.fixture
def model() -> str:
    """A new name, as making the tables anew for each test takes seconds."""
    return f"model-{uuid.uuid4().hex}"


def register(registry: Registry, model: str, sha256: str, **other: object) -> tuple[ModelVersion, bool]:
    what: dict = {"url": f"s3://store/models/{sha256}", "metrics": {"time.top_1": 0.5}, "lineage": {"run": "r1"}}
    return registry.register(model, sha256=sha256, **{**what, **other})


def client_of(url: str) -> MlflowClient:
    from mlflow import MlflowClient

    return MlflowClient(url, url)


def states_of_runs(url: str, model: str) -> list[str]:
    experiment = client_of(url).get_experiment_by_name(model)
    return [run.info.status for run in client_of(url).search_runs([experiment.experiment_id])] if experiment else []


# One suite, two worlds: a SQLite file and a server


def test_a_registered_model_is_found_with_all_that_was_said_of_it(registry, model):
    lineage = {"run": "r1", "git_commit": "0a1b", "environment": "local-dev: 2 cores"}
    metrics = {"time.top_1": 0.5, "unseen.log_loss": 12.25, "rows": 3}
    wanted = ModelVersion(
        name=model,
        version="1",
        url="s3://store/models/1",
        sha256=ONE,
        metrics={"time.top_1": 0.5, "unseen.log_loss": 12.25, "rows": 3.0},
        lineage=lineage,
        aliases=(),
    )

    answer = registry.register(model, url="s3://store/models/1", sha256=ONE, metrics=metrics, lineage=lineage)

    assert answer == (wanted, True)
    assert registry.find(model, ONE) == wanted
    assert registry.versions(model) == [wanted]


def test_the_same_file_again_changes_nothing(registry, model, url):
    first, _ = register(registry, model, ONE)

    again = register(registry, model, ONE, url="s3://other", metrics={"time.top_1": 0.9}, lineage={"run": "r2"})

    assert again == (first, False)
    assert registry.versions(model) == [first]
    assert states_of_runs(url, model) == ["FINISHED"]


def test_versions_are_oldest_first_and_numbers_not_words(registry, model):
    files = [f"{number:064x}" for number in range(11)]

    for sha256 in files:
        register(registry, model, sha256)

    assert [(v.version, v.sha256) for v in registry.versions(model)] == [
        (str(number), sha256) for number, sha256 in enumerate(files, start=1)
    ]


def test_the_same_file_under_another_name_is_another_model(registry, model):
    register(registry, model, ONE)

    version, created = register(registry, f"{model}.other", ONE)

    assert (version.name, version.version, created) == (f"{model}.other", "1", True)


def test_an_alias_names_one_version_and_can_be_moved(registry, model):
    register(registry, model, ONE)
    register(registry, model, TWO)

    registry.set_alias(model, "candidate", "1")
    registry.set_alias(model, "champion", "1")
    registry.set_alias(model, "champion", "2")

    candidate, champion = registry.alias(model, "candidate"), registry.alias(model, "champion")
    assert candidate
    assert champion
    assert (candidate.version, candidate.aliases) == ("1", ("candidate",))
    assert (champion.version, champion.aliases) == ("2", ("champion",))
    assert registry.versions(model) == [candidate, champion]
    assert registry.find(model, TWO) == champion


def test_what_is_not_there_is_none_or_empty(registry, model):
    assert registry.find(model, ONE) is None
    assert registry.versions(model) == []
    assert registry.alias(model, "champion") is None

    register(registry, model, ONE)

    assert registry.find(model, TWO) is None
    assert registry.alias(model, "champion") is None


def test_an_alias_for_a_version_that_is_not_there_is_refused(registry, model):
    register(registry, model, ONE)

    with pytest.raises(StorageError) as refused:
        registry.set_alias(model, "champion", "9")

    assert refused.value.what.endswith(f"Model Version (name={model}, version=9) not found")
    assert refused.value.do == "correct what is named there, and run it again"
    assert registry.alias(model, "champion") is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), None, "0.5", True])
def test_a_metric_that_is_no_finite_number_is_refused(registry, model, url, value):
    with pytest.raises(StorageError) as refused:
        register(registry, model, ONE, metrics={"time.top_1": value})

    assert refused.value.what == (f"the metric time.top_1 is {value!r}, not a finite number, so nothing was registered")
    assert refused.value.where == f"{model} in {url}"
    assert refused.value.do == "find out why the step that measured it gave no number"
    assert registry.versions(model) == []
    assert states_of_runs(url, model) == []


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


def test_of_two_who_register_at_once_without_a_lock_the_first_stays(server, model):
    first = open_registry(server)
    from storage.registry.mlflow import MlflowRegistry

    class Late(MlflowRegistry):
        def find(self, name: str, sha256: str) -> ModelVersion | None:
            register(first, name, sha256)  # another does all, after we have looked and seen nothing
            return None

    answer = register(Late(server), model, ONE)

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


@pytest.mark.parametrize("name", ["", "a/b", "it's", "a' or name like '%"])
def test_a_name_that_would_break_a_query_is_refused(registry, name):
    with pytest.raises(StorageError) as refused:
        register(registry, name, ONE)

    assert refused.value.what == f"{name!r} cannot be a name in the registry"
    assert refused.value.do == "use letters, digits, dots, dashes and underscores"


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


@pytest.mark.parametrize("url", ["", "registry.db", "sqlite://", "sqlite:/x.db", "postgresql://x", "kubeflow://x"])
def test_an_unknown_registry_says_which_are_known(url):
    with pytest.raises(StorageError) as refused:
        open_registry(url)

    assert str(refused.value) == (
        f"no registry is known for {url!r}\n"
        "  where: the registry's URL\n"
        "  to do: write sqlite:////folder/registry.db, or the http:// or https:// URL of an MLflow server"
    )


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
