"""The publication as KFP runs it: to S3, with the lineage of the whole run."""

from __future__ import annotations

import hashlib
import json

import pytest
from kfp import dsl

from components.errors import GateRefused
from components.publish_model.component import publish_model
from storage import objects
from storage.objects import StorageError
from tests.components.conftest import TOY


@pytest.fixture
def start(onnx_model, prepared, trained, evaluation, toy, registry_url, tmp_path):
    """The component on what the steps before it made; returns the registry's version."""

    converted = hashlib.sha256(onnx_model.read_bytes()).hexdigest()

    def start(store, verdict="promote", judged=converted):
        decision = tmp_path / "decision.json"
        decision.write_text(json.dumps({"onnx_sha256": judged}))
        return publish_model.python_func(
            onnx_model=dsl.Model(name="onnx_model", uri=str(onnx_model)),
            prepared=dsl.Dataset(name="prepared", uri=str(prepared)),
            trained=dsl.Model(name="trained", uri=str(trained)),
            evaluation=dsl.Artifact(name="evaluation", uri=str(evaluation)),
            decision=dsl.Artifact(name="decision", uri=str(decision)),
            verdict=verdict,
            data_version="d4ta",
            gates=toy.GATES.constants(),
            git_commit="c0ffee",
            environment="local-dev",
            model=TOY,
            store=store,
            registry=registry_url,
        )

    return start


def test_the_judged_model_is_on_s3_under_its_hash_and_in_the_registry_with_its_lineage(
    s3_run, start, registry, onnx_model, prepared, trained, evaluation, toy
):
    assert start(s3_run.store) == "1"

    facts = s3_run.facts("publish_model")
    content = onnx_model.read_bytes()
    place = f"{s3_run.store}/models/toy/{hashlib.sha256(content).hexdigest()}"
    assert {name: objects.read_bytes(f"{place}/{name}") for name in objects.names(place)} == {
        "model.onnx": content,
        "classes.json": (prepared / "classes.json").read_bytes(),
        "profile.json": (prepared / "profile.json").read_bytes(),
        "evaluation.json": (evaluation / "evaluation.json").read_bytes(),
        "model_card.md": (evaluation / "model_card.md").read_bytes(),
        "environment.json": (trained / "environment.json").read_bytes(),
    }
    sets = json.loads((evaluation / "evaluation.json").read_text())["sets"]
    champion = registry.alias("toy", "champion")
    assert champion.metrics == {
        f"{part}.{name}": value for part, numbers in sets.items() for name, value in numbers.items()
    }
    assert champion.lineage == {
        "run": "run-7",
        "data_version": "d4ta",
        "git_commit": "c0ffee",
        "environment": "local-dev",
        "contract": toy.CONTRACT.fingerprint(),
        "contract_rules": toy.CONTRACT.sha256(),
        "gates": toy.GATES.sha256(),
    }
    assert facts == {
        "url": f"{place}/model.onnx", "sha256": champion.sha256, "name": "toy", "version": "1",
        "aliases": ["candidate", "champion"], "already_published": False, "data_version": "d4ta",
        "lineage": champion.lineage, "metrics": champion.metrics,
    }  # fmt: skip


def test_a_repeat_in_another_run_changes_nothing(s3_run, start, registry, monkeypatch):
    start(s3_run.store)
    before = registry.versions("toy")
    monkeypatch.setenv("PIPELINE_RUN_ID", "run-8")

    assert start(s3_run.store, "keep") == "1"

    facts = objects.read_json(f"{s3_run.store}/runs/run-8/publish_model.json")["facts"]
    assert registry.versions("toy") == before
    assert (facts["already_published"], facts["lineage"]["run"]) == (True, "run-7")
    assert registry.alias("toy", "champion").version == "1"


def test_a_model_that_was_not_judged_is_refused_in_the_record(s3_run, start, registry):
    with pytest.raises(GateRefused):
        start(s3_run.store, judged="0" * 64)

    error = s3_run.error("publish_model")
    assert (error["kind"], error["gate"], error["where"]) == ("gate", "onnx-hash", "publish_model")
    assert "judged 000000000000…" in error["what"]
    assert registry.versions("toy") == []


def test_a_refused_bucket_is_an_error_in_the_record_and_nothing_is_visible(s3_run, s3, start, registry):
    deny = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:PutObject",
        "Resource": "arn:aws:s3:::store/mlops/models/*",
    }
    s3.put_policy("store", {"Statement": [deny]})

    with pytest.raises(StorageError):
        start(s3_run.store)

    error = s3_run.error("publish_model")
    assert (error["kind"], error["gate"]) == ("error", None)
    assert error["what"].startswith("writing was refused: ")
    assert error["where"].startswith(f"{s3_run.store}/models/toy/")
    assert error["do"] == "let the bucket's policy allow it, or set another AWS_ACCESS_KEY_ID"
    assert registry.versions("toy") == []
