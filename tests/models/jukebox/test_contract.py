"""The charts and the songs: which columns the network gets, and which rows are one recording."""

from datetime import date, datetime, timedelta

import polars as pl
import pytest

from models import load
from models.jukebox import CONTRACT, SPLIT, join, slices
from models.jukebox.contract import COUNTRIES
from models.split import with_entity

NEWEST = datetime(2024, 8, 26)
FEATURES = {
    "is_explicit": "bool",
    "duration_ms": "int64",
    "danceability": "float32",
    "energy": "float32",
    "key": "int64",
    "loudness": "float32",
    "mode": "int64",
    "speechiness": "float32",
    "acousticness": "float32",
    "instrumentalness": "float32",
    "liveness": "float32",
    "valence": "float32",
    "tempo": "float32",
}
SONG = {
    "is_explicit": True,
    "duration_ms": 200_000,
    "danceability": 0.6,
    "energy": 0.7,
    "key": 4,
    "loudness": -7.5,
    "mode": 1,
    "speechiness": 0.05,
    "acousticness": 0.2,
    "instrumentalness": 0.0,
    "liveness": 0.1,
    "valence": 0.5,
    "tempo": 120.0,
    "time_signature": 4,
}


def song_id(number: int) -> str:
    return f"{number:022d}"


def songs(count: int = 50, **changed) -> pl.DataFrame:
    """That many songs of different tempo; `changed` are values of the first."""
    rows = [{"spotify_id": song_id(n), "name": "a", "artists": "b", **SONG, "tempo": 100.0 + n} for n in range(count)]
    rows[0] |= changed
    return pl.DataFrame(rows)


def rankings(days: int = 10, **changed) -> pl.DataFrame:
    """The world's Top 50 and no other, on that many days; `changed` are values of the first row."""
    rows = [
        {
            "spotify_id": song_id(rank),
            "name": "a",
            "artists": "b",
            "popularity": 2 * rank,
            "daily_rank": rank + 1,
            "daily_movement": 0,
            "weekly_movement": 0,
            "country": None,
            "snapshot_date": NEWEST - timedelta(days=day),
        }
        for day in range(days)
        for rank in range(50)
    ]
    rows[0] |= changed
    return pl.DataFrame(rows, schema_overrides={"country": pl.String, "snapshot_date": pl.Datetime("us")})


def problems(songs_: pl.DataFrame, rankings_: pl.DataFrame) -> list[str]:
    tables = {"song_properties": songs_, "song_rankings": rankings_}
    return [str(problem) for problem in CONTRACT.problems(tables, as_of=date(2024, 8, 29))]


def test_the_network_gets_thirteen_features_each_of_its_type():
    assert {feature.name: feature.dtype for feature in CONTRACT.features} == FEATURES


def test_every_feature_but_a_flag_has_both_limits():
    limits = {f.name: (f.low, f.high) for f in CONTRACT.features if f.low is not None and f.high is not None}

    assert FEATURES.keys() - limits.keys() == {"is_explicit"}
    assert all(low < high for low, high in limits.values())


def test_the_fingerprint_is_that_of_the_models_that_serve():
    """Change the pin only with the inputs or the target: then no champion can be compared with what comes after it."""
    assert CONTRACT.fingerprint() == "d4b120023d4504cca13182065b6e22fd82c1c6e984133a140c163d9ad9f406a4"


def test_classes_are_country_codes_each_once():
    assert len(COUNTRIES) == len(set(COUNTRIES)) == 72
    assert list(COUNTRIES) == sorted(COUNTRIES)
    assert CONTRACT.classes == COUNTRIES


def test_charts_of_the_world_keep_the_contract():
    assert problems(songs(), rankings()) == []


def test_a_song_that_was_not_analysed_keeps_the_contract():
    assert problems(songs(tempo=0.0, duration_ms=0), rankings()) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"spotify_id": "x" * 21}, "spotify_id: str_length(22, 22)"),
        ({"duration_ms": -1}, "duration_ms: in_range(0, 7200000)"),
        ({"danceability": 1.01}, "danceability: in_range(0, 1)"),
        ({"key": 12}, "key: in_range(0, 11)"),
        ({"loudness": 5.1}, "loudness: in_range(-60, 5)"),
        ({"mode": 2}, "mode: in_range(0, 1)"),
        ({"tempo": 300.5}, "tempo: in_range(0, 300)"),
        ({"time_signature": 8}, "time_signature: in_range(0, 7)"),
        ({"is_explicit": None}, "is_explicit: not null"),
    ],
)
def test_a_song_beyond_the_definition_of_its_features_is_named(changed, said):
    orphans = (
        ["song_rankings.spotify_id: a value of song_properties.spotify_id (10 rows)"] if "spotify_id" in changed else []
    )

    assert problems(songs(**changed), rankings()) == [f"song_properties.{said} (1 row)", *orphans]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"daily_rank": 51}, "daily_rank: in_range(1, 50) (1 row)"),
        ({"daily_rank": 2}, "country, snapshot_date, daily_rank: unique together (2 rows)"),
        ({"popularity": 101}, "popularity: in_range(0, 100) (1 row)"),
        ({"country": "XX"}, "country: one of the 72 values of the contract (1 row)"),
        ({"spotify_id": song_id(99)}, "spotify_id: a value of song_properties.spotify_id (1 row)"),
    ],
)
def test_a_place_that_no_chart_has_is_named(changed, said):
    assert problems(songs(), rankings(**changed)) == [f"song_rankings.{said}"]


def test_old_charts_are_named():
    old = rankings().with_columns(pl.col("snapshot_date") - pl.duration(days=1))

    [said] = problems(songs(), old)

    assert said.startswith("song_rankings.snapshot_date: newest row no older than 3 days on 2024-08-29")


def test_one_recording_under_two_ids_is_one_entity():
    twins = songs(3).with_columns(tempo=pl.Series([100.0, 100.0, 101.0]))

    entities = with_entity(twins, CONTRACT.entity)["entity"]

    assert entities[0] == entities[1] != entities[2]
    assert set(CONTRACT.entity) == set(FEATURES)


def test_the_join_keeps_every_place_in_its_order_and_knows_an_unknown_song_by_nulls():
    charts = rankings(spotify_id=song_id(99), country="AR")

    joined = join({"song_properties": songs().lazy(), "song_rankings": charts.lazy()}).collect()

    assert joined["popularity"].to_list() == charts["popularity"].to_list()
    assert joined.columns == ["spotify_id", "country", "snapshot_date", "popularity", *FEATURES]
    assert joined[0].select(*FEATURES).null_count().row(0) == (1,) * 13
    assert joined[1:].select(*FEATURES).null_count().row(0) == (0,) * 13
    assert joined["tempo"][1:4].to_list() == [101.0, 102.0, 103.0]


def test_slices_are_masks_over_the_rows():
    rows = pl.DataFrame({"is_explicit": [True, False, True, False, False], "popularity": [10, 20, 30, 40, 50]})

    found = {name: mask.to_list() for name, mask in slices(rows).items()}

    assert found == {
        "explicit": [True, False, True, False, False],
        "clean": [False, True, False, True, True],
        "popular (top quarter)": [False, False, False, True, True],
        "less popular (bottom quarter)": [True, True, False, False, False],
    }


def test_the_model_holds_out_the_newest_day_and_a_tenth_of_the_recordings():
    assert load("jukebox").SPLIT is SPLIT
    assert (SPLIT.days, SPLIT.unseen) == (1, 0.1)
