"""The charts and the songs: what both tables promise.

Ranges are those of the audio features' own definitions (shares from 0 to 1, loudness in dB, tempo in beats a minute), not of
the values that happened to be seen. One exception: 0 stands for "not analysed" in `tempo` and `duration_ms`, and occurs.
"""

from __future__ import annotations

import pandera.polars as pa
import polars as pl

from models.contract import Contract, Reference

_CODES = """
AE AR AT AU BE BG BO BR BY CA CH CL CO CR CZ DE DK DO EC EE EG ES FI FR GB GR GT HK HN HU ID IE IL IN IS IT
JP KR KZ LT LU LV MA MX MY NG NI NL NO NZ PA PE PH PK PL PT PY RO SA SE SG SK SV TH TR TW UA US UY VE VN ZA
"""
COUNTRIES = tuple(_CODES.split())  # ISO 3166-1 alpha-2
DATE = pl.Datetime("us")


def _feature(dtype: type[pl.DataType], low: float, high: float, role: str) -> pa.Column:
    checks = [] if dtype is pl.Boolean else [pa.Check.in_range(low, high)]
    return pa.Column(dtype, checks, metadata={"role": role})


SONG_PROPERTIES = pa.DataFrameSchema(
    {
        "spotify_id": pa.Column(pl.String, pa.Check.str_length(22, 22), unique=True),
        "name": pa.Column(pl.String, nullable=True),
        "artists": pa.Column(pl.String, nullable=True),
        "event_timestamp": pa.Column(DATE, required=False),
        "is_explicit": _feature(pl.Boolean, 0, 1, "flag"),
        "duration_ms": _feature(pl.Int64, 0, 7_200_000, "log"),
        "danceability": _feature(pl.Float64, 0, 1, "linear"),
        "energy": _feature(pl.Float64, 0, 1, "linear"),
        "key": _feature(pl.Int64, 0, 11, "one_hot"),
        "loudness": _feature(pl.Float64, -60, 5, "log_below_high"),
        "mode": _feature(pl.Int64, 0, 1, "flag"),
        "speechiness": _feature(pl.Float64, 0, 1, "log"),
        "acousticness": _feature(pl.Float64, 0, 1, "linear"),
        "instrumentalness": _feature(pl.Float64, 0, 1, "log_or_zero"),
        "liveness": _feature(pl.Float64, 0, 1, "log"),
        "valence": _feature(pl.Float64, 0, 1, "linear"),
        "tempo": _feature(pl.Float64, 0, 300, "linear"),
        "time_signature": pa.Column(pl.Int64, pa.Check.in_range(0, 7), required=False),
    },
)

SONG_RANKINGS = pa.DataFrameSchema(
    {
        "spotify_id": pa.Column(pl.String, pa.Check.str_length(22, 22)),
        "name": pa.Column(pl.String, nullable=True),
        "artists": pa.Column(pl.String, nullable=True),
        "popularity": pa.Column(pl.Int64, pa.Check.in_range(0, 100)),
        "daily_rank": pa.Column(pl.Int64, pa.Check.in_range(1, 50)),
        "daily_movement": pa.Column(pl.Int64, pa.Check.in_range(-49, 49)),
        "weekly_movement": pa.Column(pl.Int64, pa.Check.in_range(-49, 49)),
        "country": pa.Column(pl.String, pa.Check.isin(COUNTRIES), nullable=True),  # null: the Global Top 50
        "snapshot_date": pa.Column(DATE),
        "album_name": pa.Column(pl.String, nullable=True, required=False),
        "album_release_date": pa.Column(pl.String, nullable=True, required=False),
    },
    unique=["country", "snapshot_date", "daily_rank"],
)

_AUDIO = tuple(name for name, column in SONG_PROPERTIES.columns.items() if column.metadata)

CONTRACT = Contract(
    tables={"song_properties": SONG_PROPERTIES, "song_rankings": SONG_RANKINGS},
    rows="song_rankings",
    target="country",
    time="snapshot_date",
    # A recording, not an id: one in thirty songs stands in the table under several ids with the same audio features.
    entity=_AUDIO,
    classes=COUNTRIES,
    references=(
        Reference(table="song_rankings", column="spotify_id", to_table="song_properties", to_column="spotify_id"),
    ),
    min_rows={"song_properties": 50, "song_rankings": 500},
    max_age_days=3,
)
