"""The parity check as KFP runs it: numbers first, then the verdict."""

from __future__ import annotations

import hashlib

import numpy as np
import onnx
import pytest
from kfp import dsl

from components.errors import GateRefused
from components.validate_onnx import step
from components.validate_onnx.component import validate_onnx
from tests.components.conftest import TOY

NUMBERS = {"rows", "max_difference", "argmax_agreement", "near_ties"}
LATENCY = {"batch_rows", "keras_one_row_ms", "onnx_one_row_ms", "keras_batch_ms", "onnx_batch_ms", "speedup_one_row"}


@pytest.fixture(autouse=True)
def _few_timed_calls(monkeypatch):
    monkeypatch.setattr(step, "_TIMED_CALLS", 2)


@pytest.fixture
def parity(tmp_path):
    """What KFP shows as metrics of the step."""
    return dsl.Metrics(name="parity", uri=str(tmp_path / "parity"))


@pytest.fixture
def start(run, prepared, trained, toy, parity):
    """The component on that file, of which the conversion said that hash."""

    def start(file, sha256):
        validate_onnx.python_func(
            onnx_model=dsl.Model(name="onnx_model", uri=str(file)),
            onnx_sha256=sha256,
            prepared=dsl.Dataset(name="prepared", uri=str(prepared)),
            trained=dsl.Model(name="trained", uri=str(trained)),
            data_version="d4ta",
            gates=toy.GATES.constants(),
            model=TOY,
            store=run.store,
            parity=parity,
        )

    return start


def sha256_of(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_the_converted_file_passes_and_its_numbers_are_logged(run, start, parity, onnx_model):
    start(onnx_model, sha256_of(onnx_model))

    facts = run.facts("validate_onnx")
    assert set(parity.metadata) == NUMBERS | LATENCY
    assert parity.metadata == {**{name: facts[name] for name in NUMBERS}, **facts["latency"]}
    assert (facts["rows"], facts["argmax_agreement"], facts["data_version"]) == (600, 1.0, "d4ta")
    assert facts["onnx_sha256"] == sha256_of(onnx_model)
    assert [gate["passed"] for gate in facts["gates"]] == [True, True]


def test_a_file_that_was_changed_after_its_conversion_is_refused_unread(run, start, parity, onnx_model, copied):
    file = copied(onnx_model)
    file.write_bytes(file.read_bytes() + b"\0")

    with pytest.raises(GateRefused):
        start(file, sha256_of(onnx_model))

    error = run.error("validate_onnx")
    assert (error["kind"], error["gate"], error["where"]) == ("gate", "onnx-hash", "model.onnx")
    assert error["what"].startswith("the ONNX file is not the one that was converted: SHA-256 ")
    assert run.record("validate_onnx")["facts"] == {"data_version": "d4ta"}
    assert parity.metadata == {}


def test_a_conversion_that_answers_otherwise_is_refused_with_its_numbers(run, start, parity, onnx_model, copied):
    file = copied(onnx_model)
    graph = onnx.load(file)
    for tensor in graph.graph.initializer:
        if list(tensor.dims) == [4] and tensor.data_type == onnx.TensorProto.FLOAT:
            changed = onnx.numpy_helper.to_array(tensor) + np.array([float("nan"), 0, 0, 0], np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(changed, tensor.name))
    file.write_bytes(graph.SerializeToString())

    with pytest.raises(GateRefused):
        start(file, sha256_of(file))

    error, facts = run.error("validate_onnx"), run.record("validate_onnx")["facts"]
    assert (error["kind"], error["gate"], error["where"]) == ("gate", "parity", "600 raw test rows")
    assert facts["max_difference"] == "NaN"
    assert [gate["passed"] for gate in facts["gates"]] == [False, False]
    assert parity.metadata["rows"] == 600
