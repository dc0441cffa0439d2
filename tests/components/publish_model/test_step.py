"""One visible act; a repeat changes nothing, and whatever was cut off, the repeat ends where it would have ended."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from components.errors import GateRefused
from components.publish_model.step import Published, publish
from storage import objects
from storage.objects import StorageError
from storage.registry import open_registry

METRICS = {"time.top_1": 0.9, "unseen.top_1": 0.8}
LINEAGE = {"run": "run-7", "data_version": "d4ta", "git_commit": "c0ffee", "contract": "c1"}
REFUSE_MODELS = {
    "Statement": [
        {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::models/store/models/*"}
    ]
}


class Killed(BaseException):
    """The process ends here."""


class CutOff:
    """The registry, until the process is killed in the call of that name (and alias)."""

    def __init__(self, registry, at: str) -> None:
        self.registry, self.at = registry, at

    def register(self, *args, **kwargs):
        if self.at == "register":
            raise Killed
        return self.registry.register(*args, **kwargs)

    def set_alias(self, name, alias, version) -> None:
        if self.at == alias:
            raise Killed
        self.registry.set_alias(name, alias, version)

    def alias(self, name, alias):
        return self.registry.alias(name, alias)


def files_of(content: bytes) -> dict[str, Path | bytes]:
    return {"model.onnx": content, "classes.json": b'["blue"]', "profile.json": b"{}", "model_card.md": b"# Card"}


def put(registry, store, content=b"graph", verdict="promote", files=None, **other):
    given = {
        "name": "toy", "verdict": verdict, "judged_sha256": hashlib.sha256(content).hexdigest(), "store": store,
        "registry": registry, "metrics": METRICS, "lineage": LINEAGE, **other,
    }  # fmt: skip
    return publish({**files_of(content), **(files or {})}, **given)


def state(registry, store) -> tuple:
    """All that can be seen from outside: every object with its content, every version, every alias."""
    there = sorted(path for path in Path(store).rglob("*") if path.is_file())
    contents = {str(path.relative_to(store)): path.read_bytes() for path in there}
    return (
        contents,
        registry.versions("toy"),
        {alias: registry.alias("toy", alias) for alias in ("candidate", "champion")},
    )


@pytest.fixture
def store(tmp_path):
    return str(tmp_path / "store")


@pytest.fixture
def finished(empty_registry, tmp_path_factory):
    """What one publication, never cut off, leaves in a store of that URL."""

    def finished(store, verdict="promote"):
        folder = tmp_path_factory.mktemp("finished")
        registry = open_registry(f"sqlite:///{shutil.copy(empty_registry, folder / 'registry.db')}")
        put(registry, store, verdict=verdict)
        found = state(registry, store)
        shutil.rmtree(store)
        return found

    return finished


# What is published


def test_everything_lies_under_the_hash_and_is_found_by_both_names(registry, store, tmp_path):
    (tmp_path / "classes.json").write_bytes(b'["from a file"]')
    sha256 = hashlib.sha256(b"graph").hexdigest()

    done = publish(
        {**files_of(b"graph"), "classes.json": tmp_path / "classes.json"},
        name="toy",
        verdict="promote",
        judged_sha256=sha256,
        store=store,
        registry=registry,
        metrics=METRICS,
        lineage=LINEAGE,
    )

    place = f"{store}/models/toy/{sha256}"
    assert done == Published(
        url=f"{place}/model.onnx", sha256=sha256, name="toy", version="1", aliases=["candidate", "champion"],
        already_published=False, lineage=LINEAGE, metrics=METRICS,
    )  # fmt: skip
    assert {name: objects.read_bytes(f"{place}/{name}") for name in objects.names(place)} == {
        **files_of(b"graph"), "classes.json": b'["from a file"]',
    }  # fmt: skip
    [version] = registry.versions("toy")
    assert (version.url, version.sha256, version.metrics, version.lineage) == (done.url, sha256, METRICS, LINEAGE)
    assert registry.alias("toy", "champion") == registry.alias("toy", "candidate") == version


def test_a_kept_model_is_the_candidate_and_the_champion_stays(registry, store):
    put(registry, store, b"first", "promote")

    kept = put(registry, store, b"second", "keep")

    assert (kept.version, kept.aliases) == ("2", ["candidate"])
    assert registry.alias("toy", "candidate").version == "2"
    assert registry.alias("toy", "champion").version == "1"


def test_a_promoted_model_takes_the_place_of_the_champion_and_both_files_stay(registry, store):
    first = put(registry, store, b"first", "promote")

    second = put(registry, store, b"second", "promote", judged_against="1")

    assert (
        registry.alias("toy", "champion").version == registry.alias("toy", "candidate").version == second.version == "2"
    )
    assert objects.read_bytes(first.url) == b"first"
    assert objects.read_bytes(second.url) == b"second"


# Again, and after a crash


@pytest.mark.parametrize("verdict", ["promote", "keep"])
def test_a_repeat_changes_nothing(registry, store, verdict):
    first = put(registry, store, verdict=verdict)
    before = state(registry, store), {path: path.stat().st_mtime_ns for path in Path(store).rglob("*")}

    again = put(registry, store, verdict=verdict, metrics={"time.top_1": 0.1}, lineage={"run": "run-8"})

    assert (state(registry, store), {path: path.stat().st_mtime_ns for path in Path(store).rglob("*")}) == before
    assert again.already_published is True
    assert (again.url, again.version, again.metrics, again.lineage) == (first.url, first.version, METRICS, LINEAGE)


def test_a_repeat_writes_no_object_on_s3_either(registry, s3):
    store = s3.bucket("models") + "/store"
    s3.client.put_bucket_versioning(Bucket="models", VersioningConfiguration={"Status": "Enabled"})
    first = put(registry, store)
    before = s3.client.list_object_versions(Bucket="models")["Versions"]

    again = put(registry, store)

    assert s3.client.list_object_versions(Bucket="models")["Versions"] == before
    assert sorted(found["Key"] for found in before) == sorted(
        f"store/models/toy/{first.sha256}/{name}" for name in files_of(b"graph")
    )
    assert again == Published(**{**first.facts(), "already_published": True})
    assert len(registry.versions("toy")) == 1


@pytest.mark.parametrize(
    ("verdict", "at"),
    [
        ("promote", "register"),
        ("promote", "candidate"),
        ("promote", "champion"),
        ("keep", "register"),
        ("keep", "candidate"),
    ],
)
def test_cut_off_anywhere_a_repeat_ends_in_the_same_state(registry, store, finished, verdict, at):
    wanted = finished(store, verdict)
    with pytest.raises(Killed):
        put(CutOff(registry, at), store, verdict=verdict)
    assert state(registry, store)[2] != wanted[2]  # not visible as it should be, yet

    put(registry, store, verdict=verdict)

    assert state(registry, store) == wanted


@pytest.mark.parametrize("written", [0, 1, 2, 3])
def test_cut_off_between_objects_nothing_is_registered_and_a_repeat_completes_it(
    registry, store, finished, monkeypatch, written
):
    wanted = finished(store)
    whole = objects.write_once
    calls: list[str] = []

    def write_once(url, data):
        if len(calls) == written:
            raise Killed
        calls.append(url)
        return whole(url, data)

    monkeypatch.setattr(objects, "write_once", write_once)
    with pytest.raises(Killed):
        put(registry, store)

    contents, versions, _ = state(registry, store)
    assert len(contents) == written
    assert not any(name.endswith("model.onnx") for name in contents)  # it comes last: where it is, all of it is
    assert versions == []

    monkeypatch.setattr(objects, "write_once", whole)
    put(registry, store)

    assert state(registry, store) == wanted


def test_an_alias_that_was_moved_by_hand_is_moved_again_by_a_repeat_only_where_the_verdict_says_so(registry, store):
    put(registry, store, b"first", "promote")
    put(registry, store, b"second", "promote", judged_against="1")
    registry.set_alias("toy", "champion", "1")  # a roll-back

    put(registry, store, b"second", "keep")

    assert registry.alias("toy", "champion").version == "1"

    put(registry, store, b"second", "promote", judged_against="1")

    assert registry.alias("toy", "champion").version == "2"


# What is refused


@pytest.mark.parametrize("judged_against", [None, "1"])
def test_a_champion_that_came_after_the_judgement_is_not_replaced(registry, store, judged_against):
    put(registry, store, b"first", "promote")
    put(registry, store, b"second", "promote", judged_against="1")

    with pytest.raises(GateRefused) as refused:
        put(registry, store, b"third", "promote", judged_against=judged_against)

    assert refused.value.gate == "decision"
    assert "the champion is version 2 by now" in refused.value.what
    assert registry.alias("toy", "champion").version == "2"


def test_another_profile_at_the_hash_of_the_same_model_is_refused(registry, store):
    put(registry, store, b"first", "keep", files={"profile.json": b"{}"})

    with pytest.raises(objects.StorageError):
        put(registry, store, b"first", "promote", files={"profile.json": b"changed"})

    assert registry.alias("toy", "champion") is None


@pytest.mark.parametrize("verdict", ["block", "", "Promote", "promoted"])
def test_only_what_decide_lets_pass_is_published(registry, store, verdict):
    with pytest.raises(GateRefused) as refused:
        put(registry, store, verdict=verdict)

    assert refused.value.gate == "decision"
    assert refused.value.what == f"the verdict is `{verdict}`"
    assert state(registry, store) == ({}, [], {"candidate": None, "champion": None})


def test_a_file_other_than_the_judged_one_is_not_published(registry, store):
    judged = hashlib.sha256(b"judged").hexdigest()

    with pytest.raises(GateRefused) as refused:
        put(registry, store, judged_sha256=judged)

    found = hashlib.sha256(b"graph").hexdigest()
    assert refused.value.gate == "onnx-hash"
    assert refused.value.what == (
        f"the ONNX file is not the one that was judged: SHA-256 {found[:12]}…, judged {judged[:12]}…"
    )
    assert state(registry, store) == ({}, [], {"candidate": None, "champion": None})


def test_other_bytes_under_the_hash_are_never_overwritten_or_registered(registry, store):
    url = f"{store}/models/toy/{hashlib.sha256(b'graph').hexdigest()}/model.onnx"
    objects.write_bytes(url, b"something else")

    with pytest.raises(StorageError, match="other bytes are there already"):
        put(registry, store)

    assert objects.read_bytes(url) == b"something else"
    assert registry.versions("toy") == []


def test_a_bucket_that_refuses_leaves_nothing_visible_and_opened_again_it_works(registry, s3):
    store = s3.bucket("models") + "/store"
    s3.put_policy("models", REFUSE_MODELS)

    with pytest.raises(StorageError) as refused:
        put(registry, store)

    assert refused.value.what.startswith("writing was refused: ")
    assert refused.value.where.startswith(f"{store}/models/toy/")
    assert registry.versions("toy") == []
    assert registry.alias("toy", "champion") is None

    s3.client.delete_bucket_policy(Bucket="models")

    assert put(registry, store).already_published is False
    assert registry.alias("toy", "champion").version == "1"


def test_a_metric_that_is_no_number_is_not_registered(registry, store):
    with pytest.raises(StorageError, match=r"the metric time.top_1 is nan, not a finite number"):
        put(registry, store, metrics={"time.top_1": float("nan")})

    assert registry.versions("toy") == []
