"""A project with two tiny pipelines, and the whole command as one call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from delivery import running
from delivery.cli import main
from delivery.environments import Environment, read_environment
from delivery.runs import Plan
from tests.delivery import delivered
from tests.storage.registry.kubeflow_server import KubeflowServer

PIPELINES = "tiny_pipelines"
REPOSITORY = Path(__file__).parents[2]
SETTINGS = """\
endpoint: local
store: file:store
registry: sqlite:///registry.db
default_pipeline: greet
parameters:
  greet:
    name: Ada
"""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    exit_code: int
    out: str
    err: str

    @property
    def ok(self) -> str:
        """What it printed; it must have gone well."""
        assert self.exit_code == 0, self.err
        return self.out


Mlops = Callable[..., Outcome]
Answer = tuple[int, str]  # status, body


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory is a new project, whose pipelines are the tiny ones."""
    root = tmp_path / "project"
    (root / "environments").mkdir(parents=True)
    (root / "pyproject.toml").touch()
    (root / "environments/local-dev.yaml").write_text(SETTINGS)
    monkeypatch.chdir(root)
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))  # the project's own code is there, and not in its root
    return root


@pytest.fixture
def mlops(project: Path, capfd: pytest.CaptureFixture[str]) -> Mlops:
    def call(*words: str) -> Outcome:
        with pytest.raises(SystemExit) as stop:
            main(list(words), pipelines=PIPELINES)
        said = capfd.readouterr()
        return Outcome(exit_code=int(stop.value.code or 0), out=said.out, err=said.err)

    return call


@pytest.fixture(scope="session")
def delivery_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[delivered.Site]:
    """One project for all tests of a process: a first deployment takes seconds, and going back to it does not."""
    registries = {name: KubeflowServer() for name in ("local-dev", "local-prod")}
    yield delivered.Site(tmp_path_factory.mktemp("site"), registries)
    for registry in registries.values():
        registry.close()


@pytest.fixture
def delivery(
    delivery_site: delivered.Site, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[delivered.Project]:
    """The current directory is a project, with one commit, whose releases can be deployed in seconds."""

    def mlops(*words: str) -> Outcome:
        delivered.forget_code()
        with pytest.raises(SystemExit) as stop:
            main(list(words), pipelines=delivered.PIPELINES)
        said = capfd.readouterr()
        return Outcome(exit_code=int(stop.value.code or 0), out=said.out, err=said.err)

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    delivery_site.restore("new")
    monkeypatch.chdir(delivery_site.root)
    monkeypatch.syspath_prepend(str(delivery_site.root))
    yield delivered.Project(delivery_site.root, mlops)
    delivered.forget_code()


@pytest.fixture
def proved(delivery: delivered.Project, delivery_site: delivered.Site) -> delivered.Project:
    """That project, when local-dev has proved the release that is tagged v1."""
    if not delivery_site.restore("proved"):
        delivery.delivered("first", 0.6, "v1")
        delivery_site.save("proved")
    return delivery


@pytest.fixture
def promoted(delivery: delivered.Project, delivery_site: delivered.Site) -> delivered.Project:
    """That project, when v1 and then v2 were promoted to local-prod, on schedules of their own."""
    if not delivery_site.restore("promoted"):
        for tag, quality in (("v1", 0.6), ("v2", 0.7)):
            delivery.schedule("local-prod", f"0 0 {tag[1]} * * *")
            delivery.delivered(tag, quality, tag)
            assert delivery.mlops("promote", tag, "--from", "local-dev", "--to", "local-prod").ok
        delivery_site.save("promoted")
    return delivery


@pytest.fixture
def moments(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--moments"))


@pytest.fixture
def plan(project: Path) -> Plan:
    return running.plan(read_environment("local-dev"), "silent", [], PIPELINES)


@pytest.fixture
def answering() -> Iterator[Callable[[Callable[[str, str, Any], Answer]], str]]:
    """The URL of an endpoint that answers as the test says: a function of method, path and headers."""
    answers: list[Callable[[str, str, Any], Answer]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers[-1](self.command, self.path, self.headers)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body.encode())))
            self.send_header("Location", "/login")
            self.end_headers()
            self.wfile.write(body.encode())

        do_POST = do_GET  # noqa: N815  # http.server looks for that name

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def url(answer: Callable[[str, str, Any], Answer]) -> str:
        answers.append(answer)
        return f"http://127.0.0.1:{server.server_port}"

    yield url
    server.shutdown()
    server.server_close()


@pytest.fixture
def stranger(project: Path, answering: Callable[..., str]) -> Callable[..., Environment]:
    """An environment that has such an endpoint."""
    return lambda answer: replace(read_environment("local-dev"), endpoint=answering(answer))
