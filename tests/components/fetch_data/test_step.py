"""The same content is one data version, whatever file it came in; a wrong value is fetched as it is, to be shown."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from components.errors import StepError
from components.fetch_data.step import content_sha256, day, fetch
from storage.objects import StorageError

LAST_DAY = datetime(2024, 6, 30)  # of the toy's generator
TINY = pl.DataFrame(
    {
        "name": ["ab", None, "", "ü,\n\"'"],
        "loved": [True, False, None, True],
        "plays": [3, None, 0, -7],
        "share": [0.1, None, 0.0, -1e300],
        "seen": [datetime(2024, 6, 30, 12, 0, 0, 1), None, datetime(1970, 1, 1), datetime(1969, 12, 31)],
    },
    schema={"name": pl.String, "loved": pl.Boolean, "plays": pl.Int64, "share": pl.Float64, "seen": pl.Datetime("us")},
)


@pytest.fixture
def source(tmp_path, toy):
    """A folder with the toy's tables as Parquet, for a test to change."""
    toy.generate(tmp_path / "source", items=20, days=4)
    return tmp_path / "source"


def change(source: Path, table: str, *columns: pl.Expr | pl.Series) -> None:
    file = source / f"{table}.parquet"
    pl.read_parquet(file).with_columns(*columns).write_parquet(file)


def as_csv(source: Path, target: Path) -> Path:
    target.mkdir()
    for file in source.glob("*.parquet"):
        pl.read_parquet(file).write_csv(target / f"{file.stem}.csv")
    return target


def first(value, column: str) -> pl.Expr:
    """`value` in the first row of that column, the others as they are."""
    return pl.when(pl.int_range(pl.len()) == 0).then(pl.lit(value)).otherwise(pl.col(column)).alias(column)


# The hash of what tables say


def test_the_hash_of_a_table_stays_the_same_in_every_version_of_this_code():
    """A change here makes every known data version unknown: all models would be trained anew."""
    assert content_sha256(TINY) == "a5a8fc31790ac42306886355808362794a38bc950aacd593a074d79d7fc4e178"


@pytest.mark.parametrize(
    "changed",
    [
        TINY.with_columns(first(4, "plays")),
        TINY.with_columns(first(0.1000000000000001, "share")),
        TINY.with_columns(first(False, "loved")),
        TINY.with_columns(first(datetime(2024, 6, 30, 12), "seen")),
        TINY.with_columns(first("abc", "name")),
        TINY.with_columns(first(None, "plays")),
        TINY.with_columns(pl.col("plays").fill_null(0)),
        TINY.with_columns(pl.col("name").fill_null("")),
        TINY.with_columns(pl.col("loved").fill_null(False)),
        TINY.with_columns(pl.Series("name", ["a", None, "b", "ü,\n\"'"])),  # the same letters, cut elsewhere
        TINY.with_columns(pl.col("plays").cast(pl.Float64)),
        TINY.rename({"plays": "played"}),
        TINY[[1, 0, 2, 3]],
        TINY.head(3),
        TINY.select("loved", "name", "plays", "share", "seen"),
        TINY.drop("seen"),
    ],
    ids=lambda changed: "",
)
def test_one_change_anywhere_changes_the_hash(changed):
    assert content_sha256(changed) != content_sha256(TINY)


def test_the_hash_does_not_see_how_a_table_lies_in_memory_or_in_a_file(tmp_path):
    long = pl.concat([TINY] * 40_000, rechunk=True)  # longer than what is hashed at a time
    TINY.write_parquet(tmp_path / "a.parquet", compression="snappy", row_group_size=1, statistics=False)

    assert content_sha256(pl.concat([TINY[:1], TINY[1:]], rechunk=False)) == content_sha256(TINY)
    assert content_sha256(pl.read_parquet(tmp_path / "a.parquet")) == content_sha256(TINY)
    assert content_sha256(pl.concat([long[:70_001], long[70_001:]], rechunk=False)) == content_sha256(long)
    assert content_sha256(pl.concat([long[:-1], TINY[:1]])) != content_sha256(long)


# What is fetched


def test_every_table_comes_as_parquet_with_what_it_is(tmp_path, toy, source):
    fetched = fetch(str(source), tmp_path / "out", toy)

    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["events.parquet", "items.parquet"]
    for table, rows in zip(fetched.tables, (20, 80), strict=True):
        file = tmp_path / "out" / f"{table.name}.parquet"
        content = pl.read_parquet(file)
        assert content.equals(pl.read_parquet(source / file.name))
        assert (table.url, table.rows, table.columns) == (f"{source}/{table.name}.parquet", rows, content.columns)
        assert (table.bytes, table.sha256) == (file.stat().st_size, content_sha256(content))
        assert table.ignored == []
    assert [table.name for table in fetched.tables] == list(toy.CONTRACT.tables)
    assert (fetched.source, fetched.as_of, fetched.dropped_after_as_of) == (str(source), "", 0)


def test_a_field_of_a_csv_with_nothing_in_it_is_empty_though_it_is_quoted(tmp_path, toy, source):
    folder = as_csv(source, tmp_path / "csv")
    rows = pl.read_csv(folder / "events.csv", infer_schema=False)
    first = pl.int_range(pl.len()) == 0
    rows = rows.with_columns(pl.when(first).then(None).otherwise(pl.col(name)).alias(name) for name in rows.columns)
    rows.write_csv(folder / "events.csv")
    bare = fetch(str(folder), tmp_path / "bare", toy)
    rows.fill_null("").write_csv(folder / "events.csv", quote_style="always")
    quoted = fetch(str(folder), tmp_path / "quoted", toy)

    assert quoted.data_version == bare.data_version
    content = pl.read_parquet(tmp_path / "quoted/events.parquet")
    assert min(content.null_count().row(0)) == 1


def test_csv_and_parquet_of_the_same_content_are_one_data_version(tmp_path, toy, source):
    notes = pl.Series("note", [None, " ", 'a "b",\nü', *["plain"] * 77])
    change(source, "events", notes)

    parquet = fetch(str(source), tmp_path / "a", toy)
    csv = fetch(str(as_csv(source, tmp_path / "csv")), tmp_path / "b", toy)

    assert csv.data_version == parquet.data_version
    assert [table.url.rsplit(".", 1)[1] for table in (*parquet.tables, *csv.tables)] == [
        "parquet",
        "parquet",
        "csv",
        "csv",
    ]
    assert pl.read_parquet(tmp_path / "b" / "events.parquet").equals(pl.read_parquet(source / "events.parquet"))


@pytest.mark.parametrize(
    "changed",
    [
        pl.col("weight") + pl.when(pl.int_range(pl.len()) == 79).then(1e-12).otherwise(0.0),
        pl.all().reverse(),
        first(None, "weight"),
        first("", "note"),
    ],
    ids=["one value", "another order", "one null", "a text that was null"],
)
def test_new_bytes_at_the_same_url_are_a_new_data_version(tmp_path, toy, source, changed):
    before = fetch(str(source), tmp_path / "a", toy).data_version
    change(source, "events", changed)

    assert fetch(str(source), tmp_path / "b", toy).data_version != before


def test_the_order_of_columns_and_columns_that_nobody_asked_for_change_nothing(tmp_path, toy, source):
    before = fetch(str(source), tmp_path / "a", toy)
    items = pl.read_parquet(source / "items.parquet").with_columns(maker=pl.lit("x"))
    items.select(reversed(items.columns)).write_parquet(source / "items.parquet")

    after = fetch(str(source), tmp_path / "b", toy)

    assert after.data_version == before.data_version
    assert (after.tables[0].columns, after.tables[0].ignored) == (before.tables[0].columns, ["maker"])


def test_narrower_types_of_a_file_are_those_of_the_contract_afterwards(tmp_path, toy, source):
    before = fetch(str(source), tmp_path / "a", toy).data_version
    change(source, "items", pl.col("size").cast(pl.Int8), pl.col("item_id").cast(pl.Categorical))
    change(source, "events", pl.col("day").cast(pl.Datetime("ms")))

    assert fetch(str(source), tmp_path / "b", toy).data_version == before


# As of a day


def test_rows_after_the_day_are_left_out_and_counted(tmp_path, toy, source):
    everything = fetch(str(source), tmp_path / "a", toy)

    cut = fetch(str(source), tmp_path / "b", toy, "2024-06-28")

    days = pl.read_parquet(tmp_path / "b" / "events.parquet")["day"]
    assert (cut.as_of, cut.dropped_after_as_of) == ("2024-06-28", 40)
    assert [table.rows for table in cut.tables] == [20, 40]  # the lamps are no events, and all stay
    assert days.max() == LAST_DAY - timedelta(days=2)
    assert cut.data_version != everything.data_version


def test_as_of_the_newest_day_nothing_is_left_out(tmp_path, toy, source):
    change(source, "events", pl.col("day") + timedelta(hours=23))

    everything, as_of = (fetch(str(source), tmp_path / name, toy, name) for name in ("", "2024-06-30"))

    assert as_of.dropped_after_as_of == 0
    assert as_of.data_version == everything.data_version


def test_a_row_without_a_time_is_kept_for_the_validation_to_show(tmp_path, toy, source):
    change(source, "events", first(None, "day"))

    cut = fetch(str(source), tmp_path / "out", toy, "2024-06-28")

    assert cut.dropped_after_as_of == 40
    assert pl.read_parquet(tmp_path / "out" / "events.parquet")["day"].null_count() == 1


def test_a_day_that_is_none_is_refused_before_anything_is_fetched(tmp_path, toy, source):
    with pytest.raises(StepError) as refused:
        fetch(str(source), tmp_path / "out", toy, "30.6.2024")

    assert refused.value.what == "`as_of` is no date: `30.6.2024`"
    assert not (tmp_path / "out").exists()
    assert day("2024-06-30") == LAST_DAY.date()


# Values that the contract's type cannot hold


@pytest.mark.parametrize(
    ("table", "column", "bad", "good", "wanted"),
    [
        ("events", "weight", "heavy", "0.5", pl.Float64),
        ("events", "day", "some day", "2024-06-30", pl.Datetime("us")),
        ("items", "size", "3.5", "3", pl.Int64),
        ("items", "bright", "perhaps", "TRUE", pl.Boolean),
    ],
)
def test_a_csv_column_with_one_unreadable_value_stays_text(tmp_path, toy, source, table, column, bad, good, wanted):
    file = as_csv(source, tmp_path / "csv") / f"{table}.csv"
    found = {}

    for value in (bad, good):
        texts = pl.read_csv(file, infer_schema=False)
        texts.with_columns(first(value, column)).write_csv(file)
        fetch(str(file.parent), tmp_path / "out", toy)
        found[value] = pl.read_parquet(tmp_path / "out" / f"{table}.parquet")[column]

    assert found[bad].dtype == pl.String
    assert found[bad][0] == bad
    assert found[good].dtype == wanted
    assert found[good].null_count() == 0


@pytest.mark.parametrize(
    ("found", "read"),
    [
        (pl.Series("day", ["08/06/2024", "09/06/2024"]), pl.String),  # June or August?
        (pl.Series("day", [20240826, 20240827]), pl.Int64),  # days since when?
        (pl.Series("day", ["2024-06-08", "2024-06-09 01:30:00"]), pl.Datetime("us")),
        (pl.Series("day", [datetime(2024, 6, 8).date(), None]), pl.Datetime("us")),
    ],
)
def test_a_day_is_never_guessed(tmp_path, toy, source, found, read):
    rows = pl.read_parquet(source / "events.parquet").head(2).with_columns(found)
    rows.write_parquet(source / "events.parquet")

    fetch(str(source), tmp_path / "out", toy)

    day_column = pl.read_parquet(tmp_path / "out" / "events.parquet")["day"]
    assert day_column.dtype == read
    assert day_column.null_count() == found.null_count()


def test_a_moment_with_a_zone_keeps_the_day_of_its_own_clock(tmp_path, toy, source):
    tokyo = pl.Series("day", [datetime(2024, 6, 8), datetime(2024, 6, 9)]).dt.replace_time_zone("Asia/Tokyo")
    rows = pl.read_parquet(source / "events.parquet").head(2).with_columns(tokyo)
    rows.write_parquet(source / "events.parquet")

    fetch(str(source), tmp_path / "out", toy)

    read = pl.read_parquet(tmp_path / "out" / "events.parquet")["day"].to_list()
    assert read == [datetime(2024, 6, 8), datetime(2024, 6, 9)]


def test_lists_where_the_contract_has_none_are_left_to_the_validation(tmp_path, toy, source):
    change(source, "events", pl.concat_list("colour").alias("colour"))

    fetched = fetch(str(source), tmp_path / "out", toy)

    tables = {name: pl.read_parquet(tmp_path / "out" / f"{name}.parquet") for name in toy.CONTRACT.tables}
    assert len(fetched.data_version) == 64
    assert "events.colour" in {f"{problem.table}.{problem.column}" for problem in toy.CONTRACT.problems(tables)}


def test_today_is_a_day_and_is_told_as_one(tmp_path, toy, source):
    fetched = fetch(str(source), tmp_path / "out", toy, "today")

    assert day("today") == day(fetched.as_of)
    assert fetched.dropped_after_as_of == 0


@pytest.mark.parametrize(("table", "column"), [("events", "day"), ("events", "weight"), ("items", "bright")])
def test_a_csv_column_without_any_readable_value_stays_text(tmp_path, toy, source, table, column):
    file = as_csv(source, tmp_path / "csv") / f"{table}.csv"
    pl.read_csv(file, infer_schema=False).with_columns(pl.lit("who knows").alias(column)).write_csv(file)

    fetch(str(file.parent), tmp_path / "out", toy)

    assert pl.read_parquet(tmp_path / "out" / f"{table}.parquet")[column].unique().to_list() == ["who knows"]


@pytest.mark.parametrize(
    ("column", "bad", "good", "wanted"),
    [("size", 3.5, 3.0, pl.Int64), ("size", float("nan"), 100.0, pl.Int64), ("bright", 2, 1, pl.Boolean)],
)
def test_a_number_that_the_type_would_change_stays_as_it_was_found(tmp_path, toy, source, column, bad, good, wanted):
    before = pl.read_parquet(source / "items.parquet")[column]
    wide = pl.Int64() if isinstance(bad, int) else pl.Float64()
    found = {}

    for value in (bad, good):
        change(source, "items", before)
        change(source, "items", pl.col(column).cast(wide))
        change(source, "items", first(value, column))
        fetch(str(source), tmp_path / "out", toy)
        found[value] = pl.read_parquet(tmp_path / "out" / "items.parquet")[column]

    assert found[bad].dtype == wide
    assert str(found[bad][0]) == str(bad)
    assert found[good].dtype == wanted
    assert found[good][0] == good
    assert found[good][1:].equals(before[1:])


# What is not there, or cannot be read


def test_a_missing_table_is_said_with_what_is_there_instead(tmp_path, toy, source):
    (source / "events.parquet").rename(source / "event.parquet")

    with pytest.raises(StepError) as refused:
        fetch(str(source), tmp_path / "out", toy)

    assert refused.value.what == (
        "table `events` is not there: neither events.parquet nor events.csv (found: event.parquet, items.parquet)"
    )
    assert refused.value.where == str(source)


def test_a_folder_that_is_not_there_holds_nothing(tmp_path, toy):
    with pytest.raises(StepError, match=r"table `items` is not there: .* \(found: nothing\)"):
        fetch(str(tmp_path / "nowhere"), tmp_path / "out", toy)


@pytest.mark.parametrize(
    ("suffix", "content"), [("parquet", b"PAR1, but cut off"), ("csv", b""), ("csv", b"a,b\n1,2,3,4\n")]
)
def test_a_file_that_is_no_table_is_said_and_leaves_nothing_behind(tmp_path, toy, source, suffix, content):
    (source / "events.parquet").unlink()
    (source / f"events.{suffix}").write_bytes(content)

    with pytest.raises(StepError) as refused:
        fetch(str(source), tmp_path / "out", toy)

    assert refused.value.what.startswith(f"cannot be read as {suffix}: ")
    assert "\n" not in refused.value.what
    assert refused.value.where == f"{source}/events.{suffix}"
    assert list((tmp_path / "out").iterdir()) == []


def test_no_source_at_all_is_refused(tmp_path, toy):
    with pytest.raises(StepError) as refused:
        fetch(" ", tmp_path / "tables", toy)

    assert (refused.value.what, refused.value.where) == ("`source` is empty", "parameter source")
    assert not (tmp_path / "tables").exists()


def test_a_url_of_an_unknown_kind_is_refused(tmp_path, toy):
    with pytest.raises(StorageError, match="this Python cannot open gopher:// URLs"):
        fetch("gopher://hole/charts", tmp_path / "out", toy)


# The model's own generator


def test_synthetic_data_take_the_options_of_the_models_generator(tmp_path, toy, source):
    toy.generate(tmp_path / "made", seed=5, items=20, days=4)

    fetched = fetch("synthetic:?seed=5&items=20&days=4", tmp_path / "a", toy)

    assert fetched.data_version == fetch(str(tmp_path / "made"), tmp_path / "b", toy).data_version
    assert fetched.data_version != fetch(str(source), tmp_path / "c", toy).data_version
    assert [table.url for table in fetched.tables] == [
        "synthetic:?seed=5&items=20&days=4/items.parquet", "synthetic:?seed=5&items=20&days=4/events.parquet",
    ]  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["events.parquet", "items.parquet"]


def test_synthetic_data_can_be_cut_by_a_day_too(tmp_path, toy):
    assert fetch("synthetic:?items=20&days=4", tmp_path / "out", toy, "2024-06-28").dropped_after_as_of == 40


@pytest.mark.parametrize(
    ("option", "said"), [("weeks=3", "weeks"), ("days=many", "many"), ("days", "''"), ("bad=luck", "luck")]
)
def test_an_option_that_the_generator_refuses_is_said_with_it(tmp_path, toy, option, said):
    with pytest.raises(StepError) as refused:
        fetch(f"synthetic:?{option}", tmp_path / "out", toy)

    assert refused.value.what.startswith("the generator refuses: ")
    assert said in refused.value.what
    assert refused.value.where == f"synthetic:?{option}"
