"""The validation as KFP runs it: report and numbers are there when it refuses."""

from __future__ import annotations

import pytest
from kfp import dsl

from components.errors import GateRefused
from components.fetch_data.step import fetch
from components.validate_data.component import validate_data
from storage import objects
from tests.components.conftest import TOY


def start(run, tables, page, as_of=""):
    validate_data.python_func(
        tables=dsl.Dataset(name="tables", uri=str(tables)),
        data_version="d4ta", as_of=as_of, model=TOY, store=run.store, report=dsl.HTML(name="report", uri=str(page)),
    )  # fmt: skip


def test_good_data_pass_and_the_report_is_an_artifact_and_lies_beside_the_records(run, tables, tmp_path):
    page = tmp_path / "new" / "report.html"

    start(run, tables, page)

    facts = run.facts("validate_data")
    assert facts["data_version"] == "d4ta"
    assert facts["problems"] == []
    assert [gate["passed"] for gate in facts["gates"]] == [True]
    assert "keeps its contract" in page.read_text(encoding="utf-8")
    assert objects.read_bytes(f"{run.store}/runs/run-7/validate_data.html") == page.read_bytes()


def test_bad_data_fail_the_step_after_its_report_is_written(s3_run, toy, tmp_path):
    tables, page = tmp_path / "tables", tmp_path / "report.html"
    fetch("synthetic:?items=20&days=4&bad=nulls", tables, toy)

    with pytest.raises(GateRefused):
        start(s3_run, tables, page)

    error, facts = s3_run.error("validate_data"), s3_run.record("validate_data")["facts"]
    assert (error["kind"], error["gate"], error["where"]) == ("gate", "contract", "items.warmth")
    assert error["what"] == "the data breaks its contract: items.warmth: not null (3 rows)"
    [problem] = facts["problems"]
    assert (problem["table"], problem["column"], problem["rule"], problem["count"]) == (
        "items",
        "warmth",
        "not null",
        3,
    )
    assert [row["warmth"] for row in problem["examples"]] == [None] * 3
    assert "items.warmth" in page.read_text(encoding="utf-8")
    assert objects.read_bytes(f"{s3_run.store}/runs/run-7/validate_data.html") == page.read_bytes()


def test_old_data_are_refused_as_of_a_later_day(run, tables, tmp_path):
    start(run, tables, tmp_path / "report.html", "2024-07-03")

    with pytest.raises(GateRefused, match="newest row no older than 3 days on 2024-07-04"):
        start(run, tables, tmp_path / "report.html", "2024-07-04")
