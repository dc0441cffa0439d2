from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from components import IMAGE
from delivery import running
from delivery.environments import read_environment
from delivery.errors import BytesDiffer, NoAnswer, WrongUse
from delivery.kubeflow import Kubeflow, connected
from delivery.runs import Plan
from delivery.uploading import upload, uploaded
from localkfp.server import ThreadedLocalKfp
from tests.delivery.unreliable import CutAt, Lost, unreliable

NAME = "silent-0123456789ab"


@pytest.fixture
def server(project: Path) -> Iterator[ThreadedLocalKfp]:
    with ThreadedLocalKfp(images={IMAGE: project}) as server:
        yield server


@contextmanager
def reached(server: ThreadedLocalKfp, lost: Lost = lambda *_: "") -> Iterator[Kubeflow]:
    with unreliable(server.url, lost) as url, connected(replace(read_environment("local-dev"), endpoint=url)) as kfp:
        kfp.seconds = 0.01
        yield kfp


def names(server: ThreadedLocalKfp) -> tuple[list[str], list[str]]:
    """What is there: pipelines, and versions."""
    dump = server.dump()
    pipelines, versions = (sorted(row["name"] for row in dump[table]) for table in ("pipelines", "pipeline_versions"))
    return pipelines, versions


def changed(package: bytes, change: str) -> bytes:
    spec, *platform = yaml.safe_load_all(package)
    if change == "spec":
        spec["root"]["dag"]["tasks"]["second"]["taskInfo"]["name"] = "Another"
    elif change == "platform":
        platform = [{"platforms": {"kubernetes": {"deploymentSpec": {"executors": {"exec-first": {}}}}}}]
    else:
        return package + b"# a comment\n"
    return yaml.safe_dump_all([spec, *platform]).encode()


def test_a_package_is_uploaded_once_however_often_it_is_sent(server: ThreadedLocalKfp, plan: Plan) -> None:
    with reached(server) as kfp:
        assert uploaded(kfp, "silent", NAME, plan.package) is None

        versions = [upload(kfp, "silent", NAME, plan.package) for _ in range(2)]

        assert uploaded(kfp, "silent", NAME, plan.package) == versions[0] == versions[1]
        assert versions[0].name == NAME
    assert names(server) == (["silent"], ["silent", NAME])
    [description] = [row["description"] for row in server.dump()["pipeline_versions"] if row["name"] == NAME]
    assert description.startswith("sha256:")


def test_a_pipeline_is_shown_by_its_name_with_dashes(server: ThreadedLocalKfp, plan: Plan) -> None:
    with reached(server) as kfp:
        upload(kfp, "very_silent", NAME, plan.package)
        upload(kfp, "very_silent", "v2", plan.package)

    assert names(server) == (["very-silent"], [NAME, "v2", "very-silent"])


@pytest.mark.parametrize("name", ["v1.2.3+local", "100%", 'a "b" & c', "ü"])
def test_a_version_is_found_whatever_its_name(server: ThreadedLocalKfp, plan: Plan, name: str) -> None:
    with reached(server) as kfp:
        version = upload(kfp, "silent", name, plan.package)

        assert uploaded(kfp, "silent", name, plan.package) == version
        assert uploaded(kfp, "silent", name.upper() + "x", plan.package) is None


@pytest.mark.parametrize("change", ["spec", "platform", "comment"])
def test_a_version_that_holds_another_package_is_refused_and_kept(
    server: ThreadedLocalKfp, plan: Plan, change: str
) -> None:
    with reached(server) as kfp:
        version = upload(kfp, "silent", NAME, plan.package)
        other = changed(plan.package, change)
        for ask in (upload, uploaded):
            with pytest.raises(BytesDiffer, match=f"version {NAME} at the endpoint holds another package"):
                ask(kfp, "silent", NAME, other)

        assert uploaded(kfp, "silent", NAME, plan.package) == version
    assert names(server)[1] == ["silent", NAME]


@pytest.mark.parametrize("change", ["spec", "platform"])
def test_a_version_whose_description_lies_is_known_by_what_it_holds(
    server: ThreadedLocalKfp, plan: Plan, tmp_path: Path, change: str
) -> None:
    file = tmp_path / "package.yaml"
    ours = f"sha256:{hashlib.sha256(plan.package).hexdigest()}"
    with reached(server) as kfp:
        pipeline_id = upload(kfp, "silent", NAME, plan.package).pipeline_id
        api = kfp.client._upload_api
        for name, said, content in [("by-hand", "", plan.package), ("faked", ours, changed(plan.package, change))]:
            file.write_bytes(content)
            api.upload_pipeline_version(str(file), name=name, pipelineid=pipeline_id, description=said)

        assert uploaded(kfp, "silent", "by-hand", plan.package) is not None
        with pytest.raises(BytesDiffer):
            uploaded(kfp, "silent", "faked", plan.package)


def test_a_package_is_the_same_after_numbers_went_through_json(server: ThreadedLocalKfp, project: Path) -> None:
    package = running.plan(read_environment("local-dev"), "greet", [], "tiny_pipelines").package
    assert b"defaultValue: 1.0" in package  # the server says 1

    with reached(server) as kfp:
        assert upload(kfp, "greet", "v1", package) == uploaded(kfp, "greet", "v1", package)


def test_of_many_who_upload_at_once_all_get_the_same_version(server: ThreadedLocalKfp, plan: Plan) -> None:
    with reached(server) as kfp, ThreadPoolExecutor(6) as threads:
        versions = list(threads.map(lambda _: upload(kfp, "silent", NAME, plan.package), range(6)))

    assert len(set(versions)) == 1
    assert names(server) == (["silent"], ["silent", NAME])


@pytest.mark.parametrize("part", ["request", "answer"])
def test_an_upload_that_is_cut_anywhere_goes_on_and_ends_the_same(
    server: ThreadedLocalKfp, plan: Plan, part: str
) -> None:
    for number in range(20):
        server.reset()
        cut = CutAt(number, part)
        with reached(server, cut) as kfp:
            version = upload(kfp, "silent", NAME, plan.package)
            assert upload(kfp, "silent", NAME, plan.package) == version
        assert names(server) == (["silent"], ["silent", NAME])
        if not cut.was_reached:
            break

    assert 8 <= number < 20  # every request of both was cut once


@pytest.mark.parametrize("part", ["request", "answer"])
def test_an_upload_that_is_given_up_leaves_what_a_repeat_completes(
    server: ThreadedLocalKfp, plan: Plan, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    monkeypatch.setattr("delivery.kubeflow.PATIENCE_SECONDS", -1)
    with reached(server, CutAt(4, part)) as kfp, pytest.raises(NoAnswer):  # of the version, after the pipeline
        upload(kfp, "silent", NAME, plan.package)
    assert names(server)[0] == ["silent"]

    with reached(server) as kfp:
        upload(kfp, "silent", NAME, plan.package)

    assert names(server) == (["silent"], ["silent", NAME])


def test_a_package_that_the_endpoint_refuses_is_told_with_the_reason_and_leaves_nothing(plan: Plan) -> None:
    with ThreadedLocalKfp() as server:
        with (
            reached(server) as kfp,
            pytest.raises(WrongUse, match=f"image {IMAGE} of .* is not (known here|in the Docker engine)"),
        ):
            upload(kfp, "silent", NAME, plan.package)

        assert names(server) == ([], [])
