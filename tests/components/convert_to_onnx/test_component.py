"""The conversion as KFP runs it: its hash goes on, and nothing of the run is in the file."""

from __future__ import annotations

import hashlib

import onnx
import pytest
from kfp import dsl

from components.convert_to_onnx.component import convert_to_onnx
from tests.components.conftest import TOY


def start(run, prepared, trained, file):
    onnx_model = dsl.Model(name="onnx_model", uri=str(file))
    returned = convert_to_onnx.python_func(
        prepared=dsl.Dataset(name="prepared", uri=str(prepared)), trained=dsl.Model(name="trained", uri=str(trained)),
        data_version="d4ta", model=TOY, store=run.store, onnx_model=onnx_model,
    )  # fmt: skip
    return returned, onnx_model.metadata


def test_the_hash_is_returned_recorded_and_on_the_artifact(run, prepared, trained, toy, tmp_path):
    returned, metadata = start(run, prepared, trained, tmp_path / "new" / "model.onnx")

    content = (tmp_path / "new" / "model.onnx").read_bytes()
    facts = run.facts("convert_to_onnx")
    assert returned == facts["onnx_sha256"] == hashlib.sha256(content).hexdigest()
    assert metadata == {"framework": "onnx", "opset": 18, "data_version": "d4ta", "sha256": returned}
    assert (facts["bytes"], facts["opset"], facts["data_version"]) == (len(content), 18, "d4ta")
    assert [face["name"] for face in facts["inputs"]] == ["bright", "size", "warmth"]
    graph = onnx.load_from_string(content)
    assert {prop.key: prop.value for prop in graph.metadata_props} == {
        "model": TOY, "data_version": "d4ta", "contract": toy.CONTRACT.fingerprint(),
    }  # fmt: skip


def test_another_run_writes_the_same_bytes(run, prepared, trained, tmp_path, monkeypatch):
    one, _ = start(run, prepared, trained, tmp_path / "one.onnx")
    monkeypatch.setenv("PIPELINE_RUN_ID", "run-8")
    other, _ = start(run, prepared, trained, tmp_path / "other.onnx")

    assert one == other
    assert b"run-" not in (tmp_path / "other.onnx").read_bytes()


def test_a_model_that_is_not_there_is_a_failed_record(run, prepared, tmp_path):
    with pytest.raises(ValueError, match=r"model\.keras"):
        start(run, prepared, tmp_path / "nowhere", tmp_path / "model.onnx")

    assert run.error("convert_to_onnx")["kind"] == "error"
    assert "model.keras" in run.error("convert_to_onnx")["what"]
    assert run.record("convert_to_onnx")["facts"] == {}
    assert not (tmp_path / "model.onnx").exists()
