"""Every row is in one part or counted as dropped; what judges is apart from what is learned; same tables, same bytes."""

from __future__ import annotations

import json
from datetime import datetime
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from components.errors import StepError
from components.prepare_data.step import Prepared, prepare
from models.split import PARTS

FILES = ["classes.json", "prior.json", "profile.json", *sorted(f"{part}.parquet" for part in PARTS)]


@pytest.fixture
def made(tmp_path, toy):
    """Toy tables that a test may change, made with those options."""

    def make(**options):
        toy.generate(tmp_path / "tables", **{"items": 60, "days": 6, **options})
        (tmp_path / "out").mkdir(exist_ok=True)
        return tmp_path / "tables"

    return make


def change(tables, table, *columns):
    file = tables / f"{table}.parquet"
    pl.read_parquet(file).with_columns(*columns).write_parquet(file)


def must_prepare(tables, folder, model) -> Prepared:
    done = prepare(tables, folder, model)
    assert done
    return done


def read_parts(folder):
    return {part: pl.read_parquet(folder / f"{part}.parquet") for part in PARTS}


# What is written


def test_parts_hold_raw_features_labels_entities_and_time(prepared, toy):
    assert sorted(path.name for path in prepared.iterdir()) == sorted(FILES)
    for content in read_parts(prepared).values():
        assert dict(content.schema) == {
            "item_id": pl.String, "day": pl.Datetime("us"), "weight": pl.Float64,
            "bright": pl.Boolean, "size": pl.Int64, "warmth": pl.Float64, "entity": pl.String, "label": pl.Int32,
        }  # fmt: skip
        assert content["entity"].str.len_chars().unique().to_list() == [32]
        assert content.null_count().sum_horizontal().item() == 0


def test_every_row_of_the_table_is_in_exactly_one_part_with_its_own_label(prepared, tables):
    events = pl.read_parquet(tables / "events.parquet").join(pl.read_parquet(tables / "items.parquet"), on="item_id")
    classes = json.loads((prepared / "classes.json").read_text())

    found = pl.concat(read_parts(prepared).values()).with_columns(
        colour=pl.col("label").map_elements(classes.__getitem__, return_dtype=pl.String)
    )

    columns = ["item_id", "day", "colour", "weight", "bright", "size", "warmth"]
    assert found.select(columns).sort("item_id", "day").equals(events.select(columns).sort("item_id", "day"))


def test_what_judges_is_newer_or_unknown_to_what_is_learned(prepared):
    parts = read_parts(prepared)
    days = {part: content["day"].dt.date() for part, content in parts.items()}
    entities = {part: set(content["entity"]) for part, content in parts.items()}

    assert days["train"].max() < days["test_time"].min()
    assert days["test_time"].unique().sort().to_list() == [datetime(2024, 6, 29).date(), datetime(2024, 6, 30).date()]
    assert not entities["test_unseen"] & (entities["train"] | entities["validation"] | entities["test_time"])
    assert set(days["validation"]) == {days["train"].max()} == {datetime(2024, 6, 28).date()}
    assert entities["test_time"] <= entities["train"] | entities["validation"]


def test_classes_are_sorted_and_the_prior_is_their_share_of_the_training_rows(prepared):
    classes, prior = (json.loads((prepared / f"{name}.json").read_text()) for name in ("classes", "prior"))
    labels = pl.read_parquet(prepared / "train.parquet")["label"].to_numpy()

    assert classes == ["blue", "green", "red", "yellow"]
    assert sum(prior) == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(prior, np.bincount(labels, minlength=4) / len(labels), rtol=1e-15)


def test_the_profile_is_of_the_training_rows_alone(prepared):
    profile = json.loads((prepared / "profile.json").read_text())
    train = pl.read_parquet(prepared / "train.parquet")

    assert {name: (told["kind"], told["role"]) for name, told in profile.items()} == {
        "bright": ("bool", "flag"), "size": ("int64", "linear"), "warmth": ("float32", "linear"),
    }  # fmt: skip
    for name, told in profile.items():
        values = np.sort(train[name].to_numpy().astype(float))
        assert told["mean"] == pytest.approx(values.sum() / len(values), rel=1e-12)
        assert told["std"] == pytest.approx(np.sqrt(((values - values.mean()) ** 2).mean()), rel=1e-12)
        assert (told["min"], told["max"], told["distinct"]) == (values[0], values[-1], len(set(values)))
        for quantile in ("q01", "q05", "q25", "q50", "q75", "q95", "q99"):
            share = int(quantile[1:]) / 100
            assert told[quantile] == values[round(share * (len(values) - 1))]


def test_the_same_tables_give_the_same_bytes(prepared, tables, toy, tmp_path):
    prepare(tables, tmp_path, toy)

    for name in FILES:
        assert (tmp_path / name).read_bytes() == (prepared / name).read_bytes(), name


def test_the_order_of_a_tables_rows_changes_nothing_that_is_learned_from(made, toy, tmp_path):
    tables, learned = made(seed=3), [*(feature.name for feature in toy.CONTRACT.features), "label"]
    prepare(tables, tmp_path / "out", toy)
    before = read_parts(tmp_path / "out")
    for name in toy.CONTRACT.tables:
        file = tables / f"{name}.parquet"
        pl.read_parquet(file).sample(fraction=1, shuffle=True, seed=5).write_parquet(file)

    prepare(tables, tmp_path / "out", toy)

    for part, rows in read_parts(tmp_path / "out").items():
        assert rows.select(learned).equals(before[part].select(learned)), part


# What is dropped


def test_what_it_says_is_what_it_wrote(tables, toy, tmp_path):
    done = must_prepare(tables, tmp_path, toy)

    parts = read_parts(tmp_path)
    assert done.rows == {"joined": 1600, **{part: len(content) for part, content in parts.items()}}
    assert sum(len(content) for content in parts.values()) == 1600
    assert done.dropped == []
    assert done.classes == json.loads((tmp_path / "classes.json").read_text())
    assert done.profile == json.loads((tmp_path / "profile.json").read_text())
    assert done.split == {
        "days": 2,
        "unseen": 0.2,
        "validation": 0.2,
        "test_from": "2024-06-29 00:00:00",
        "train_to": "2024-06-28 00:00:00",
        "train_entities": parts["train"]["entity"].n_unique(),
        "unseen_entities": parts["test_unseen"]["entity"].n_unique(),
    }


def test_every_dropped_row_is_counted_once_with_its_reason(made, toy, tmp_path):
    tables = made()
    first, last_day = pl.int_range(pl.len()), pl.col("day") == pl.col("day").max()
    change(tables, "items", pl.when(first >= 2).then("warmth").alias("warmth"))  # 2 lamps, 6 sightings each
    change(
        tables, "items", pl.when(first >= 3).then("size").alias("size")
    )  # one more: the other two are counted already
    change(tables, "events", pl.when(first != 10).then("colour").alias("colour"))
    change(
        tables,
        "events",
        pl.when(last_day & (first % 60 >= 50)).then(pl.lit("pink")).otherwise("colour").alias("colour"),
    )

    done = must_prepare(tables, tmp_path / "out", toy)

    assert done.dropped == [
        {"why": "`colour` is null", "rows": 1},
        {"why": "`size` is null", "rows": 18},
        {"why": "class of `colour` not in the training rows", "rows": 10},
    ]
    parts = read_parts(tmp_path / "out")
    assert done.rows["joined"] == 360 == sum(len(content) for content in parts.values()) + 1 + 18 + 10
    assert "pink" not in done.classes


def test_a_reason_is_the_first_column_that_is_null(made, toy, tmp_path):
    tables = made()
    change(tables, "items", pl.when(pl.int_range(pl.len()) >= 2).then("warmth").alias("warmth"))

    done = must_prepare(tables, tmp_path / "out", toy)

    assert done.dropped == [{"why": "`warmth` is null", "rows": 12}]


# What cannot be prepared


def test_two_days_are_too_few_where_two_are_for_the_test(made, toy, tmp_path):
    with pytest.raises(StepError) as refused:
        prepare(made(days=2), tmp_path / "out", toy)

    assert refused.value.what == "2 day(s) of rows: at least 3 are needed, 2 of them for the test"
    assert refused.value.where == "events.day"
    assert refused.value.do == "fetch more days"


def test_three_days_are_enough(made, toy, tmp_path):
    done = must_prepare(made(days=3), tmp_path / "out", toy)

    assert done.rows["joined"] == 180
    assert done.split["train_to"] == "2024-06-28 00:00:00"


def test_one_class_is_nothing_to_learn(made, toy, tmp_path):
    tables = made()
    change(tables, "events", pl.lit("red").alias("colour"))

    with pytest.raises(StepError, match=r"1 class\(es\) to learn") as refused:
        prepare(tables, tmp_path / "out", toy)

    assert refused.value.where == "events.colour"


def test_a_part_without_rows_is_said_by_its_name(made, toy, tmp_path):
    tables = made()
    events = pl.read_parquet(tables / "events.parquet")
    newest_training_day = events["day"].unique().sort(descending=True)[2]
    prepare(tables, tmp_path / "out", toy)
    validation = set(pl.read_parquet(tmp_path / "out" / "validation.parquet")["item_id"])
    gone = (pl.col("day") == newest_training_day) & pl.col("item_id").is_in(list(validation))
    events.filter(~gone).write_parquet(tables / "events.parquet")

    with pytest.raises(StepError, match="the part `validation` has no rows"):
        prepare(tables, tmp_path / "out", toy)


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("items", None),
        ("items", pl.col("size").cast(pl.String) + " cm"),
        ("items", pl.lit(None).cast(pl.Float64).alias("warmth")),
        ("events", pl.lit("some day").alias("day")),
        ("events", pl.col("item_id").str.slice(1).cast(pl.Int64)),
        ("events", pl.lit(datetime(2024, 6, 30)).alias("day")),
    ],
    ids=[
        "a missing column",
        "a text for a number",
        "no number at all",
        "a text for a time",
        "a key of another type",
        "one day twice",
    ],
)
def test_tables_that_break_the_contract_are_left_to_the_validation(made, toy, tmp_path, table, column):
    """The validation runs beside: its report must stop the run, and not a crash here."""
    tables = made()
    if column is None:
        pl.read_parquet(tables / f"{table}.parquet").drop("warmth").write_parquet(tables / f"{table}.parquet")
    else:
        change(tables, table, column)
    assert toy.CONTRACT.problems({name: pl.read_parquet(tables / f"{name}.parquet") for name in toy.CONTRACT.tables})

    assert prepare(tables, tmp_path / "out", toy) is None


def test_a_join_that_fails_on_good_tables_is_the_models_own_fault(made, toy, tmp_path):
    def join(tables):
        return tables["events"].join(tables["items"], on="lamp_id")

    with pytest.raises(StepError) as refused:
        prepare(made(), tmp_path / "out", SimpleNamespace(**{**vars(toy), "join": join}))

    assert refused.value.what.startswith("the tables cannot be joined: ")
    assert "lamp_id" in refused.value.what
    assert refused.value.where == "events"
