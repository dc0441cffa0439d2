"""A setting is known, of its type and in its range, or the sentence says what would have been right."""

from dataclasses import asdict, dataclass, fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.hyperparameters import Hyperparameters, chosen, parse, problems, ranged


@dataclass(frozen=True, kw_only=True)
class Own(Hyperparameters):
    """A model's settings: its own, and a default of its own for one of the common ones."""

    epochs: int = ranged(3, 1, 50)
    hidden: tuple[int, ...] = ranged((8, 8), 1, 64)
    dropout: float = ranged(0.1, 0.0, 0.9)
    warm: bool = False
    shape: str = chosen("round", "square")


KNOWN = [field.name for field in fields(Own)]


def test_nothing_given_is_all_defaults():
    assert parse(Own, {}) == Own()
    assert Own().epochs == 3
    assert Own().hidden == (8, 8)
    assert Own().shape == "round"


def test_every_common_default_keeps_its_own_rules():
    assert problems(Hyperparameters, asdict(Hyperparameters())) == []


def test_what_is_given_replaces_the_default_and_nothing_else():
    given_ = {"epochs": 5, "hidden": [16, 4], "dropout": 0, "warm": True, "shape": "square", "precision": "float32"}

    parsed = parse(Own, given_)

    assert asdict(parsed) == {**asdict(Own()), **given_, "hidden": (16, 4)}


def test_numbers_come_back_in_their_own_type_however_json_wrote_them():
    parsed = parse(Own, {"epochs": 2.0, "hidden": [16.0], "dropout": 0, "learning_rate": 1})

    assert [type(value) for value in (parsed.epochs, parsed.hidden[0], parsed.dropout, parsed.learning_rate)] == [
        int,
        int,
        float,
        float,
    ]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("epochs", 0, "0 is not between 1 and 50"),
        ("epochs", 51, "51 is not between 1 and 50"),
        ("epochs", 2.5, "a whole number is wanted, not 2.5"),
        ("epochs", "2", "a number is wanted, not '2'"),
        ("epochs", True, "a number is wanted, not True"),
        ("epochs", None, "a number is wanted, not None"),
        ("epochs", float("nan"), "a whole number is wanted, not nan"),
        ("epochs", 10**400, "int too large to convert to float"),
        ("batch_size", 1_048_577, "1048577 is not between 1 and 1048576"),
        ("seed", -1, "-1 is not between 0 and 2147483647"),
        ("learning_rate", float("nan"), "nan is not between 0.0 and 10.0"),
        ("learning_rate", float("inf"), "inf is not between 0.0 and 10.0"),
        ("learning_rate", -1e-9, "-1e-09 is not between 0.0 and 10.0"),
        ("learning_rate", [0.1], "a number is wanted, not [0.1]"),
        ("dropout", 1, "1.0 is not between 0.0 and 0.9"),
        ("hidden", [], "a list is wanted, with at least one member, not []"),
        ("hidden", 8, "a list is wanted, with at least one member, not 8"),
        ("hidden", "8", "a list is wanted, with at least one member, not '8'"),
        ("hidden", [8, 0], "0 is not between 1 and 64"),
        ("hidden", [8, "8"], "a number is wanted, not '8'"),
        ("warm", 1, "true or false is wanted, not 1"),
        ("shape", 1, "a word is wanted, not 1"),
        ("shape", "oval", "one of round, square is wanted, not `oval`"),
        ("precision", "half", "one of auto, float32, mixed_float16, mixed_bfloat16 is wanted, not `half`"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_what_is_wanted(name, value, said):
    assert problems(Own, {name: value}) == [f"hyperparameter `{name}`: {said}"]

    with pytest.raises(ValueError, match=r"^hyperparameter `") as refused:
        parse(Own, {name: value})
    assert str(refused.value) == f"hyperparameter `{name}`: {said}"


def test_a_misspelt_name_is_answered_with_the_right_one():
    assert problems(Own, {"epoch": 3}) == ["there is no hyperparameter `epoch`; did you mean `epochs`?"]


def test_a_name_like_no_other_is_answered_with_all():
    assert problems(Own, {"zzz": 3}) == [f"there is no hyperparameter `zzz`; known: {', '.join(KNOWN)}"]


def test_all_problems_are_told_at_once():
    wrong = {"epochs": 0, "epoch": 1, "dropout": 2.0, "hidden": [8]}

    with pytest.raises(ValueError, match="; ") as refused:
        parse(Own, wrong)

    assert str(refused.value) == "; ".join(problems(Own, wrong))
    assert len(problems(Own, wrong)) == 3


NUMBERS = st.integers() | st.floats() | st.integers(1, 50) | st.floats(0, 1)
VALUES = NUMBERS | st.none() | st.booleans() | st.sampled_from(["", "square", "7"]) | st.lists(NUMBERS, max_size=3)


@settings(deadline=None, derandomize=True)  # the same verdict for the same commit, on a slow machine too
@given(st.dictionaries(st.sampled_from(KNOWN), VALUES, max_size=3))
def test_whatever_is_given_is_either_settings_within_their_ranges_or_sentences(given_):
    wrong = problems(Own, given_)

    if wrong:
        with pytest.raises(ValueError, match="hyperparameter `"):
            parse(Own, given_)
    else:
        parsed = parse(Own, given_)
        assert 1 <= parsed.epochs <= 50
        assert all(1 <= width <= 64 for width in parsed.hidden)
        assert 0 <= parsed.dropout <= 0.9
        assert parsed.shape in ("round", "square")
        assert parse(Own, asdict(parsed)) == parsed  # as a record of it is read back
