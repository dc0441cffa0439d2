"""Generated charts and songs keep the contract, and have the statistics of the public ones that they stand for."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from models.jukebox import generator, marginals
from models.jukebox.contract import CONTRACT
from models.jukebox.generator import generate

PROPERTIES, RANKINGS = "song_properties", "song_rankings"
AUDIO = [feature.name for feature in CONTRACT.features]
SMALL: dict[str, Any] = {"songs": 300, "days": 10, "countries": 10}
Tables = dict[str, pl.DataFrame]


def read(folder: Path) -> Tables:
    return {name: pl.read_parquet(folder / f"{name}.parquet") for name in CONTRACT.tables}


def digests(folder: Path) -> list[str]:
    return [hashlib.sha256((folder / f"{name}.parquet").read_bytes()).hexdigest() for name in CONTRACT.tables]


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Tables:
    folder = tmp_path_factory.mktemp("small")
    generate(folder, **SMALL)
    return read(folder)


@pytest.fixture(scope="module")
def month(tmp_path_factory) -> Tables:
    """What `generate` makes when it is told nothing: 2,000 songs, 30 days, 72 countries."""
    folder = tmp_path_factory.mktemp("month")
    generate(folder)
    return read(folder)


@pytest.fixture(scope="module")
def songs(tmp_path_factory) -> pl.DataFrame:
    """As many songs as the original has, in fewer days."""
    folder = tmp_path_factory.mktemp("songs")
    generate(folder, songs=14_245, days=26)
    tables = read(folder)
    assert CONTRACT.problems(tables) == []
    return tables[PROPERTIES]


@pytest.fixture(scope="module")
def analysed(songs) -> pl.DataFrame:
    return songs.filter((pl.col("duration_ms") > 0) & (pl.col("tempo") > 0))


@pytest.fixture(scope="module")
def rows(month) -> pl.DataFrame:
    """Chart rows of countries with their songs' features; the Global list left out."""
    charts = month[RANKINGS].filter(pl.col("country").is_not_null())
    return charts.join(month[PROPERTIES].select("spotify_id", *AUDIO), on="spotify_id").with_row_index("at")


# Form: what the contract and the documented tables say


def test_it_offers_generate_and_nothing_else():
    assert generator.__all__ == ["generate"]


def test_every_country_of_the_contract_belongs_to_one_region():
    members = [member[:2] for region in marginals.REGIONS.values() for member in region[0].split()]
    assert sorted(members) == sorted(CONTRACT.classes)


def test_a_month_of_all_countries_keeps_the_contract(month):
    assert CONTRACT.problems(month) == []


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"days": 5, "countries": 1, "songs": 50}, id="one country"),
        pytest.param({"days": 1, "countries": 9}, id="one day"),
        pytest.param({"days": 2, "songs": 50}, id="the same 50 songs everywhere"),
        pytest.param({"days": 30, "countries": 10, "seed": 8}, id="the size of continuous integration"),
    ],
)
def test_every_size_keeps_the_contract(tmp_path, options):
    generate(tmp_path, **options)

    tables = read(tmp_path)
    assert CONTRACT.problems(tables) == []
    assert len(tables[RANKINGS]) == options["days"] * (options.get("countries", 72) + 1) * 50
    assert tables[RANKINGS]["country"].drop_nulls().n_unique() == options.get("countries", 72)


def test_columns_types_and_order_are_the_contracts(month):
    for name, schema in CONTRACT.tables.items():
        promised = {column: promise.dtype.type for column, promise in schema.columns.items()}
        assert month[name].columns == list(promised)
        assert month[name].schema == promised


def test_a_month_has_the_songs_and_the_rows_that_were_asked_for(month):
    assert len(month[PROPERTIES]) == 2_000
    assert len(month[RANKINGS]) == 30 * 73 * 50
    assert str(month[RANKINGS]["snapshot_date"].max())[:10] == "2024-08-26"
    assert str(month[RANKINGS]["snapshot_date"].min())[:10] == "2024-07-28"


def test_rankings_stand_newest_day_first_then_global_then_countries_from_the_end_of_the_alphabet(month):
    rankings = month[RANKINGS]
    lists = [None, *sorted(CONTRACT.classes, reverse=True)]

    assert rankings["daily_rank"].to_list() == list(range(1, 51)) * (30 * 73)
    assert rankings["country"].to_list()[::50] == lists * 30
    days = rankings["snapshot_date"].to_list()[:: 73 * 50]
    assert days == sorted(days, reverse=True)
    assert rankings["snapshot_date"].to_list() == [day for day in days for _ in range(73 * 50)]


def test_properties_stand_oldest_first_by_the_day_of_their_first_place(month):
    properties = month[PROPERTIES]
    first = month[RANKINGS].group_by("spotify_id").agg(pl.col("snapshot_date").min())

    joined = properties.join(first, on="spotify_id", how="left")
    assert joined["event_timestamp"].to_list() == joined["snapshot_date"].to_list()
    assert properties["event_timestamp"].is_sorted()


def test_no_list_holds_a_song_twice(month):
    assert not month[RANKINGS].select("country", "snapshot_date", "spotify_id").is_duplicated().any()


@pytest.mark.parametrize(("column", "days"), [("daily_movement", 1), ("weekly_movement", 7)])
def test_movement_is_the_difference_of_the_ranks_and_counts_from_50_for_a_new_entry(month, column, days):
    rankings = month[RANKINGS]
    before = rankings.select(
        "spotify_id", "country", pl.col("snapshot_date") + pl.duration(days=days), old="daily_rank"
    )
    since = rankings["snapshot_date"].min() + pl.duration(days=days)

    both = rankings.filter(pl.col("snapshot_date") >= since).join(
        before, on=["spotify_id", "country", "snapshot_date"], how="left", nulls_equal=True
    )
    assert (both[column] == both["old"].fill_null(50) - both["daily_rank"]).all()


def test_the_first_day_has_movement_too(month):
    oldest = month[RANKINGS].filter(pl.col("snapshot_date") == pl.col("snapshot_date").min())
    assert 0.1 < (oldest["daily_movement"] == 0).mean() < 0.5


def test_names_and_popularity_of_a_song_are_the_same_in_both_tables_and_in_all_lists_of_a_day(month):
    both = month[RANKINGS].join(month[PROPERTIES], on="spotify_id", suffix="_of_song")
    assert both["name"].eq_missing(both["name_of_song"]).all()
    assert both["artists"].eq_missing(both["artists_of_song"]).all()
    assert (
        month[RANKINGS].group_by("spotify_id", "snapshot_date").agg(pl.col("popularity").n_unique())["popularity"].max()
        == 1
    )


@pytest.mark.parametrize(
    ("options", "same"), [(SMALL, True), (SMALL | {"seed": 8}, False)], ids=["same seed", "other seed"]
)
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path, options, same):
    generate(tmp_path / "a", **SMALL)
    generate(tmp_path / "b", **options)

    assert [a == b for a, b in zip(digests(tmp_path / "a"), digests(tmp_path / "b"), strict=True)] == [same, same]


# Songs: the documented marginals


@pytest.mark.parametrize(
    ("column", "mean", "sd"),
    [
        ("is_explicit", 0.3265, 0.469),
        ("duration_ms", 190_311, 59_950),
        ("danceability", 0.6767, 0.1399),
        ("energy", 0.6478, 0.1741),
        ("loudness", -7.143, 3.277),
        ("mode", 0.512, 0.4999),
        ("speechiness", 0.1202, 0.1109),
        ("acousticness", 0.2779, 0.2535),
        ("instrumentalness", 0.0306, 0.1385),
        ("liveness", 0.1814, 0.1383),
        ("valence", 0.5375, 0.2290),
        ("tempo", 122.36, 27.8),
    ],
)
def test_means_and_deviations_are_the_documented_ones(songs, column, mean, sd):
    values = songs[column].cast(pl.Float64)
    assert values.mean() == pytest.approx(mean, abs=0.05 * sd)
    assert values.std() == pytest.approx(sd, rel=0.07)


@pytest.mark.parametrize(
    ("column", "quantiles", "within"),
    [
        ("duration_ms", {0.05: 118_365, 0.25: 155_151, 0.5: 181_382, 0.75: 215_295, 0.95: 285_197}, 0.02),
        ("loudness", {0.01: -19.2, 0.05: -12.6, 0.25: -8.42, 0.5: -6.61, 0.75: -5.15, 0.95: -3.28, 0.99: -1.92}, 0.03),
        ("speechiness", {0.05: 0.0297, 0.25: 0.0425, 0.5: 0.0698, 0.75: 0.164, 0.95: 0.355}, 0.04),
        ("liveness", {0.05: 0.063, 0.5: 0.126, 0.95: 0.452}, 0.03),
        ("tempo", {0.05: 80.9, 0.25: 100, 0.5: 121.8, 0.75: 140, 0.95: 172.1}, 0.02),
    ],
)
def test_quantiles_are_the_documented_ones(songs, column, quantiles, within):
    for level, value in quantiles.items():
        assert songs[column].quantile(level) == pytest.approx(value, rel=within), level


def beta(a: float, b: float):
    grid = np.linspace(0, 1, 200_001)[1:-1]
    density = grid ** (a - 1) * (1 - grid) ** (b - 1)
    return lambda x: np.interp(x, grid, density.cumsum() / density.sum())


def normal(mean: float, sd: float):
    erf = np.vectorize(math.erf)
    return lambda x: 0.5 * (1 + erf((x - mean) / (sd * math.sqrt(2))))


@pytest.mark.parametrize(
    ("column", "transform", "distribution", "distance"),
    [
        ("danceability", lambda x: x, beta(6.95, 3.34), 0.04),
        ("energy", lambda x: x, beta(4.06, 2.24), 0.04),
        ("acousticness", lambda x: x, beta(0.64, 1.60), 0.05),
        ("valence", lambda x: x, beta(2.01, 1.70), 0.04),
        ("duration_ms", np.log, normal(12.114, 0.291), 0.07),
        ("loudness", lambda x: np.log(4 - x), normal(2.375, 0.263), 0.07),
        ("speechiness", np.log, normal(-2.469, 0.813), 0.13),
        ("liveness", np.log, normal(-1.917, 0.617), 0.13),
    ],
)
def test_distributions_are_near_the_documented_fits(analysed, column, transform, distribution, distance):
    values = np.sort(transform(analysed[column].to_numpy()))
    expected = distribution(values)
    share = np.arange(len(values)) / len(values)
    assert max(np.abs(expected - share).max(), np.abs(expected - share - 1 / len(values)).max()) < distance


def test_half_of_the_songs_are_not_instrumental_at_all(songs):
    instrumental = songs["instrumentalness"]
    assert (instrumental == 0).mean() == pytest.approx(0.491, abs=0.01)
    assert (instrumental > 0.5).mean() == pytest.approx(0.029, abs=0.006)
    assert instrumental.max() <= 0.974


def test_keys_and_time_signatures_have_the_documented_shares(songs):
    shares = songs["key"].value_counts(normalize=True).sort("key")["proportion"].to_list()
    assert shares == pytest.approx(
        [0.099, 0.127, 0.084, 0.034, 0.072, 0.084, 0.080, 0.092, 0.079, 0.087, 0.073, 0.089], abs=0.012
    )
    assert set(songs["time_signature"].unique()) <= {0, 1, 3, 4, 5}
    assert (songs["time_signature"] == 4).mean() == pytest.approx(0.914, abs=0.01)


def test_shares_have_three_significant_digits(songs):
    for column in ("danceability", "energy", "speechiness", "acousticness", "instrumentalness", "liveness", "valence"):
        values = songs[column].to_list()
        assert values == [float(f"{value:.3g}") for value in values], column


@pytest.mark.parametrize(("one", "other", "wanted"), [
    ("energy", "loudness", 0.71), ("energy", "acousticness", -0.52), ("loudness", "instrumentalness", -0.40),
    ("danceability", "valence", 0.35), ("energy", "valence", 0.35), ("loudness", "acousticness", -0.34),
    ("loudness", "valence", 0.27), ("danceability", "acousticness", -0.27), ("duration_ms", "danceability", -0.19),
    ("duration_ms", "speechiness", -0.16),
])  # fmt: skip
def test_pearson_correlations_are_the_documented_ones(analysed, one, other, wanted):
    assert analysed.select(pl.corr(one, other)).item() == pytest.approx(wanted, abs=0.08)


def test_no_other_numbers_are_correlated(analysed):
    plain = [column for column in AUDIO if column != "is_explicit"]
    known = [
        {"energy", "loudness"}, {"energy", "acousticness"}, {"energy", "valence"},
        {"loudness", "instrumentalness"}, {"loudness", "acousticness"}, {"loudness", "valence"},
        {"danceability", "valence"}, {"danceability", "acousticness"},
    ]  # fmt: skip
    table = np.corrcoef(analysed.select(plain).to_numpy().T)
    pairs = {(a, b): table[i, j] for i, a in enumerate(plain) for j, b in enumerate(plain[:i]) if {a, b} not in known}

    assert {pair: value for pair, value in pairs.items() if abs(value) >= 0.25} == {}


@pytest.mark.parametrize(("one", "other", "wanted"), [
    ("energy", "loudness", 0.69), ("energy", "acousticness", -0.43), ("danceability", "valence", 0.34),
    ("danceability", "speechiness", 0.27), ("speechiness", "duration_ms", -0.26),
])  # fmt: skip
def test_spearman_correlations_are_the_documented_ones(analysed, one, other, wanted):
    assert analysed.select(pl.corr(one, other, method="spearman")).item() == pytest.approx(wanted, abs=0.09)


@pytest.mark.parametrize(
    ("column", "explicit", "clean", "within"),
    [
        ("duration_ms", 176_481, 197_016, 6_000),
        ("speechiness", 0.178, 0.092, 0.02),
        ("acousticness", 0.220, 0.306, 0.03),
        ("danceability", 0.717, 0.657, 0.02),
    ],
)
def test_explicit_songs_differ_from_clean_ones(songs, column, explicit, clean, within):
    assert songs.filter(pl.col("is_explicit"))[column].mean() == pytest.approx(explicit, abs=within)
    assert songs.filter(~pl.col("is_explicit"))[column].mean() == pytest.approx(clean, abs=within)


def test_one_song_in_thirty_is_an_older_recording_under_another_id(songs):
    assert songs["spotify_id"].n_unique() == len(songs) == 14_245
    assert songs.select(AUDIO).n_unique() == pytest.approx(13_783, abs=40)
    twins = songs.filter(pl.struct(AUDIO).is_duplicated())
    assert twins.group_by(AUDIO).agg(pl.col("name").n_unique())["name"].max() == 1


def test_six_songs_have_neither_name_nor_length(songs, month, small):
    for table, count in ((songs, 6), (month[PROPERTIES], 1), (small[PROPERTIES], 1)):
        nameless = table.filter(pl.col("name").is_null())
        assert len(nameless) == count
        assert nameless["artists"].is_null().all()
        assert nameless["duration_ms"].to_list() == [0] * count
        assert (table["duration_ms"] == 0).sum() == count


# Charts: who is where, and for how long


@pytest.mark.parametrize(("country", "profile"), [
    ("ZA", (0.23, 300, 0.731, 0.600, -8.99, 0.54, 0.082, 0.133, 0.081)),
    ("VN", (0.12, 214, 0.684, 0.535, -8.42, 0.68, 0.078, 0.485, 0.013)),
    ("VE", (0.56, 194, 0.757, 0.689, -5.36, 0.43, 0.114, 0.263, 0.009)),
    ("US", (0.47, 198, 0.639, 0.601, -7.06, 0.69, 0.083, 0.265, 0.014)),
    ("TW", (0.11, 202, 0.640, 0.621, -6.38, 0.74, 0.061, 0.303, 0.001)),
    ("IN", (0.02, 216, 0.634, 0.588, -7.24, 0.64, 0.070, 0.472, 0.006)),
    ("EG", (0.07, 219, 0.710, 0.702, -5.73, 0.27, 0.084, 0.349, 0.007)),
    ("UY", (0.28, 176, 0.724, 0.688, -5.10, 0.53, 0.083, 0.232, 0.004)),
    ("NG", (0.32, 171, 0.747, 0.695, -7.11, 0.52, 0.134, 0.286, 0.020)),
    ("TR", (0.13, 176, 0.645, 0.650, -7.60, 0.29, 0.098, 0.265, 0.005)),
])  # fmt: skip
def test_the_known_countries_sound_as_documented(rows, country, profile):
    columns = [column for column in AUDIO if column != "key"][:9]
    within = (0.12, 6, 0.02, 0.02, 0.3, 0.12, 0.015, 0.03, 0.02)

    means = rows.filter(pl.col("country") == country).select(
        (pl.col("duration_ms") / 1000), *(c for c in columns if c != "duration_ms")
    )
    for column, wanted, tolerance in zip(columns, profile, within, strict=True):
        assert means[column].mean() == pytest.approx(wanted, abs=tolerance), column


@pytest.mark.parametrize(("column", "mean", "within"), [
    ("duration_ms", 192_556, 3_000), ("danceability", 0.685, 0.01), ("energy", 0.653, 0.01), ("loudness", -6.42, 0.15),
    ("speechiness", 0.095, 0.01), ("acousticness", 0.271, 0.015), ("instrumentalness", 0.018, 0.006),
    ("liveness", 0.171, 0.01), ("valence", 0.549, 0.015), ("tempo", 122.3, 1.5),
])  # fmt: skip
def test_chart_rows_sound_as_documented(rows, column, mean, within):
    assert rows[column].mean() == pytest.approx(mean, abs=within)


def test_popularity_is_distributed_as_documented_and_differs_by_country(month):
    popularity = month[RANKINGS]["popularity"]
    assert popularity.mean() == pytest.approx(75.8, abs=1)
    assert popularity.std() == pytest.approx(13.7, abs=1)
    assert [popularity.quantile(level) for level in (0.25, 0.5, 0.75)] == pytest.approx([66, 79, 87], abs=1)
    for country, wanted in {"ZA": 70, "VE": 81, "US": 87, "EG": 59, "UY": 75, "NG": 66}.items():
        assert month[RANKINGS].filter(country=country)["popularity"].mean() == pytest.approx(wanted, abs=4), country


def test_a_day_has_as_many_songs_as_a_real_one_most_of_them_in_one_list(month):
    day = month[RANKINGS].filter(pl.col("snapshot_date") == pl.col("snapshot_date").max())
    lists = day.group_by("spotify_id").len()["len"]

    assert 1_550 < len(lists) < 1_950
    shares = [(lists >= least).mean() for least in (2, 3, 5, 10, 20)]
    assert shares == pytest.approx([0.20, 0.11, 0.07, 0.035, 0.010], abs=0.04)
    assert lists.max() > 30


def test_a_list_keeps_most_of_its_songs_from_day_to_day(month):
    pairs = month[RANKINGS].select("spotify_id", "country", "snapshot_date")
    before = pairs.with_columns(pl.col("snapshot_date") + pl.duration(days=1))
    kept = pairs.join(before, on=pairs.columns, how="semi", nulls_equal=True)

    assert 0.91 < len(kept) / (29 * 73 * 50) < 0.97
    assert 4 < month[RANKINGS]["daily_movement"].std() < 8
    assert 7.5 < month[RANKINGS]["weekly_movement"].std() < 13.5


def test_earlier_days_tell_about_half_of_the_newest_days_countries(rows):
    """The best that a model can do on known songs is to know them: 0.5 at the first guess, 0.73 within five."""
    newest = pl.col("snapshot_date") == rows["snapshot_date"].max()
    guesses = (
        rows.filter(~newest)
        .group_by("spotify_id", "country")
        .len()
        .sort("len", "country", descending=True)
        .group_by("spotify_id", maintain_order=True)
        .agg(pl.col("country").head(5).alias("guesses"))
    )

    judged = rows.filter(newest).join(guesses, on="spotify_id", how="left")
    top_1 = (judged["country"] == judged["guesses"].list.first()).fill_null(False).mean()
    top_5 = judged.select(pl.col("guesses").list.contains(pl.col("country")).fill_null(False).mean()).item()
    assert 0.43 < top_1 < 0.56
    assert 0.66 < top_5 < 0.80


# Knobs


def test_drift_changes_the_songs_that_enter_later_and_no_others(tmp_path, small):
    generate(tmp_path, **SMALL, drift=0.2, drift_from_day=6)

    plain, drifted = small[PROPERTIES], read(tmp_path)[PROPERTIES]
    late = plain["event_timestamp"] >= plain["event_timestamp"].min() + pl.duration(days=6)
    late = plain.select(late).to_series()
    assert 10 < late.sum() < len(plain)
    assert drifted.filter(~late).equals(plain.filter(~late))
    assert (plain["danceability"] - drifted["danceability"]).filter(late).mean() == pytest.approx(0.2, abs=0.01)
    assert (drifted["instrumentalness"] - plain["instrumentalness"]).filter(late).mean() == pytest.approx(0.2, abs=0.02)
    others = pl.all().exclude("danceability", "instrumentalness")
    assert drifted.select(others).equals(plain.select(others))


def test_drifted_data_keeps_the_contract(tmp_path):
    generate(tmp_path, **SMALL, drift=0.9)
    assert CONTRACT.problems(read(tmp_path)) == []


@pytest.mark.parametrize(
    ("bad", "table", "column", "rule"),
    [
        ("nulls", PROPERTIES, "danceability", "not null"),
        ("out_of_range", PROPERTIES, "energy", "in_range(0, 1)"),
        ("missing_column", PROPERTIES, "valence", "the column is missing"),
        ("duplicate_keys", RANKINGS, "country, snapshot_date, daily_rank", "unique together"),
        ("unknown_country", RANKINGS, "country", "one of the"),
        ("wrong_type", PROPERTIES, "tempo", "type Float64, found String"),
        ("orphans", RANKINGS, "spotify_id", "a value of song_properties.spotify_id"),
    ],
)
def test_bad_data_breaks_exactly_one_rule(tmp_path, bad, table, column, rule):
    generate(tmp_path, **SMALL, bad=bad)

    [problem] = CONTRACT.problems(read(tmp_path))
    assert (problem.table, problem.column) == (table, column)
    assert problem.rule.startswith(rule)
    assert problem.count > 0


def test_an_unknown_defect_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match=r"`bad` is one of nulls, out_of_range, .*, orphans, or empty; not `rotten`"):
        generate(tmp_path / "new", bad="rotten")

    assert not (tmp_path / "new").exists()


def test_numbers_may_come_as_text_or_as_whole_floats(tmp_path):
    generate(tmp_path / "a", **SMALL, drift=0.1, drift_from_day=4, seed=3)
    as_text: dict[str, Any] = {"songs": "300", "days": 10.0, "countries": "10.0", "drift": "0.1"}
    generate(tmp_path / "b", **as_text, drift_from_day="4", seed="3")  # type: ignore[arg-type]  # from an address

    assert digests(tmp_path / "a") == digests(tmp_path / "b")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"days": "many"}, "`days` is a number, not `many`"),
        ({"days": 2.5}, "`days` is a whole number from 1 to 3660, not `2.5`"),
        ({"days": True}, "`days` is a number, not `True`"),
        ({"countries": 73}, "`countries` is a whole number from 1 to 72, not `73`"),
        ({"songs": 49}, "`songs` is a whole number from 50 to 1000000, not `49`"),
        ({"drift": math.nan}, "`drift` is a number, not `nan`"),
        ({"drift_from_day": 31}, "`drift_from_day` is a whole number from 0 to 30, not `31`"),
        ({"last_day": "yesterday"}, "`last_day` is a day like 2024-08-26, not `yesterday`"),
        ({"days": 1, "countries": 2}, "days=1 and countries=2 make 150 chart rows; the contract wants 500"),
    ],
)
def test_another_value_is_refused_with_a_sentence(tmp_path, options, sentence):
    with pytest.raises(ValueError) as refusal:  # noqa: PT011  # the whole sentence is compared below
        generate(tmp_path / "new", **options)

    assert str(refusal.value) == sentence
    assert not (tmp_path / "new").exists()


def test_more_songs_than_lists_can_take_become_fewer(tmp_path):
    generate(tmp_path, songs=100_000, days=5, countries=2)

    tables = read(tmp_path)
    assert 50 < len(tables[PROPERTIES]) <= 100 + 4 * 15
    assert CONTRACT.problems(tables) == []
