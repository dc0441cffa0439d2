"""Bad data are refused by the rule that they break, and the report shows it to a person: column, rule, count, rows."""

from __future__ import annotations

import re
from datetime import date

import polars as pl
import pytest

from components.errors import GateRefused
from components.validate_data.step import validate


def generated(toy, folder, **options):
    toy.generate(folder, items=20, days=4, **options)
    return folder


def text_of(html: str) -> str:
    """What a reader sees of it."""
    return " ".join(re.sub(r"<style>.*?</style>|<[^>]*>", " ", html, flags=re.DOTALL).split())


def test_data_that_keep_the_contract_pass_with_what_was_judged(tmp_path, toy):
    validation = validate(generated(toy, tmp_path), toy)

    assert validation.facts() == {
        "tables": [{"name": "items", "rows": 20, "columns": 4}, {"name": "events", "rows": 80, "columns": 5}],
        "rules": toy.CONTRACT.rules(),
        "problems": [],
        "freshness": {"newest": "2024-06-30 00:00:00", "as_of": "not judged", "limit_days": 3},
        "gates": [
            {
                "name": "contract", "value": 0, "condition": "<=", "limit": 0, "passed": True,
                "sentence": f"0 of {toy.CONTRACT.rules()} rules of the contract are broken; wanted 0",
            }
        ],
    }  # fmt: skip
    validation.require()
    assert "The data keeps its contract" in text_of(validation.html())
    assert f"{toy.CONTRACT.rules()} rules judged, 0 broken" in text_of(validation.html())


@pytest.mark.parametrize(
    ("bad", "table", "column", "rule", "count"),
    [
        ("nulls", "items", "warmth", "not null", 3),
        ("out_of_range", "items", "size", "in_range(0, 100)", 2),
        ("missing_column", "items", "warmth", "the column is missing", 20),
        ("duplicate_keys", "events", "item_id, day", "unique together", 8),
    ],
)
def test_each_broken_rule_is_refused_with_its_column_its_count_and_three_rows(
    tmp_path, toy, bad, table, column, rule, count
):
    validation = validate(generated(toy, tmp_path, bad=bad), toy)

    [problem] = validation.problems
    assert (problem.table, problem.column, problem.rule, problem.count) == (table, column, rule, count)
    assert len(problem.examples) == (0 if bad == "missing_column" else min(3, count))
    [gate] = validation.facts()["gates"]
    assert (gate["value"], gate["passed"]) == (1, False)
    with pytest.raises(GateRefused) as refused:
        validation.require()
    assert refused.value.gate == "contract"
    assert refused.value.what == f"the data breaks its contract: {table}.{column}: {rule} ({count} rows)"
    assert refused.value.where == f"{table}.{column}"


def test_the_report_names_column_rule_and_count_and_shows_three_rows_and_no_fourth(tmp_path, toy):
    generated(toy, tmp_path)
    items = pl.read_parquet(tmp_path / "items.parquet")
    large = pl.when(pl.int_range(pl.len()) < 4).then(1000 + pl.int_range(pl.len())).otherwise("size")
    items.with_columns(size=large).write_parquet(tmp_path / "items.parquet")

    page = validate(tmp_path, toy).html()

    seen = text_of(page)
    assert "The data breaks its contract" in seen
    assert "items.size in_range(0, 100): broken by 4 rows, for example item_id bright size warmth i00000" in seen
    assert [str(size) in seen for size in (1000, 1001, 1002, 1003)] == [True, True, True, False]
    assert "http" not in page  # self-contained


def test_what_stands_in_the_data_stays_text_in_the_report(tmp_path, toy):
    generated(toy, tmp_path)
    events = pl.read_parquet(tmp_path / "events.parquet")
    evil = pl.when(pl.int_range(pl.len()) == 0).then(pl.lit("<script>alert(1)</script>")).otherwise("colour")
    events.with_columns(colour=evil).write_parquet(tmp_path / "events.parquet")

    page = validate(tmp_path, toy).html()

    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script" not in page


@pytest.mark.parametrize("as_of", [None, date(2024, 6, 30), date(2024, 7, 3)])
def test_data_of_the_last_three_days_are_fresh(tmp_path, toy, as_of):
    validation = validate(generated(toy, tmp_path), toy, as_of)

    assert validation.problems == []
    assert validation.freshness["as_of"] == str(as_of or "not judged")


def test_older_data_are_not_fresh(tmp_path, toy):
    validation = validate(generated(toy, tmp_path), toy, date(2024, 7, 4))

    assert [str(problem) for problem in validation.problems] == [
        "events.day: newest row no older than 3 days on 2024-07-04 (newest: 2024-06-30) (80 rows)"
    ]
    assert "newest row no older than 3 days on 2024-07-04" in text_of(validation.html())


def test_a_time_that_is_not_there_is_a_problem_and_not_a_crash(tmp_path, toy):
    generated(toy, tmp_path)
    pl.read_parquet(tmp_path / "events.parquet").drop("day").write_parquet(tmp_path / "events.parquet")

    validation = validate(tmp_path, toy, date(2024, 6, 30))

    assert "events.day: the column is missing (80 rows)" in map(str, validation.problems)
    assert validation.freshness["newest"] == "unknown"
