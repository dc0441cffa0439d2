from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ed25519

from delivery import release
from delivery.doctor import examine
from delivery.doctor_environment import registry_of, rows
from delivery.environments import Environment, read_environment
from delivery.health import Health, Thing
from delivery.secrets import Secret
from localkfp.server import ThreadedLocalKfp

HEALTHY = (200, '{"multi_user": true, "pipeline_store": "database"}')
DIGEST = "sha256:" + "ab" * 32
WORD = Secret(env="KFP_TOKEN")


def row(name: str, environment: Environment) -> Thing:
    [found] = [thing for thing in rows(environment) if thing.name == name]
    return found


def knows(method: str, path: str, headers: Any) -> tuple[int, str]:
    """An API that knows the token `word`, and in namespace `team` only."""
    if headers["Authorization"] != "Bearer word":
        return 401, ""
    return (
        HEALTHY if "healthz" in path else (200, "{}") if "namespace=team" in path else (403, '{"message": "not you"}')
    )


@pytest.mark.parametrize(
    ("given", "health", "found"),
    [
        (("word", WORD, "team"), Health.OK, "accepted"),
        (("old", WORD, "team"), Health.BROKEN, "the token of the variable KFP_TOKEN has expired"),
        (("word", WORD, "other"), Health.BROKEN, "may not do this in namespace `other`"),
        (("", WORD, "team"), Health.MISSING, "the environment variable `KFP_TOKEN` holds no secret"),
        (("word", None, "team"), Health.BROKEN, "the endpoint says 401: Unauthorized"),
    ],
    ids=["good", "expired", "wrong namespace", "not set", "not named"],
)
def test_a_token_that_is_no_good_is_told_apart_from_an_endpoint_that_is_away(
    stranger: Any, monkeypatch: pytest.MonkeyPatch, given: tuple[str, Secret | None, str], health: Health, found: str
) -> None:
    variable, token, namespace = given
    monkeypatch.setenv("KFP_TOKEN", variable)
    environment = replace(stranger(knows), token=token, namespace=namespace)

    endpoint, told = row("endpoint", environment), row("token", environment)

    assert (endpoint.health, told.health) == (Health.OK, health)
    assert found in told.found
    assert told.get_it or health is Health.OK


def test_a_token_is_asked_for_only_where_the_endpoint_does(stranger: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KFP_TOKEN", "word")
    away = stranger(lambda *_: (503, ""))
    told = row("endpoint", away).health, row("token", replace(away, token=WORD)).found
    names = [thing.name for thing in rows(away)]
    free = row("token", stranger(lambda _, path, __: HEALTHY if "healthz" in path else (200, "{}")))

    assert told == (Health.BROKEN, "it can be read; nobody could be asked whether it is good")
    assert names == ["endpoint", "store", "registry", "image"]
    assert (free.health, free.found) == (Health.OK, "none is set, and none was asked for")


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A registry of images, of which each has its own fate; what comes back is its address."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    fates = {f"/v2/team/{name}/manifests/{DIGEST}": fate for name, fate in (("good", 200), ("own", 401), ("ill", 500))}

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            holds = "application/vnd.oci.image.index.v1+json" in self.headers["Accept"]
            self.send_response(fates.get(self.path, 404) if holds else 404)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def built(project: Path, manifest: str, name: str = "a" * 64, at: int = 2) -> None:
    path = project / release.BUILT / name / "manifest.json"
    path.parent.mkdir(parents=True)
    path.write_text(manifest)
    os.utime(path, (at, at))


@pytest.mark.parametrize(
    ("image", "health", "found"),
    [
        (f"HOST/team/good@{DIGEST}", Health.OK, f"HOST/team/good@{DIGEST}"),
        (f"HOST/team/good:v1@{DIGEST}", Health.OK, f"HOST/team/good:v1@{DIGEST}"),
        (f"HOST/team/own@{DIGEST}", Health.OK, "wants credentials, so it was not looked for"),
        (f"HOST/team/gone@{DIGEST}", Health.BROKEN, "HOST has no such image"),
        (f"HOST/team/ill@{DIGEST}", Health.BROKEN, "HOST says 500"),
        (f"127.0.0.1:9/steps@{DIGEST}", Health.BROKEN, "127.0.0.1:9 does not answer (ConnectionError)"),
        (
            f"local@{DIGEST}",
            Health.BROKEN,
            "aaaaaaaaaaaa has its code in an archive, and a cluster runs container images",
        ),
        ("steps:v1", Health.BROKEN, "`steps:v1` is not pinned by its digest"),
    ],
    ids=["there", "there, by a tag too", "private", "not there", "ill", "away", "an archive", "a tag"],
)
def test_the_image_of_the_newest_release_is_looked_for_in_its_registry(
    project: Path, registry: str, image: str, health: Health, found: str
) -> None:
    built(project, '{"image": "older:v1"}', "b" * 64, at=1)
    built(project, json.dumps({"image": image.replace("HOST", registry)}))

    told = row("image", replace(read_environment("local-dev"), endpoint="http://127.0.0.1:9"))

    assert (told.health, found.replace("HOST", registry) in told.found) == (health, True)
    assert told.get_it or health is Health.OK


def test_without_a_release_that_can_be_read_it_says_how_to_build_one(project: Path) -> None:
    environment = replace(read_environment("local-dev"), endpoint="http://127.0.0.1:9")
    none = row("image", environment)
    built(project, "[]")

    assert (none.health, none.found) == (Health.MISSING, "build/releases holds no release yet")
    assert row("image", environment).health is Health.BROKEN
    assert none.get_it == row("image", environment).get_it == "build a release: mlops release --image REPO@sha256:..."


def test_a_repository_without_a_host_is_dockers() -> None:
    docker = "registry-1.docker.io"

    assert registry_of("busybox") == registry_of("docker.io/busybox") == (docker, "library/busybox")
    assert registry_of("team/steps") == (docker, "team/steps")
    assert registry_of("registry.example/steps") == ("registry.example", "steps")
    assert registry_of("registry:5000/a/b") == ("registry:5000", "a/b")
    assert registry_of("localhost/a:v1") == ("localhost", "a")


@pytest.fixture
def pems(project: Path) -> Path:
    """A folder with a private key, its public one, and a file that is neither."""
    key, folder = ed25519.Ed25519PrivateKey.generate(), project / "keys"
    folder.mkdir()
    private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    public = key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    for name, content in (("private", private), ("public", public), ("garbage", b"a key")):
        (folder / f"{name}.pem").write_bytes(content)
        (folder / f"{name}.pem").chmod(0o600)
    return folder


@pytest.mark.parametrize(
    ("name", "health"), [("private", Health.OK), ("public", Health.BROKEN), ("garbage", Health.BROKEN)]
)
def test_a_signing_key_that_cannot_sign_is_broken(
    pems: Path, monkeypatch: pytest.MonkeyPatch, name: str, health: Health
) -> None:
    monkeypatch.setenv("MLOPS_SIGNING_KEY", (pems / f"{name}.pem").read_text())

    told = row("signing_key", replace(read_environment("local-dev"), signing_key=Secret(env="MLOPS_SIGNING_KEY")))

    assert told.health is health
    if health is Health.BROKEN:
        assert told.found == "$MLOPS_SIGNING_KEY: the signing key is no private key in PEM that can sign"
        assert told.get_it.startswith("make one: openssl")


def test_a_signing_key_that_others_can_read_is_remarked_on(pems: Path) -> None:
    environment = replace(read_environment("local-dev"), signing_key=Secret(file="keys/private.pem"))
    mine = row("signing_key", environment)
    (pems / "private.pem").chmod(0o640)
    ours = row("signing_key", environment)

    assert (mine.health, mine.found) == (Health.OK, "keys/private.pem")
    assert (ours.health, ours.found) == (Health.OK, "keys/private.pem: others can read it: chmod 600")


@pytest.mark.parametrize("name", ["private", "garbage"])
def test_a_trusted_key_that_is_no_public_key_is_broken(pems: Path, name: str) -> None:
    keys = [f"{pems}/public.pem", f"{pems}/{name}.pem"]
    told = row("trusted_keys", replace(read_environment("local-dev"), require_signature=True, trusted_keys=keys))

    assert told.health is Health.BROKEN
    assert told.found == f"{keys[1]}: a trusted key is no public key in PEM that can verify"
    assert "openssl pkey" in told.get_it


@pytest.mark.parametrize(
    ("settings", "lacks"),
    [
        ("signing_key: {env: NO_SUCH_KEY}", ["signing_key"]),
        ("require_signature: true\ntrusted_keys: [keys/gone.pem]", ["trusted_keys"]),
        ("signing_key: {file: keys/private.pem}", []),
    ],
    ids=["no key to sign with", "no key to believe", "a good key"],
)
def test_a_deploy_on_this_machine_needs_the_keys_that_its_environment_names(
    project: Path, pems: Path, settings: str, lacks: list[str]
) -> None:
    (project / "environments/keyed.yaml").write_text(
        f"endpoint: local\nstore: file:store\nregistry: sqlite:///r.db\n{settings}\n"
    )

    diagnosis = examine("keyed")

    assert [rung.lacks for rung in diagnosis.rungs if rung.name == "a deploy to keyed"] == [lacks]
    assert (diagnosis.failure() is None) is (not lacks)


def test_a_registry_that_does_not_answer_is_a_sentence_with_a_cure(project: Path) -> None:
    told = row("registry", replace(read_environment("local-dev"), registry="http://127.0.0.1:9"))

    assert told.found == "http://127.0.0.1:9: 127.0.0.1:9 does not answer: Connection refused"
    assert told.get_it == "start it, or correct `registry` in the environment"


def test_keys_are_looked_for_where_the_environment_needs_them_and_nowhere_else(project: Path, pems: Path) -> None:
    plain = read_environment("local-dev")
    here, gone = f"{pems}/public.pem", f"{project}/gone.pem"

    signing = row("signing_key", replace(plain, signing_key=Secret(file="gone.pem")))
    trusting = row("trusted_keys", replace(plain, require_signature=True, trusted_keys=[here, gone]))

    assert (signing.health, str(project / "gone.pem") in signing.get_it) == (Health.MISSING, True)
    assert (trusting.health, trusting.found) == (Health.MISSING, f"not there: {gone}")
    good = replace(plain, signing_key=Secret(file="keys/private.pem"), require_signature=True, trusted_keys=[here])
    assert {row(name, good).health for name in ("signing_key", "trusted_keys")} == {Health.OK}
    assert {thing.name for thing in rows(replace(plain, trusted_keys=[gone]))} == {
        *("endpoint", "store", "registry", "image")
    }


def test_an_environment_on_a_cluster_can_be_deployed_to_once_all_that_it_names_is_there(
    project: Path, registry: str
) -> None:
    with ThreadedLocalKfp() as server:
        settings = f"endpoint: {server.url}\nstore: file:store\nregistry: sqlite:///r.db\n"
        (project / "environments/net.yaml").write_text(settings)
        before = examine("net").failure()
        built(project, json.dumps({"image": f"{registry}/team/good@{DIGEST}"}))
        after = examine("net")

    assert before is not None
    assert (before.what, before.where) == ("this machine cannot run: a deploy to net", "image")
    assert before.do.startswith("image: build a release: mlops release --image")
    assert after.failure() is None
    assert [rung.name for rung in after.rungs if "deploy" in rung.name] == ["a deploy to net"]
    assert not [rung.name for rung in examine("local-dev").rungs if "deploy" in rung.name]
