"""ONNX passes when it answers as Keras does on every raw test row, and on nothing less."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import keras
import numpy as np
import onnx
import polars as pl
import pytest

from components.errors import GateRefused
from components.evaluate_model.step import predict
from components.validate_onnx import step
from components.validate_onnx.step import Parity, measure

TIE = 2e-5


@pytest.fixture(autouse=True)
def _few_timed_calls(monkeypatch):
    monkeypatch.setattr(step, "_TIMED_CALLS", 2)


@pytest.fixture(scope="module")
def scores(prepared, trained, toy):
    """Keras' answers to all rows of both test sets."""
    network = keras.models.load_model(trained / "model.keras", compile=False)
    return predict(
        network,
        pl.concat([pl.read_parquet(prepared / f"{part}.parquet") for part in ("test_time", "test_unseen")]),
        toy,
    )


def edited(file, target, edit):
    graph = onnx.load(file)
    edit(graph.graph)
    target.write_bytes(graph.SerializeToString())
    return target


def biases(graph):
    """The last layer's: one number for each class."""
    [found] = [
        tensor
        for tensor in graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT and list(tensor.dims) == [4]
    ]
    return found


def add(numbers):
    def edit(graph):
        tensor = biases(graph)
        changed = onnx.numpy_helper.to_array(tensor) + np.array(numbers, np.float32)
        tensor.CopyFrom(onnx.numpy_helper.from_array(changed, tensor.name))

    return edit


def rename(*names):
    def edit(graph):
        [tensor] = [tensor for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.STRING]
        tensor.string_data[:] = [name.encode() for name in names]

    return edit


def test_the_real_file_passes_on_all_rows_of_both_tests(onnx_model, prepared, trained, toy, scores):
    parity = measure(onnx_model, prepared, trained, toy, TIE)

    assert parity.rows == len(scores) == 600
    assert 0 <= parity.max_difference <= 1e-5
    assert (parity.argmax_agreement, parity.near_ties) == (1.0, 0)
    assert parity.onnx_sha256 == hashlib.sha256(onnx_model.read_bytes()).hexdigest()
    parity.require(toy.GATES)


def test_latency_is_measured_for_one_row_and_for_a_batch(onnx_model, prepared, trained, toy):
    latency = measure(onnx_model, prepared, trained, toy, TIE).latency

    assert set(latency) == {
        "batch_rows", "keras_one_row_ms", "onnx_one_row_ms", "keras_batch_ms", "onnx_batch_ms", "speedup_one_row",
    }  # fmt: skip
    assert latency["batch_rows"] == 600
    assert all(value > 0 for value in latency.values())
    assert latency["speedup_one_row"] == latency["keras_one_row_ms"] / latency["onnx_one_row_ms"]


def test_rows_are_asked_in_batches_and_all_of_them(onnx_model, prepared, trained, toy, monkeypatch):
    whole = measure(onnx_model, prepared, trained, toy, TIE)
    monkeypatch.setattr(step, "_BATCH", 7)

    parts = measure(onnx_model, prepared, trained, toy, TIE)

    assert (parts.rows, parts.near_ties, parts.argmax_agreement) == (
        whole.rows,
        whole.near_ties,
        whole.argmax_agreement,
    )
    assert parts.max_difference == pytest.approx(whole.max_difference, abs=1e-6)
    assert parts.latency["batch_rows"] == 7


def test_one_changed_weight_is_refused_with_its_difference(onnx_model, prepared, trained, toy, tmp_path):
    changed = edited(onnx_model, tmp_path / "model.onnx", add([1e-3, 0, 0, 0]))

    parity = measure(changed, prepared, trained, toy, TIE)

    assert 1e-5 < parity.max_difference < 1e-3
    with pytest.raises(GateRefused) as refused:
        parity.require(toy.GATES)
    assert refused.value.gate == "parity"
    sentence = parity.checks(toy.GATES)[0].sentence
    assert sentence.startswith("parity.max_difference is 0.000")
    assert refused.value.what.startswith(f"ONNX does not answer as Keras does: {sentence}")
    assert refused.value.where == "600 raw test rows"


def unclipped(graph):
    """A size beyond 100 is taken as it is; Keras clips it."""
    [limit] = [t for t in graph.initializer if list(t.dims) == [] and float(onnx.numpy_helper.to_array(t)) == 100]
    limit.CopyFrom(onnx.numpy_helper.from_array(np.array(1e9, np.float32), limit.name))


def nan_beyond(graph):
    """A size beyond 1000 makes NaN; for every other one, a zero is added."""
    for node in graph.node:
        node.output[:] = ["own answer" if name == "probabilities" else name for name in node.output]
    graph.initializer.append(onnx.numpy_helper.from_array(np.array(1000, np.float32), "limit"))
    graph.initializer.append(onnx.numpy_helper.from_array(np.array(0, np.float32), "zero"))
    graph.node.append(onnx.helper.make_node("Cast", ["size"], ["number"], to=onnx.TensorProto.FLOAT))
    graph.node.extend(
        onnx.helper.make_node(kind, takes, gives)
        for kind, takes, gives in (
            ("Sub", ["limit", "number"], ["rest"]),
            ("Log", ["rest"], ["logarithm"]),
            ("Mul", ["logarithm", "zero"], ["nothing"]),
            ("Add", ["own answer", "nothing"], ["probabilities"]),
        )
    )


@pytest.mark.parametrize("edit", [unclipped, nan_beyond])
@pytest.mark.parametrize("part", ["test_time", "test_unseen"])
@pytest.mark.parametrize("at", ["first", "last"])
def test_one_row_that_is_answered_otherwise_is_refused(
    onnx_model, prepared, trained, toy, copied, tmp_path, monkeypatch, edit, part, at
):
    monkeypatch.setattr(step, "_BATCH", 50)  # the row is in one batch of many
    folder = copied(prepared)
    rows = pl.read_parquet(folder / f"{part}.parquet")
    row = 0 if at == "first" else len(rows) - 1
    huge = pl.when(pl.int_range(pl.len()) == row).then(10**6).otherwise("size").alias("size")
    rows.with_columns(huge).write_parquet(folder / f"{part}.parquet")
    changed = edited(onnx_model, tmp_path / "model.onnx", edit)

    measure(changed, prepared, trained, toy, TIE).require(toy.GATES)  # right on every row but that one
    measure(onnx_model, folder, trained, toy, TIE).require(toy.GATES)
    parity = measure(changed, folder, trained, toy, TIE)

    assert np.isnan(parity.max_difference) == (edit is nan_beyond)
    with pytest.raises(GateRefused, match=r"parity\.max_difference"):
        parity.require(toy.GATES)


def test_nan_is_refused_by_both_conditions(onnx_model, prepared, trained, toy, tmp_path):
    changed = edited(onnx_model, tmp_path / "model.onnx", add([float("nan"), 0, 0, 0]))

    parity = measure(changed, prepared, trained, toy, TIE)

    assert np.isnan(parity.max_difference)
    assert [check.passed for check in parity.checks(toy.GATES)] == [False, False]
    with pytest.raises(GateRefused, match=r"parity.max_difference is nan"):
        parity.require(replace(toy.GATES, max_difference=1.0, min_agreement=0.0))


def test_swapped_names_are_refused_although_every_number_is_right(onnx_model, prepared, trained, toy, tmp_path):
    renamed = edited(onnx_model, tmp_path / "model.onnx", rename("green", "blue", "red", "yellow"))
    same = edited(onnx_model, tmp_path / "same.onnx", rename("blue", "green", "red", "yellow"))

    measure(same, prepared, trained, toy, TIE).require(toy.GATES)
    with pytest.raises(GateRefused) as refused:
        measure(renamed, prepared, trained, toy, TIE)

    assert refused.value.gate == "parity"
    assert refused.value.what == "the ONNX graph names other classes than the network was trained on"


def test_near_ties_are_counted_and_left_out_of_the_agreement(onnx_model, prepared, trained, toy, scores, tmp_path):
    """A change that turns only answers whose top two are close."""
    shift = np.array(
        [0.5, 0, 0, -0.5], np.float32
    )  # by so much a class gains e at most on another: 0.47 of probability
    turned = (np.log(scores) + shift).argmax(axis=1) != scores.argmax(axis=1)
    top = np.sort(scores, axis=1)[:, -2:]
    changed = edited(onnx_model, tmp_path / "model.onnx", add(shift))

    strict, lenient = (measure(changed, prepared, trained, toy, tie) for tie in (0.0, 0.5))

    assert strict.near_ties == 0
    assert strict.argmax_agreement == (~turned).mean() < 1
    assert lenient.near_ties == (top[:, 1] - top[:, 0] <= 0.5).sum() > 0
    assert lenient.argmax_agreement == 1
    assert lenient.rows == strict.rows == 600


def test_where_every_row_is_a_near_tie_nothing_is_shown_and_so_it_is_refused(onnx_model, prepared, trained, toy):
    parity = measure(onnx_model, prepared, trained, toy, 1.0)

    assert parity.near_ties == 600
    with pytest.raises(GateRefused, match=r"parity.argmax_agreement is nan; wanted >= 1"):
        parity.require(toy.GATES)


@pytest.mark.parametrize(
    ("measured", "passed"),
    [
        ({}, [True, True]),
        ({"max_difference": 1.0001e-5}, [False, True]),
        ({"argmax_agreement": 0.9999}, [True, False]),
        ({"max_difference": float("nan")}, [False, True]),
    ],
)
def test_numbers_are_held_against_the_gates_and_stand_in_the_facts(toy, measured, passed):
    numbers = {"max_difference": 1e-5, "argmax_agreement": 1.0, **measured}
    parity = Parity(rows=9, onnx_sha256="0", near_ties=1, latency={"onnx_one_row_ms": 0.1}, **numbers)

    facts = parity.facts(toy.GATES)

    assert [(gate["name"], gate["condition"], gate["limit"]) for gate in facts["gates"]] == [
        ("parity.max_difference", "<=", 1e-5), ("parity.argmax_agreement", ">=", 1.0),
    ]  # fmt: skip
    assert [gate["passed"] for gate in facts["gates"]] == passed
    assert (facts["rows"], facts["near_ties"], facts["latency"]) == (9, 1, {"onnx_one_row_ms": 0.1})
    if all(passed):
        parity.require(toy.GATES)
    else:
        with pytest.raises(GateRefused):
            parity.require(toy.GATES)
