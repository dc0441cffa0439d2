"""Daily top-50 lists of songs that enter, stay and fade: who is where on which day. Sound is `songs.py`'s matter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.jukebox.marginals import CLUSTERS, DIMENSIONS, POPULARITY_OF, PROFILES, REGIONS

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

PLACES = 50
_WORLD_SEED = 2023  # tastes are facts of the world: another seed gives other songs to the same listeners
_WEEK = 7
_GOLDEN = (5**0.5 - 1) / 2
_TILT_OF_REGION, _TILT_OF_COUNTRY = 0.25, 0.40
# Of all places in all lists: how many different songs hold them. Few countries share little.
_MOST_NEW = 0.15  # of all places in a day
_LISTS, _DIFFERENT = (1, 10, 20, 40, 72), (1.0, 0.9, 0.75, 0.6, 0.493)

# A song's score in a country, in standard deviations of nothing in particular: only differences count.
_STRENGTH = 0.8  # sd of how strong songs are
_AT_HOME, _OWN_LIST = 1.3, 1.9  # added at home, and more where lists are a country's own
_BARRIER, _OWN_BARRIER = 4.2, 0.95  # taken off abroad
_LUCK_ABROAD = 0.67  # sd, for one song in one country
_TASTE = 0.25  # how much a country's taste for the song's cluster counts
_FADE = 0.028  # mean loss a day
_NOISE, _MEMORY = 0.22, 0.93  # from day to day
_TURMOIL, _TURMOIL_NOISE = (
    0.035,
    0.9,
)  # share of lists that a holiday or a new album upsets for one day, and by how much
_HIT, _HIT_DAYS = 0.5, 4.0  # how much higher a new song begins, and how long that lasts
_PROVEN = 0.4  # added at home to a song that was there before the first day
_FORGOTTEN = -4.0
_MUST = 1_000.0  # a song is in its home's list on its first day, however weak
_NO_HOME_SONGS = 0.055  # production of a country without a list of its own


@dataclass(frozen=True, kw_only=True)
class World:
    """The countries, and what they like; the same for every seed."""

    countries: tuple[str, ...]
    own: Floats  # how much of a country's list is its own, 0 to 1
    near: Floats  # (countries, countries): how close two countries of one region are
    travels: Floats  # how far a country's songs travel
    taste: Floats  # (countries, clusters): shares
    tilt: Floats  # (countries, dimensions): how a country's songs differ
    level: Floats  # popularity of a country's songs, in standard deviations

    @classmethod
    def of(cls, countries: Sequence[str]) -> World:
        """Drawn for all countries and then cut, so that a country's taste does not depend on who else is there."""
        rng = np.random.Generator(np.random.PCG64(_WORLD_SEED))
        drawn: dict[str, tuple[int, float, float, float, Floats, Floats, float]] = {}
        for number, (members, near, travels, weights) in enumerate(REGIONS.values()):
            of_region = rng.normal(0, _TILT_OF_REGION, len(DIMENSIONS))
            for member in members.split():
                own = int(member[2]) / 9
                taste = rng.dirichlet(np.array(weights) * 2 + 0.05)
                tilt = of_region + rng.normal(0, _TILT_OF_COUNTRY, len(DIMENSIONS))
                level = 0.9 - 1.7 * own + rng.normal(0, 0.3)
                drawn[member[:2]] = (number, own, near, travels, taste, tilt, level)
        columns = zip(*(drawn[country] for country in countries), strict=True)
        region, own_, near_, travels_, taste_, tilt_, level_ = (np.array(column) for column in columns)
        return cls(
            countries=tuple(countries),
            own=own_,
            near=np.where(region[:, None] == region[None, :], near_[:, None], 0.0),
            travels=travels_,
            taste=taste_,
            tilt=tilt_,
            level=level_,
        )


def known_first(countries: Sequence[str]) -> list[str]:
    """Those countries, the ones whose profile is known before the others: a small world is made of them."""
    known = [country for country in (*POPULARITY_OF, *PROFILES) if country in countries]
    return list(dict.fromkeys([*known, *countries]))


@dataclass(frozen=True, kw_only=True)
class Charts:
    """`song`, `daily` and `weekly` are (days, lists, places); list 0 is the Global one, then the world's countries."""

    song: npt.NDArray[np.integer]
    daily: npt.NDArray[np.int8]
    weekly: npt.NDArray[np.int8]
    home: Ints  # of a song: index of a country
    cluster: Ints
    first: Ints  # day of a song's first place; songs are ordered by it


def catalogue(songs: int, days: int, countries: int) -> tuple[int, int]:
    """How many songs are there on the first day, and in the end: not all `songs` if lists would renew too fast."""
    places = PLACES * countries
    different = float(np.interp(countries, _LISTS, _DIFFERENT))
    first = max(PLACES, min(round(different * places), round(0.87 * songs)))
    return first, min(songs, first + int(_MOST_NEW * places) * (days - 1)) if days > 1 else first


def simulate(rng: np.random.Generator, world: World, songs: int, days: int, first_weekday: int) -> Charts:
    """Lists of `days` days. Each song enters at home; what it does there and elsewhere is a matter of its score.

    The lists run a week before the first day, so that the movements of that week are true as well.
    """
    countries = len(world.countries)
    there, songs = catalogue(songs, days, countries)
    debut, home, cluster = _debuts(rng, world, there, songs, days, first_weekday)
    new = debut > 0
    fade = rng.exponential(_FADE, songs) * np.where(new, 1.0, 0.4)
    hit = np.where(new, rng.exponential(_HIT, songs), 0.0)
    score = _scores(rng, world, home, cluster, new)
    noise = np.zeros_like(score)
    market = rng.uniform(0.5, 1.0, countries) * (1.2 - world.own)
    market_share = (market / market.sum()).astype(np.float32)[:, None]
    ranks = np.zeros(
        (_WEEK + 1, countries + 1, songs), np.int8
    )  # of today and the seven days before; 0: not in the list
    shape = (days, countries + 1, PLACES)
    song, daily, weekly = np.zeros(shape, np.int32), np.zeros(shape, np.int8), np.zeros(shape, np.int8)
    place = np.broadcast_to(np.arange(1, PLACES + 1, dtype=np.int8), shape[1:])
    for day in range(-_WEEK, days):
        age = np.maximum(day - debut, 0)
        life = hit * np.exp(-age / _HIT_DAYS) - fade * age
        here = np.flatnonzero((debut <= max(day, 0)) & ((life > _FORGOTTEN) | ~new))
        fresh = rng.standard_normal((countries, len(here)), dtype=np.float32) * np.float32(_NOISE)
        surprise = 1.8 if (first_weekday + day) % 7 == 5 else 1.0
        keep = np.float32(_MEMORY), np.float32(surprise * np.sqrt(1 - _MEMORY**2))
        noise[:, here] = fresh if day == -_WEEK else noise[:, here] * keep[0] + fresh * keep[1]
        now = score[:, here] + noise[:, here] + life[here].astype(np.float32)
        upset = np.flatnonzero(rng.random(countries) < _TURMOIL)
        now[upset] += rng.standard_normal((len(upset), len(here)), dtype=np.float32) * np.float32(_TURMOIL_NOISE)
        worldwide = np.log((market_share * np.exp(np.minimum(now, 12))).sum(axis=0, keepdims=True))
        now = np.concatenate([worldwide, now])
        entering = np.flatnonzero(debut[here] == day)
        wanted = now.copy()
        wanted[home[here[entering]] + 1, entering] += _MUST
        top = np.argpartition(wanted, len(here) - PLACES, axis=1)[:, len(here) - PLACES :]
        order = np.argsort(-np.take_along_axis(now, top, 1), axis=1, kind="stable")
        listed = here[np.take_along_axis(top, order, 1)]
        today = ranks[day % (_WEEK + 1)]
        today[:] = 0
        np.put_along_axis(today, listed, place, 1)
        if day >= 0:
            song[day] = listed
            daily[day] = _movement(ranks[(day - 1) % (_WEEK + 1)], listed, place)
            weekly[day] = _movement(ranks[(day - _WEEK) % (_WEEK + 1)], listed, place)
    return _by_first_day(Charts(song=song, daily=daily, weekly=weekly, home=home, cluster=cluster, first=debut))


def _debuts(
    rng: np.random.Generator, world: World, there: int, songs: int, days: int, first_weekday: int
) -> tuple[Ints, Ints, Ints]:
    """Day, home and cluster of each song, oldest first; most new songs come with the weekend."""
    weekday = (first_weekday + np.arange(1, max(days, 2))) % 7
    weight = np.select([weekday == 5, weekday == 6], [4.4, 1.7], 1.0)
    later = 1 + np.sort(rng.choice(len(weight), songs - there, p=weight / weight.sum()))
    production = _NO_HOME_SONGS + (1 - _NO_HOME_SONGS) * world.own
    debut = np.concatenate([np.zeros(there, np.int64), later])
    first_homes = rng.permutation(_spread(production, (np.arange(there) + rng.random()) / there, PLACES))
    # The golden ratio spreads any stretch of songs evenly: on no day does one country get more new songs than places.
    homes = _spread(production, (np.arange(songs - there) * _GOLDEN + rng.random()) % 1, songs)
    home = np.concatenate([first_homes, homes])
    shares = world.taste.cumsum(axis=1)[home]
    cluster = (rng.random((songs, 1)) > shares).sum(axis=1).clip(0, len(CLUSTERS) - 1)
    return debut, home, cluster


def _spread(weights: Floats, shares: npt.NDArray[np.floating], at_most: int) -> Ints:
    """A country for each share from 0 to 1, as often as its weight says; none more than `at_most` times."""
    low, high = 0.0, len(shares) / weights.min() + 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if np.minimum(weights * middle, at_most).sum() < len(shares) else (low, middle)
    widths = np.minimum(weights * high, at_most)
    return np.searchsorted(widths.cumsum() / widths.sum(), shares).clip(0, len(weights) - 1)


def _scores(
    rng: np.random.Generator, world: World, home: Ints, cluster: Ints, new: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    """(countries, songs): how strong a song is in a country, before time and noise."""
    countries, songs = len(world.countries), len(home)
    strength = rng.normal(0, _STRENGTH, songs)
    travels = rng.exponential(1.0, songs) + world.travels[home] - _BARRIER - _OWN_BARRIER * world.own[home]
    score = rng.standard_normal((countries, songs), dtype=np.float32) * np.float32(_LUCK_ABROAD)
    score += (strength + travels + world.near[home].T).astype(np.float32)
    score += (_TASTE * np.log(world.taste * len(CLUSTERS) + 0.1))[:, cluster].astype(np.float32)
    score[home, np.arange(songs)] = strength + _PROVEN * ~new + _AT_HOME + _OWN_LIST * world.own[home]
    return score


def _movement(before: npt.NDArray[np.int8], listed: Ints, place: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """Places won since `before`. A song that was not in the list counts as if it came from place 50."""
    old = np.take_along_axis(before, listed, 1)
    return np.where(old > 0, old, PLACES).astype(np.int8) - place


def _by_first_day(charts: Charts) -> Charts:
    """The same charts with the songs that ever had a place, renumbered in the order of their first."""
    days, songs = len(charts.song), len(charts.home)
    first = np.full(songs, days)
    for day in reversed(range(days)):
        first[charts.song[day]] = day
    order = np.argsort(first, kind="stable")
    order = order[first[order] < days]
    number = np.zeros(songs, np.int64)
    number[order] = np.arange(len(order))
    return Charts(
        song=number[charts.song],
        daily=charts.daily,
        weekly=charts.weekly,
        home=charts.home[order],
        cluster=charts.cluster[order],
        first=first[order],
    )
