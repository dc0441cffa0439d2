"""The training as KFP runs it: the artifact, its page and its record."""

from __future__ import annotations

import re

import keras
import pytest
from kfp import dsl

from components.errors import GateRefused
from components.train_model.component import train_model
from components.train_model.step import weights_sha256
from tests.components.conftest import TOY


def start(run, prepared, folder, hyperparameters, gpus="0"):
    trained, page = (
        dsl.Model(name="trained", uri=str(folder / "trained")),
        dsl.HTML(name="history", uri=str(folder / "page" / "h.html")),
    )
    train_model.python_func(
        prepared=dsl.Dataset(name="prepared", uri=str(prepared)), data_version="d4ta", hyperparameters=hyperparameters,
        gpus=gpus, model=TOY, store=run.store, trained=trained, history=page,
    )  # fmt: skip
    return trained, (folder / "page" / "h.html").read_text(encoding="utf-8")


def test_a_training_leaves_a_model_a_page_and_a_record(run, prepared, tmp_path):
    # as KFP hands them on: every number of a dictionary is a float
    trained, page = start(run, prepared, tmp_path, {"epochs": 2.0, "batch_size": 128.0})

    facts = run.facts("train_model")
    network = keras.models.load_model(tmp_path / "trained" / "model.keras")
    assert facts["weights_sha256"] == weights_sha256(network)
    assert trained.metadata == {"framework": "keras", "data_version": "d4ta", "weights_sha256": facts["weights_sha256"]}
    assert (facts["model"], facts["data_version"], facts["epochs"]) == (TOY, "d4ta", 2)
    assert {name: len(values) for name, values in facts["history"].items()} == {
        "accuracy": 2, "loss": 2, "val_accuracy": 2, "val_loss": 2,
    }  # fmt: skip
    assert {"precision", "device", "weights", "best_epoch", "stopped_early", "environment"} <= set(facts)
    assert page.count('<img src="data:image/') == 2
    assert "<td>batch_size</td><td>128</td>" in page
    assert f"<td>keras</td><td>{keras.__version__}</td>" in page
    assert not re.search(r"""(src|href)=(?!["']data:)|url\(|@import""", page)  # self-contained


def test_a_leaking_split_is_refused_in_the_record(run, prepared, copied, tmp_path):
    folder = copied(prepared)
    (folder / "train.parquet").write_bytes((folder / "test_unseen.parquet").read_bytes())

    with pytest.raises(GateRefused):
        start(run, folder, tmp_path, {"epochs": 1})

    error = run.error("train_model")
    assert (error["kind"], error["gate"]) == ("gate", "split")
    assert "35 entities of the test by unseen entities are in the training rows too" in error["what"]
    assert run.record("train_model")["facts"] == {}
    assert not (tmp_path / "trained").exists()
