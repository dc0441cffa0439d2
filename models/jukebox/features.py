"""Raw audio features to numbers of about unit size, as operations of the network: serving needs nothing beside the graph.

Each role of the contract is one recipe. Scales come from quantiles of the training rows, so that one absurd value moves nothing,
and values beyond the contract's limits are clipped to them, at training as at serving.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import ops

from models.contract import Feature

_SPREAD = 3.3  # between the 5 % and the 95 % quantile of a normal distribution lie 3.3 standard deviations
_LEAST = 1e-4  # below it the logarithm of a share says nothing more


def _log(feature: Feature, high: float) -> tuple[Callable[[Any], Any], Callable[[float], float]]:
    least = _LEAST * high if high > 1 else _LEAST
    return lambda x: ops.log(ops.maximum(x, least)), lambda x: math.log(max(x, least))


def _log_below(high: float) -> tuple[Callable[[Any], Any], Callable[[float], float]]:
    """Loudness: its distance from just above the limit is about log-normal."""
    return lambda x: ops.log((high + 1.0) - x), lambda x: math.log((high + 1.0) - x)


def encode(feature: Feature, raw: keras.KerasTensor, statistics: Mapping[str, Any]) -> list[keras.KerasTensor]:
    """The columns, each of shape (rows, 1) or (rows, n), that one raw input of shape (rows, 1) becomes."""
    value = ops.cast(raw, "float32")
    if feature.role == "flag":
        return [ops.clip(value, 0.0, 1.0) * 2.0 - 1.0]
    if feature.low is None or feature.high is None:
        raise ValueError(f"feature `{feature.name}` has no range in the contract")
    low, high = float(feature.low), float(feature.high)
    value = ops.clip(value, low, high)
    if feature.role == "one_hot":
        members = [ops.cast(ops.equal(value, float(n)), "float32") for n in range(int(low), int(high) + 1)]
        return [ops.concatenate(members, axis=1)]
    if feature.role == "linear":
        return [_standard(value, statistics, lambda x: x)]
    if feature.role == "log_below_high":
        graph, number = _log_below(high)
        return [_standard(graph(value), statistics, number)]
    graph, number = _log(feature, high)
    if feature.role == "log":
        return [_standard(graph(value), statistics, number)]
    if feature.role == "log_or_zero":  # half of the songs are exactly 0: a fact of its own
        return [ops.cast(value > 0.0, "float32"), _standard(graph(value), statistics, number)]
    raise ValueError(f"feature `{feature.name}` has the role `{feature.role}`, which has no recipe here")


def _standard(
    value: keras.KerasTensor, statistics: Mapping[str, Any], number: Callable[[float], float]
) -> keras.KerasTensor:
    """Centre on the median and divide by the spread; constants, as tf2onnx loses what a Normalization layer captures."""
    low, middle, high = (number(float(statistics[quantile])) for quantile in ("q05", "q50", "q95"))
    spread = abs(high - low) / _SPREAD or 1.0
    return (value - middle) / spread
