"""The same rows, settings and seed give the same weights; every setting does something; a lie is refused."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import shutil
from dataclasses import asdict, fields
from types import SimpleNamespace

import keras
import kfp
import numpy as np
import polars as pl
import pytest
import tensorflow as tf

from components.errors import GateRefused, StepError
from components.train_model.step import environment, require_clean_split, train, weights_sha256
from models.hyperparameters import Hyperparameters
from models.split import PARTS
from tests.components.conftest import TOY

ONE = {"epochs": 1, "batch_size": 128}  # a training of a few steps


@pytest.fixture
def fit(prepared, toy, tmp_path):
    """A training of one epoch, with those settings changed."""

    def fit(**settings):
        return train(prepared, tmp_path / "trained", TOY, toy, {**ONE, **settings})

    return fit


@pytest.fixture(scope="module")
def one_epoch(prepared, toy, tmp_path_factory):
    return train(prepared, tmp_path_factory.mktemp("one") / "trained", TOY, toy, ONE)


# The same, again


def test_two_trainings_give_the_same_weights_and_the_same_history(training, prepared, toy, tmp_path):
    again = train(prepared, tmp_path / "trained", TOY, toy, {})

    assert again.weights_sha256 == training.weights_sha256
    assert again.history == training.history
    assert weights_sha256(keras.models.load_model(tmp_path / "trained" / "model.keras")) == training.weights_sha256


def test_random_numbers_drawn_before_change_nothing(one_epoch, fit):
    np.random.random(7)
    keras.random.normal((3,))

    assert fit().weights_sha256 == one_epoch.weights_sha256


CHANGES = {
    "epochs": 2,
    "batch_size": 64,
    "learning_rate": 0.01,
    "weight_decay": 0.5,
    "seed": 8,
    "precision": "mixed_bfloat16",
    "patience": 1,  # its own test is below: it changes nothing in one epoch
    "width": 8,  # the toy's own
}


def test_every_setting_is_changed_by_one_of_these_tests(toy):
    assert set(CHANGES) == {field.name for field in fields(toy.Hyperparameters)}
    assert {field.name for field in fields(Hyperparameters)} < set(CHANGES)


@pytest.mark.parametrize("name", [name for name in CHANGES if name not in ("patience", "precision")])
def test_every_setting_changes_the_weights(one_epoch, fit, name):
    changed = fit(**{name: CHANGES[name]})

    assert changed.hyperparameters == {**one_epoch.hyperparameters, name: CHANGES[name]}
    assert changed.weights_sha256 != one_epoch.weights_sha256
    assert len(changed.history["loss"]) == changed.epochs == changed.hyperparameters["epochs"]


@pytest.mark.parametrize("patience", [1, 2])
def test_training_stops_after_so_many_epochs_without_a_better_validation(fit, patience):
    stopped = fit(epochs=9, patience=patience, learning_rate=0)

    assert (stopped.epochs, stopped.best_epoch, stopped.stopped_early) == (1 + patience, 1, True)
    assert len(stopped.history["val_loss"]) == 1 + patience


def test_a_training_that_ran_to_its_end_did_not_stop_early(fit):
    done = fit(epochs=2, patience=1)

    assert (done.epochs, done.stopped_early) == (2, False)
    assert {name: len(values) for name, values in done.history.items()} == dict.fromkeys(
        ("accuracy", "loss", "val_accuracy", "val_loss"), 2
    )


def test_the_kept_weights_are_those_of_the_best_epoch(training, trained, prepared, toy):
    network = keras.models.load_model(trained / "model.keras")
    rows = pl.read_parquet(prepared / "validation.parquet")
    inputs = {name: rows[name].to_numpy().reshape(-1, 1) for name in ("bright", "size", "warmth")}
    scores = network.predict_on_batch(inputs)

    loss = -np.log(scores[np.arange(len(rows)), rows["label"].to_numpy()]).mean()

    assert training.best_epoch == 1 + training.history["val_loss"].index(min(training.history["val_loss"]))
    assert training.best_epoch < training.epochs  # else any last epoch would do
    assert loss == pytest.approx(training.history["val_loss"][training.best_epoch - 1], rel=1e-5)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_computes_other_weights_and_saves_a_float32_network(one_epoch, fit, tmp_path, precision):
    mixed = fit(precision=precision)

    network = keras.models.load_model(tmp_path / "trained" / "model.keras")
    assert mixed.precision == precision
    assert mixed.weights_sha256 == weights_sha256(network) != one_epoch.weights_sha256
    assert {layer.compute_dtype for layer in network.layers if layer.weights} == {"float32"}
    assert {weight.dtype for weight in network.weights} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"  # the next training of this process starts from there


# What a training says of itself


def test_the_files_of_a_training_say_what_it_says(training, trained):
    assert sorted(path.name for path in trained.iterdir()) == [
        "classes.json", "environment.json", "history.json", "hyperparameters.json", "model.keras",
    ]  # fmt: skip
    for name in ("environment", "history", "hyperparameters"):
        assert json.loads((trained / f"{name}.json").read_text()) == getattr(training, name)


def test_model_settings_and_size_are_told(training, trained, toy):
    network = keras.models.load_model(trained / "model.keras")

    assert training.model == TOY
    assert training.hyperparameters == asdict(toy.Hyperparameters())
    assert training.weights == (3 + 1) * 16 + (16 + 1) * 4 == network.count_params()
    assert training.facts()["weights_sha256"] == training.weights_sha256 == weights_sha256(network)


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="this machine has a GPU")
def test_without_a_gpu_it_trains_on_the_cpu_in_float32(training):
    assert training.hyperparameters["precision"] == "auto"
    assert training.precision == "float32"
    assert training.device.startswith("CPU: ")


def test_the_environment_freeze_names_python_and_every_package_with_its_version():
    frozen = environment()
    [tensorflow] = set(importlib.metadata.packages_distributions()["tensorflow"])

    assert frozen["python"] == platform.python_version()
    assert frozen["packages"]["kfp"] == kfp.__version__
    assert frozen["packages"]["keras"] == keras.__version__
    assert frozen["packages"][tensorflow].startswith(tf.__version__)
    assert list(frozen["packages"]) == sorted(frozen["packages"], key=str.lower)


# What is refused


def test_more_gpus_than_there_are_is_refused_before_training(prepared, toy, tmp_path):
    there = len(tf.config.list_physical_devices("GPU"))

    with pytest.raises(StepError) as refused:
        train(prepared, tmp_path / "trained", TOY, toy, ONE, gpus=there + 1)

    assert refused.value.what == f"{there + 1} GPU(s) asked for, TensorFlow sees {there}"
    assert refused.value.where == "parameter gpus"
    assert not (tmp_path / "trained").exists()


def test_a_wrong_setting_is_refused_in_the_words_of_the_hyperparameters(fit):
    with pytest.raises(StepError) as refused:
        fit(epoch=3, width=0)

    assert refused.value.what == (
        "there is no hyperparameter `epoch`; did you mean `epochs`?; "
        "hyperparameter `width`: 0 is not between 1 and 1024"
    )
    assert refused.value.where == "parameter hyperparameters"


def test_a_loss_that_is_no_number_is_refused_and_nothing_is_saved(fit, tmp_path):
    with pytest.raises(StepError) as refused:
        fit(learning_rate=10, weight_decay=1, batch_size=8)  # each step multiplies the weights by -9

    assert refused.value.what == "`loss` is no number in epoch 1"
    assert refused.value.do == "lower `learning_rate`"
    assert not (tmp_path / "trained").exists()


def test_a_validation_loss_that_is_no_number_is_refused_too(prepared, toy, copied, tmp_path):
    def of_the_logarithm(settings, profile, classes):
        inputs = {f.name: keras.Input((1,), dtype=f.dtype, name=f.name) for f in toy.CONTRACT.features}
        size, *others = (keras.ops.cast(inputs[name], "float32") for name in ("size", "bright", "warmth"))
        x = keras.layers.Concatenate()([keras.ops.log(size + 1), *others])  # Keras 3.12 wants every input used
        return keras.Model(inputs, keras.layers.Dense(len(classes), activation="softmax")(x))

    folder = copied(prepared)
    rows = pl.read_parquet(folder / "validation.parquet")
    rows.with_columns(size=pl.lit(-5)).write_parquet(folder / "validation.parquet")
    model = SimpleNamespace(**{**vars(toy), "build_network": of_the_logarithm})

    with pytest.raises(StepError, match="`val_loss` is no number in epoch 1"):
        train(folder, tmp_path / "trained", TOY, model, ONE)


def test_a_clean_split_passes(prepared):
    require_clean_split(prepared, "day")


@pytest.mark.parametrize("into", ["train", "validation"])
@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("test_time", "training rows reach 2024-06-30, and the test by time begins on 2024-06-29"),
        ("test_unseen", "1 entities of the test by unseen entities are in the training rows too"),
    ],
)
def test_one_test_row_in_what_is_learned_from_is_refused(prepared, toy, copied, tmp_path, part, into, said):
    folder = copied(prepared)
    days_before = pl.col("day").dt.day() < 29 if part == "test_unseen" else pl.col("day").dt.day() == 30
    leaked = pl.read_parquet(folder / f"{part}.parquet").filter(days_before).head(1)
    pl.concat([pl.read_parquet(folder / f"{into}.parquet"), leaked]).write_parquet(folder / f"{into}.parquet")

    with pytest.raises(GateRefused) as refused:
        train(folder, tmp_path / "trained", TOY, toy, ONE)

    assert refused.value.gate == "split"
    assert refused.value.what == f"the split leaks: {said}"
    assert not (tmp_path / "trained").exists()


def test_without_the_leaked_rows_the_same_parts_are_trained_on(prepared, toy, tmp_path):
    for part in PARTS:
        shutil.copy(prepared / f"{part}.parquet", tmp_path)
    for name in ("classes", "profile"):
        shutil.copy(prepared / f"{name}.json", tmp_path)

    assert train(tmp_path, tmp_path / "trained", TOY, toy, ONE).epochs == 1
