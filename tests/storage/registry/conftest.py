"""A registry of each kind, for the suite that all of them pass."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator

import pytest

from storage.registry import ModelVersion, Registry, open_registry
from tests.storage.registry.kubeflow_server import KubeflowServer

# MLflow's own server asks for packages that we do not need; its Flask application is the REST API, and asks for none.
MLFLOW_SERVER = """
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


@pytest.fixture(scope="session")
def mlflow_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('registry')}/a folder/registry.db"


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    with (folder / "log").open("w") as log:
        command = [sys.executable, "-c", MLFLOW_SERVER, str(folder)]
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout
    port = process.stdout.readline().strip()
    assert port, (folder / "log").read_text()
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait()


@pytest.fixture
def kubeflow_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[KubeflowServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = KubeflowServer()
    yield server
    server.close()


@pytest.fixture
def kubeflow(kubeflow_server: KubeflowServer) -> str:
    return f"kubeflow+{kubeflow_server.url}"


@pytest.fixture(params=["mlflow_file", "mlflow_server", "kubeflow"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def registry(url: str) -> Registry:
    return open_registry(url)


@pytest.fixture
def model() -> str:
    """A new name, as making the tables anew for each test takes seconds."""
    return f"model_{uuid.uuid4().hex}"


def register(registry: Registry, model: str, sha256: str, **other: object) -> tuple[ModelVersion, bool]:
    what: dict = {"url": f"s3://store/models/{sha256}", "metrics": {"time.top_1": 0.5}, "lineage": {"run": "r1"}}
    return registry.register(model, sha256=sha256, **{**what, **other})
