from __future__ import annotations

import os
import shutil
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519
from securesystemslib.dsse import Envelope

from delivery.errors import NotSigned, WrongUse
from delivery.signatures import require, signer, trusted

PLAIN = form.NoEncryption()
Keys = Callable[..., tuple[str, Path]]


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    """A private key as text, and the file of its public one, as openssl writes them."""

    def make(key: Any = None, lock: form.KeySerializationEncryption = PLAIN) -> tuple[str, Path]:
        key = key or ed25519.Ed25519PrivateKey.generate()
        public = key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
        path = tmp_path / f"{len([*tmp_path.iterdir()])}.pem"
        path.write_bytes(public)
        return key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, lock).decode(), path

    return make


def envelope_of(*pems: str, payload: bytes = b'{"passed": true}') -> Envelope:
    envelope = Envelope(payload, "text/plain", {})
    for pem in pems:
        envelope.sign(signer(pem, "here"))
    return Envelope.from_dict(envelope.to_dict())  # as it is read


@pytest.mark.parametrize(
    "generate",
    [ed25519.Ed25519PrivateKey.generate, lambda: ec.generate_private_key(ec.SECP256R1())],
    ids=["Ed25519", "ECDSA P-256"],
)
def test_what_a_trusted_key_signed_is_accepted(keys, generate):
    mine, public = keys(generate())

    require(envelope_of(mine), trusted([public]), "e.json")


def test_keys_that_are_made_as_the_documentation_says_are_accepted(tmp_path: Path) -> None:
    if not shutil.which("openssl"):
        pytest.skip("openssl is not here, which the documentation makes keys with")
    page = (Path(__file__).parents[2] / "docs/delivery.md").read_text(encoding="utf-8")
    commands = [line.strip() for line in page.splitlines() if line.startswith(("    openssl ", "    mkdir "))]
    subprocess.run(
        ["sh", "-ec", "\n".join(commands)], cwd=tmp_path, env={**os.environ, "HOME": str(tmp_path)}, check=True
    )

    mine = (tmp_path / "dev-key.pem").read_text()
    require(envelope_of(mine), trusted([tmp_path / "environments/keys/dev.pub.pem"]), "e.json")


def test_any_one_of_the_trusted_keys_is_enough_and_other_signatures_do_no_harm(keys):
    (mine, public), (other, _), (_, third) = keys(), keys(), keys()

    require(envelope_of(mine.strip(), other), trusted([third, public]), "e.json")


def test_what_is_unsigned_is_refused(keys):
    with pytest.raises(NotSigned) as refused:
        require(envelope_of(), trusted([keys()[1]]), "e.json")

    assert refused.value.what == "the evidence is unsigned, and only signed evidence counts here"
    assert refused.value.where == "e.json"


def test_what_another_key_signed_is_refused_and_both_are_named(keys):
    (mine, public), (_, other) = keys(), keys()
    [by], [known] = trusted([public]), trusted([other])

    with pytest.raises(NotSigned) as refused:
        require(envelope_of(mine), [known], "e.json")
    with pytest.raises(NotSigned, match="only nobody is believed"):
        require(envelope_of(mine), trusted([]), "e.json")

    assert refused.value.what == (
        f"the evidence is signed by key {by.keyid[:12]}, and only key {known.keyid[:12]} is believed"
    )


def test_what_was_changed_by_one_byte_after_signing_is_refused(keys):
    mine, public = keys()
    envelope = envelope_of(mine)
    envelope.payload = envelope.payload.replace(b"true", b"True")

    with pytest.raises(NotSigned, match="does not verify: the evidence was changed after it was signed"):
        require(envelope, trusted([public]), "e.json")


def test_a_signature_under_the_name_of_a_trusted_key_is_refused(keys):
    (mine, _), (_, public) = keys(), keys()
    [believed] = trusted([public])
    data = envelope_of(mine).to_dict()
    data["signatures"][0]["keyid"] = believed.keyid

    with pytest.raises(NotSigned, match="does not verify"):
        require(Envelope.from_dict(data), [believed], "e.json")


def unknown(pem: str) -> str:
    """The same key, as if of another curve: SM2, which nobody here can use."""
    head, *lines, foot = pem.strip().splitlines()
    der = b64decode("".join(lines)).replace(bytes.fromhex("2a8648ce3d030107"), bytes.fromhex("2a811ccf5501822d"))
    return "\n".join([head, b64encode(der).decode(), foot])


@pytest.mark.parametrize("case", ["encrypted", "nonsense", "cut", "cannot sign", "no text", "unknown"])
def test_a_signing_key_that_is_none_is_refused_without_a_word_of_it(keys, case):
    plain, _ = keys()
    pem, said = {
        "encrypted": (keys(lock=form.BestAvailableEncryption(b"secret"))[0], "is encrypted"),
        "nonsense": ("hunter2 hunter2 hunter2", "no private key in PEM"),
        "cut": (plain.replace(plain[40:60], ""), "no private key in PEM"),
        "cannot sign": (keys(x25519.X25519PrivateKey.generate())[0], "no private key in PEM"),
        "unknown": (unknown(keys(ec.generate_private_key(ec.SECP256R1()))[0]), "no private key in PEM"),
        "no text": ("\udcff" + plain, "no private key in PEM"),
    }[case]

    with pytest.raises(WrongUse) as refused:
        signer(pem, "$KEY")

    assert said in refused.value.what
    assert refused.value.where == "$KEY"
    assert (refused.value.__cause__, refused.value.__context__) == (None, None)
    for line in (line for line in pem.splitlines() if "-----" not in line):
        assert line[:16] not in str(refused.value)


@pytest.mark.parametrize("content", [None, "nonsense", "private", "unknown"], ids=str)
def test_a_trusted_key_that_is_none_is_refused_by_its_path(keys, tmp_path, content):
    path, private = tmp_path / "trusted.pem", keys()[0]
    if content:
        public = keys(ec.generate_private_key(ec.SECP256R1()))[1].read_text()
        path.write_text({"private": private, "unknown": unknown(public)}.get(content, content))

    with pytest.raises(WrongUse, match="a trusted key") as refused:
        trusted([keys()[1], path])

    assert refused.value.where == str(path)
    assert private.splitlines()[1] not in str(refused.value)
