"""The champion is the version that the alias names, and its file must be the registered one."""

from __future__ import annotations

import hashlib

import pytest

from components.decide.champion import find_champion
from components.decide.step import Champion
from components.errors import GateRefused
from storage import objects
from storage.objects import StorageError


@pytest.fixture
def register(registry, tmp_path):
    """Put a file into a store, and register it."""

    def register(content, lineage):
        sha256 = hashlib.sha256(content).hexdigest()
        url = f"{tmp_path}/store/{sha256}.onnx"
        objects.write_bytes(url, content)
        version, _ = registry.register("toy", url=url, sha256=sha256, metrics={}, lineage=lineage)
        return version

    return register


def test_before_the_first_there_is_none(registry_url, register):
    assert find_champion(registry_url, "toy") is None

    register(b"a candidate is no champion", {})

    assert find_champion(registry_url, "toy") is None


def test_the_champion_comes_with_its_file_and_its_contract(registry_url, registry, register):
    old, new = register(b"old", {"contract": "c1"}), register(b"new", {"contract": "c2"})
    registry.set_alias("toy", "champion", new.version)

    assert find_champion(registry_url, "toy") == Champion(
        onnx=b"new", version="2", url=new.url, sha256=hashlib.sha256(b"new").hexdigest(), contract="c2"
    )

    registry.set_alias("toy", "champion", old.version)

    rolled_back = find_champion(registry_url, "toy")
    assert rolled_back
    assert rolled_back.onnx == b"old"
    assert find_champion(registry_url, "other") is None


def test_a_champion_that_says_nothing_of_its_contract_has_an_unknown_one(registry_url, registry, register):
    registry.set_alias("toy", "champion", register(b"old", {}).version)

    champion = find_champion(registry_url, "toy")

    assert champion
    assert champion.contract == "unknown"


def test_a_champion_whose_file_was_changed_is_refused(registry_url, registry, register):
    version = register(b"old", {"contract": "c1"})
    registry.set_alias("toy", "champion", version.version)
    objects.write_bytes(version.url, b"changed")

    with pytest.raises(GateRefused) as refused:
        find_champion(registry_url, "toy")

    found, registered = (hashlib.sha256(content).hexdigest()[:12] for content in (b"changed", b"old"))
    assert refused.value.gate == "onnx-hash"
    assert refused.value.what == (
        f"the champion's file is not the one that was registered: SHA-256 {found}…, registered {registered}…"
    )
    assert refused.value.where == version.url


def test_a_champion_whose_file_is_gone_is_an_error_and_not_a_first_time(registry_url, registry, register, tmp_path):
    version = register(b"old", {})
    registry.set_alias("toy", "champion", version.version)
    (tmp_path / "store").rename(tmp_path / "elsewhere")

    with pytest.raises(StorageError, match="there is no such file"):
        find_champion(registry_url, "toy")
