"""The evaluation as KFP runs it: numbers for KFP's own views, the card, the record."""

from __future__ import annotations

import json

import pytest
from kfp import dsl

from components.evaluate_model.component import evaluate_model
from storage.objects import StorageError
from tests.components.conftest import TOY


def start(store, prepared, trained, folder):
    made = {
        "evaluation": dsl.Artifact(name="evaluation", uri=str(folder / "evaluation")),
        "metrics": dsl.Metrics(name="metrics", uri=str(folder / "metrics")),
        "confusion": dsl.ClassificationMetrics(name="confusion", uri=str(folder / "confusion")),
        "model_card": dsl.Markdown(name="model_card", uri=str(folder / "card" / "model_card.md")),
    }
    evaluate_model.python_func(
        prepared=dsl.Dataset(name="prepared", uri=str(prepared)), trained=dsl.Model(name="trained", uri=str(trained)),
        data_version="d4ta", git_commit="c0ffee", model=TOY, store=store, **made,
    )  # fmt: skip
    return made


def test_numbers_go_to_the_record_to_kfp_and_to_the_card(run, prepared, trained, tmp_path):
    made = start(run.store, prepared, trained, tmp_path)

    facts = run.facts("evaluate_model")
    written = json.loads((tmp_path / "evaluation" / "evaluation.json").read_text(encoding="utf-8"))
    assert facts == {**written, "data_version": "d4ta"}
    assert made["metrics"].metadata == {
        f"{part}.{name}": value for part, numbers in facts["sets"].items() for name, value in numbers.items()
    }
    assert made["metrics"].metadata["time.top_1"] > 0.6
    matrix = made["confusion"].metadata["confusionMatrix"]
    assert [spec["displayName"] for spec in matrix["annotationSpecs"]] == facts["classes"]
    assert [row["row"] for row in matrix["rows"]] == facts["confusion"]
    card = (tmp_path / "card" / "model_card.md").read_text(encoding="utf-8")
    assert card == facts["model_card"] == (tmp_path / "evaluation" / "model_card.md").read_text(encoding="utf-8")
    assert "d4ta" in card
    assert "c0ffee" in card


def test_a_store_that_is_not_there_stops_it_before_it_measures(s3, prepared, trained, tmp_path):
    with pytest.raises(StorageError, match="there is no bucket nowhere"):
        start("s3://nowhere/mlops", prepared, trained, tmp_path)

    assert list(tmp_path.iterdir()) == []
