"""The fetch as KFP runs it: from S3 or a folder, with its record in the store."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from kfp import dsl

from components.errors import StepError
from components.fetch_data.component import fetch_data
from storage import objects
from tests.components.conftest import TOY


def start(source, store, folder: Path, as_of=""):
    tables = dsl.Dataset(name="tables", uri=str(folder))
    returned = fetch_data.python_func(source=source, as_of=as_of, model=TOY, store=store, tables=tables)
    return returned, tables


@pytest.fixture
def on_s3(s3, tmp_path, toy):
    """The toy's tables on S3, once as Parquet and once as CSV."""
    bucket = s3.bucket("data")
    toy.generate(tmp_path / "made", items=20, days=4)
    for file in (tmp_path / "made").iterdir():
        objects.upload(file, f"{bucket}/parquet/{file.name}")
        objects.write_bytes(f"{bucket}/csv/{file.stem}.csv", pl.read_parquet(file).write_csv().encode())
    return bucket


def test_the_same_tables_on_s3_are_one_data_version_as_parquet_and_as_csv(on_s3, s3_run, tmp_path):
    found = {}
    for kind in ("parquet", "csv"):
        (data_version, rows, _), tables = start(f"{on_s3}/{kind}", s3_run.store, tmp_path / kind, "2024-06-29")

        facts = s3_run.facts("fetch_data")
        found[kind] = data_version
        assert rows == 20 + 60
        assert tables.metadata == {"data_version": data_version}
        assert facts["data_version"] == data_version
        assert (facts["source"], facts["as_of"], facts["dropped_after_as_of"]) == (f"{on_s3}/{kind}", "2024-06-29", 20)
        assert [(table["url"], table["rows"]) for table in facts["tables"]] == [
            (f"{on_s3}/{kind}/items.{kind}", 20), (f"{on_s3}/{kind}/events.{kind}", 60),
        ]  # fmt: skip
        assert [table["columns"] for table in facts["tables"]] == [
            ["item_id", "bright", "size", "warmth"], ["item_id", "day", "colour", "weight", "note"],
        ]  # fmt: skip
    assert found["parquet"] == found["csv"]


def test_new_bytes_at_the_same_url_give_another_data_version(on_s3, s3_run, tmp_path):
    (before, *_), _ = start(f"{on_s3}/parquet", s3_run.store, tmp_path / "a")
    pl.read_parquet(tmp_path / "a" / "items.parquet").with_columns(size=pl.lit(7)).write_parquet(
        tmp_path / "new.parquet"
    )
    objects.upload(tmp_path / "new.parquet", f"{on_s3}/parquet/items.parquet")

    (after, *_), _ = start(f"{on_s3}/parquet", s3_run.store, tmp_path / "b")

    assert after != before
    assert pl.read_parquet(tmp_path / "b" / "items.parquet")["size"].unique().to_list() == [7]


def test_what_is_missing_stands_in_the_record(on_s3, s3_run, tmp_path):
    with pytest.raises(StepError):
        start(f"{on_s3}/elsewhere", s3_run.store, tmp_path / "out")

    assert s3_run.error("fetch_data") == {
        "kind": "error",
        "gate": None,
        "what": "table `items` is not there: neither items.parquet nor items.csv (found: nothing)",
        "where": f"{on_s3}/elsewhere",
        "do": "give `source` the URL of a folder that holds every table of the contract",
    }
