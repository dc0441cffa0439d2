"""The decision as KFP runs it: written before the verdict, and a blocked candidate stops the run."""

from __future__ import annotations

import hashlib
import json

import pytest
from kfp import dsl

from components.decide.component import decide
from components.errors import GateRefused
from storage import objects
from tests.components.conftest import TOY


@pytest.fixture
def start(run, onnx_model, prepared, evaluation, toy, registry_url, tmp_path):
    """The component on what the steps before it made; returns the verdict."""

    converted = hashlib.sha256(onnx_model.read_bytes()).hexdigest()

    def start(file=onnx_model, numbers=evaluation):
        return decide.python_func(
            onnx_model=dsl.Model(name="onnx_model", uri=str(file)),
            onnx_sha256=converted,
            prepared=dsl.Dataset(name="prepared", uri=str(prepared)),
            evaluation=dsl.Artifact(name="evaluation", uri=str(numbers)),
            data_version="d4ta",
            gates=toy.GATES.constants(),
            model=TOY,
            store=run.store,
            registry=registry_url,
            decision=dsl.Artifact(name="decision", uri=str(tmp_path / "new" / "decision.json")),
        )

    return start


@pytest.fixture
def decision(tmp_path):
    return lambda: json.loads(
        (tmp_path / "new" / "decision.json").read_text(encoding="utf-8"), parse_constant=pytest.fail
    )


def test_a_first_good_candidate_is_promoted(run, start, decision, onnx_model):
    assert start() == "promote"

    facts = run.facts("decide")
    assert facts == {**decision(), "data_version": "d4ta"}
    assert (facts["verdict"], facts["champion"]) == ("promote", None)
    assert facts["onnx_sha256"] == hashlib.sha256(onnx_model.read_bytes()).hexdigest()
    assert [gate["name"] for gate in facts["gates"]] == ["time.top_1", "unseen.top_1", "time.calibration_error"]


def test_the_champion_of_the_registry_is_what_it_is_held_against(run, start, registry, onnx_model, toy, tmp_path):
    sha256, url = hashlib.sha256(onnx_model.read_bytes()).hexdigest(), str(tmp_path / "champion.onnx")
    objects.upload(onnx_model, url)
    lineage = {"contract": toy.CONTRACT.fingerprint()}
    version, _ = registry.register("toy", url=url, sha256=sha256, metrics={}, lineage=lineage)
    registry.set_alias("toy", "champion", version.version)

    assert start() == "keep"

    facts = run.facts("decide")
    assert facts["champion"] == {"version": version.version, "sha256": sha256, "url": url}
    assert facts["compared"]["difference"] == 0


def test_a_candidate_whose_evaluation_has_no_number_is_blocked_in_record_and_artifact(
    run, start, decision, evaluation, copied
):
    folder = copied(evaluation)
    numbers = json.loads((folder / "evaluation.json").read_text())
    numbers["sets"]["time"]["top_1"] = float("nan")
    (folder / "evaluation.json").write_text(json.dumps(numbers))

    with pytest.raises(GateRefused):
        start(numbers=folder)

    error, facts = run.error("decide"), run.record("decide")["facts"]
    assert (error["kind"], error["gate"]) == ("gate", "decision")
    assert error["what"] == "the candidate is blocked: time.top_1 is nan; wanted >= 0.6"
    assert facts["verdict"] == decision()["verdict"] == "block"
    assert (facts["gates"][0]["value"], facts["gates"][0]["passed"]) == ("NaN", False)


def test_a_file_that_is_not_the_converted_one_is_not_judged(run, start, onnx_model, copied, tmp_path):
    file = copied(onnx_model)
    file.write_bytes(file.read_bytes() + b"\0")

    with pytest.raises(GateRefused):
        start(file=file)

    assert (run.error("decide")["kind"], run.error("decide")["gate"]) == ("gate", "onnx-hash")
    assert run.record("decide")["facts"] == {"data_version": "d4ta"}
    assert not (tmp_path / "new").exists()
