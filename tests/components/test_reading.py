"""Prepared rows come in batches: each once, mixed anew in each epoch, and never the whole file at once."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from components.errors import GateRefused
from components.reading import WINDOW, batches, raw_inputs, read_json, require_hash, row_count
from models.contract import Feature

FEATURES = [
    Feature(name="bright", dtype="bool", low=None, high=None, role="flag"),
    Feature(name="size", dtype="int64", low=0, high=100, role="linear"),
    Feature(name="warmth", dtype="float32", low=0, high=1, role="linear"),
]
ROWS, GROUP = 205, 10  # 21 row groups: two windows and a part of a third


@pytest.fixture
def numbered(tmp_path):
    """Rows in which every column says the row's number, as the label does."""
    at = np.arange(ROWS)
    rows = pl.DataFrame(
        {"bright": at % 2 == 1, "size": at, "warmth": at / 4, "label": at.astype(np.int32), "other": at}
    )
    rows.write_parquet(tmp_path / "rows.parquet", row_group_size=GROUP)
    assert 2 * WINDOW < -(-ROWS // GROUP) < 3 * WINDOW
    return tmp_path / "rows.parquet"


def labels(file, size, rng=None):
    return np.concatenate([label for _, label in batches(file, FEATURES, "label", size, rng)])


def test_without_a_generator_rows_come_in_their_order(numbered):
    np.testing.assert_array_equal(labels(numbered, 32), np.arange(ROWS))


@pytest.mark.parametrize("size", [1, 7, 32, 80, 100, ROWS, 1000])
@pytest.mark.parametrize("seed", [None, 3])
def test_only_the_very_last_batch_is_short(numbered, size, seed):
    rng = None if seed is None else np.random.default_rng(seed)

    sizes = [len(label) for _, label in batches(numbered, FEATURES, "label", size, rng)]

    whole, rest = divmod(ROWS, size)
    assert sizes == [size] * whole + [rest] * (rest > 0)


@pytest.mark.parametrize("size", [7, 32, 100, 1000])
def test_mixed_every_row_comes_exactly_once_in_an_epoch(numbered, size):
    found = labels(numbered, size, np.random.default_rng(3))

    assert sorted(found) == list(range(ROWS))
    assert found.tolist() != list(range(ROWS))


def test_every_epoch_is_mixed_differently_and_the_same_seed_gives_the_same_epochs(numbered):
    first, again = np.random.default_rng(3), np.random.default_rng(3)

    epochs = [labels(numbered, 32, first).tolist() for _ in range(3)]

    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert [labels(numbered, 32, again).tolist() for _ in range(3)] == epochs
    assert labels(numbered, 32, np.random.default_rng(4)).tolist() != epochs[0]


def test_rows_of_far_row_groups_meet_in_a_batch(numbered):
    """A file sorted by day must not be learned day by day."""
    first = next(batches(numbered, FEATURES, "label", 32, np.random.default_rng(3)))[1]

    assert len({label // GROUP for label in first.tolist()}) >= WINDOW / 2
    assert max(first) - min(first) > ROWS / 2


@pytest.mark.parametrize("seed", [None, 3])
def test_inputs_and_labels_stay_together_in_the_features_own_types(numbered, seed):
    rng = None if seed is None else np.random.default_rng(seed)

    for inputs, label in batches(numbered, FEATURES, "label", 32, rng):
        assert list(inputs) == ["bright", "size", "warmth"]
        assert [values.dtype for values in inputs.values()] == [np.bool_, np.int64, np.float32]
        assert {values.shape for values in inputs.values()} == {(len(label), 1)}
        assert label.dtype == np.int32
        np.testing.assert_array_equal(inputs["bright"][:, 0], label % 2 == 1)
        np.testing.assert_array_equal(inputs["size"][:, 0], label)
        np.testing.assert_array_equal(inputs["warmth"][:, 0], label / np.float32(4))


@pytest.fixture
def pool():
    """What Arrow takes in this test is counted, at its most."""
    before = pa.default_memory_pool()
    counted = pa.proxy_memory_pool(before)
    pa.set_memory_pool(counted)
    yield counted
    pa.set_memory_pool(before)


def test_a_large_file_is_never_in_memory_as_a_whole(tmp_path, pool):
    groups, rows = 10 * WINDOW, 2000
    at = np.random.default_rng(0).random(groups * rows)
    large = pl.DataFrame(
        {"bright": at > 0.5, "size": (at * 9e9).astype(int), "warmth": at, "label": at.astype(np.int32)}
    )
    large.write_parquet(tmp_path / "large.parquet", row_group_size=rows)

    seen = sum(
        len(label) for _, label in batches(tmp_path / "large.parquet", FEATURES, "label", 256, np.random.default_rng(3))
    )

    assert seen == len(at)
    assert 0 < pool.max_memory() < at.nbytes  # one column of three


def test_raw_inputs_take_the_named_features_and_no_other_column():
    rows = pl.DataFrame({"warmth": [0.25, 1.0], "size": [3, 4], "bright": [True, False], "colour": ["red", "blue"]})

    inputs = raw_inputs(rows, FEATURES)

    assert {name: values.tolist() for name, values in inputs.items()} == {
        "bright": [[True], [False]], "size": [[3], [4]], "warmth": [[0.25], [1.0]],
    }  # fmt: skip


def test_rows_are_counted_without_reading_them(numbered):
    assert row_count(numbered) == ROWS


def test_what_prepare_wrote_beside_the_parts_is_read_by_its_name(tmp_path):
    (tmp_path / "classes.json").write_text(json.dumps(["blau", "grün"], ensure_ascii=False), encoding="utf-8")

    assert read_json(tmp_path, "classes") == ["blau", "grün"]


def test_a_file_with_the_expected_hash_passes(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"graph")

    require_hash(tmp_path / "model.onnx", hashlib.sha256(b"graph").hexdigest())


def test_a_file_with_another_hash_is_refused(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"graph!")
    found, expected = (hashlib.sha256(content).hexdigest() for content in (b"graph!", b"graph"))

    with pytest.raises(GateRefused) as refused:
        require_hash(tmp_path / "model.onnx", expected)

    assert refused.value.gate == "onnx-hash"
    assert refused.value.what == (
        f"the ONNX file is not the one that was converted: SHA-256 {found[:12]}…, expected {expected[:12]}…"
    )
    assert refused.value.where == "model.onnx"
