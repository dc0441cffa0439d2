"""Which colour a lamp is seen in, from three facts about it: a model small enough to train inside a test.

The colour follows a rule over the features, and one time in ten it is any colour: so a network learns it within
seconds, on lamps that it never saw too, and 1 is out of its reach.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandera.polars as pa
import polars as pl

from models.contract import Contract, Reference
from models.gates import Gates
from models.hyperparameters import Hyperparameters as Common
from models.hyperparameters import ranged
from models.split import Split

if TYPE_CHECKING:
    import keras

COLOURS = ("blue", "green", "red", "yellow")
LAST_DAY = datetime(2024, 6, 30)
NOISE = 0.1  # share of the sightings whose colour follows no rule

ITEMS = pa.DataFrameSchema(
    {
        "item_id": pa.Column(pl.String, unique=True),
        "bright": pa.Column(pl.Boolean, metadata={"role": "flag"}),
        "size": pa.Column(pl.Int64, pa.Check.in_range(0, 100), metadata={"role": "linear"}),
        "warmth": pa.Column(pl.Float64, pa.Check.in_range(0, 1), metadata={"role": "linear"}),
    }
)

EVENTS = pa.DataFrameSchema(
    {
        "item_id": pa.Column(pl.String),
        "day": pa.Column(pl.Datetime("us")),
        "colour": pa.Column(pl.String, pa.Check.isin(COLOURS)),
        "weight": pa.Column(pl.Float64, pa.Check.in_range(0, 1)),
        "note": pa.Column(pl.String, nullable=True, required=False),
    },
    unique=["item_id", "day"],
)

CONTRACT = Contract(
    tables={"items": ITEMS, "events": EVENTS},
    rows="events",
    target="colour",
    time="day",
    entity=("item_id",),
    classes=COLOURS,
    references=(Reference(table="events", column="item_id", to_table="items", to_column="item_id"),),
    min_rows={"items": 10, "events": 50},
    max_age_days=3,
)
SPLIT = Split(days=2, unseen=0.2, validation=0.2)
GATES = Gates.read(Path(__file__).parent / "gates.yaml")

Tables = dict[str, pl.DataFrame]


@dataclass(frozen=True, kw_only=True)
class Hyperparameters(Common):
    """Enough to learn the rule in about a second."""

    epochs: int = ranged(8, 1, 1000)
    batch_size: int = ranged(64, 1, 65_536)
    learning_rate: float = ranged(2e-2, 0.0, 10.0)
    width: int = ranged(16, 1, 1024)


def join(tables: Mapping[str, pl.LazyFrame]) -> pl.LazyFrame:
    """One row for each sighting, with the lamp's features (null where the lamp is not known)."""
    events = tables["events"].select("item_id", "day", "colour", "weight")
    return events.join(tables["items"], on="item_id", how="left", maintain_order="left")


def slices(rows: pl.DataFrame) -> dict[str, pl.Series]:
    """Sightings that weigh much, and those that weigh little."""
    return {"heavy": rows["weight"] >= 0.5, "light": rows["weight"] < 0.5}


def build_network(
    hyperparameters: Hyperparameters, profile: Mapping[str, Mapping[str, Any]], classes: Sequence[str]
) -> keras.Model:
    """One hidden layer on three scaled numbers."""
    import keras
    from keras import ops

    inputs = {f.name: keras.Input((1,), dtype=f.dtype, name=f.name) for f in CONTRACT.features}
    scaled = []
    for feature in CONTRACT.features:
        value, known = ops.cast(inputs[feature.name], "float32"), profile[feature.name]
        if feature.low is not None and feature.high is not None:
            value = ops.clip(value, feature.low, feature.high)
        scaled.append((value - known["mean"]) / (known["std"] or 1.0))
    x = keras.layers.Concatenate(dtype="float32")(scaled)
    x = keras.layers.Dense(hyperparameters.width, activation="relu")(x)
    probabilities = keras.layers.Dense(len(classes), activation="softmax", dtype="float32", name="probabilities")(x)
    return keras.Model(inputs, probabilities)


def colour_of(bright: bool, size: int, warmth: float) -> str:
    """The rule: which of the four colours belongs to such a lamp."""
    return COLOURS[2 * bright + (size / 100 + warmth > 1)]


def generate(folder: Path, *, seed: int = 1, items: int = 160, days: int = 10, bad: str = "") -> None:
    """Write items.parquet and events.parquet: each lamp is seen once a day. `bad` makes one defect.

    Raises:
        ValueError: there is no such defect, or a number is none.
    """
    if bad and bad not in _DEFECTS:
        raise ValueError(f"`bad` is one of {', '.join(_DEFECTS)}, or empty; not `{bad}`")
    rng = random.Random(int(seed))  # its `random()` is promised to stay the same in every version of Python
    lamps: list[dict[str, Any]] = [
        {"item_id": f"i{n:05d}", "bright": rng.random() < 0.5, "size": int(rng.random() * 101), "warmth": rng.random()}
        for n in range(int(items))
    ]
    events = []
    for day in range(int(days)):
        for lamp in lamps:
            ruled = colour_of(lamp["bright"], lamp["size"], lamp["warmth"])
            colour = ruled if rng.random() >= NOISE else COLOURS[int(rng.random() * len(COLOURS))]
            seen = LAST_DAY - timedelta(days=int(days) - 1 - day)
            events.append(
                {"item_id": lamp["item_id"], "day": seen, "colour": colour, "weight": rng.random(), "note": None}
            )
    tables = {"items": _as_promised("items", lamps), "events": _as_promised("events", events)}
    if bad:
        tables = _DEFECTS[bad](tables)
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.write_parquet(folder / f"{name}.parquet")


def _as_promised(table: str, rows: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(
        rows, schema={name: column.dtype.type for name, column in CONTRACT.tables[table].columns.items()}
    )


def _nulls(tables: Tables) -> Tables:
    """Three lamps whose warmth nobody knows."""
    first = pl.int_range(pl.len()) < 3
    return {**tables, "items": tables["items"].with_columns(warmth=pl.when(~first).then("warmth"))}


def _out_of_range(tables: Tables) -> Tables:
    """Two lamps larger than any."""
    first = pl.int_range(pl.len()) < 2
    return {**tables, "items": tables["items"].with_columns(size=pl.when(first).then(1000).otherwise("size"))}


def _missing_column(tables: Tables) -> Tables:
    return {**tables, "items": tables["items"].drop("warmth")}


def _duplicate_keys(tables: Tables) -> Tables:
    """Four sightings that are there twice."""
    return {**tables, "events": pl.concat([tables["events"], tables["events"].head(4)])}


_DEFECTS: dict[str, Callable[[Tables], Tables]] = {
    "nulls": _nulls,
    "out_of_range": _out_of_range,
    "missing_column": _missing_column,
    "duplicate_keys": _duplicate_keys,
}
