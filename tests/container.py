"""`make container`: the project's own image, built from a clone, and the compiled pipeline in it, step by step.

Apart from `make test`, as building takes minutes. Without a Docker engine it skips, and says so.
"""

import hashlib
import json
import logging
import os
import re
import socket
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import IO, Any

import boto3
import pytest
import s3fs
from kfp import compiler, dsl
from moto.server import ThreadedMotoServer

import models
from components import IMAGE
from components.fetch_data.step import fetch
from delivery.environments import CONTAINER, Environment, read_environment
from delivery.kubeflow import connected
from delivery.pin import pinned
from delivery.runs import Plan, RunResult
from delivery.watching import run_to_end
from localkfp.engine import Containers, Engine
from localkfp.server import ThreadedLocalKfp
from storage import objects
from tests.clones import ROOT, Clone, cloned
from tests.storage.registry.kubeflow_server import KubeflowServer

USER = "65532:65532"  # as the image says itself
SECRET = "only-of-this-machine-31415"  # pragma: allowlist secret  # lies around when the image is built
FORBIDDEN = {  # what no layer of ours holds, by what it is
    "a cache": r"(^|/)(\.cache|pip-[^/]*|uv-[^/]*)/|^(var/cache/apt|var/lib/apt/lists)/.+|^root/.+|^tmp/.+",
    "a secret": r"(^|/)(\.env|\.netrc|\.pypirc|pip\.conf|id_[a-z0-9]+|[^/]*\.key)$",
    "a compiler": r"(^|/)(gcc|cc|g\+\+|clang|ld|make)$|(^|/)(tensorflow/include|clang)/",
    "git": r"(^|/)\.git/",
    "a test": r"(^|/)tests/",
}
PIPELINE = read_environment("local-dev", ROOT).default_pipeline
BASE = os.environ.get("BASE_IMAGE", "")


@pytest.fixture(scope="module")
def client() -> Any:
    if not Engine().answers:
        pytest.skip("no Docker engine answers")
    import docker  # here, as without an engine it may lack, too

    return docker.from_env(timeout=600)  # a cold engine says nothing for a minute before it hands out an image


@pytest.fixture(scope="module")
def base(client: Any) -> str:
    """As the Containerfile says; where that cannot be pulled, a stand-in of the same name that the engine has."""
    pinned_base = re.findall(
        r"(?m)^ARG BASE=(\S+)$", (ROOT / "images/steps/Containerfile").read_text(encoding="utf-8")
    )[0]
    for name in [BASE] if BASE else [pinned_base, "python:3.12-slim"]:
        try:
            client.images.get(name)
        except Exception:
            try:
                client.images.pull(name)
            except Exception as refused:
                print(f"\nbase {name}: {refused}")
                continue
        return name
    return pytest.skip("the base image can neither be found nor pulled: name one by BASE_IMAGE")


@dataclass(frozen=True, kw_only=True)
class Built:
    """The steps' image, and the clone that it was built in."""

    clone: Clone
    reference: str
    id: str
    base_layers: int


@pytest.fixture(scope="module")
def built(client: Any, base: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    clone = cloned(tmp_path_factory.mktemp("container"))
    for name in (".env", "models/.env", "components/key.pem"):  # of this machine only: git ignores them
        (clone.root / name).write_text(SECRET, encoding="utf-8")
    built = {}
    for name in ("steps", "mlops"):
        built[name] = clone.types("mlops", "image", "build", name, "--base", base, says="@sha256:").strip()
        size = client.images.get(built[name].partition("@")[2]).attrs["Size"] / 1e9
        print(f"      {size:.2f} GB; its base {client.images.get(base).attrs['Size'] / 1e9:.2f} GB")
    base_layers = len(client.images.get(base).attrs["RootFS"]["Layers"])
    identity = built["steps"].partition("@")[2]
    yield Built(clone=clone, reference=built["steps"], id=identity, base_layers=base_layers)
    for reference in built.values():
        client.images.remove(reference.partition("@")[2], force=True)


def files_of_layers(image: Any, without: int) -> Iterator[tuple[str, IO[bytes] | None]]:
    """Each file of each layer but the first ones, which are the base's: its path, and its content."""
    with tempfile.TemporaryFile() as saved:
        for chunk in image.save():
            saved.write(chunk)
        saved.seek(0)
        with tarfile.open(fileobj=saved) as outer:
            [manifest] = json.load(outer.extractfile("manifest.json"))  # type: ignore[arg-type]  # Docker wrote it
            for layer in manifest["Layers"][without:]:
                with tarfile.open(fileobj=outer.extractfile(layer)) as files:
                    for member in files:
                        yield member.name.removeprefix("./"), files.extractfile(member) if member.isfile() else None


def test_no_layer_holds_a_secret_a_cache_or_a_compiler(client: Any, built: Built) -> None:
    image, found, count = client.images.get(built.id), [], 0
    for path, content in files_of_layers(image, built.base_layers):
        count += 1
        found += [f"{what}: {path}" for what, pattern in FORBIDDEN.items() if re.search(pattern, path)]
        if content and SECRET.encode() in content.read():
            found.append(f"what only this machine knows: {path}")

    assert found == []
    assert count > 10_000  # they were read
    assert SECRET not in json.dumps([image.attrs, image.history()])


def test_it_says_what_it_is_and_runs_as_nobody_in_particular(client: Any, built: Built) -> None:
    image = client.images.get(built.id)
    commit = built.clone.run("git", "rev-parse", "HEAD").stdout.strip()

    assert image.attrs["Config"]["User"] == USER
    assert image.labels["org.opencontainers.image.revision"] == commit
    for user in (None, "12345:0"):  # a cluster may choose a number of its own
        said = hardened(
            client, built.id, "import os, components.rim, models, tensorflow; print(os.getuid())", user=user
        )
        assert said.split()[-1] == (user or USER).partition(":")[0]


def hardened(client: Any, image: str, code: str, **more: Any) -> str:
    """What Python says in the image, run as a step is."""
    options = {**CONTAINER, "network_mode": "none", "remove": True, **more}
    return str(client.containers.run(image, ["python", "-c", code], stderr=True, **options).decode())


def test_the_small_image_compiles_the_same_package(client: Any, built: Built) -> None:
    mlops = json.loads((built.clone.root / "build/images/mlops.json").read_text(encoding="utf-8"))
    here = built.clone.types("mlops", "compile", PIPELINE).split()[0]
    mounted = {str(built.clone.root): {"bind": "/project", "mode": "ro"}}

    for folder in (built.clone.root, *built.clone.root.parents):
        folder.chmod(folder.stat().st_mode | 0o055)  # pytest's folders are of who runs it
    options = {**CONTAINER, "network_mode": "none", "remove": True, "volumes": mounted}
    said = client.containers.run(
        mlops["image"].partition("@")[2], ["compile", PIPELINE, "--out", "/tmp/out"], **options
    )

    assert said.decode().split()[0] == here


@dataclass(frozen=True, kw_only=True)
class World:
    """A store and a registry that containers reach by a network of their own, which leads nowhere else."""

    network: str
    gateway: str
    folder: Path
    registry: KubeflowServer
    endpoint: str

    def run(self, package: bytes, **arguments: Any) -> RunResult:
        store, registry = "s3://models/store", f"kubeflow+{self.registry.url}"
        given = {"store": store, "registry": registry, **arguments}
        plan = Plan(
            run_name="contained",
            pipeline=PIPELINE,
            package=package,
            arguments=given,
            graph={},
            store=store,
            folder=self.folder / "run",
        )
        environment = Environment(
            name="contained", endpoint=self.endpoint, store=store, registry=registry, root=self.folder
        )
        with connected(environment) as kfp:
            return run_to_end(kfp, plan, lambda progress: None)


@pytest.fixture
def world(client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # a line for each request would bury a failing test's words
    network = client.networks.create(f"mlops-{os.getpid()}", driver="bridge", internal=True)
    try:
        network.reload()
        gateway = network.attrs["IPAM"]["Config"][0]["Gateway"].partition("/")[0]
        if not is_ours(gateway):
            pytest.skip("the engine's networks are not this machine's: it runs in a virtual machine")
        moto = ThreadedMotoServer(ip_address=gateway, port=0, verbose=False)
        moto.start()
        registry = KubeflowServer(gateway)
        for name, value in {
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",  # pragma: allowlist secret
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://{gateway}:{moto.get_host_and_port()[1]}",
            "NO_PROXY": f"127.0.0.1,{gateway}",
        }.items():
            monkeypatch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        s3 = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
        for bucket in ("models", "data"):
            s3.create_bucket(Bucket=bucket)
        options = {**CONTAINER, "user": USER, "network": network.name}
        with ThreadedLocalKfp(folder=tmp_path / "kfp", containers=Containers(options=options)) as server:
            yield World(network=network.name, gateway=gateway, folder=tmp_path, registry=registry, endpoint=server.url)
        registry.close()
        moto.stop()
        s3fs.S3FileSystem.clear_instance_cache()
    finally:
        network.remove()


def is_ours(address: str) -> bool:
    with socket.socket() as listener:
        try:
            listener.bind((address, 0))
        except OSError:
            return False
    return True


def test_the_compiled_pipeline_runs_in_it_from_s3_to_s3_and_makes_the_same_model(built: Built, world: World) -> None:
    clone, source = built.clone, world.folder / "tables"
    drawn = read_environment("local-dev", ROOT).parameters.get(PIPELINE, {}).get("source", "synthetic:")
    fetch(drawn if drawn.startswith("synthetic:") else "synthetic:", source, models.load(PIPELINE))
    for table in source.glob("*.parquet"):
        objects.upload(table, f"s3://data/charts/{table.name}")
    release = clone.types("mlops", "release").split()[-1]
    package = Path(release, f"packages/{PIPELINE}.yaml").read_bytes()
    assert set(re.findall(rb"image: (\S+)", package)) == {built.reference.encode()}

    began = monotonic()
    result = world.run(package, source="s3://data/charts")

    print(f"      the pipeline in its image, from S3 to S3: {monotonic() - began:.0f} s", flush=True)
    failed = {step: record["error"] for step, record in result.records.items() if record["state"] != "SUCCEEDED"}
    assert failed == {}
    facts = {step: record["facts"] for step, record in result.records.items()}
    assert facts["decide"]["verdict"] == "promote"
    sha256, url = facts["publish_model"]["sha256"], facts["publish_model"]["url"]
    assert url.startswith(f"s3://models/store/models/{PIPELINE}/")
    assert hashlib.sha256(objects.read_bytes(url)).hexdigest() == sha256
    assert [one["name"] for one in world.registry.resources if one["kind"] == "model"] == [PIPELINE]
    page = objects.read_bytes(f"s3://models/store/runs/{result.run_id}/report.html").decode()
    assert [step for step in result.records if step not in page] == []
    bare = on_the_bare_machine(clone, source)
    print(f"      model: {sha256} in the image, {bare} on this machine")
    assert sha256 == bare


def on_the_bare_machine(clone: Clone, source: Path) -> str:
    """The model's hash where the same code runs in processes, on the same data."""
    said = clone.types("mlops", "run", PIPELINE, "-p", f"source=file:{source}")
    [sha256] = re.findall(rf"models/{PIPELINE}/([0-9a-f]{{64}})/model.onnx", said)
    return str(sha256)


def test_a_release_of_it_is_deployed_here_by_its_digest(built: Built) -> None:
    release = built.clone.types("mlops", "release").split()[0]
    built.clone.types("mlops", "deploy", release, "--env", "local-prod", says="is current in local-prod")

    [row] = built.clone.status("local-prod")
    assert row["image"] == built.reference


def step(image: str, path: str, folder: Path) -> bytes:
    """A package of one step that writes there, and then into its output."""

    @dsl.component(base_image=IMAGE, install_kfp_package=False)
    def write(path: str, out: dsl.OutputPath(str)):  # type: ignore[valid-type]
        from pathlib import Path

        Path(path).write_text("here")
        Path(out).write_text("done")

    @dsl.pipeline(name="writes")
    def writes(store: str, registry: str):
        write(path=path)

    compiler.Compiler().compile(writes, str(folder / "writes.yaml"))
    return pinned((folder / "writes.yaml").read_bytes(), image)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/tmp/here", ""),
        ("/opt/code/components/here.py", "Read-only file system"),
        ("/opt/steps/here", "Read-only file system"),
        ("/home/here", "Read-only file system"),
    ],
)
def test_a_step_writes_into_its_outputs_and_nowhere_else(built: Built, world: World, path: str, said: str) -> None:
    package = step(built.reference, path, world.folder)

    result = world.run(package)

    assert (result.state, said in result.error) == ("FAILED" if said else "SUCCEEDED", True)


def test_a_step_reaches_the_store_and_nothing_else(client: Any, built: Built, world: World) -> None:
    reach = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)"
    port = world.registry.url.rpartition(":")[2]
    with running(client, built.id, ["python", "-m", "http.server", "8000"], "bridge") as other:
        elsewhere = other.attrs["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
        ended = [
            reached(client, built.id, [reach, *place], network)
            for network in ("bridge", world.network)
            for place in ((elsewhere, "8000"), (world.gateway, port))
        ]

    assert ended == [True, True, False, True]


@contextmanager
def running(client: Any, image: str, command: list[str], network: str) -> Iterator[Any]:
    container = client.containers.run(image, command, **{**CONTAINER, "network": network, "detach": True})
    try:
        container.reload()
        yield container
    finally:
        container.remove(force=True)


def reached(client: Any, image: str, arguments: list[str], network: str) -> bool:
    """Within some seconds, as what listens there may have to begin first."""
    for _ in range(5):
        with running(client, image, ["python", "-c", *arguments], network) as container:
            if container.wait(timeout=60)["StatusCode"] == 0:
                return True
    return False
