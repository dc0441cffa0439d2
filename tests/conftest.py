"""What every test may ask for: an S3 of its own, and a home of its own."""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import boto3
import pytest
import s3fs
from moto.server import ThreadedMotoServer


@dataclass(frozen=True, kw_only=True)
class S3:
    """A real S3 over HTTP, kept in memory: `s3fs`, boto3 and child processes reach it by the usual AWS_* variables."""

    endpoint: str
    client: Any  # boto3 makes its client's class at run time

    def bucket(self, name: str) -> str:
        """Make a bucket; what comes back is its URL."""
        self.client.create_bucket(Bucket=name)
        return f"s3://{name}"

    def put_policy(self, bucket: str, policy: dict[str, Any]) -> None:
        """From now on the bucket refuses what the policy denies."""
        self.client.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", **policy}))


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the home of the person who runs it, nor reaches their cloud."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(folder))
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return folder


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # a line for each request would bury a failing test's words
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)  # port 0: each xdist worker has its own
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_endpoint: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """An S3 that is empty when the test starts."""
    urlopen(Request(f"{s3_endpoint}/moto-api/reset", method="POST"), timeout=10).close()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",  # pragma: allowlist secret
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": s3_endpoint,
        "NO_PROXY": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()  # it remembers listings, and what it remembers was reset
    yield S3(endpoint=s3_endpoint, client=boto3.client("s3", endpoint_url=s3_endpoint))
    s3fs.S3FileSystem.clear_instance_cache()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("kfp", "the contract of a KFP API server (tests/contract)")
    group.addoption("--kfp-endpoint", metavar="URL", help="the server to ask; without it, a localkfp of the tests' own")
    group.addoption("--kfp-namespace", metavar="NS", help="the namespace to work in, where the server has several")
    group.addoption(
        "--kfp-image", metavar="IMAGE", default="python:3.12", help="the image of the steps (default: %(default)s)"
    )
    parser.addoption(
        "--moments",
        type=int,
        default=10,
        help="at how many moments each delivery verb is killed (default: %(default)s)",
    )
