"""A contract is read by the generator, the validation, the preprocessing and the served graph: one source for all four.

The rules of a table are a pandera schema. What pandera has no word for stands beside it: which columns are features, what they
predict, which table refers to which, how old the newest row may be.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from typing import Any

import pandera.polars as pa
import polars as pl
from pandera.errors import SchemaErrors

EXAMPLES = 3
_DTYPES = {pl.Boolean: "bool", pl.Int64: "int64", pl.Float64: "float32"}  # what a table holds -> what the graph takes
_TYPE_RULE = "dtype"
_MANY = 12  # more allowed values than this are counted in a sentence, not listed


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One raw input of the network; `low` and `high` are the contract's own limits (None: no limit)."""

    name: str
    dtype: str  # "bool", "int64" or "float32"
    low: float | None
    high: float | None
    role: str  # how the preprocessing treats it; the words are the model's own


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Each value of `table.column` is a value of `to_table.to_column`."""

    table: str
    column: str
    to_table: str
    to_column: str


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One rule that one column breaks: how often, and what it looks like (at most three whole rows)."""

    table: str
    column: str
    rule: str
    count: int
    examples: list[dict[str, Any]] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.table}.{self.column}: {self.rule} ({self.count} row{'' if self.count == 1 else 's'})"


@dataclass(frozen=True, kw_only=True)
class Contract:
    """What the tables promise. `entity` are the columns that make two rows the same thing in the world."""

    tables: Mapping[str, pa.DataFrameSchema]
    rows: str  # the table whose rows are the examples
    target: str
    time: str
    entity: tuple[str, ...]
    classes: tuple[str, ...]  # the target's allowed values
    references: tuple[Reference, ...] = ()
    min_rows: Mapping[str, int] = field(default_factory=dict)
    max_age_days: int = 3

    @property
    def features(self) -> tuple[Feature, ...]:
        """The raw inputs, in the order of the schema: the columns whose metadata names a role."""
        return tuple(
            Feature(
                name=name,
                dtype=_DTYPES[
                    type(column.dtype.type) if isinstance(column.dtype.type, pl.DataType) else column.dtype.type
                ],
                **_limits(column),
                role=column.metadata["role"],
            )
            for schema in self.tables.values()
            for name, column in schema.columns.items()
            if column.metadata and "role" in column.metadata
        )

    def fingerprint(self) -> str:
        """SHA-256 of what a served model depends on: inputs with their types, and the target. Ranges do not count.

        Two models of one fingerprint can be asked the same rows, and so be compared.
        """
        serving = {"features": [[f.name, f.dtype] for f in self.features], "target": self.target}
        return hashlib.sha256(json.dumps(serving, sort_keys=True).encode()).hexdigest()

    def sha256(self) -> str:
        """SHA-256 of all rules: any change of the contract changes it."""
        rules = {
            "tables": {name: _described(schema) for name, schema in self.tables.items()},
            "references": [asdict(reference) for reference in self.references],
            "rest": [
                self.rows,
                self.target,
                self.time,
                self.entity,
                self.classes,
                dict(self.min_rows),
                self.max_age_days,
            ],
        }
        return hashlib.sha256(json.dumps(rules, sort_keys=True, default=str).encode()).hexdigest()

    def rules(self) -> int:
        """How many rules `problems` judges."""
        columns = [column for schema in self.tables.values() for column in schema.columns.values()]
        keys = sum(bool(schema.unique) for schema in self.tables.values())
        per_column = sum(1 + (not column.nullable) + bool(column.unique) + len(column.checks) for column in columns)
        return per_column + keys + len(self.references) + len(self.min_rows) + 1

    def problems(self, tables: Mapping[str, pl.DataFrame], as_of: date | None = None) -> list[Problem]:
        """Every broken rule of every table; an empty list is a kept contract."""
        found: list[Problem] = []
        for name, schema in self.tables.items():
            if name not in tables:
                found.append(Problem(table=name, column="*", rule="the table is missing", count=0))
                continue
            found += _schema_problems(name, schema, tables[name])
            found += self._size_problems(name, tables[name])
        if not any(problem.column in (self.time, "*") and problem.table == self.rows for problem in found):
            found += self._age_problems(tables[self.rows], as_of)
        return found + [p for reference in self.references for p in _reference_problems(reference, tables)]

    def _size_problems(self, name: str, rows: pl.DataFrame) -> list[Problem]:
        least = self.min_rows.get(name, 1)
        if len(rows) >= least:
            return []
        return [Problem(table=name, column="*", rule=f"at least {least} rows", count=len(rows))]

    def _age_problems(self, rows: pl.DataFrame, as_of: date | None) -> list[Problem]:
        newest: Any = rows[self.time].max() if self.time in rows.columns and len(rows) else None
        if as_of is None or newest is None or not rows.schema[self.time].is_temporal():
            return []
        limit = as_of - timedelta(days=self.max_age_days)
        newest_day = newest.date() if hasattr(newest, "date") else newest
        if newest_day >= limit:
            return []
        rule = f"newest row no older than {self.max_age_days} days on {as_of} (newest: {newest_day})"
        return [Problem(table=self.rows, column=self.time, rule=rule, count=len(rows))]


def _limits(column: pa.Column) -> dict[str, float | None]:
    known = {key: value for check in column.checks for key, value in (check.statistics or {}).items()}
    return {"low": known.get("min_value"), "high": known.get("max_value")}


def _described(schema: pa.DataFrameSchema) -> dict[str, Any]:
    def column(c: pa.Column) -> list[Any]:
        checks = [[check.name, check.statistics] for check in c.checks]
        return [str(c.dtype), c.nullable, c.unique, c.required, checks, c.metadata]

    return {"unique": schema.unique, "columns": {name: column(c) for name, c in schema.columns.items()}}


def _schema_problems(table: str, schema: pa.DataFrameSchema, rows: pl.DataFrame) -> list[Problem]:
    judged = rows.select(name for name in schema.columns if name in rows.columns)
    whole_key = not schema.unique or set(schema.unique) <= set(rows.columns)  # else pandera meets an empty selection
    try:
        (schema if whole_key else pa.DataFrameSchema(schema.columns)).validate(judged, lazy=True)
        return []
    except SchemaErrors as errors:
        cases = errors.failure_cases
    absent = cases.filter(pl.col("check") == "column_in_dataframe")["failure_case"].to_list()
    found = [Problem(table=table, column=name, rule="the column is missing", count=len(rows)) for name in absent]
    mistyped = cases.filter(pl.col("check").str.starts_with(_TYPE_RULE))
    for case in mistyped.iter_rows(named=True):
        wanted = case["check"].removeprefix(_TYPE_RULE)[2:-2]
        rule = f"type {wanted}, found {case['failure_case']}"
        found.append(_problem(table, case["column"], rule, list(range(len(rows))), rows))
    # A column of the wrong type fails its other checks for that reason alone, and once is enough.
    rest = cases.filter(
        ~pl.col("check").str.starts_with(_TYPE_RULE)
        & (pl.col("check") != "column_in_dataframe")
        & ~pl.col("column").is_in(mistyped["column"].to_list()).fill_null(False)
    )
    for (column, check), group in rest.group_by("column", "check", maintain_order=True):
        name = str(column) if column is not None else ", ".join(schema.unique or ["*"])
        if check == "multiple_fields_uniqueness" and not set(schema.unique or []) <= set(rows.columns):
            continue  # part of the key is missing: said already
        where = sorted(set(group["index"].drop_nulls().to_list()))
        found.append(_problem(table, name, _in_words(str(check)), where, rows))
    return found


def _in_words(check: str) -> str:
    named = {"not_nullable": "not null", "field_uniqueness": "unique", "multiple_fields_uniqueness": "unique together"}
    if check.startswith("isin(") and check.count(",") >= _MANY:
        return f"one of the {check.count(',') + 1} values of the contract"
    return named.get(check, check)


def _problem(table: str, column: str, rule: str, where: list[int], rows: pl.DataFrame) -> Problem:
    examples = rows[where[:EXAMPLES]].to_dicts()
    return Problem(table=table, column=column, rule=rule, count=len(where), examples=examples)


def _reference_problems(reference: Reference, tables: Mapping[str, pl.DataFrame]) -> list[Problem]:
    rows, targets = tables.get(reference.table), tables.get(reference.to_table)
    if rows is None or targets is None:
        return []
    if reference.column not in rows.columns or reference.to_column not in targets.columns:
        return []
    if rows.schema[reference.column] != targets.schema[reference.to_column]:
        return []  # the type is wrong in one of them: said already
    known = targets[reference.to_column].drop_nulls().unique().implode()
    lost = rows.with_row_index("__at").filter(
        pl.col(reference.column).is_not_null() & ~pl.col(reference.column).is_in(known)
    )
    if lost.is_empty():
        return []
    rule = f"a value of {reference.to_table}.{reference.to_column}"
    return [_problem(reference.table, reference.column, rule, lost["__at"].to_list(), rows)]
