"""Audio features by a Gaussian copula: all songs together are as documented, a country's songs are fitted to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.jukebox.charts import Charts, Floats, Ints, World
from models.jukebox.marginals import (
    ALL_ROWS,
    CLUSTERS,
    CORRELATIONS,
    DIMENSIONS,
    EXPLICIT,
    LEVELS,
    LOGARITHMIC,
    MAJOR,
    NOT_INSTRUMENTAL,
    POPULARITY,
    POPULARITY_LEVELS,
    POPULARITY_OF,
    PROFILED,
    PROFILES,
    QUANTILES,
)

_ROUNDS = 12
_STEP = 0.7  # of the way to a profile, in each round
_FARTHEST = 6.0  # standard deviations
_LEAST_REACH = 0.12  # how much of a country's list it can change at least, as its songs are other countries' too
_SMALLEST = 0.02  # share of a dimension's variance that always is the song's own


@dataclass(frozen=True, kw_only=True)
class Places:
    """How many places each song held, in each country and in all lists."""

    by_country: Floats  # (songs, countries)
    all: Floats

    @classmethod
    def of(cls, charts: Charts) -> Places:
        songs, lists = len(charts.home), charts.song.shape[1]
        flat = charts.song.astype(np.int64) * lists + np.arange(lists)[None, :, None]
        counts = np.bincount(flat.ravel(), minlength=songs * lists).reshape(songs, lists).astype(float)
        return cls(by_country=counts[:, 1:], all=counts.sum(axis=1))

    @property
    def shares(self) -> Floats:
        return self.by_country / np.maximum(self.by_country.sum(axis=1, keepdims=True), 1)


def features(rng: np.random.Generator, world: World, charts: Charts, places: Places) -> dict[str, Floats]:
    """The columns of DIMENSIONS. A song is like its kind and the countries that play it, as far as profiles ask."""
    own = rng.standard_normal((len(charts.home), len(DIMENSIONS)))
    kind = np.array(list(CLUSTERS.values()))[charts.cluster]
    weights = places.by_country / places.by_country.sum(axis=0)
    everywhere = places.all / places.all.sum()
    staying = np.log(places.all)
    staying = (staying - staying.mean()) / (staying.std() or 1.0)
    tilt, of_staying = world.tilt.copy(), np.zeros(len(DIMENSIONS))
    known = [n for n, country in enumerate(world.countries) if country in PROFILES]
    wanted = np.array([PROFILES[world.countries[n]] for n in known]).reshape(len(known), len(PROFILED))
    profiled = [DIMENSIONS.index(name) for name in PROFILED]
    common = [DIMENSIONS.index(name) for name in ALL_ROWS]
    correlations = _correlations()
    reach = np.maximum((weights * places.shares).sum(axis=0), _LEAST_REACH)[known, None]
    mostly_known = 2 * len(known) >= len(
        world.countries
    )  # then their profiles, and not the mean of all countries, say how it sounds
    for last in [False] * _ROUNDS + [True]:
        mean = kind + places.shares @ tilt + staying[:, None] * of_staying
        mean -= mean.mean(axis=0)
        rest = _definite(correlations - np.cov(mean.T, bias=True))
        values = _to_marginals(mean + own @ np.linalg.cholesky(rest).T)
        if last:
            break
        spread = values.std(axis=0)
        missing = (wanted - (weights.T @ values)[np.ix_(known, profiled)]) / spread[profiled]
        tilt[np.ix_(known, profiled)] += np.clip(_STEP * missing / reach, -1, 1)
        tilt = np.clip(tilt, -_FARTHEST, _FARTHEST)
        off = np.zeros(len(DIMENSIONS))
        off[common] = (np.array(list(ALL_ROWS.values())) - (everywhere @ values)[common]) / spread[common]
        if mostly_known:
            off[profiled] = missing.mean(axis=0)
        of_staying += 0.5 * _STEP * off
    return dict(zip(DIMENSIONS, values.T, strict=True))


def popularity(rng: np.random.Generator, world: World, charts: Charts, places: Places) -> tuple[Floats, Floats]:
    """Of each song on its first day, and its change a day: latent, to be made popularity by `to_popularity`."""
    songs = len(charts.home)
    known = [n for n, country in enumerate(world.countries) if country in POPULARITY_OF]
    wanted = np.array([POPULARITY_OF[world.countries[n]] for n in known])
    weights = places.by_country / places.by_country.sum(axis=0)
    level = world.level.copy()
    rest = rng.normal(0, 0.7, songs) + 0.25 * np.log(np.maximum((places.by_country > 0).sum(axis=1), 1))
    for _ in range(_ROUNDS):
        latent = places.shares @ level + rest
        order = np.argsort(latent, kind="stable")
        share = np.empty(songs)
        share[order] = places.all[order].cumsum() / places.all.sum()
        missing = wanted - (weights.T @ np.interp(share, POPULARITY_LEVELS, POPULARITY))[known]
        level[known] += _STEP * missing / 13.7
    return places.shares @ level + rest, rng.normal(0, 0.006, songs)


def to_popularity(latent: Floats) -> Ints:
    """Whole numbers from 0 to 100 in that order, with the documented quantiles; equal stays equal."""
    share = np.searchsorted(np.sort(latent), latent) / len(latent)
    return np.rint(np.interp(share, POPULARITY_LEVELS, POPULARITY)).astype(np.int64)


def significant(values: Floats, digits: int = 3) -> Floats:
    """Rounded to that many digits, each the float that prints so."""
    rounded = np.zeros_like(values)
    for decimals in range(digits, digits + 7):
        here = np.abs(values) >= 10.0 ** (digits - decimals - 1)
        rounded = np.where(here & (rounded == 0), np.round(values, decimals), rounded)
    return rounded


def _to_marginals(latent: Floats) -> Floats:
    """Each column by its ranks, so that all songs together have the documented distribution at any size."""
    share = (latent.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable") + 0.5) / len(latent)
    columns = {
        "is_explicit": lambda u: (u > 1 - EXPLICIT).astype(float),
        "mode": lambda u: (u > 1 - MAJOR).astype(float),
        "instrumentalness": lambda u: np.where(
            u < NOT_INSTRUMENTAL, 0.0, _quantile("instrumentalness", _above_zero(u))
        ),
    }
    plain = [
        columns.get(name, lambda u, name=name: _quantile(name, u))(share[:, n]) for n, name in enumerate(DIMENSIONS)
    ]
    return np.column_stack(plain)


def _above_zero(share: Floats) -> Floats:
    return np.clip((share - NOT_INSTRUMENTAL) / (1 - NOT_INSTRUMENTAL), 0, 1)


def _quantile(name: str, share: Floats) -> Floats:
    if name in LOGARITHMIC:
        return np.exp(np.interp(share, LEVELS, np.log(QUANTILES[name])))
    return np.interp(share, LEVELS, QUANTILES[name])


def _correlations() -> Floats:
    matrix = np.eye(len(DIMENSIONS))
    for row, values in enumerate(CORRELATIONS):
        matrix[row, : len(values)] = matrix[: len(values), row] = values
    return matrix


def _definite(matrix: Floats) -> Floats:
    """The nearest matrix that is a covariance, with something left of every song's own."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.maximum(values, _SMALLEST)) @ vectors.T
