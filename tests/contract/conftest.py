"""One suite for every KFP API server: `--kfp-endpoint URL`, or without it a localkfp that lives as long as the session."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import kfp
import pytest

pytest.register_assert_rewrite("tests.contract.server")

from tests.contract import graphs  # noqa: E402 - after the line above, or a failed assert would say nothing
from tests.contract.server import Server  # noqa: E402

ENVIRONMENT = (
    "KF_PIPELINES_ENDPOINT",
    "KF_PIPELINES_UI_ENDPOINT",
    "KF_PIPELINES_DEFAULT_EXPERIMENT_NAME",
    "KF_PIPELINES_OVERRIDE_EXPERIMENT_NAME",
)


@pytest.fixture(scope="session")
def endpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    given = request.config.getoption("--kfp-endpoint")
    if given:
        yield given.rstrip("/")
        return
    from localkfp.server import ThreadedLocalKfp

    with ThreadedLocalKfp(tmp_path_factory.mktemp("localkfp")) as server:
        yield server.url


@pytest.fixture(scope="session")
def shared_server(
    request: pytest.FixtureRequest, endpoint: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("contract")
    with pytest.MonkeyPatch.context() as patch:
        # Clients share a namespace through a file under the home that was there when kfp was imported: a person's own.
        patch.setattr(kfp.Client, "_LOCAL_KFP_CONTEXT", str(folder / "context.json"))
        for name in ENVIRONMENT:
            patch.delenv(name, raising=False)
        server = Server(
            endpoint=endpoint,
            namespace=request.config.getoption("--kfp-namespace"),
            image=request.config.getoption("--kfp-image"),
            folder=folder,
            is_localkfp=answers(f"{endpoint}/localkfp/dump"),
        )
        yield server
        server.remove_all()


@pytest.fixture
def server(shared_server: Server) -> Server:
    return shared_server


@pytest.fixture
def client(server: Server) -> Any:
    return server.client


@pytest.fixture
def only_here(server: Server) -> None:
    """For what localkfp does of its own, and for what nobody has tried on a cluster."""
    if not server.is_localkfp:
        pytest.skip("known of localkfp only")


@pytest.fixture(scope="session")
def experiment_id(shared_server: Server) -> str:
    """Where runs go of which a test needs no list."""
    return shared_server.experiment("shared")


@pytest.fixture(scope="session")
def succeeded(shared_server: Server, experiment_id: str) -> str:
    return str(shared_server.ended(shared_server.start(experiment_id, graphs.one_step, {"text": "hello"})).run_id)


@pytest.fixture(scope="session")
def failed(shared_server: Server, experiment_id: str) -> str:
    return str(shared_server.ended(shared_server.start(experiment_id, graphs.failing_step)).run_id)


def answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=30):
            return True
    except HTTPError:
        return False
