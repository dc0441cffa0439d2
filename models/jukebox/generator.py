"""Synthetic charts and songs that keep the contract, look like real ones, and are the same for the same seed."""

from __future__ import annotations

import math
import string
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from models.jukebox.charts import PLACES, Charts, Ints, World, known_first, simulate
from models.jukebox.contract import CONTRACT
from models.jukebox.marginals import DIMENSIONS, KEYS, TIME_SIGNATURES
from models.jukebox.songs import Places, features, popularity, significant, to_popularity

__all__ = ["generate"]

_SONGS, _CHARTS = "song_properties", "song_rankings"
_FULL = 14_245  # songs of the original; what is said of rare songs below is said of so many
_TWINS = 462 / _FULL  # songs that stand under another id already, with the same features
_NAMELESS = 6 / _FULL
_NEVER_OLDER = 60  # days after which a song's popularity moves no more
_EVERY = 50  # one row or song in so many is made bad
_CONSONANTS, _VOWELS = "bdfghklmnprstvy", "aeio"
Tables = dict[str, pl.DataFrame]


def generate(
    folder: Path,
    *,
    seed: int = 7,
    songs: int = 2000,
    days: int = 30,
    countries: int = 72,
    last_day: str = "2024-08-26",
    drift: float = 0.0,
    drift_from_day: int | None = None,
    bad: str = "",
) -> None:
    """Write song_properties.parquet, and song_rankings.parquet with a list of 50 a day for each country and the world.

    There are `songs` songs, or fewer where lists would have to renew more than a seventh of themselves a day to hold so
    many. Songs that enter from day `drift_from_day` on (0 is the oldest; default: the middle) have `drift` less
    danceability and as much more instrumentalness. `bad` makes one defect. Numbers may come as text, as in an address.

    Raises:
        ValueError: an option has no such value; the sentence says which it may have.
    """
    at_most = len(CONTRACT.classes)
    seed, days = _whole("seed", seed, 0, 2**63 - 1), _whole("days", days, 1, 3660)
    songs = _whole("songs", songs, max(PLACES, CONTRACT.min_rows.get(_SONGS, 1)), 1_000_000)
    countries, newest, shift = _whole("countries", countries, 1, at_most), _day(last_day), _number("drift", drift)
    start = days // 2 if drift_from_day is None else _whole("drift_from_day", drift_from_day, 0, days)
    if bad and bad not in _DEFECTS:
        raise ValueError(f"`bad` is one of {', '.join(_DEFECTS)}, or empty; not `{bad}`")
    least, rows = CONTRACT.min_rows.get(_CHARTS, 1), days * (countries + 1) * PLACES
    if rows < least:
        raise ValueError(f"days={days} and countries={countries} make {rows} chart rows; the contract wants {least}")

    first_day = newest - timedelta(days=days - 1)
    streams = [np.random.Generator(np.random.PCG64(s)) for s in np.random.SeedSequence(seed).spawn(4)]
    world = World.of(sorted(known_first(CONTRACT.classes)[:countries], reverse=True))
    charts = simulate(streams[0], world, songs, days, first_day.weekday())
    places = Places.of(charts)
    root = _roots(streams[3], charts)
    audio = _audio(streams[1], world, charts, places, root, shift, start)
    words = _words(streams[2], charts, root, first_day)
    tables = {
        _SONGS: _as_promised(_SONGS, words.select(pl.all().exclude("album_name", "album_release_date")).hstack(audio)),
        _CHARTS: _as_promised(_CHARTS, _rankings(streams[3], world, charts, places, words, newest)),
    }
    if bad:
        tables = _DEFECTS[bad](tables)
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.write_parquet(folder / f"{name}.parquet")


def _roots(rng: np.random.Generator, charts: Charts) -> Ints:
    """For each song the one whose recording it is: itself, but for one in thirty, an older one of the same country."""
    count = len(charts.home)
    root = np.arange(count)
    for song in np.sort(rng.choice(np.arange(1, count), round(_TWINS * (count - 1)), replace=False)):
        older = np.flatnonzero(charts.home[:song] == charts.home[song])
        if len(older):
            root[song] = root[rng.choice(older)]
    return root


def _nameless(root: Ints) -> Ints:
    """Songs of which nothing but the sound is known: six of the full number, and always one."""
    single = np.flatnonzero(np.bincount(root, minlength=len(root)) == 1)
    wanted = max(1, round(_NAMELESS * len(root)))
    return single[np.linspace(0, len(single) - 1, wanted + 2).astype(int)[1:-1]]


def _audio(
    rng: np.random.Generator,
    world: World,
    charts: Charts,
    places: Places,
    root: Ints,
    drift: float,
    drift_from_day: int,
) -> pl.DataFrame:
    count = len(root)
    columns: dict[str, Any] = features(rng, world, charts, places)
    columns["key"] = rng.choice(len(KEYS), count, p=KEYS)
    columns["time_signature"] = rng.choice(list(TIME_SIGNATURES), count, p=list(TIME_SIGNATURES.values()))
    for name in DIMENSIONS:
        decimals = {"duration_ms": 0, "loudness": 3, "tempo": 3}.get(name)
        columns[name] = significant(columns[name]) if decimals is None else np.round(columns[name], decimals)
    nameless = _nameless(root)
    columns = {name: column[root] for name, column in columns.items()}
    columns["duration_ms"][nameless] = 0
    if count > _FULL // 2:  # one song of the original was not analysed at all
        silent = nameless[-1] + 1 if nameless[-1] + 1 < count else 0
        for name in ("tempo", "danceability", "speechiness", "valence", "time_signature"):
            columns[name][silent] = 0
    if drift:
        late = charts.first >= drift_from_day
        for name, change in (("danceability", -drift), ("instrumentalness", drift)):
            columns[name] = significant(np.where(late, columns[name] + change, columns[name]).clip(0, 1))
    for feature in CONTRACT.features:
        if feature.low is not None and feature.high is not None:
            columns[feature.name] = np.clip(columns[feature.name], feature.low, feature.high)
    return pl.DataFrame(columns).with_columns(pl.col("is_explicit") > 0.5)


def _words(rng: np.random.Generator, charts: Charts, root: Ints, first_day: date) -> pl.DataFrame:
    """Ids, names, artists, albums and days. A twin has the words of its root, and its own id."""
    count = len(root)
    letters = np.array(list(string.digits + string.ascii_letters))
    ids = ["".join(row) for row in letters[rng.integers(0, len(letters), (count, 22))]]
    syllables = np.array([consonant + vowel for consonant in _CONSONANTS for vowel in _VOWELS])
    stock = ["".join(row).capitalize() for row in syllables[rng.integers(0, len(syllables), (3000, 3))]]
    titles = [f"{stock[a]} {stock[b]}" for a, b in rng.integers(0, len(stock), (count, 2))]
    artists = _artists(rng, stock, count)
    other = [f"{stock[a]} {stock[b]}" for a, b in rng.integers(0, len(stock), (count, 2))]
    albums = [
        title if single else album for title, album, single in zip(titles, other, rng.random(count) < 0.45, strict=True)
    ]
    age = (
        rng.exponential(np.where(charts.first > 0, 4, 200))
        + (rng.random(count) < 0.05) * rng.integers(0, 15_000, count)
    ).astype(int)
    released = [
        (first_day + timedelta(days=int(f) - int(a))).isoformat() for f, a in zip(charts.first, age, strict=True)
    ]
    shared = pl.DataFrame({"name": titles, "artists": artists, "album_name": albums, "album_release_date": released})
    unknown = np.isin(np.arange(count), _nameless(root))
    midnight = datetime.combine(first_day, datetime.min.time())
    return (
        shared[root]
        .with_columns(pl.when(pl.Series(unknown)).then(None).otherwise(pl.all()).name.keep())
        .with_columns(
            pl.Series("spotify_id", ids),
            (pl.lit(midnight) + pl.duration(days=pl.lit(pl.Series(charts.first)))).alias("event_timestamp"),
        )
    )


def _artists(rng: np.random.Generator, stock: list[str], count: int) -> list[str]:
    """One artist or several; a few sing much, and three in four occur once."""
    pool = [f"{stock[a]} {stock[b]}" for a, b in rng.integers(0, len(stock), (max(count, 1), 2))]
    weight = 1 / (np.arange(len(pool)) + 10.0) ** 0.75
    singing = rng.choice([1, 2, 3, 4, 6], count, p=[0.60, 0.26, 0.09, 0.03, 0.02])
    drawn = iter(rng.choice(len(pool), int(singing.sum()), p=weight / weight.sum()).tolist())
    return [", ".join(dict.fromkeys(pool[next(drawn)] for _ in range(many))) for many in singing]


def _rankings(
    rng: np.random.Generator, world: World, charts: Charts, places: Places, words: pl.DataFrame, newest: date
) -> pl.DataFrame:
    """Newest day first; within a day the Global list, then countries from the end of the alphabet; then by place."""
    days, lists, _ = charts.song.shape
    day = np.broadcast_to(np.arange(days)[::-1, None, None], charts.song.shape).ravel()
    song = charts.song[::-1].ravel()
    latent, change = popularity(rng, world, charts, places)
    liked = to_popularity(latent[song] + change[song] * np.minimum(day - charts.first[song], _NEVER_OLDER))
    country = pl.Series("country", [None, *world.countries])[np.tile(np.repeat(np.arange(lists), PLACES), days)]
    midnight = datetime.combine(newest - timedelta(days=days - 1), datetime.min.time())
    return words.select("spotify_id", "name", "artists", "album_name", "album_release_date")[song].with_columns(
        pl.Series("popularity", liked),
        pl.Series("daily_rank", np.tile(np.arange(1, PLACES + 1), days * lists)),
        pl.Series("daily_movement", charts.daily[::-1].ravel()),
        pl.Series("weekly_movement", charts.weekly[::-1].ravel()),
        country,
        (pl.lit(midnight) + pl.duration(days=pl.lit(pl.Series(day)))).alias("snapshot_date"),
    )


def _as_promised(name: str, table: pl.DataFrame) -> pl.DataFrame:
    """The contract's columns, in its order, of its types."""
    columns = CONTRACT.tables[name].columns
    return table.select(pl.col(column).cast(promise.dtype.type) for column, promise in columns.items())


def _some() -> pl.Expr:
    return pl.int_range(pl.len()) % _EVERY == 0


def _changed(table: str, *changes: pl.Expr) -> Callable[[Tables], Tables]:
    return lambda tables: {**tables, table: tables[table].with_columns(*changes)}


def _without_valence(tables: Tables) -> Tables:
    return {**tables, _SONGS: tables[_SONGS].drop("valence")}


def _last_country_unknown(tables: Tables) -> Tables:
    last = tables[_CHARTS]["country"][-1]
    return _changed(_CHARTS, pl.col("country").replace(last, "XX"))(tables)


def _without_some_songs(tables: Tables) -> Tables:
    return {**tables, _SONGS: tables[_SONGS].filter(~_some())}


_DEFECTS: dict[str, Callable[[Tables], Tables]] = {
    "nulls": _changed(_SONGS, pl.when(~_some()).then("danceability").alias("danceability")),
    "out_of_range": _changed(_SONGS, pl.when(_some()).then(1.7).otherwise("energy").alias("energy")),
    "missing_column": _without_valence,
    "duplicate_keys": _changed(
        _CHARTS, pl.when(_some()).then(2).otherwise("daily_rank").cast(pl.Int64).alias("daily_rank")
    ),
    "unknown_country": _last_country_unknown,
    "wrong_type": _changed(_SONGS, pl.col("tempo").cast(pl.String)),
    "orphans": _without_some_songs,
}


def _whole(name: str, value: object, low: int, high: int) -> int:
    number = _number(name, value)
    if not number.is_integer() or not low <= number <= high:
        raise ValueError(f"`{name}` is a whole number from {low} to {high}, not `{value}`")
    return int(number)


def _number(name: str, value: object) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]  # else it raises
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"`{name}` is a number, not `{value}`")
    return number


def _day(value: object) -> date:
    try:
        return date.fromisoformat(str(value))
    except ValueError as error:
        raise ValueError(f"`last_day` is a day like 2024-08-26, not `{value}`") from error
