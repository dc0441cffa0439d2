"""Rows that keep the contract pass; of rows that break it, the rule, the number and the rows themselves are named."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandera.polars as pa
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import models
from models.contract import Contract, Feature, Problem, Reference

CONTRACT = models.load("tests.toy").CONTRACT
COLOURS = CONTRACT.classes
NEWEST = date(2024, 6, 30)
anything = settings(deadline=None, derandomize=True, max_examples=15)

Tables = dict[str, pl.DataFrame]


@st.composite
def kept(draw: st.DrawFn) -> Tables:
    """Two tables that keep every rule: each of 10 to 14 items is there on each of 5 to 7 days."""
    items, days = draw(st.integers(10, 14)), draw(st.integers(5, 7))
    lamp = st.tuples(st.booleans(), st.integers(0, 100), st.floats(0, 1))
    lamps = draw(st.lists(lamp, min_size=items, max_size=items))
    colours = draw(st.lists(st.sampled_from(COLOURS), min_size=items, max_size=items))
    weights = draw(st.lists(st.floats(0, 1), min_size=items, max_size=items))
    midnight = datetime(NEWEST.year, NEWEST.month, NEWEST.day)
    events = [
        (f"i{n}", midnight - timedelta(days=d), colours[n], weights[n]) for d in range(days) for n in range(items)
    ]
    tables = {
        "items": pl.DataFrame(
            [(f"i{n}", *lamp) for n, lamp in enumerate(lamps)],
            schema={"item_id": pl.String, "bright": pl.Boolean, "size": pl.Int64, "warmth": pl.Float64},
            orient="row",
        ),
        "events": pl.DataFrame(
            events,
            schema={"item_id": pl.String, "day": pl.Datetime("us"), "colour": pl.String, "weight": pl.Float64},
            orient="row",
        ),
    }
    if draw(st.booleans()):  # a column that may be absent, and be null; and one that the contract does not know
        tables["events"] = tables["events"].with_columns(note=pl.lit(None, pl.String), unknown=pl.lit(1))
    return tables


@dataclass(frozen=True)
class Defect:
    """What was done to which column of which rows, and the rules that must now be named."""

    column: str  # "table.column", as the problem has it
    rules: tuple[str, ...]
    broken: Callable[[Tables, list[int]], Tables]
    copies: bool = False  # the rows are there twice: both are broken, the second ones at the end of the table


def replaced(table: str, column: str, value: Any) -> Callable[[Tables, list[int]], Tables]:
    """The same tables with that value in those rows."""

    def broken(tables: Tables, at: list[int]) -> Tables:
        rows = tables[table]
        mended = (
            pl.when(pl.int_range(pl.len()).is_in(at)).then(pl.lit(value, rows.schema[column])).otherwise(pl.col(column))
        )
        return {**tables, table: rows.with_columns(mended.alias(column))}

    return broken


def repeated(table: str) -> Callable[[Tables, list[int]], Tables]:
    return lambda tables, at: {**tables, table: pl.concat([tables[table], tables[table][at]])}


def renamed(tables: Tables, at: list[int]) -> Tables:
    """Events of items that nobody knows, each of another one."""
    lost = pl.format("lost{}", pl.int_range(pl.len()))
    chosen = pl.int_range(pl.len()).is_in(at)
    return {**tables, "events": tables["events"].with_columns(item_id=pl.when(chosen).then(lost).otherwise("item_id"))}


DEFECTS = {
    "null in a flag": Defect("items.bright", ("not null",), replaced("items", "bright", None)),
    "null in a whole number": Defect("items.size", ("not null",), replaced("items", "size", None)),
    "null in a fraction": Defect("items.warmth", ("not null",), replaced("items", "warmth", None)),
    "null in the target": Defect("events.colour", ("not null",), replaced("events", "colour", None)),
    "null in the time": Defect("events.day", ("not null",), replaced("events", "day", None)),
    "below the range": Defect("items.size", ("in_range(0, 100)",), replaced("items", "size", -1)),
    "above the range": Defect("items.size", ("in_range(0, 100)",), replaced("items", "size", 101)),
    "just above the range": Defect("items.warmth", ("in_range(0, 1)",), replaced("items", "warmth", 1 + 1e-12)),
    "no number": Defect("items.warmth", ("not null", "in_range(0, 1)"), replaced("items", "warmth", float("nan"))),
    "infinity": Defect("events.weight", ("in_range(0, 1)",), replaced("events", "weight", float("inf"))),
    "minus infinity": Defect("events.weight", ("in_range(0, 1)",), replaced("events", "weight", float("-inf"))),
    "unknown class": Defect("events.colour", (f"isin({COLOURS})",), replaced("events", "colour", "mauve")),
    "a key twice": Defect("items.item_id", ("unique",), repeated("items"), copies=True),
    "a key of two columns twice": Defect("events.item_id, day", ("unique together",), repeated("events"), copies=True),
    "an orphan": Defect("events.item_id", ("a value of items.item_id",), renamed),
}


@anything
@given(kept())
def test_rows_that_keep_the_contract_have_no_problems(tables):
    assert CONTRACT.problems(tables, as_of=NEWEST) == []
    assert CONTRACT.problems(tables) == []


@pytest.mark.parametrize("name", DEFECTS)
@anything
@given(kept(), st.data())
def test_a_defect_is_named_with_its_column_rule_number_and_rows(name, tables, data):
    defect = DEFECTS[name]
    table = defect.column.partition(".")[0]
    at = sorted(data.draw(st.sets(st.integers(0, 9), min_size=1, max_size=6)))  # of one day: no two rows share a key

    broken = defect.broken(tables, at)
    problems = CONTRACT.problems(broken, as_of=NEWEST)

    where = [*at, *range(len(tables[table]), len(broken[table]))] if defect.copies else at
    assert [(f"{p.table}.{p.column}", p.rule, p.count) for p in problems] == [
        (defect.column, r, len(where)) for r in defect.rules
    ]
    for problem in problems:
        assert repr(problem.examples) == repr(broken[table][where[:3]].to_dicts())  # as text: NaN is not equal to NaN


@pytest.mark.parametrize(
    ("table", "column", "dtype", "rule"),
    [
        ("items", "item_id", pl.Categorical, "type String, found Categorical"),
        ("items", "bright", pl.Int64, "type Boolean, found Int64"),
        ("items", "size", pl.String, "type Int64, found String"),
        ("items", "warmth", pl.Float32, "type Float64, found Float32"),
        ("events", "item_id", pl.Binary, "type String, found Binary"),
        ("events", "day", pl.Date, "type Datetime(time_unit='us', time_zone=None), found Date"),
        ("events", "colour", pl.Categorical, "type String, found Categorical"),
    ],
)
@settings(anything, max_examples=5)
@given(tables=kept())
def test_a_wrong_type_is_one_problem_whatever_else_it_breaks(table, column, dtype, rule, tables):
    broken = {**tables, table: tables[table].with_columns(pl.col(column).cast(dtype))}

    assert CONTRACT.problems(broken, as_of=NEWEST) == [
        Problem(table=table, column=column, rule=rule, count=len(broken[table]), examples=broken[table][:3].to_dicts())
    ]


@pytest.mark.parametrize(
    ("table", "column"), [(t, c) for t, s in CONTRACT.tables.items() for c, kind in s.columns.items() if kind.required]
)
@settings(anything, max_examples=3)
@given(tables=kept())
def test_a_missing_column_is_one_problem_whatever_else_needs_it(table, column, tables):
    broken = {**tables, table: tables[table].drop(column)}

    assert CONTRACT.problems(broken, as_of=NEWEST) == [
        Problem(table=table, column=column, rule="the column is missing", count=len(tables[table]))
    ]


@pytest.mark.parametrize("table", CONTRACT.tables)
@settings(anything, max_examples=3)
@given(tables=kept())
def test_a_missing_table_is_one_problem_whatever_refers_to_it(table, tables):
    del tables[table]

    assert CONTRACT.problems(tables, as_of=NEWEST) == [
        Problem(table=table, column="*", rule="the table is missing", count=0)
    ]


@settings(anything, max_examples=5)
@given(kept(), st.integers(0, 30))
def test_the_newest_row_may_be_three_days_old_and_no_older(tables, days):
    problems = CONTRACT.problems(tables, as_of=NEWEST + timedelta(days=days))

    rule = f"newest row no older than 3 days on {NEWEST + timedelta(days=days)} (newest: 2024-06-30)"
    old = Problem(table="events", column="day", rule=rule, count=len(tables["events"]))
    assert problems == ([] if days <= 3 else [old])


@pytest.mark.parametrize(("days", "passes"), [(3, True), (4, False)])
@settings(anything, max_examples=1)
@given(tables=kept())
def test_age_is_counted_in_days_and_not_in_hours(days, passes, tables):
    late = {**tables, "events": tables["events"].with_columns(pl.col("day").dt.offset_by("23h"))}

    assert (CONTRACT.problems(late, as_of=NEWEST + timedelta(days=days)) == []) is passes


@settings(anything, max_examples=3)
@given(kept())
def test_too_few_rows_are_named_with_the_number_that_is_wanted(tables):
    few = {**tables, "events": tables["events"].head(49)}

    assert CONTRACT.problems(few) == [Problem(table="events", column="*", rule="at least 50 rows", count=49)]
    assert CONTRACT.problems({**tables, "events": tables["events"].head(50)}) == []


def test_an_empty_table_is_a_problem_even_where_no_number_is_set():
    contract = replace(CONTRACT, min_rows={})
    empty = {
        name: pl.DataFrame(schema={c: k.dtype.type for c, k in s.columns.items()})
        for name, s in contract.tables.items()
    }

    assert [str(problem) for problem in contract.problems(empty, as_of=NEWEST)] == [
        "items.*: at least 1 rows (0 rows)",
        "events.*: at least 1 rows (0 rows)",
    ]


@settings(anything, max_examples=3)
@given(kept())
def test_all_defects_are_told_at_once(tables):
    for name in ("unknown class", "above the range", "an orphan"):
        tables = DEFECTS[name].broken(tables, [2])

    assert [str(problem) for problem in CONTRACT.problems(tables)] == [
        "items.size: in_range(0, 100) (1 row)",
        f"events.colour: isin({COLOURS}) (1 row)",
        "events.item_id: a value of items.item_id (1 row)",
    ]


def test_a_table_without_any_column_of_its_key_says_which_are_missing():
    schema = pa.DataFrameSchema({"a": pa.Column(pl.Int64), "b": pa.Column(pl.Int64)}, unique=["a", "b"])
    contract = Contract(tables={"t": schema}, rows="t", target="a", time="b", entity=("a",), classes=())

    found = contract.problems({"t": pl.DataFrame({"c": [1, 2]})})

    assert [(problem.column, problem.rule) for problem in found] == [
        ("a", "the column is missing"),
        ("b", "the column is missing"),
    ]


def test_a_missing_reference_is_no_orphan():
    child = pa.DataFrameSchema({"parent": pa.Column(pl.String, nullable=True)})
    parent = pa.DataFrameSchema({"id": pa.Column(pl.String)})
    reference = Reference(table="child", column="parent", to_table="parent", to_column="id")
    contract = replace(
        CONTRACT, tables={"child": child, "parent": parent}, rows="child", references=(reference,), min_rows={}
    )
    tables = {"child": pl.DataFrame({"parent": ["a", None, "b"]}), "parent": pl.DataFrame({"id": ["a"]})}

    assert [str(p) for p in contract.problems(tables)] == ["child.parent: a value of parent.id (1 row)"]


def test_a_key_with_a_null_in_it_is_a_key():
    schema = pa.DataFrameSchema({"a": pa.Column(pl.String, nullable=True), "b": pa.Column(pl.Int64)}, unique=["a", "b"])
    contract = replace(CONTRACT, tables={"t": schema}, rows="t", references=(), min_rows={})
    rows = pl.DataFrame({"a": [None, None, None], "b": [1, 2, 1]}, schema_overrides={"a": pl.String})

    [problem] = contract.problems({"t": rows})

    assert (problem.column, problem.rule, problem.count) == ("a, b", "unique together", 2)
    assert problem.examples == rows[[0, 2]].to_dicts()


def test_the_number_of_rules_is_what_a_hand_counts():
    items = 3 + 2 + 3 + 3  # types; not null; unique; in range
    events = 2 + 2 + 3 + 3 + 1  # `note` has only a type
    beyond_columns = 1 + 1 + 2 + 1  # a key, a reference, two sizes, an age

    assert CONTRACT.rules() == items + events + beyond_columns


def test_features_are_the_columns_with_a_role_in_the_order_of_the_schema():
    assert CONTRACT.features == (
        Feature(name="bright", dtype="bool", low=None, high=None, role="flag"),
        Feature(name="size", dtype="int64", low=0, high=100, role="linear"),
        Feature(name="warmth", dtype="float32", low=0, high=1, role="linear"),
    )


# The fingerprint says whether two models can be asked the same rows; the SHA-256, whether two contracts are the same

ROLE = {"role": "linear"}


def with_items(**columns: pa.Column | None) -> Contract:
    """The toy's contract with other columns of `items`; None takes one away."""
    merged = {**CONTRACT.tables["items"].columns, **columns}
    items = pa.DataFrameSchema({name: column for name, column in merged.items() if column is not None})
    return replace(CONTRACT, tables={**CONTRACT.tables, "items": items})


SAME = with_items()
OTHER_INPUTS = {
    "a feature more": with_items(height=pa.Column(pl.Float64, metadata=ROLE)),
    "a feature less": with_items(size=None),
    "another name": with_items(size=None, length=CONTRACT.tables["items"].columns["size"]),
    "another type": with_items(size=pa.Column(pl.Float64, pa.Check.in_range(0, 100), metadata=ROLE)),
    "another target": replace(CONTRACT, target="note"),
}
SAME_INPUTS = {
    "a range": with_items(size=pa.Column(pl.Int64, pa.Check.in_range(0, 101), metadata=ROLE)),
    "a rule less": with_items(size=pa.Column(pl.Int64, metadata=ROLE)),
    "a role": with_items(size=pa.Column(pl.Int64, pa.Check.in_range(0, 100), metadata={"role": "log"})),
    "nulls allowed": with_items(size=pa.Column(pl.Int64, pa.Check.in_range(0, 100), nullable=True, metadata=ROLE)),
    "a column that is no feature": with_items(label=pa.Column(pl.String)),
    "no key": replace(
        CONTRACT, tables={**CONTRACT.tables, "events": pa.DataFrameSchema(CONTRACT.tables["events"].columns)}
    ),
    "a class": replace(CONTRACT, classes=(*COLOURS, "mauve")),
    "an age": replace(CONTRACT, max_age_days=4),
    "a size": replace(CONTRACT, min_rows={"items": 11, "events": 50}),
    "no reference": replace(CONTRACT, references=()),
    "an entity": replace(CONTRACT, entity=("size",)),
}


@pytest.mark.parametrize("change", OTHER_INPUTS)
def test_the_fingerprint_changes_with_what_a_served_model_takes_or_answers(change):
    assert OTHER_INPUTS[change].fingerprint() != CONTRACT.fingerprint()
    assert OTHER_INPUTS[change].sha256() != CONTRACT.sha256()


@pytest.mark.parametrize("change", SAME_INPUTS)
def test_a_rule_changes_the_sha256_and_not_the_fingerprint(change):
    assert SAME_INPUTS[change].fingerprint() == CONTRACT.fingerprint()
    assert SAME_INPUTS[change].sha256() != CONTRACT.sha256()


def test_the_same_contract_has_the_same_hashes_in_every_process():
    code = "import models; c = models.load('tests.toy').CONTRACT; print(c.fingerprint(), c.sha256())"

    other = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(models.__file__).parent.parent,
        capture_output=True,
        text=True,
        check=True,
    )

    assert other.stdout.split() == [SAME.fingerprint(), SAME.sha256()]
