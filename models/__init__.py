"""Every step meets a model through `Model` alone; which model it is, a string says.

A model is a package (or a module) with the names below. Steps, pipelines and delivery know nothing else of it, so a new model
is a new folder here and a new pipeline, and no change to any step.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from models.contract import Contract
from models.gates import Gates
from models.hyperparameters import Hyperparameters
from models.split import Split

if TYPE_CHECKING:
    import keras
    import polars as pl

Profile = dict[str, dict[str, Any]]  # feature -> statistics of the training rows, as `prepare_data` writes them


class Model(Protocol):
    """What a model's package offers (a module is checked against it, not a class)."""

    CONTRACT: Contract
    """Tables, features and target: what data may come in."""
    SPLIT: Split
    """How rows are kept apart for training and for judging."""
    GATES: Gates
    """The thresholds that a candidate must meet; read from the model's gates.yaml."""
    Hyperparameters: type[Hyperparameters]
    """Settings of one training, each with its type, default and range."""

    def join(self, tables: Mapping[str, pl.LazyFrame]) -> pl.LazyFrame:
        """One row for each row of the contract's `rows` table, with every feature, the target, and the time; unmatched = null."""
        ...

    def build_network(self, hyperparameters: Any, profile: Profile, classes: Sequence[str]) -> keras.Model:
        """Raw named features, each of shape (rows, 1), to probabilities of shape (rows, classes). Preprocessing is inside."""
        ...

    def slices(self, rows: pl.DataFrame) -> dict[str, pl.Series]:
        """Name -> boolean mask over `rows` (length rows): parts of the data whose quality is reported on its own."""
        ...

    def generate(self, folder: Path, **options: Any) -> None:
        """Write `<table>.parquet` for each table of the contract: seeded synthetic data that keeps the contract."""
        ...


_OFFERS = (*Model.__annotations__, *(offer for offer in vars(Model) if not offer.startswith("_")))


def load(name: str) -> Model:
    """The model of that name: a package in this folder, or, where the name has a dot, any importable module.

    Raises:
        LookupError: there is no such model, or the module is none; the sentence names those that there are.
    """
    path = name if "." in name and not name.startswith(".") else f"models.{name}"
    try:
        found = importlib.import_module(path)
    except ModuleNotFoundError as missing:
        if missing.name is None or not f"{path}.".startswith(f"{missing.name}."):
            raise  # the model is there, and something that it imports is not
        raise LookupError(f"there is no model `{name}`; known: {', '.join(names())}") from missing
    if lacking := [offer for offer in _OFFERS if not hasattr(found, offer)]:
        raise LookupError(f"`{name}` is no model: it lacks {', '.join(lacking)}; known: {', '.join(names())}")
    return cast(Model, found)  # a module has no class to check against the protocol


def names() -> list[str]:
    """The models of this folder."""
    return sorted(found.parent.name for found in Path(__file__).parent.glob("*/contract.py"))
