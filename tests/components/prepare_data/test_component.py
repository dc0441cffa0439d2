"""The preparation as KFP runs it."""

from __future__ import annotations

import pytest
from kfp import dsl

from components.errors import StepError
from components.fetch_data.step import fetch
from components.prepare_data.component import prepare_data
from tests.components.conftest import TOY


def start(run, tables, folder):
    prepared = dsl.Dataset(name="prepared", uri=str(folder))
    given = dsl.Dataset(name="tables", uri=str(tables))
    prepare_data.python_func(tables=given, data_version="d4ta", model=TOY, store=run.store, prepared=prepared)
    return prepared


def test_parts_are_written_and_the_record_accounts_for_every_row(run, tables, prepared, tmp_path):
    artifact = start(run, tables, tmp_path / "new" / "prepared")

    facts = run.facts("prepare_data")
    assert artifact.metadata == {"data_version": "d4ta"}
    assert facts["data_version"] == "d4ta"
    assert facts["rows"]["joined"] == sum(facts["rows"].values()) - facts["rows"]["joined"]
    assert sorted(path.name for path in (tmp_path / "new" / "prepared").iterdir()) == sorted(
        p.name for p in prepared.iterdir()
    )


def test_tables_that_break_the_contract_are_left_to_the_validation(run, toy, tmp_path):
    fetch("synthetic:?items=20&days=4&bad=missing_column", tmp_path / "tables", toy)

    start(run, tmp_path / "tables", tmp_path / "prepared")

    assert run.facts("prepare_data") == {"left_to": "validate_data", "data_version": "d4ta"}


def test_too_few_days_are_said_in_the_record(run, toy, tmp_path):
    fetch("synthetic:?days=2", tmp_path / "tables", toy)

    with pytest.raises(StepError):
        start(run, tmp_path / "tables", tmp_path / "prepared")

    assert run.error("prepare_data") == {
        "kind": "error",
        "gate": None,
        "what": "2 day(s) of rows: at least 3 are needed, 2 of them for the test",
        "where": "events.day",
        "do": "fetch more days",
    }
