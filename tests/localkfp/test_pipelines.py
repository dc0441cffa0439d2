from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from localkfp import pipelines
from localkfp.errors import ApiError
from tests.localkfp.web import Web, serving

PIPELINES = "/apis/v2beta1/pipelines"
FORM = {"Content-Type": "multipart/form-data; boundary=frontier"}


def form(data: bytes, filename: str = "p.yaml", field: str = "uploadfile") -> bytes:
    head = f'--frontier\r\nContent-Disposition: form-data; name="{field}"; filename="{filename}"\r\n\r\n'
    return head.encode() + data + b"\r\n--frontier--\r\n"


@pytest.fixture
def upload(ask, spec):
    """Upload a package, as what the query says; without another one it is the greeting."""

    def send(path: str = "upload", data: bytes | None = None, filename: str = "p.yaml", **query: str):
        body = form(json.dumps(spec).encode() if data is None else data, filename)
        return ask("POST", f"{PIPELINES}/{path}?{urlencode(query)}", body, FORM)

    return send


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as web:
        yield web


@pytest.fixture
def pipeline(upload):
    """The id of a pipeline with one version."""
    return upload(name="greeting")[1]["pipeline_id"]


def versions(ask, pipeline_id: str) -> list[dict[str, Any]]:
    return ask("GET", f"{PIPELINES}/{pipeline_id}/versions")[1].get("pipeline_versions", [])


# Files


def test_a_pipeline_comes_with_a_version_that_is_named_and_described_as_it_is(ask, upload, spec):
    status, pipeline = upload(name="a", description="b", namespace="c", tags='{"team": "red"}')

    assert status == 200
    assert {key: value for key, value in pipeline.items() if key not in ("pipeline_id", "created_at")} == {
        "name": "a",
        "display_name": "a",
        "description": "b",
        "namespace": "c",
        "tags": {"team": "red"},
    }
    [version] = versions(ask, pipeline["pipeline_id"])
    assert (version["name"], version["display_name"], version["description"]) == ("a", "a", "b")
    assert version["pipeline_spec"] == spec
    assert version.keys() & {"tags", "package_url", "namespace", "package"} == set()


@pytest.mark.parametrize(
    ("query", "name", "display_name"),
    [
        ({"name": "a", "display_name": "A"}, "a", "A"),
        ({"display_name": "A"}, "A", "A"),
        ({"name": "Ünïcödé 🎵 'x' \"y\" 100%"}, "Ünïcödé 🎵 'x' \"y\" 100%", "Ünïcödé 🎵 'x' \"y\" 100%"),
        ({}, "p.yaml", "p.yaml"),
    ],
)
def test_one_name_stands_for_the_other_and_the_files_for_both(upload, query, name, display_name):
    _, pipeline = upload(**query)

    assert (pipeline["name"], pipeline["display_name"]) == (name, display_name)


def test_of_twenty_who_upload_the_same_pipeline_at_once_one_does(ask, upload):
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: upload(name="race"), range(20)))

    assert sorted(status for status, _ in answers) == [200] + [409] * 19
    refused = next(body for status, body in answers if status == 409)
    assert refused == {
        "error_message": "Failed to create a pipeline and a pipeline version",
        "error_details": "Failed to create a pipeline and a pipeline version: Already exist error: "
        "Failed to create a new pipeline. The name race already exists. Please specify a new name",
    }
    [pipeline] = ask("GET", PIPELINES)[1]["pipelines"]
    assert len(versions(ask, pipeline["pipeline_id"])) == 1


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"", {}),
        (b"{}", {"Content-Type": "application/json"}),
        (b"no form", FORM),
        (form(b"", field="another"), FORM),
        (b"--frontier\r\nContent-Disposition: form-data; name=uploadfile\r\n\r\ntext\r\n--frontier--\r\n", FORM),
        (form(b"cut off")[:-20], FORM),
    ],
)
@pytest.mark.parametrize("path", ["upload", "upload_version"])
def test_a_body_without_a_file_is_refused(ask, path, body, headers):
    assert ask("POST", f"{PIPELINES}/{path}", body, headers)[0] == 400


@pytest.mark.parametrize(
    ("data", "filename"),
    [
        (b"some: yaml", "p.yaml"),
        (b"\xff\xfe{[", "p.yaml"),
        (b"", "p.yaml"),
        (b"some: yaml", "p.txt"),
        (b"PK\x03\x04 and no more", "p.zip"),
        (b"\x1f\x8b and no more", "p.tar.gz"),
    ],
)
def test_what_is_no_package_is_refused_and_nothing_is_kept(ask, upload, data, filename):
    status, refused = upload(data=data, filename=filename, name="a")

    assert (status, refused["error_message"]) == (400, "Failed to read a pipeline spec file")
    assert ask("GET", PIPELINES) == (200, {})


def test_what_cannot_run_on_this_machine_is_refused_when_it_comes(ask, upload, spec):
    container = spec["deploymentSpec"]["executors"]["exec-say"]["container"]
    container["image"] = "registry.example/unknown:1"

    status, refused = upload(name="a")

    assert (status, "registry.example/unknown:1" in refused["error_details"]) == (400, True)
    assert ask("GET", PIPELINES) == (200, {})


@pytest.mark.parametrize("tags", ["{", "[]", '{"a": 1}', "[" * 10_000])
def test_tags_that_are_no_map_of_texts_are_refused(ask, upload, tags):
    status, refused = upload(name="a", tags=tags)

    assert status == 400
    assert refused["error_message"].startswith("Failed to parse tags query parameter. Expected JSON object")
    assert ask("GET", PIPELINES) == (200, {})


def test_a_version_is_added_under_a_name_of_its_own(ask, upload, pipeline):
    status, version = upload("upload_version", pipelineid=pipeline, name="v2", tags='{"team": "red"}')
    again, refused = upload("upload_version", pipelineid=pipeline, name="v2")

    assert (status, version["display_name"], version["tags"]) == (200, "v2", {"team": "red"})
    assert (again, refused["error_message"]) == (409, "Failed to create a pipeline version")
    assert [one["name"] for one in versions(ask, pipeline)] == ["greeting", "v2"]


@pytest.mark.parametrize("query", [{}, {"pipelineid": "x"}])
def test_a_version_of_an_unknown_pipeline_is_refused_as_on_the_server(upload, query):
    status, refused = upload("upload_version", name="v", **query)

    assert (status, refused["error_message"]) == (400, "Failed to create a pipeline version")
    assert f"Pipeline {query.get('pipelineid', '')} not found" in refused["error_details"]


# URLs


def test_a_pipeline_is_made_from_a_url(ask, web, spec):
    url = web.offer("/some/greeting.yaml", json.dumps(spec).encode())

    status, pipeline = ask("POST", f"{PIPELINES}/create", {"pipeline_version": {"package_url": {"pipeline_url": url}}})

    assert (status, pipeline["name"]) == (200, "greeting.yaml")
    [version] = versions(ask, pipeline["pipeline_id"])
    assert (version["name"], version["package_url"]) == ("greeting.yaml", {"pipeline_url": url})
    assert version["pipeline_spec"] == spec


def test_a_version_is_made_from_a_url(ask, web, spec, pipeline):
    url = web.offer("/greeting.yaml", json.dumps(spec).encode())
    body = {"pipeline_id": pipeline, "name": "v", "package_url": {"pipeline_url": url}}

    status, version = ask("POST", f"{PIPELINES}/{pipeline}/versions", body)
    again, refused = ask("POST", f"{PIPELINES}/{pipeline}/versions", body)
    unknown, _ = ask("POST", f"{PIPELINES}/x/versions", body)

    assert (status, version["package_url"]) == (200, {"pipeline_url": url})
    assert versions(ask, pipeline)[1:] == [version]
    assert (again, refused["code"], unknown) == (409, 6, 404)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"package_url": None}, "Failed to create a pipeline version: Invalid input error: Package URL is empty"),
        ({"package_url": {}}, "Package URL is empty"),
        ({"package_url": "u"}, "package_url: Input should be a valid dictionary"),
        ({"name": ""}, "name is required"),
        ({"package_url": {"pipeline_url": "file:///etc/passwd"}}, "invalid pipeline spec URL: file:///etc/passwd"),
    ],
)
def test_a_version_from_a_url_that_is_not_well_asked_for_is_refused(ask, web, spec, pipeline, change, said):
    url = web.offer("/greeting.yaml", json.dumps(spec).encode())

    status, refused = ask(
        "POST", f"{PIPELINES}/{pipeline}/versions", {"name": "v", "package_url": {"pipeline_url": url}, **change}
    )

    assert (status, said in refused["message"]) == (400, True), refused
    assert len(versions(ask, pipeline)) == 1


# Found, changed and deleted


def test_a_pipeline_is_found_by_its_name_in_its_namespace_only(ask, upload):
    upload(name="a b", namespace="team")

    status, found = ask("GET", f"{PIPELINES}/names/{quote('a b')}?namespace=team")
    unknown, refused = ask("GET", f"{PIPELINES}/names/{quote('a b')}")

    assert (status, found["name"], found["namespace"]) == (200, "a b", "team")
    assert (unknown, refused["details"][0]["message"]) == (404, "Namespace/Pipeline /a b not found")


def test_what_is_unknown_is_not_found_in_the_servers_words(ask):
    status, refused = ask("GET", f"{PIPELINES}/x/versions/y")

    assert (status, refused["message"]) == (
        404,
        "Failed to get a pipeline version: ResourceNotFoundError: PipelineVersion y not found",
    )
    assert ask("GET", f"{PIPELINES}/{quote('100% 🎵 %00')}")[0] == 404


def test_a_version_is_found_whatever_pipeline_the_path_names_and_only_its_tags_change(ask, pipeline):
    [version] = versions(ask, pipeline)
    one = f"{PIPELINES}/another/versions/{version['pipeline_version_id']}"

    status, changed = ask("PATCH", one, {"name": "new", "description": "new", "tags": {"team": "red"}})

    assert (status, changed) == (200, {**version, "tags": {"team": "red"}})
    assert ask("PATCH", one, {})[1] == changed
    assert ask("PATCH", one, {"tags": {"team": 1}})[0] == 400
    assert ask("GET", one) == (200, changed)


@pytest.mark.parametrize(("cascade", "status"), [("true", 200), ("false", 400), ("", 400)])
def test_versions_are_deleted_with_their_pipeline_only_if_told_so(ask, pipeline, cascade, status):
    [version] = versions(ask, pipeline)
    one = f"{PIPELINES}/{pipeline}"

    assert ask("DELETE", f"{one}?cascade={cascade}")[0] == status

    left = 404 if status == 200 else 200
    assert ask("GET", f"{one}/versions/{version['pipeline_version_id']}")[0] == left


# What a run executes


def test_a_run_executes_the_version_that_it_names_or_the_newest(kfp_server, ask, upload, pipeline, spec):
    [first] = versions(ask, pipeline)
    _, newest = upload("upload_version", pipelineid=pipeline, name="v2")

    with kfp_server.kfp.database.read() as db:
        by_default, id_by_default = pipelines.package_of(db, pipeline, "")
        _, id_named = pipelines.package_of(db, "", first["pipeline_version_id"])

    assert (id_by_default, id_named) == (newest["pipeline_version_id"], first["pipeline_version_id"])
    assert by_default.as_json() == spec


def test_a_run_of_an_unknown_version_is_refused_in_the_servers_words(kfp_server, ask, pipeline):
    version_id = versions(ask, pipeline)[0]["pipeline_version_id"]

    def refusal(pipeline_id: str, version_id: str) -> str:
        with kfp_server.kfp.database.read() as db, pytest.raises(ApiError) as refused:
            pipelines.package_of(db, pipeline_id, version_id)
        return refused.value.message

    assert refusal(pipeline, "y") == "PipelineVersion y not found"
    assert refusal("x", "") == "Pipeline x not found"
    assert refusal("x", version_id) == f"Pipeline version {version_id} belongs to pipeline {pipeline} (not x)"
