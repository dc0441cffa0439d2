"""Raw named features go in, probabilities come out, and every setting is in the network that is built."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from models.hyperparameters import Hyperparameters as Common
from models.hyperparameters import parse, problems
from models.jukebox import Hyperparameters, build_network
from models.jukebox.contract import CONTRACT, COUNTRIES

CLASSES = COUNTRIES[:7]
SMALL = Hyperparameters(hidden=(8, 6))
NUMPY = {"bool": np.bool_, "int64": np.int64, "float32": np.float32}
LIMITS = {f.name: (0.0 if f.low is None else f.low, 1.0 if f.high is None else f.high) for f in CONTRACT.features}
PROFILE = {
    name: {"q05": low + 0.3 * (high - low), "q50": low + 0.5 * (high - low), "q95": low + 0.7 * (high - low)}
    for name, (low, high) in LIMITS.items()
}
OWN = [field.name for field in fields(Hyperparameters) if field.name not in {f.name for f in fields(Common)}]


def raw(rows: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {f.name: rng.uniform(*LIMITS[f.name], (rows, 1)).round(2).astype(NUMPY[f.dtype]) for f in CONTRACT.features}


def layers(network: keras.Model) -> list[tuple[str, dict]]:
    """Kind and settings of each layer; its name, which Keras counts up, left out."""
    kept = ("units", "activation", "rate", "stddev")
    configs = [
        (type(layer).__name__, layer.get_config()) for layer in network.layers if layer.get_config().keys() & {*kept}
    ]
    return [(kind, {key: config[key] for key in kept if key in config}) for kind, config in configs]


@pytest.fixture(scope="module")
def network() -> keras.Model:
    return build_network(SMALL, PROFILE, CLASSES)


@pytest.fixture(params=["mixed_float16", "mixed_bfloat16"])
def policy(request: pytest.FixtureRequest):
    """A policy of half precision, for the time of a test."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)


def test_inputs_are_those_of_the_contract_by_name_and_type(network):
    found = {name: (tensor.name, tensor.dtype, tensor.shape) for name, tensor in network.input.items()}

    assert found == {feature.name: (feature.name, feature.dtype, (None, 1)) for feature in CONTRACT.features}


def test_outputs_are_probabilities_over_the_classes(network):
    found = np.asarray(network(raw(50)))

    assert found.shape == (50, len(CLASSES))
    assert found.dtype == np.float32
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    assert len(np.unique(found.round(6), axis=0)) > 40  # and they depend on the song


def test_what_no_song_has_still_gets_probabilities(network):
    absurd = {"bool": np.bool_(True), "int64": np.int64(2**62), "float32": np.float32(np.inf)}
    inputs = {f.name: np.array([[absurd[f.dtype]]]) for f in CONTRACT.features}

    found = np.asarray(network(inputs))

    assert np.isfinite(found).all()
    assert found.sum() == pytest.approx(1)


def test_half_precision_computes_inside_and_answers_in_float32(policy):
    found = build_network(SMALL, PROFILE, CLASSES)

    compute = {layer.compute_dtype for layer in found.layers if isinstance(layer, keras.layers.Dense)}
    assert compute == {policy.removeprefix("mixed_"), "float32"}
    [encoded] = [layer for layer in found.layers if isinstance(layer, keras.layers.Concatenate)]
    assert encoded.compute_dtype == "float32"
    assert found.get_layer("probabilities").compute_dtype == "float32"
    assert np.asarray(found(raw(5))).dtype == np.float32
    assert {weight.dtype for weight in found.weights if "seed" not in weight.path} == {"float32"}


def test_weights_of_half_precision_fit_a_network_of_float32(policy, network):
    trained = build_network(SMALL, PROFILE, CLASSES)

    assert [w.shape for w in trained.get_weights()] == [w.shape for w in network.get_weights()]


def test_a_saved_network_is_read_in_safe_mode_without_any_code_of_ours(network, tmp_path: Path):
    network.save(tmp_path / "model.keras")

    read = keras.models.load_model(tmp_path / "model.keras", custom_objects={}, compile=False, safe_mode=True)

    np.testing.assert_array_equal(np.asarray(read(raw(20))), np.asarray(network(raw(20))))


def test_there_is_no_layer_of_arbitrary_code_in_it(network):
    kinds = {type(layer) for layer in network.layers}

    assert keras.layers.Lambda not in kinds
    assert {kind.__module__.split(".")[0] for kind in kinds} == {"keras"}


def test_the_settings_are_in_the_layers():
    found = layers(build_network(Hyperparameters(hidden=(9, 5), dropout=0.3, noise=0.7), PROFILE, CLASSES))

    assert found == [
        ("GaussianNoise", {"stddev": 0.7}),
        ("Dense", {"units": 9, "activation": "silu"}),
        ("Dropout", {"rate": 0.3}),
        ("Dense", {"units": 5, "activation": "silu"}),
        ("Dropout", {"rate": 0.3}),
        ("Dense", {"units": 7, "activation": "softmax"}),
    ]


OTHER: dict[str, Any] = {"hidden": (8, 6, 4), "dropout": 0.5, "noise": 1.0}


@pytest.mark.parametrize("name", OWN)
def test_every_setting_of_the_network_changes_the_network(network, name):
    assert OTHER[name] != getattr(SMALL, name)

    changed = build_network(replace(SMALL, **{name: OTHER[name]}), PROFILE, CLASSES)

    assert layers(changed) != layers(network)


def test_noise_and_dropout_are_of_the_training_alone(network):
    inputs = raw(20)

    first, again = (np.asarray(network(inputs, training=False)) for _ in range(2))

    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(np.asarray(network(inputs, training=True)), first)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"hidden": []}, "hyperparameter `hidden`: a list is wanted, with at least one member, not []"),
        ({"hidden": [512, 0]}, "hyperparameter `hidden`: 0 is not between 1 and 8192"),
        ({"dropout": 0.95}, "hyperparameter `dropout`: 0.95 is not between 0.0 and 0.9"),
        ({"noise": -0.1}, "hyperparameter `noise`: -0.1 is not between 0.0 and 5.0"),
        ({"droput": 0.2}, "there is no hyperparameter `droput`; did you mean `dropout`?"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_before_anything_is_built(given, said):
    assert problems(Hyperparameters, given) == [said]


def test_settings_come_from_json_as_they_are_written_there():
    assert parse(Hyperparameters, {"hidden": [64.0, 32], "noise": 0}) == Hyperparameters(hidden=(64, 32), noise=0.0)
