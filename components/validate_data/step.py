"""Bad data stops here, before anything is trained on it, and the report names column, rule, count and rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
from jinja2 import Environment, FileSystemLoader

from components.errors import GateRefused
from models import Model
from models.contract import Problem

GATE = "contract"


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Every broken rule, and how many were judged."""

    tables: list[dict[str, Any]]
    rules: int
    problems: list[Problem]
    freshness: dict[str, Any]

    def facts(self) -> dict[str, Any]:
        """As the run's record and page have it."""
        passed = not self.problems
        sentence = f"{len(self.problems)} of {self.rules} rules of the contract are broken; wanted 0"
        gate = {
            "name": GATE,
            "value": len(self.problems),
            "condition": "<=",
            "limit": 0,
            "passed": passed,
            "sentence": sentence,
        }
        return {**asdict(self), "gates": [gate]}

    def require(self) -> None:
        """Refuse unless every rule is kept."""
        if self.problems:
            raise GateRefused(
                f"the data breaks its contract: {'; '.join(map(str, self.problems))}",
                gate=GATE,
                where=", ".join(sorted({f"{p.table}.{p.column}" for p in self.problems})),
                do="mend the data at its source; if the world has changed, change the contract of the model",
            )

    def html(self) -> str:
        """The same as a page, for KFP's own artifact view."""
        pages = Environment(
            loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
        )
        return pages.get_template("page.html.j2").render(validation=self)


def validate(folder: Path, model: Model, as_of: date | None = None) -> Validation:
    """Hold the tables of that folder (`<table>.parquet`) against the model's contract."""
    contract = model.CONTRACT
    tables = {name: pl.read_parquet(folder / f"{name}.parquet") for name in contract.tables}
    return Validation(
        tables=[{"name": name, "rows": len(rows), "columns": len(rows.columns)} for name, rows in tables.items()],
        rules=contract.rules(),
        problems=contract.problems(tables, as_of),
        freshness=_freshness(tables, contract.rows, contract.time, as_of, contract.max_age_days),
    )


def _freshness(
    tables: Mapping[str, pl.DataFrame], rows: str, time: str, as_of: date | None, limit: int
) -> dict[str, Any]:
    newest = tables[rows][time].max() if time in tables[rows].columns else None
    return {"newest": str(newest or "unknown"), "as_of": str(as_of or "not judged"), "limit_days": limit}
