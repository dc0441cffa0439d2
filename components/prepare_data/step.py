"""Joined, cleaned and parted: what may be learned from is apart from what will judge it, and every dropped row is accounted for."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from components.errors import StepError
from models import Model
from models.contract import Feature
from models.split import ENTITY, PARTS, parted, with_entity

LABEL = "label"  # index of the row's class, in the order of classes.json
_QUANTILES = {"q01": 0.01, "q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95, "q99": 0.99}
_ROWS_A_GROUP = 16_384  # what the training reads at a time


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Rows by part, what was dropped and why, and what the training rows look like."""

    rows: dict[str, int]
    dropped: list[dict[str, Any]]
    classes: list[str]
    split: dict[str, Any]
    profile: dict[str, dict[str, Any]]

    def facts(self) -> dict[str, Any]:
        return asdict(self)


def prepare(tables: Path, folder: Path, model: Model) -> Prepared | None:
    """Write `<part>.parquet` for each part, classes.json, profile.json and prior.json into `folder`.

    A part holds the raw features, `label` (int32), `entity` (hexadecimal), the contract's time, and what the model's slices need.

    None where tables that break the contract cannot be prepared: validate_data, a sibling that may run after this step,
    judges by the same rules, and its report, not a crash here, is what stops the run.

    Raises:
        StepError: a column that the join needs is not there, or there are too few days or rows.
    """
    scans = {name: pl.scan_parquet(tables / f"{name}.parquet") for name in model.CONTRACT.tables}
    try:
        return _prepare(scans, folder, model)
    except (pl.exceptions.PolarsError, StepError) as error:
        if model.CONTRACT.problems({name: scan.collect() for name, scan in scans.items()}):
            return None
        if isinstance(error, StepError):
            raise
        line = str(error).strip().splitlines()[0]
        do = "mend the model's join; the tables keep the contract"
        raise StepError(f"the tables cannot be joined: {line}", where=model.CONTRACT.rows, do=do) from error


def _prepare(scans: dict[str, pl.LazyFrame], folder: Path, model: Model) -> Prepared:
    contract, split = model.CONTRACT, model.SPLIT
    joined = model.join(scans).collect()
    rows, dropped = _without_nulls(joined, [contract.target, contract.time, *(f.name for f in contract.features)])
    try:
        rows = parted(with_entity(rows, contract.entity), contract.time, split)
    except ValueError as error:
        raise StepError(f"{error}", where=f"{contract.rows}.{contract.time}", do="fetch more days") from error
    # An order of the rows' own: a join promises none, and the same rows must give the same weights.
    rows = rows.sort(contract.time, ENTITY, contract.target)
    classes = rows.filter(pl.col("part") == "train")[contract.target].unique().sort().to_list()
    if len(classes) < 2:
        raise StepError(
            f"{len(classes)} class(es) to learn", where=f"{contract.rows}.{contract.target}", do="fetch more rows"
        )
    known = rows.filter(pl.col(contract.target).is_in(classes))
    dropped += _drop(f"class of `{contract.target}` not in the training rows", len(rows) - len(known))
    index = {name: number for number, name in enumerate(classes)}
    labelled = known.with_columns(pl.col(contract.target).replace_strict(index, return_dtype=pl.Int32).alias(LABEL))

    parts = {part: labelled.filter(pl.col("part") == part).drop("part", contract.target) for part in PARTS}
    for part, content in parts.items():
        if content.is_empty():
            raise StepError(
                f"the part `{part}` has no rows", where=str(contract.rows), do="fetch more days or more rows"
            )
        content.write_parquet(folder / f"{part}.parquet", row_group_size=_ROWS_A_GROUP)
    train = parts["train"]
    counts = train[LABEL].value_counts().sort(LABEL)["count"]
    profile = {feature.name: _profile(feature, train[feature.name]) for feature in contract.features}
    _write(folder / "classes.json", classes)
    _write(folder / "prior.json", [count / len(train) for count in counts])
    _write(folder / "profile.json", profile)
    return Prepared(
        rows={"joined": len(joined), **{part: len(content) for part, content in parts.items()}},
        dropped=dropped,
        classes=classes,
        split={
            **asdict(split),
            "test_from": str(parts["test_time"][contract.time].min()),
            "train_to": str(train[contract.time].max()),
            "train_entities": train[ENTITY].n_unique(),
            "unseen_entities": parts["test_unseen"][ENTITY].n_unique(),
        },
        profile=profile,
    )


def _without_nulls(rows: pl.DataFrame, columns: list[str]) -> tuple[pl.DataFrame, list[dict[str, Any]]]:
    """Each dropped row is counted once: for the first column that is null in it."""
    dropped: list[dict[str, Any]] = []
    for column in columns:
        kept = rows.filter(pl.col(column).is_not_null())
        dropped += _drop(f"`{column}` is null", len(rows) - len(kept))
        rows = kept
    return rows, dropped


def _drop(why: str, rows: int) -> list[dict[str, Any]]:
    return [{"why": why, "rows": rows}] if rows else []


def _profile(feature: Feature, values: pl.Series) -> dict[str, Any]:
    """Statistics of one feature on the training rows: scales of the network, and what drift is later measured against."""
    # numpy sums in one order; polars' threads do not, and the last digit moves
    numbers = values.cast(pl.Float64).to_numpy()
    quantiles = dict(
        zip(_QUANTILES, np.quantile(numbers, list(_QUANTILES.values()), method="nearest").tolist(), strict=True)
    )
    spread = {name: float(getattr(np, name)(numbers)) for name in ("mean", "std", "min", "max")}
    return {"kind": feature.dtype, "role": feature.role, **spread, **quantiles, "distinct": values.n_unique()}


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False), encoding="utf-8")
