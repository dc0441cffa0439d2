"""The network: raw named features in, probabilities over countries out. Change it here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from models.jukebox.contract import CONTRACT
from models.jukebox.features import encode
from models.jukebox.hyperparameters import Hyperparameters


def build_network(
    hyperparameters: Hyperparameters, profile: Mapping[str, Mapping[str, Any]], classes: Sequence[str]
) -> keras.Model:
    """A dense network on encoded features; its last layer computes in float32 whatever the training's precision."""
    inputs = {f.name: keras.Input((1,), dtype=f.dtype, name=f.name) for f in CONTRACT.features}
    encoded = [column for f in CONTRACT.features for column in encode(f, inputs[f.name], profile[f.name])]
    x = keras.layers.Concatenate(dtype="float32")(encoded)
    x = keras.layers.GaussianNoise(hyperparameters.noise)(x)
    for width in hyperparameters.hidden:
        x = keras.layers.Dense(width, activation="silu")(x)
        x = keras.layers.Dropout(hyperparameters.dropout)(x)
    probabilities = keras.layers.Dense(len(classes), activation="softmax", dtype="float32", name="probabilities")(x)
    return keras.Model(inputs, probabilities)
