"""A test row is newer than every training row, or of an entity that training never saw; nothing is both.

Four parts: `train`; `validation`, a sample of the newest training day, to stop early by; `test_time`, the newest days; and
`test_unseen`, all rows of entities held out by the hash of what they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

PARTS = ("train", "validation", "test_time", "test_unseen")
ENTITY = "entity"  # the column that `with_entity` adds
_SEPARATOR = "\x1f"


@dataclass(frozen=True, kw_only=True)
class Split:
    """`days` newest days and `unseen` of the entities (a share) are for judging only."""

    days: int = 1
    unseen: float = 0.1
    validation: float = 0.1  # share of the entities whose rows on the newest training day stop the training early

    def __post_init__(self) -> None:
        if self.days < 1:
            raise ValueError(f"`days` is at least 1, not {self.days}")
        if not (self.unseen > 0 and self.validation > 0 and self.unseen + self.validation < 1):
            shares = f"{self.unseen} and {self.validation}"
            raise ValueError(f"`unseen` and `validation` are shares above 0 that leave a rest, not {shares}")


def with_entity(rows: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Those rows with the column `entity`: the SHA-256 (32 hexadecimal digits) of the values in `columns`.

    Own code, and not polars' `hash`: that one is free to change between versions, and the split must not.
    """
    kinds = rows.select(columns).unique(maintain_order=True)
    texts = (_SEPARATOR.join(map(_text, values)) for values in kinds.iter_rows())
    digests = [hashlib.sha256(text.encode()).hexdigest()[:32] for text in texts]
    known = kinds.with_columns(pl.Series(ENTITY, digests, dtype=pl.String))
    return rows.join(known, on=list(columns), how="left", nulls_equal=True, maintain_order="left")


def _text(value: Any) -> str:
    # -0.0 is the same number as 0.0, and reads otherwise
    return "0.0" if value == 0 and isinstance(value, float) else str(value)


def share_of(entity: str) -> float:
    """Where an entity stands between 0 and 1: uniform, the same on every machine, and forever."""
    return int(entity[:8], 16) / 2**32


def parted(rows: pl.DataFrame, time: str, split: Split) -> pl.DataFrame:
    """Those rows with the column `part`. `rows` has the columns `entity` and `time`.

    Raises:
        ValueError: there are not days enough to learn from and to be judged by.
    """
    days = rows[time].dt.date().unique().sort(descending=True)
    if len(days) <= split.days:
        raise ValueError(
            f"{len(days)} day(s) of rows: at least {split.days + 1} are needed, {split.days} of them for the test"
        )
    first_test_day, newest_training_day = days[split.days - 1], days[split.days]
    entities = rows.select(pl.col(ENTITY).unique())
    shares = entities.with_columns(pl.col(ENTITY).map_elements(share_of, return_dtype=pl.Float64).alias("__share"))
    day, share = pl.col(time).dt.date(), pl.col("__share")
    part = (
        pl.when(share < split.unseen).then(pl.lit("test_unseen"))
        .when(day >= first_test_day).then(pl.lit("test_time"))
        .when((day == newest_training_day) & (share < split.unseen + split.validation)).then(pl.lit("validation"))
        .otherwise(pl.lit("train"))
    )  # fmt: skip
    known = rows.join(shares, on=ENTITY, how="left", maintain_order="left")
    return known.with_columns(part.alias("part")).drop("__share")


def leaks(train: pl.DataFrame, test_time: pl.DataFrame, test_unseen: pl.DataFrame, time: str) -> list[str]:
    """A sentence for each way in which the test is known to the training; an empty list is a clean split."""
    found: list[str] = []
    if len(train) and len(test_time):
        newest, oldest = _edge(train, time, "max"), _edge(test_time, time, "min")
        if not newest < oldest:
            found.append(f"training rows reach {newest}, and the test by time begins on {oldest}")
    shared = train.select(pl.col(ENTITY).unique()).join(
        test_unseen.select(pl.col(ENTITY).unique()), on=ENTITY, how="inner"
    )
    if len(shared):
        found.append(f"{len(shared)} entities of the test by unseen entities are in the training rows too")
    return found


def _edge(rows: pl.DataFrame, time: str, which: str) -> Any:
    return getattr(rows[time].dt.date(), which)()
