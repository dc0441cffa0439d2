"""A KFP API server that may be shared, asked through kfp.Client; what is made on it is found again by its mark."""

from __future__ import annotations

import itertools
import json
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import kfp
import kfp_server_api
import pytest
import yaml
from kfp import compiler

from tests.contract import graphs, steps

ENDED = ("SUCCEEDED", "FAILED", "CANCELED")
WAIT = 600.0  # seconds: a cluster may have an image to pull


def where(key: str, operation: str | int, value: str) -> str:
    """A filter of one predicate."""
    return json.dumps({"predicates": [{"operation": operation, "key": key, "stringValue": value}]})


def refusal(call: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[int, int, str]:
    """HTTP status, gRPC code and sentence of a refused call, whose body has the shape that every refusal has."""
    with pytest.raises(kfp_server_api.ApiException) as refused:
        call(*args, **kwargs)
    body = json.loads(refused.value.body)
    assert list(body) == ["code", "message", "details"]
    [detail] = body["details"]
    assert list(detail) == ["@type", "code", "message"]
    assert (detail["@type"], detail["code"]) == ("type.googleapis.com/google.rpc.Status", body["code"])
    return refused.value.status, body["code"], detail["message"]


def upload_refusal(call: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[int, str]:
    """HTTP status and sentence of a refused upload, whose body has a shape of its own."""
    with pytest.raises(kfp_server_api.ApiException) as refused:
        call(*args, **kwargs)
    body = json.loads(refused.value.body)
    assert sorted(body) == ["error_details", "error_message"]
    assert body["error_details"].startswith(body["error_message"])
    return refused.value.status, body["error_message"]


def pages(call: Callable[..., Any], name: str, **kwargs: Any) -> list[list[Any]]:
    """What a list call gives, page by page until there is no further token."""
    found, token = [], ""
    while True:
        answer = call(page_token=token, **kwargs)
        found.append(getattr(answer, name) or [])
        token = answer.next_page_token
        if not token:
            return found


@dataclass
class Server:
    """A server that may have other users: all that is made on it bears the session's mark, and goes with the session."""

    endpoint: str
    namespace: str | None
    image: str
    folder: Path
    is_localkfp: bool
    mark: str = field(default_factory=lambda: f"contract-{uuid.uuid4().hex[:8]}")
    count: Iterator[int] = field(default_factory=itertools.count)
    packages: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.client = self.new_client()

    def new_client(self) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return kfp.Client(host=self.endpoint, **({"namespace": self.namespace} if self.namespace else {}))

    def name(self, word: str) -> str:
        return f"{self.mark}-{next(self.count)}-{word}"

    def package(self, pipeline: Any) -> str:
        """The compiled pipeline, its steps in the session's image."""
        path = self.packages.setdefault(pipeline.name, self.folder / f"{pipeline.name}.yaml")
        if not path.exists():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                compiler.Compiler().compile(pipeline, str(path))
            text = path.read_text(encoding="utf-8")
            path.write_text(text.replace(f"image: {steps.IMAGE}", f"image: {self.image}"), encoding="utf-8")
        return str(path)

    def documents(self, pipeline: Any) -> list[dict[str, Any]]:
        return list(yaml.safe_load_all(Path(self.package(pipeline)).read_text(encoding="utf-8")))

    def experiment(self, word: str) -> str:
        """The id of a new experiment."""
        made = self.client.create_experiment(self.name(word), namespace=self.namespace)
        return str(made.experiment_id)

    def upload(self, word: str, pipeline: Any = graphs.one_step) -> Any:
        return self.client.upload_pipeline(self.package(pipeline), self.name(word), namespace=self.namespace)

    def start(self, experiment_id: str, pipeline: Any, arguments: dict[str, Any] | None = None, word: str = "") -> str:
        """The id of a new run; nothing of it comes from a server's cache."""
        package, name = self.package(pipeline), self.name(word or pipeline.name)
        run = self.client.run_pipeline(experiment_id, name, package, arguments or {}, enable_caching=False)
        return str(run.run_id)

    def run(self, run_id: str) -> Any:
        return self.client.get_run(run_id)

    def until(self, done: Callable[[], Any], what: str, within: float = WAIT) -> Any:
        """What `done` gives, once it is true."""
        deadline = time.monotonic() + within
        while not (found := done()):
            assert time.monotonic() < deadline, f"{what}: not within {within:g} s"
            time.sleep(0.1)
        return found

    def in_state(self, run_id: str, *states: str) -> Any:
        """The run, once it is in one of the states."""

        def done() -> Any:
            run = self.run(run_id)
            return run if run.state in states else None

        return self.until(done, f"run {run_id} in {' or '.join(states)}")

    def ended(self, run_id: str) -> Any:
        return self.in_state(run_id, *ENDED)

    def ended_again(self, run_id: str, before: Any) -> Any:
        """The run after a retry, which keeps no word of its earlier end but its time."""

        def done() -> Any:
            run = self.run(run_id)
            return run if run.state in ENDED and run.finished_at > before.finished_at else None

        return self.until(done, f"another end of run {run_id}")

    def read(self, path: str) -> bytes:
        """An answer that kfp.Client has no call for."""
        with urlopen(f"{self.endpoint}{path}", timeout=30) as answer:
            return bytes(answer.read())

    def remove_all(self) -> None:
        client, mine = self.client, where("display_name", 9, self.mark)
        for experiment in self._all(partial(client.list_experiments, namespace=self.namespace), "experiments", mine):
            of_it = {"experiment_id": experiment.experiment_id}
            for recurring in self._all(partial(client.list_recurring_runs, **of_it), "recurring_runs"):
                client.delete_recurring_run(recurring.recurring_run_id)
            for run in self._all(partial(client.list_runs, **of_it), "runs"):
                if run.state not in ENDED:
                    with suppress(kfp_server_api.ApiException):  # it has ended meanwhile
                        client.terminate_run(run.run_id)
                client.delete_run(run.run_id)
            client.delete_experiment(experiment.experiment_id)
        for pipeline in self._all(partial(client.list_pipelines, namespace=self.namespace), "pipelines", mine):
            client._pipelines_api.pipeline_service_delete_pipeline(pipeline.pipeline_id, cascade=True)

    def _all(self, call: Callable[..., Any], name: str, filter_: str | None = None) -> list[Any]:
        return [row for page in pages(call, name, page_size=200, filter=filter_) for row in page]
