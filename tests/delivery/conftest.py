"""A project with two tiny pipelines, and the whole command as one call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from delivery.cli import main

PIPELINES = "tiny_pipelines"
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


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory is a new project, whose pipelines are the tiny ones."""
    root = tmp_path / "project"
    (root / "environments").mkdir(parents=True)
    (root / "pyproject.toml").touch()
    (root / "environments/local-dev.yaml").write_text(SETTINGS)
    monkeypatch.chdir(root)
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return root


@pytest.fixture
def mlops(project: Path, capfd: pytest.CaptureFixture[str]) -> Mlops:
    def call(*words: str) -> Outcome:
        with pytest.raises(SystemExit) as stop:
            main(list(words), pipelines=PIPELINES)
        said = capfd.readouterr()
        return Outcome(exit_code=int(stop.value.code or 0), out=said.out, err=said.err)

    return call
