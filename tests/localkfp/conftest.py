"""A server, and KFP's unchanged client of it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import kfp
import pytest

from localkfp import ThreadedLocalKfp

Ask = Callable[..., tuple[int, Any]]


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreadedLocalKfp]:
    with ThreadedLocalKfp(tmp_path_factory.mktemp("localkfp")) as server:
        yield server


@pytest.fixture
def kfp_server(shared_server: ThreadedLocalKfp) -> ThreadedLocalKfp:
    """A server that is empty when the test starts; who stops one takes one of its own."""
    shared_server.reset()
    return shared_server


@pytest.fixture
def client(kfp_server: ThreadedLocalKfp, home: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    # Clients share a namespace through a file under the home that was there when kfp was imported: a person's own
    monkeypatch.setattr(kfp.Client, "_LOCAL_KFP_CONTEXT", str(home / ".config/kfp/context.json"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return kfp.Client(host=kfp_server.url)


@pytest.fixture
def ask(kfp_server: ThreadedLocalKfp) -> Ask:
    """Send what the client would not; what comes back is the status, and the answer's JSON or text."""

    def ask(method: str, path: str, data: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        body = data if data is None or isinstance(data, bytes) else json.dumps(data).encode()
        request = Request(f"{kfp_server.url}{path}", data=body, headers=headers or {}, method=method)
        try:
            with urlopen(request, timeout=30) as answer:
                status, read = answer.status, answer.read()
        except HTTPError as refused:
            status, read = refused.code, refused.read()
        try:
            return status, json.loads(read)
        except ValueError:
            return status, read.decode()

    return ask


@pytest.fixture
def spec() -> dict[str, Any]:
    """A compiled pipeline of one step, as small as one can be."""
    source = "def say(text: str):\n    print(text)\n"
    command = ["sh", "-ec", 'python3 -m kfp.dsl.executor_main --component_module_path "$0" "$@"\n', source]
    text = {"inputDefinitions": {"parameters": {"text": {"parameterType": "STRING", "defaultValue": "hello"}}}}
    task = {
        "componentRef": {"name": "comp-say"},
        "inputs": {"parameters": {"text": {"componentInputParameter": "text"}}},
        "taskInfo": {"name": "say"},
    }
    return {
        "pipelineInfo": {"name": "greeting"},
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.17.0",
        "components": {"comp-say": {"executorLabel": "exec-say", **text}},
        "deploymentSpec": {"executors": {"exec-say": {"container": {"image": "python:3.12", "command": command}}}},
        "root": {"dag": {"tasks": {"say": task}}, **text},
    }


@pytest.fixture
def package(spec: dict[str, Any], tmp_path: Path) -> str:
    """The same in a file, for the client."""
    path = tmp_path / "greeting.yaml"
    path.write_text(json.dumps(spec), encoding="utf-8")
    return str(path)
