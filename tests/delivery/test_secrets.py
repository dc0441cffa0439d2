from __future__ import annotations

from pathlib import Path

import pytest

from delivery.environments import read_environment
from delivery.errors import WrongUse
from delivery.secrets import Secret, read

GOOD = {"endpoint": "https://kfp.example", "store": "s3://bucket/x", "registry": "https://mlflow.example"}
# each in two parts, so that this file holds none
AWS, GITHUB, NEW_GITHUB = "AKIA" + "ABCDEFGHIJKLMNOP", "ghp_" + "a1" * 18, "github_pat_" + "b2" * 20
TOKEN = "eyJ" + "hbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiJhIn0.c2lnbmF0dXJl"
KEY = "-----BEGIN " + "PRIVATE KEY-----"
WRITTEN = [
    ("endpoint", "https://ada:" + "hush@kfp.example", "a password in a URL"),
    ("store", "s3://ada:" + "hush@bucket/x", "a password in a URL"),
    ("registry", "kubeflow+https://:" + "hush@registry.example", "a password in a URL"),
    ("parameters.greet.source", "https://ada:" + "hush@data.example/x", "a password in a URL"),
    ("namespace", AWS, "an AWS key id"),
    ("parameters.greet.deep.0.id", "x=" + AWS.replace("AKIA", "ASIA"), "an AWS key id"),
    ("token", TOKEN, "a JSON Web Token"),
    ("token.env", TOKEN, "a JSON Web Token"),
    ("signing_key", KEY + "\\nMC4CAQAwBQYDK2VwBCIEIA", "a private key"),
    ("parameters.greet.auth", GITHUB, "a GitHub token"),
    ("default_pipeline", NEW_GITHUB, "a GitHub token"),
]


def nested(key: str, value: str) -> str:
    """A setting as YAML: `a.b.0.c` is a mapping of a mapping of a list of a mapping."""
    for part in reversed(key.split(".")[1:]):
        value = f"[{value}]" if part.isdigit() else f"{{{part}: {value}}}"
    return value


@pytest.mark.parametrize(("key", "secret", "kind"), WRITTEN, ids=[key for key, *_ in WRITTEN])
def test_a_secret_that_is_written_into_a_file_is_refused_by_its_key_and_never_repeated(
    project: Path, key: str, secret: str, kind: str
) -> None:
    settings = {**GOOD, key.partition(".")[0]: nested(key, f'"{secret}"')}
    path = project / "environments/leaky.yaml"
    path.write_text("".join(f"{name}: {value}\n" for name, value in settings.items()))

    with pytest.raises(WrongUse) as refused:
        read_environment("leaky")

    assert (refused.value.what, refused.value.where) == (f"`{key}` holds {kind}", str(path))
    assert "write exactly one of {env: NAME} or {file: PATH}" in refused.value.do
    assert "hush" not in str(refused.value)
    assert secret not in str(refused.value)


def test_a_secret_in_the_place_of_a_key_is_refused_too(project: Path) -> None:
    path = project / "environments/leaky.yaml"
    path.write_text("".join(f"{name}: {value}\n" for name, value in {**GOOD, GITHUB: 1}.items()))

    with pytest.raises(WrongUse, match="`a key` holds a GitHub token") as refused:
        read_environment("leaky")

    assert GITHUB not in str(refused.value)


def test_what_only_looks_a_little_like_a_secret_is_no_secret(project: Path) -> None:
    (project / "environments/fine.yaml").write_text(
        "endpoint: http://127.0.0.1:8888\nstore: s3://bucket:x/a@b\nregistry: sqlite:////a:b@c/r.db\n"
        "token: {env: AKIA_TOKEN}\nsigning_key: {file: keys/ghp_key.pem}\n"
        "parameters: {greet: {source: 'synthetic:?days=7', mail: 'a:b@data.example', digest: '" + "a" * 64 + "'}}\n"
    )

    assert read_environment("fine").token == Secret(env="AKIA_TOKEN")


def test_a_secret_is_read_from_where_it_is_each_time_anew(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "key.pem").write_text("mine\n")
    (tmp_path / "token").write_text("  old\n")
    monkeypatch.setenv("KFP_TOKEN", " word\n")

    found = [read(secret, tmp_path) for secret in (Secret(env="KFP_TOKEN"), Secret(file="~/key.pem"))]
    found.append(read(Secret(file="token"), tmp_path))
    (tmp_path / "token").write_text("new")
    found.append(read(Secret(file=f"{tmp_path}/token"), Path("/elsewhere")))

    assert found == ["word", "mine", "old", "new"]


@pytest.mark.parametrize("value", [None, " \n"], ids=["not set", "empty"])
def test_a_variable_without_a_secret_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    if value is not None:
        monkeypatch.setenv("KFP_TOKEN", value)

    with pytest.raises(WrongUse, match="the environment variable `KFP_TOKEN` holds no secret") as refused:
        read(Secret(env="KFP_TOKEN"), tmp_path)

    assert (refused.value.where, refused.value.do) == ("$KFP_TOKEN", "set it for this command: export KFP_TOKEN=...")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "a secret's file cannot be read: No such file or directory"),
        (b"\n", "a secret's file holds no text"),
        (b"\xff\xfehush", "a secret's file holds no text"),
    ],
    ids=["absent", "empty", "binary"],
)
def test_a_file_without_a_secret_is_named(tmp_path: Path, content: bytes | None, what: str) -> None:
    if content is not None:
        (tmp_path / "token").write_bytes(content)

    with pytest.raises(WrongUse) as refused:
        read(Secret(file="token"), tmp_path)

    assert (refused.value.what, refused.value.where) == (what, str(tmp_path / "token"))
    assert "hush" not in str(refused.value)
