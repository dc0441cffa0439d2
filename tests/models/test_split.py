"""No test row is known to the training, whatever rows come; and the side of an entity never changes."""

from datetime import datetime, timedelta

import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from models.split import ENTITY, PARTS, Split, leaks, parted, share_of, with_entity

FIRST = datetime(2024, 2, 26)  # the days run over the 29th of February
anything = settings(deadline=None, derandomize=True, max_examples=60)

ROWS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 6), st.integers(0, 23)), min_size=1, max_size=80)
SPLITS = st.builds(
    Split, days=st.integers(1, 3), unseen=st.sampled_from([0.1, 0.3, 0.5]), validation=st.sampled_from([0.1, 0.3])
)


def table(rows: list[tuple[int, int, int]]) -> pl.DataFrame:
    """Rows of (thing, day, hour) as the split gets them; `n` tells them apart."""
    return with_entity(
        pl.DataFrame(
            {
                "n": list(range(len(rows))),
                "thing": [f"t{thing}" for thing, _, _ in rows],
                "time": [FIRST + timedelta(days=day, hours=hour) for _, day, hour in rows],
            },
            schema_overrides={"time": pl.Datetime("us")},
        ),
        ["thing"],
    )


def enough(rows: list[tuple[int, int, int]], split: Split) -> bool:
    return len({day for _, day, _ in rows}) > split.days


def parts_of(rows: pl.DataFrame, split: Split) -> dict[str, pl.DataFrame]:
    whole = parted(rows, "time", split)
    return {part: whole.filter(pl.col("part") == part) for part in PARTS}


@anything
@given(ROWS, SPLITS)
def test_every_row_is_in_exactly_one_part_and_keeps_its_place(rows, split):
    assume(enough(rows, split))
    before = table(rows)

    after = parted(before, "time", split)

    assert_frame_equal(after.drop("part"), before)
    assert set(after["part"]) <= set(PARTS)
    assert sum(len(part) for part in parts_of(before, split).values()) == len(before)


@anything
@given(ROWS, SPLITS)
def test_the_test_by_time_is_exactly_the_newest_days_and_training_ends_before_them(rows, split):
    assume(enough(rows, split))
    newest = sorted({FIRST.date() + timedelta(days=day) for _, day, _ in rows})[-split.days :]

    parts = parts_of(table(rows), split)

    assert all(day in newest for day in parts["test_time"]["time"].dt.date())
    assert all(day < newest[0] for part in ("train", "validation") for day in parts[part]["time"].dt.date())


@anything
@given(ROWS, SPLITS)
def test_no_entity_of_the_test_by_entity_is_in_any_other_part(rows, split):
    assume(enough(rows, split))

    parts = parts_of(table(rows), split)

    unseen = set(parts["test_unseen"][ENTITY])
    assert all(unseen.isdisjoint(parts[part][ENTITY]) for part in ("train", "validation", "test_time"))


@anything
@given(ROWS, SPLITS)
def test_training_stops_by_some_entities_of_its_own_newest_day(rows, split):
    assume(enough(rows, split))
    day = sorted({FIRST.date() + timedelta(days=day) for _, day, _ in rows})[-split.days - 1]

    parts = parts_of(table(rows), split)

    of_that_day = {part: set(parts[part].filter(pl.col("time").dt.date() == day)[ENTITY]) for part in PARTS}
    assert set(parts["validation"]["time"].dt.date()) <= {day}
    assert all(
        split.unseen <= share_of(entity) < split.unseen + split.validation for entity in of_that_day["validation"]
    )
    assert all(share_of(entity) >= split.unseen + split.validation for entity in of_that_day["train"])


@anything
@given(ROWS, SPLITS)
def test_a_clean_split_has_no_leaks(rows, split):
    assume(enough(rows, split))

    parts = parts_of(table(rows), split)

    assert leaks(parts["train"], parts["test_time"], parts["test_unseen"], "time") == []


@anything
@given(ROWS, SPLITS, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_changes_nothing(rows, split, random):
    assume(enough(rows, split))
    before = table(rows)
    order = list(range(len(rows)))
    random.shuffle(order)

    assert_frame_equal(parted(before[order], "time", split).sort("n"), parted(before, "time", split))


@anything
@given(ROWS, SPLITS, st.lists(st.tuples(st.integers(0, 30), st.integers(7, 9), st.integers(0, 23)), min_size=1))
def test_new_days_move_no_entity_to_the_other_side(rows, split, more):
    assume(enough(rows, split))

    before, after = parts_of(table(rows), split), parts_of(table(rows + more), split)

    known = set(table(rows)[ENTITY])
    assert set(after["test_unseen"][ENTITY]) & known == set(before["test_unseen"][ENTITY])


def test_the_share_held_out_is_about_the_share_that_was_asked_for():
    rows = table([(thing, day, 0) for thing in range(4000) for day in range(3)])

    counts = {part: len(content) for part, content in parts_of(rows, Split(days=1, unseen=0.1, validation=0.2)).items()}

    assert counts["test_unseen"] / 12_000 == pytest.approx(0.1, abs=0.015)
    assert counts["validation"] / 4_000 == pytest.approx(0.2, abs=0.02)


# Pinned: were these to change, rows that a champion has learned from would become test rows
@pytest.mark.parametrize(
    ("values", "entity", "share"),
    [
        ({"a": "i00001"}, "664a60af5d0fcab4a832bf8fdf42ea1c", 0.3995724132),
        ({"a": "a", "b": 1, "c": 0.5, "d": True}, "5c5f8bd8992d6214aeb28afe112ae796", 0.3608329203),
    ],
)
def test_the_hash_of_a_known_entity_stays_what_it_is(values, entity, share):
    rows = with_entity(pl.DataFrame([values]), list(values))

    assert rows[ENTITY].to_list() == [entity]
    assert share_of(entity) == pytest.approx(share, abs=1e-9)


def test_an_entity_is_what_its_columns_say_and_nothing_else():
    rows = pl.DataFrame({"a": ["x", "x", "y", None, None], "b": [1, 1, 1, 2, 2], "c": [1, 2, 3, 4, 5]})

    [first, second, third, fourth, fifth] = with_entity(rows, ["a", "b"])[ENTITY]

    assert first == second
    assert fourth == fifth
    assert len({first, third, fourth, None}) == 4


def test_values_do_not_run_into_one_another():
    rows = pl.DataFrame({"a": ["1", "11"], "b": ["11", "1"]})

    assert with_entity(rows, ["a", "b"])[ENTITY].n_unique() == 2


def test_zero_is_one_entity_whichever_sign_it_has():
    rows = pl.DataFrame({"loud": [0.0, -0.0]})

    there, back = with_entity(rows, ["loud"])[ENTITY], with_entity(rows.reverse(), ["loud"])[ENTITY]

    assert there.n_unique() == 1
    assert there.to_list() == back.to_list()


def test_too_few_days_are_a_sentence_with_the_number_that_is_needed():
    rows = table([(1, 0, 0), (1, 0, 23), (1, 1, 0)])

    with pytest.raises(ValueError, match=r"^2 day\(s\) of rows: at least 3 are needed, 2 of them for the test$"):
        parted(rows, "time", Split(days=2))


@pytest.mark.parametrize(
    ("settings_", "said"),
    [
        ({"days": 0}, "`days` is at least 1, not 0"),
        ({"unseen": 0.0}, "not 0.0 and 0.1"),
        ({"validation": 0.0}, "not 0.1 and 0.0"),
        ({"unseen": 0.6, "validation": 0.4}, "not 0.6 and 0.4"),
        ({"unseen": float("nan")}, "not nan and 0.1"),
    ],
)
def test_a_split_that_would_leave_a_part_empty_is_refused(settings_, said):
    with pytest.raises(ValueError, match=f"{said}$"):
        Split(**settings_)


def test_a_training_row_of_a_test_day_is_a_leak():
    train, test, unseen = table([(1, 3, 9)]), table([(2, 3, 0), (2, 4, 0)]), table([(3, 0, 0)])

    assert leaks(train, test, unseen, "time") == [
        "training rows reach 2024-02-29, and the test by time begins on 2024-02-29"
    ]


def test_an_unseen_entity_that_was_trained_on_is_a_leak():
    train, test, unseen = (
        table([(1, 0, 0), (2, 0, 0), (3, 0, 0)]),
        table([(1, 3, 0)]),
        table([(2, 0, 0), (2, 3, 0), (3, 3, 0)]),
    )

    assert leaks(train, test, unseen, "time") == [
        "2 entities of the test by unseen entities are in the training rows too"
    ]


def test_both_leaks_are_told_at_once():
    rows = table([(1, 0, 0)])

    assert len(leaks(rows, rows, rows, "time")) == 2
