"""The numbers are of these rows and this network, and the model card has no other figures."""

from __future__ import annotations

import json
import re

import keras
import numpy as np
import polars as pl
import pytest

from components.errors import StepError
from components.evaluate_model.step import SETS, evaluate, predict
from models.metrics import calibration, per_class, summary

ABOUT = {"model": "tests.toy", "data_version": "d4ta", "git_commit": "c0ffee"}


@pytest.fixture(scope="module")
def done(prepared, trained, toy, tmp_path_factory):
    return evaluate(prepared, trained, tmp_path_factory.mktemp("evaluation"), toy, ABOUT)


@pytest.fixture(scope="module")
def answers(prepared, trained, toy):
    """Set -> its rows, and the network's probabilities and the true labels of them."""
    network = keras.models.load_model(trained / "model.keras", compile=False)
    rows = {name: pl.read_parquet(prepared / f"{part}.parquet") for name, part in SETS.items()}
    return {
        name: (content, predict(network, content, toy), content["label"].to_numpy()) for name, content in rows.items()
    }


def of_zeros(trained, target, value=0.0):
    """The same network with all weights of that value: it gives every class the same probability."""
    network = keras.models.load_model(trained / "model.keras", compile=False)
    network.set_weights([np.full_like(weight, value) for weight in network.get_weights()])
    target.mkdir()
    network.save(target / "model.keras")
    (target / "hyperparameters.json").write_bytes((trained / "hyperparameters.json").read_bytes())
    return target


def figures(card: str) -> list[list[float]]:
    """The numbers of the card's table, row by row, without the row's name."""
    rows = [line for line in card.splitlines() if re.match(r"\| (newest|unseen)", line)]
    return [[float(number) for number in re.findall(r"[\d.]+", row.split("|", 2)[2])] for row in rows]


def test_both_sets_are_measured_on_all_their_rows(done, answers, prepared):
    prior = np.array(json.loads((prepared / "prior.json").read_text()))

    for name, (rows, scores, truth) in answers.items():
        assert scores.shape == (len(rows), 4)
        assert scores.dtype == np.float32
        assert done.sets[name] == summary(scores, truth, prior)
        assert done.sets[name]["rows"] == len(rows)
        assert done.sets[name]["top_1"] == (scores.argmax(axis=1) == truth).mean()
        assert done.sets[name]["prior_top_1"] == (truth == prior.argmax()).mean()
    assert list(done.sets) == ["time", "unseen"]


def test_classes_confusion_and_calibration_are_of_the_test_by_time(done, answers):
    rows, scores, truth = answers["time"]
    counts = np.zeros((4, 4), int)
    np.add.at(counts, (truth, scores.argmax(axis=1)), 1)  # a row for each true class

    assert done.classes == ["blue", "green", "red", "yellow"]
    assert done.confusion == counts.tolist()
    assert done.per_class == per_class(scores, truth, done.classes)
    assert done.calibration == calibration(scores, truth)
    assert sum(part["rows"] for part in done.per_class) == sum(bin_["rows"] for bin_ in done.calibration) == len(rows)


def test_slices_are_the_models_own_parts_of_the_test_by_time(done, answers):
    rows, scores, truth = answers["time"]
    right, heavy = scores.argmax(axis=1) == truth, rows["weight"].to_numpy() >= 0.5

    assert done.slices == [
        {"name": "heavy", "rows": int(heavy.sum()), "top_1": float(right[heavy].mean())},
        {"name": "light", "rows": int((~heavy).sum()), "top_1": float(right[~heavy].mean())},
    ]


def test_a_slice_without_rows_is_left_out_and_a_null_is_not_in_it(prepared, trained, toy, copied, tmp_path):
    folder = copied(prepared)
    rows = pl.read_parquet(folder / "test_time.parquet")
    weight = pl.when(pl.int_range(pl.len()) >= 3).then(0.1).alias("weight")
    rows.with_columns(weight).write_parquet(folder / "test_time.parquet")

    [light] = evaluate(folder, trained, tmp_path / "out", toy, ABOUT).slices

    assert (light["name"], light["rows"]) == ("light", len(rows) - 3)


def test_the_files_say_what_it_says(done, prepared, trained, toy, tmp_path):
    again = evaluate(prepared, trained, tmp_path / "out", toy, ABOUT)

    assert again == done
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text(encoding="utf-8")) == done.facts()
    assert (tmp_path / "out" / "model_card.md").read_text(encoding="utf-8") == done.model_card


def test_the_figures_of_the_model_card_are_those_of_the_run(done, toy):
    columns = ("rows", "top_1", "top_5", "macro_f1", "calibration_error", "prior_top_1", "prior_top_5")

    assert figures(done.model_card) == [
        [round(done.sets[name][column], 3) for column in columns] for name in ("time", "unseen")
    ]  # fmt: skip
    weakest = min(done.slices, key=lambda part: part["top_1"])
    assert (
        f"Weakest slice: {weakest['name']}, top-1 {weakest['top_1']:.3f} on {weakest['rows']} rows." in done.model_card
    )
    assert done.model_card.startswith("# Model card: tests.toy\n\nWhich colour a lamp is seen in")
    for said in (
        "- **Answers** probabilities over 4 classes of `colour`",
        "- **Takes** raw values of `bright`, `size`, `warmth`",
        "- **Data version** d4ta",
        "- **Git commit** c0ffee",
        f"- **Settings** epochs {toy.Hyperparameters().epochs}, batch_size",
        "unseen entities (20% held out)",
    ):
        assert said in done.model_card


def test_another_network_has_other_figures(done, prepared, trained, toy, tmp_path):
    zeros = evaluate(prepared, of_zeros(trained, tmp_path / "zeros"), tmp_path / "out", toy, ABOUT)

    assert zeros.sets["time"]["log_loss"] == pytest.approx(np.log(4), rel=1e-6)
    assert zeros.sets["time"]["top_1"] == 0  # four equal answers are none
    assert figures(zeros.model_card)[0][1] == 0
    assert figures(zeros.model_card) != figures(done.model_card)
    assert "top-1 0.000" in zeros.model_card


def test_a_network_that_answers_no_numbers_is_an_error_of_its_own(prepared, trained, toy, tmp_path):
    with pytest.raises(StepError) as refused:
        evaluate(prepared, of_zeros(trained, tmp_path / "nan", float("nan")), tmp_path / "out", toy, ABOUT)

    rows = len(pl.read_parquet(prepared / "test_time.parquet"))
    assert refused.value.what == f"the network answers {rows} of {rows} rows with no number"
    assert refused.value.where == "test_time"
    assert not (tmp_path / "out").exists()
