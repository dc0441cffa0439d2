"""Settings of the network beside those of every training. No Keras here: they are checked before anything heavy starts."""

from __future__ import annotations

from dataclasses import dataclass

from models.hyperparameters import Hyperparameters as Common
from models.hyperparameters import ranged


@dataclass(frozen=True, kw_only=True)
class Hyperparameters(Common):
    """The layers' widths, and two kinds of noise against learning songs by heart."""

    epochs: int = ranged(18, 1, 10_000)
    learning_rate: float = ranged(3e-3, 0.0, 10.0)
    hidden: tuple[int, ...] = ranged((384, 384, 384), 1, 8192)
    dropout: float = ranged(0.0, 0.0, 0.9)
    noise: float = ranged(0.02, 0.0, 5.0)
