"""What only the Kubeflow Model Registry has: names that lock, files of versions, and a server that may refuse."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from storage.objects import StorageError
from storage.registry import ModelVersion, open_registry
from tests.storage.registry.conftest import register
from tests.storage.registry.kubeflow_server import API

ONE, TWO = "1" * 64, "2" * 64


@pytest.fixture
def url(kubeflow: str) -> str:
    return kubeflow


@pytest.fixture
def registered(registry, model):
    return register(registry, model, ONE)[0]


def of_kind(server, kind):
    return [each for each in server.resources if each["kind"] == kind]


def test_a_version_has_its_file_for_those_who_serve_it_and_a_repeat_writes_nothing(
    registry, kubeflow_server, registered
):
    kubeflow_server.meanwhile = lambda method, path: None if method == "GET" else 500
    register(registry, registered.name, ONE, url="s3://other")

    [file], [version] = of_kind(kubeflow_server, "file"), of_kind(kubeflow_server, "version")
    said = ("model-artifact", registered.url, "onnx", version["id"])
    assert (file["artifactType"], file["uri"], file["modelFormatName"], file["parent"]) == said
    assert {each["state"] for each in kubeflow_server.resources} == {"LIVE"}


@pytest.mark.parametrize("died_before", ["registered_models", "model_versions", "model_versions/2/artifacts"])
def test_a_repeat_after_a_death_in_the_middle_ends_in_one_version_with_one_file(
    registry, kubeflow_server, model, died_before
):
    kubeflow_server.meanwhile = lambda method, path: 500 if (method, path) == ("POST", died_before) else None
    with pytest.raises(StorageError):
        register(registry, model, ONE)
    kubeflow_server.meanwhile = lambda method, path: None

    version, _ = register(registry, model, ONE)

    assert registry.versions(model) == [version]
    assert [each["kind"] for each in kubeflow_server.resources] == ["model", "version", "file"]


@pytest.mark.parametrize(("theirs", "mine"), [(ONE, "1"), (TWO, "2")], ids=["the same file", "another file"])
def test_a_number_that_another_took_in_between_is_counted_again(registry, url, kubeflow_server, model, theirs, mine):
    def meanwhile(method, path):
        if (method, path) == ("POST", "model_versions"):
            kubeflow_server.meanwhile = lambda method, path: None
            register(open_registry(url), model, theirs)

    kubeflow_server.meanwhile = meanwhile

    version, made = register(registry, model, ONE)

    assert (version.version, made) == (mine, theirs != ONE)
    assert [each.sha256 for each in registry.versions(model)] == list(dict.fromkeys([theirs, ONE]))


def test_of_many_at_once_each_file_has_one_version_and_no_number_is_left_out(url, model):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: register(open_registry(url), model, f"{n % 4:064x}"), range(16)))

    there = open_registry(url).versions(model)
    assert [version.version for version in there] == ["1", "2", "3", "4"]
    assert {version.sha256 for version in there} == {f"{n:064x}" for n in range(4)}
    assert sum(made for _, made in answers) == 4


def test_names_are_told_apart_though_the_server_compares_them_without_their_case(registry, registered):
    other = registered.name.upper()
    assert registry.versions(other) == []

    with pytest.raises(StorageError) as refused:
        register(registry, other, ONE)

    assert refused.value.what.endswith(f"a model whose name differs from {other} in no more than upper and lower case")


def test_what_others_wrote_on_the_model_stays_when_an_alias_is_set(registry, kubeflow_server, registered):
    [there] = of_kind(kubeflow_server, "model")
    note = {"metadataType": "MetadataStringValue", "string_value": "ask Ada"}
    there.update(description="of songs", customProperties={"note": note})

    registry.set_alias(registered.name, "champion", "1")

    assert there["description"] == "of songs"
    assert there["customProperties"]["note"] == note


def test_an_alias_that_a_person_pointed_to_nothing_is_an_error_and_not_no_champion(
    registry, kubeflow_server, registered
):
    registry.set_alias(registered.name, "champion", "1")
    of_kind(kubeflow_server, "model")[0]["customProperties"]["alias.champion"]["string_value"] = "v9"

    with pytest.raises(StorageError) as refused:
        registry.alias(registered.name, "champion")

    assert refused.value.what == f"the alias champion of {registered.name} names version v9, and there is none"


def test_a_version_that_a_person_made_by_hand_is_listed_too(registry, kubeflow_server, model):
    def post(path, **body):
        return kubeflow_server.handle("POST", API + path, {}, json.dumps(body).encode())[1]["id"]

    version = post("model_versions", name="by hand", registeredModelId=post("registered_models", name=model))
    post(f"model_versions/{version}/artifacts", artifactType="model-artifact", uri="s3://by/hand")

    assert registry.versions(model) == [
        ModelVersion(name=model, version="by hand", url="s3://by/hand", sha256="", metrics={}, lineage={}, aliases=())
    ]
    assert register(registry, model, ONE)[0].version == "1"


@pytest.mark.parametrize(
    ("status", "do"), [(400, "correct what is"), (403, "check the URL"), (500, "run it again; when")]
)
def test_what_the_server_refuses_is_a_sentence(registry, url, kubeflow_server, model, status, do):
    kubeflow_server.meanwhile = lambda method, path: status

    with pytest.raises(StorageError) as refused:
        registry.versions(model)

    assert str(refused.value).startswith(f"the registry failed: told to answer {status}\n  where: {url}\n  to do: {do}")


def test_a_number_that_is_taken_and_never_shown_is_no_endless_loop(registry, kubeflow_server, model):
    kubeflow_server.meanwhile = lambda method, path: 409 if (method, path) == ("POST", "model_versions") else None

    with pytest.raises(StorageError) as refused:
        register(registry, model, ONE)

    assert refused.value.what == f"the registry says that version 1 of {model} is there, but does not show it"


def test_a_server_that_is_busy_for_a_moment_is_asked_again_but_nothing_is_written_twice(
    registry, kubeflow_server, model
):
    asked = []

    def busy(method, path):
        asked.append((method, path))
        return 503 if asked.count((method, path)) == 1 else None

    kubeflow_server.meanwhile = busy

    with pytest.raises(StorageError):
        register(registry, model, ONE)

    assert asked == [("GET", "registered_models")] * 2 + [("POST", "registered_models")]


@pytest.mark.parametrize(
    ("status", "page"), [(302, b'{"items": []}'), (200, b"<html>who are you?</html>"), (200, b"[]")]
)
def test_a_login_before_the_registry_is_a_sentence(registry, kubeflow_server, model, status, page):
    kubeflow_server.handle = lambda *_: (status, page)

    with pytest.raises(StorageError) as refused:
        registry.versions(model)

    assert refused.value.what == "what answers there is no Kubeflow Model Registry, or a login stands before it"


def test_a_name_and_a_password_come_from_netrc(registry, kubeflow_server, model, home):
    (home / ".netrc").write_text("machine 127.0.0.1 login ada password lovelace\n")

    registry.versions(model)

    assert kubeflow_server.headers[-1]["Authorization"] == "Basic YWRhOmxvdmVsYWNl"


def test_a_server_that_is_away_is_a_sentence_and_only_when_it_is_asked(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    registry = open_registry("kubeflow+http://127.0.0.1:9/")

    with pytest.raises(StorageError) as refused:
        registry.versions("m")

    assert refused.value.what.startswith("the registry cannot be reached: Failed to establish a new connection: [Errno")
    assert refused.value.where == "kubeflow+http://127.0.0.1:9/"


@pytest.mark.parametrize(
    "wrong",
    [
        "kubeflow+http://",
        "kubeflow+https://ada:secret@host.example",  # pragma: allowlist secret
        "kubeflow+http://h?a=b",
    ],
)
def test_a_url_that_is_no_host_is_refused_and_a_password_is_not_repeated(wrong):
    with pytest.raises(StorageError) as refused:
        open_registry(wrong)

    assert refused.value.do == "write kubeflow+https://host or kubeflow+https://host:port"
    assert "secret" not in str(refused.value)


def test_mlflow_is_not_imported_for_it():
    code = "import sys, storage.registry as r; r.open_registry('kubeflow+http://h.example'); print('mlflow' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
