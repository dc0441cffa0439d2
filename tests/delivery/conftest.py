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


@pytest.fixture
def plan(project: Path) -> Plan:
    return running.plan(read_environment("local-dev"), "silent", [], PIPELINES)


@pytest.fixture
def stranger(project: Path) -> Iterator[Callable[..., Environment]]:
    """An environment whose endpoint answers as the test says: a function of method, path and headers."""
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

    def answering(answer: Callable[[str, str, Any], Answer]) -> Environment:
        answers.append(answer)
        return replace(read_environment("local-dev"), endpoint=f"http://127.0.0.1:{server.server_port}")

    yield answering
    server.shutdown()
    server.server_close()
