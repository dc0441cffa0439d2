"""Pipelines and their versions, as delivery and people upload, find and delete them."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from kfp_server_api import ApiException

from tests.contract import graphs
from tests.contract.server import pages, refusal, upload_refusal, where

UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def pipeline(server):
    return server.upload("pipeline")


@pytest.fixture
def add(server, client, pipeline):
    """Upload a version of the pipeline."""

    def upload(name: str, graph=graphs.one_step, **kwargs):
        return client.upload_pipeline_version(server.package(graph), name, pipeline_id=pipeline.pipeline_id, **kwargs)

    return upload


def version_names(client, pipeline) -> list[str]:
    found = pages(client.list_pipeline_versions, "pipeline_versions", pipeline_id=pipeline.pipeline_id)
    return [version.display_name for page in found for version in page]


# Pipelines


def test_a_pipeline_is_found_by_the_id_that_its_upload_gave(server, client):
    name = server.name("found")
    uploaded = client.upload_pipeline(server.package(graphs.line), name, "what it is for", namespace=server.namespace)

    found = client.get_pipeline(uploaded.pipeline_id)

    assert found == uploaded
    assert (found.display_name, found.name, found.description) == (name, name, "what it is for")
    assert found.created_at is not None


def test_a_pipeline_without_a_name_is_named_as_its_package_says(server, client, tmp_path):
    package, name = tmp_path / "package.yaml", server.name("own-name")
    text = server.documents(graphs.one_step)[0]
    text["pipelineInfo"]["name"] = name
    package.write_text(json.dumps(text), encoding="utf-8")

    uploaded = client.upload_pipeline(str(package), namespace=server.namespace)

    assert uploaded.display_name == name


def test_the_first_version_is_named_like_the_pipeline(client, pipeline):
    [version] = client.list_pipeline_versions(pipeline.pipeline_id).pipeline_versions

    assert version.display_name == pipeline.display_name
    assert version.pipeline_id == pipeline.pipeline_id


def test_a_pipeline_of_a_name_that_is_taken_is_refused_and_changes_nothing(server, client, pipeline):
    again = upload_refusal(
        client.upload_pipeline, server.package(graphs.line), pipeline.display_name, namespace=server.namespace
    )

    assert again == (409, "Failed to create a pipeline and a pipeline version")
    assert version_names(client, pipeline) == [pipeline.display_name]


def test_of_many_who_upload_one_name_at_once_one_is_served(server, client):
    name, package = server.name("race"), server.package(graphs.one_step)

    def upload(_: int) -> int:
        try:
            client._upload_api.upload_pipeline(package, name=name, namespace=server.namespace or "")
        except ApiException as refused:
            return refused.status
        return 200

    with ThreadPoolExecutor(10) as threads:
        answers = list(threads.map(upload, range(10)))

    assert sorted(answers) == [200] + 9 * [409]
    [made] = client.list_pipelines(namespace=server.namespace, filter=where("display_name", "EQUALS", name)).pipelines
    assert version_names(client, made) == [name]


def test_what_is_no_pipeline_is_refused(server, client, tmp_path):
    file = tmp_path / "package.yaml"
    file.write_text("some: yaml\n", encoding="utf-8")

    status, _ = upload_refusal(client.upload_pipeline, str(file), server.name("none"), namespace=server.namespace)

    assert status in (400, 500)  # 400 here; which of them 2.17.0 says was not tried


def test_a_package_of_more_than_32_mebibytes_is_refused(server, client, tmp_path):
    file = tmp_path / "package.yaml"
    file.write_bytes(b"#" * (32 << 20) + b"\n")

    status, message = upload_refusal(
        client.upload_pipeline, str(file), server.name("large"), namespace=server.namespace
    )

    assert (status, message) == (400, "Failed to read a pipeline spec file")


def test_the_same_name_in_another_namespace_is_another_pipeline(server, client, only_here):
    name, package = server.name("twice"), server.package(graphs.one_step)
    first = client.upload_pipeline(package, name, namespace=server.namespace)

    second = client.upload_pipeline(package, name, namespace=f"{server.mark}-b")

    listed = client.list_pipelines(namespace=f"{server.mark}-b").pipelines
    assert [found.pipeline_id for found in listed] == [second.pipeline_id]
    assert client.get_pipeline(first.pipeline_id).namespace == server.namespace
    client._pipelines_api.pipeline_service_delete_pipeline(second.pipeline_id, cascade=True)


def test_a_pipelines_id_is_found_by_its_name_and_only_by_all_of_it(server, client, pipeline):
    name = pipeline.display_name

    def find(wanted: str) -> list[str]:
        found = client.list_pipelines(namespace=server.namespace, filter=where("display_name", "EQUALS", wanted))
        return [one.pipeline_id for one in found.pipelines or []]

    assert [find(name), find(name[:-1]), find(name + "x")] == [[pipeline.pipeline_id], [], []]


def test_get_pipeline_id_knows_no_namespace(server, client, only_here):
    here, there = server.name("here"), server.name("there")
    package = server.package(graphs.one_step)
    wanted = client.upload_pipeline(package, here)
    other = client.upload_pipeline(package, there, namespace=f"{server.mark}-b")

    assert client.get_pipeline_id(here) == wanted.pipeline_id
    assert client.get_pipeline_id(there) is None
    assert client.get_pipeline_id(server.name("nobody's")) is None
    for made in (wanted, other):
        client._pipelines_api.pipeline_service_delete_pipeline(made.pipeline_id, cascade=True)


def test_pipelines_are_listed_in_order_page_by_page_and_none_twice(server, client):
    word = server.name("paged")
    made = [
        client.upload_pipeline(server.package(graphs.one_step), f"{word}-{n}", namespace=server.namespace)
        for n in range(5)
    ]
    asked = {"namespace": server.namespace, "filter": where("display_name", 9, word)}

    def ids(**kwargs):
        found = pages(client.list_pipelines, "pipelines", **asked, **kwargs)
        return [[pipeline.pipeline_id for pipeline in page] for page in found]

    a, b, c, d, e = (pipeline.pipeline_id for pipeline in made)
    assert ids(page_size=2, sort_by="display_name desc") == [[e, d], [c, b], [a]]
    assert ids(page_size=2, sort_by="created_at") == [[a, b], [c, d], [e]]
    assert ids(page_size=5, sort_by="name asc") == [[a, b, c, d, e]]
    assert client.list_pipelines(page_size=2, **asked).total_size == 5


def test_a_pipeline_with_versions_is_deleted_only_by_a_cascade(client, pipeline):
    [version] = client.list_pipeline_versions(pipeline.pipeline_id).pipeline_versions

    status, code, message = refusal(client.delete_pipeline, pipeline.pipeline_id)

    assert (status, code) == (400, 3)
    assert message == (
        f"Failed to delete pipeline with id {pipeline.pipeline_id} as it has existing pipeline versions "
        f"(e.g. {version.pipeline_version_id}). Set cascade=true to delete all versions"
    )
    client._pipelines_api.pipeline_service_delete_pipeline(pipeline.pipeline_id, cascade=True)
    assert refusal(client.get_pipeline, pipeline.pipeline_id)[0] == 404
    assert refusal(client.get_pipeline_version, pipeline.pipeline_id, version.pipeline_version_id)[0] == 404


def test_a_pipeline_without_versions_is_deleted(client, pipeline):
    [version] = client.list_pipeline_versions(pipeline.pipeline_id).pipeline_versions
    client.delete_pipeline_version(pipeline.pipeline_id, version.pipeline_version_id)
    assert client.list_pipeline_versions(pipeline.pipeline_id).pipeline_versions is None

    client.delete_pipeline(pipeline.pipeline_id)

    assert refusal(client.get_pipeline, pipeline.pipeline_id)[0] == 404


# Versions


def test_a_version_is_found_by_id_and_holds_the_package(server, client, pipeline, add):
    uploaded = add("v1", graphs.placeholders, description="sha256:0")

    found = client.get_pipeline_version(pipeline.pipeline_id, uploaded.pipeline_version_id)

    spec, platform = server.documents(graphs.placeholders)
    assert found == uploaded
    assert (found.display_name, found.description) == ("v1", "sha256:0")
    assert found.pipeline_spec == {"pipeline_spec": spec, "platform_spec": platform}


def test_a_version_without_settings_of_kubernetes_is_the_spec_alone(server, pipeline, add):
    assert add("v1").pipeline_spec == server.documents(graphs.one_step)[0]


def test_a_version_is_uploaded_by_the_pipelines_name(server, client):
    name = server.name("by-name")
    pipeline = client.upload_pipeline(server.package(graphs.one_step), name)  # the client asks without a namespace

    version = client.upload_pipeline_version(server.package(graphs.line), "v1", pipeline_name=name)

    assert version.pipeline_id == pipeline.pipeline_id
    client._pipelines_api.pipeline_service_delete_pipeline(pipeline.pipeline_id, cascade=True)


def test_a_version_of_a_name_that_is_taken_is_refused(client, pipeline, add):
    add("v1")

    assert upload_refusal(add, "v1", graphs.line) == (409, "Failed to create a pipeline version")
    assert sorted(version_names(client, pipeline)) == [pipeline.display_name, "v1"]


def test_the_same_version_name_may_stand_under_another_pipeline(server, client, add):
    add("v1")
    other = server.upload("other")

    version = client.upload_pipeline_version(server.package(graphs.one_step), "v1", pipeline_id=other.pipeline_id)

    assert (version.display_name, version.pipeline_id) == ("v1", other.pipeline_id)


@pytest.mark.parametrize("unknown", [{"pipeline_id": UNKNOWN}, {"pipeline_name": "nobody's"}])
def test_a_version_of_an_unknown_pipeline_is_refused_without_saying_so(server, client, unknown):
    refused = upload_refusal(client.upload_pipeline_version, server.package(graphs.one_step), "v1", **unknown)

    assert refused == (400, "Failed to create a pipeline version")


def test_a_version_is_found_by_its_name(client, pipeline, add):
    add("v1")
    wanted = add("v1.1")

    found = client.list_pipeline_versions(pipeline.pipeline_id, filter=where("display_name", "EQUALS", "v1.1"))

    assert [version.pipeline_version_id for version in found.pipeline_versions] == [wanted.pipeline_version_id]
    assert found.total_size == 1


def test_versions_are_listed_in_order_page_by_page_and_none_twice(client, pipeline, add):
    first = pipeline.display_name
    for name in ("v1", "v2", "v3"):
        add(name)

    def names(**kwargs):
        found = pages(client.list_pipeline_versions, "pipeline_versions", pipeline_id=pipeline.pipeline_id, **kwargs)
        return [[version.display_name for version in page] for page in found]

    assert names(page_size=2) == [[first, "v1"], ["v2", "v3"]]
    assert names(page_size=3, sort_by="created_at desc") == [["v3", "v2", "v1"], [first]]


def test_a_deleted_version_is_gone_and_the_others_are_not(client, pipeline, add):
    version = add("v1")

    client.delete_pipeline_version(pipeline.pipeline_id, version.pipeline_version_id)

    assert version_names(client, pipeline) == [pipeline.display_name]
    assert refusal(client.get_pipeline_version, pipeline.pipeline_id, version.pipeline_version_id)[0] == 404


# Tags, which kfp.Client has no argument for


def test_tags_are_given_at_upload_kept_and_changed(server, client, pipeline):
    upload, package = client._upload_api, server.package(graphs.one_step)
    tagged = upload.upload_pipeline(
        package, name=server.name("tagged"), tags=json.dumps({"team": "a"}), namespace=server.namespace or ""
    )
    version = upload.upload_pipeline_version(
        package, name="v1", pipelineid=pipeline.pipeline_id, tags=json.dumps({"git": "c0ffee", "data": "d4ta"})
    )

    assert client.get_pipeline(tagged.pipeline_id).tags == {"team": "a"}
    found = client.get_pipeline_version(pipeline.pipeline_id, version.pipeline_version_id)
    assert found.tags == {"git": "c0ffee", "data": "d4ta"}
    changed = client._pipelines_api.pipeline_service_update_pipeline_version(
        pipeline.pipeline_id, version.pipeline_version_id, {"tags": {"git": "beef"}}
    )
    assert changed.tags == {"git": "beef"}


def test_versions_are_found_by_a_tag(server, client, pipeline):
    for name, git in (("v1", "a"), ("v2", "b")):
        client._upload_api.upload_pipeline_version(
            server.package(graphs.one_step), name=name, pipelineid=pipeline.pipeline_id, tags=json.dumps({"git": git})
        )

    found = client.list_pipeline_versions(pipeline.pipeline_id, filter=where("tags.git", "EQUALS", "b"))

    assert [version.display_name for version in found.pipeline_versions] == ["v2"]


def test_tags_that_are_no_map_of_texts_are_refused(server, client):
    refused = upload_refusal(
        client._upload_api.upload_pipeline,
        server.package(graphs.one_step),
        name=server.name("bad-tags"),
        tags='{"a": 1}',
    )

    assert refused == (400, "Failed to parse tags query parameter. Expected JSON object with string keys and values")
