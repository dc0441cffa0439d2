"""Containers, on a machine whose Docker engine answers and has an image with a shell; and how they are run, on any."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from localkfp.database import move
from localkfp.engine import LABEL, Containers, Engine, find
from localkfp.errors import ApiError
from tests.localkfp.machine import Machine, compiled


@pytest.fixture(scope="module")
def client() -> Any:
    engine = Engine()
    if not engine.answers:
        pytest.skip("no Docker engine answers")
    return engine.client


@pytest.fixture(scope="module")
def image(client: Any) -> str:
    for name in (tag for image in client.images.list() for tag in image.tags):
        try:
            client.containers.run(name, ["sh", "-c", "true"], remove=True, network_mode="none")
        except Exception:  # whatever is amiss with it: the next one may do
            continue
        return str(name)
    return pytest.skip("the Docker engine has no image with a shell")


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path / "machine").start()
    yield machine
    machine.executor.stop()


def shell(image: str, script: str, name: str = "shell") -> Any:
    """A component that writes its output where it is told."""

    def component(text: str, output: dsl.OutputPath(str)):  # type: ignore[valid-type]
        return dsl.ContainerSpec(image=image, command=["sh", "-c", script], args=[output, text])

    component.__name__ = name
    return dsl.container_component(component)


def pipeline(step: Any) -> Any:
    @dsl.pipeline(name="containers")
    def containers():
        kept = step(text="a b")
        kept.set_env_variable("OWN", "own")
        step(text=kept.outputs["output"])

    return compiled(containers)


def test_containers_run_and_hand_on_what_they_write(here, image):
    ran = here.run(pipeline(shell(image, 'echo "got $1"; echo -n "$1$OWN" > "$0"')))

    assert ran.state == "SUCCEEDED", ran.log()
    assert ran.output("shell-2", "output") == "a bown"
    assert ran.log("shell").strip() == "got a b"


def test_a_container_that_fails_at_once_fails_its_step(here, image, client):
    ran = here.run(pipeline(shell(image, "echo why >&2; exit 3")))

    assert ran.state == "FAILED"
    assert ran.run["error"] == "shell: why (exit code 3)"
    assert client.containers.list(all=True, filters={"label": f"{LABEL}={ran.run['run_id']}"}) == []


def test_a_run_that_is_ended_leaves_no_container(here, image, client):
    run_id = here.add(pipeline(shell(image, "sleep 600")))
    here.wait(lambda: client.containers.list(filters={"label": f"{LABEL}={run_id}"}))

    with here.database.write() as db:
        move(db, run_id, "CANCELING", ["RUNNING"])
    here.executor.wake()

    assert here.ended(run_id).state == "CANCELED"
    assert client.containers.list(all=True, filters={"label": f"{LABEL}={run_id}"}) == []


def test_an_image_that_was_never_pushed_is_found_by_its_id(here, image, client):
    identity = client.images.get(image).id
    unpushed = f"localhost/steps@{identity}"

    ran = here.run(pipeline(shell(unpushed, 'echo -n "$1$OWN" > "$0"')))

    assert ran.state == "SUCCEEDED", ran.log()
    assert find(client, unpushed).id == identity
    assert find(client, f"localhost/steps@sha256:{'0' * 64}") is None


@pytest.fixture
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machine]:
    """A machine that runs containers as it is told."""
    machine = Machine(tmp_path / "made", containers=request.param).start()
    yield machine
    machine.executor.stop()


STRICT = Containers(options={"user": "12345:12345", "read_only": True, "tmpfs": {"/tmp": ""}, "network_mode": "none"})


@pytest.mark.parametrize("made", [STRICT], indirect=True)
def test_containers_run_as_they_are_told_to_and_hand_on_what_they_write(made, image):
    ran = made.run(pipeline(shell(image, 'id -u; touch /tmp/mine; touch /mine; echo -n "$1$OWN" > "$0"')))

    assert ran.state == "SUCCEEDED", ran.log()
    said = ran.log("shell").lower()
    assert said.split()[0] == "12345"
    assert "read-only file system" in said


def test_folders_are_seen_inside_under_the_same_path(tmp_path):
    folder = tmp_path / "new/store"
    given: dict[str, Any] = {
        "volumes": {"/a": {"bind": "/a", "mode": "rw"}},
        "environment": {"A": "1"},
        "read_only": False,
    }
    told = Containers.from_json(
        json.loads(json.dumps(Containers(options={"read_only": True}, folders=(folder,)).as_json()))
    )

    options = told.with_options(given)

    assert options["volumes"] == {**given["volumes"], str(folder): {"bind": str(folder), "mode": "rw"}}
    assert (options["environment"], options["read_only"]) == ({"A": "1"}, True)
    assert folder.is_dir()


@pytest.mark.parametrize(
    ("options", "me", "another"),
    [
        ({}, 1000, False),
        ({}, 0, True),  # then it is whom the image names
        ({"user": "1000:1000"}, 1000, False),
        ({"user": "65532:65532"}, 1000, True),
        ({"user": "0:0"}, 0, False),
        ({"user": 65532}, 0, True),
    ],
)
def test_whether_containers_write_as_somebody_else_is_known(monkeypatch, options, me, another):
    monkeypatch.setattr(os, "getuid", lambda: me)

    assert Containers(options=options).may_be_another_user is another


def test_an_image_that_the_engine_has_not_is_refused(here, client):
    with pytest.raises(ApiError, match="is not in the Docker engine: docker pull elsewhere:1"):
        here.executor.check(pipeline(shell("elsewhere:1", "true")))


def test_without_an_engine_a_container_is_refused_with_what_to_do(here, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")

    with pytest.raises(ApiError) as refused:
        here.executor.check(pipeline(shell("elsewhere:1", "true")))

    said = refused.value.message
    assert "task shell brings no code of its own, but calls what is in image elsewhere:1: start a Docker engine" in said
