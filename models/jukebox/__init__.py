"""Which country's charts a song is in, from 13 audio features.

contract.py: the data · features.py: preprocessing · network.py: the network · hyperparameters.py: its settings ·
gates.yaml: what a candidate must meet · generator.py: synthetic data that keeps the contract
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from models.gates import Gates
from models.jukebox.contract import CONTRACT
from models.jukebox.hyperparameters import Hyperparameters
from models.split import Split

if TYPE_CHECKING:
    import keras

__all__ = ["CONTRACT", "GATES", "SPLIT", "Hyperparameters", "build_network", "generate", "join", "slices"]

SPLIT = Split(days=1, unseen=0.1, validation=0.1)
GATES = Gates.read(Path(__file__).parent / "gates.yaml")


def join(tables: Mapping[str, pl.LazyFrame]) -> pl.LazyFrame:
    """One row for each place in a chart, with the song's features (null where the song is not known)."""
    features = [feature.name for feature in CONTRACT.features]
    songs = tables["song_properties"].select("spotify_id", *features)
    charts = tables["song_rankings"].select("spotify_id", CONTRACT.target, CONTRACT.time, "popularity")
    return charts.join(songs, on="spotify_id", how="left", maintain_order="left")


def slices(rows: pl.DataFrame) -> dict[str, pl.Series]:
    """Explicit and clean songs, and the most and the least popular quarter."""
    low, high = rows["popularity"].quantile(0.25), rows["popularity"].quantile(0.75)
    return {
        "explicit": rows["is_explicit"],
        "clean": ~rows["is_explicit"],
        "popular (top quarter)": rows["popularity"] >= high,
        "less popular (bottom quarter)": rows["popularity"] <= low,
    }


def build_network(
    hyperparameters: Hyperparameters, profile: Mapping[str, Mapping[str, Any]], classes: Sequence[str]
) -> keras.Model:
    """See `models.jukebox.network`; Keras is imported only when a network is wanted."""
    from models.jukebox.network import build_network as build

    return build(hyperparameters, profile, classes)


def generate(folder: Path, **options: Any) -> None:
    """See `models.jukebox.generator`."""
    from models.jukebox.generator import generate as write

    write(folder, **options)
