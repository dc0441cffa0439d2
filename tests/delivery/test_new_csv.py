"""From a CSV file to a model: what the file says stands in the contract, and what can be no model is a sentence."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import models
from components.fetch_data.step import fetch
from components.prepare_data.step import prepare
from components.validate_data.step import validate
from delivery.errors import WrongUse
from delivery.new import new_model
from delivery.new_csv import read_table
from delivery.new_table import Column, Table
from models import Model

DAYS, THINGS = 12, 60
ROLES = {"target": "gone", "time": "day", "entity": ("who",)}
Rows = dict[str, list[str]]


def good(**changed: list[str] | None) -> Rows:
    """As many rows as a model wants: each thing on each day. `changed` are columns that are others, or not there."""
    count = DAYS * THINGS
    rows: dict[str, list[str] | None] = {
        "who": [f"w{n % THINGS:03d}" for n in range(count)],
        "day": [str(date(2024, 1, 1) + timedelta(days=n // THINGS)) for n in range(count)],
        "size": [str(n % 7) for n in range(count)],
        "gone": [("yes", "no", "no")[n % 3] for n in range(count)],
        **changed,
    }
    return {name: values for name, values in rows.items() if values is not None}


def column(*values: str) -> list[str]:
    """These values, again and again."""
    return [values[n % len(values)] for n in range(DAYS * THINGS)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "project/data").mkdir(parents=True)
    return tmp_path / "project"


def written(root: Path, rows: Rows, name: str = "data/visits.csv") -> Path:
    """An empty text is a field without anything."""
    given = {name: [value or None for value in values] for name, values in rows.items()}
    pl.DataFrame(given, schema=dict.fromkeys(given, pl.String)).write_csv(root / name)
    return root / name


def table(root: Path, rows: Rows, **roles: Any) -> Table:
    return read_table(root, written(root, rows), **{**ROLES, **roles})


def seen(root: Path, *values: str) -> Column:
    """What the file says of a column with these values."""
    found = table(root, good(new=column(*values)))
    return next(column for column in found.columns if column.name == "new")


@pytest.mark.parametrize(
    ("values", "kind", "low", "high"),
    [
        (("3", "-12", "0"), "Int64", -12, 3),
        (("0", "1"), "Int64", 0, 1),
        ((str(2**53), str(-(2**53))), "Int64", -(2**53), 2**53),
        (("0.5", "3", "-1e3"), "Float64", -1000.0, 3.0),
        ((".5", "2."), "Float64", 0.5, 2.0),
        (("true", "False", "TRUE"), "Boolean", None, None),
        (("true",), "Boolean", None, None),
    ],
)
def test_numbers_and_flags_are_features_with_the_limits_that_were_seen(
    root: Path, values: tuple[str, ...], kind: str, low: float | None, high: float | None
) -> None:
    found = seen(root, *values)

    assert (found.kind, found.feature, found.nullable) == (kind, True, False)
    assert (found.low, found.high) == (low, high)
    assert type(found.low) is type(low)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (("a", "1"), "String"),
        (("007", "123"), "String"),  # a code: as a number it would lose its noughts
        (("12345678901234567890", "1"), "String"),  # more digits than a number has
        ((str(2**53 + 1), "1"), "String"),  # in the graph it would be another
        (("yes", "no"), "String"),
        (("08/06/2024",), "String"),
        (("2024-02-31",), "String"),
        (("2024-02-29T10:00:00+01:00",), "String"),
        (("2024-02-29", "2024-03-01"), "Datetime"),
        (("2024-02-29 10:30:00",), "Datetime"),
        (("",), "String"),
    ],
)
def test_text_and_dates_are_kept_and_are_no_features(root: Path, values: tuple[str, ...], kind: str) -> None:
    found = seen(root, *values)

    assert (found.kind, found.feature, found.low, found.high) == (kind, False, None, None)


def test_a_column_with_gaps_may_have_them(root: Path) -> None:
    found = seen(root, "1", "", "3")

    assert (found.kind, found.feature, found.nullable, found.high) == ("Int64", True, True, 3)


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        (("yes", "no"), ("no", "yes")),
        (("0", "1"), ("0", "1")),
        (("10", "9", ""), ("10", "9")),  # in the order of their text, as prepare_data has them
        (("True", "false"), ("false", "true")),
        (("1.0", "0.0"), ("0.0", "1.0")),
    ],
)
def test_the_targets_values_are_classes_as_text(root: Path, values: tuple[str, ...], classes: tuple[str, ...]) -> None:
    found = table(root, good(gone=column(*values)))

    assert found.classes == classes
    assert [column.name for column in found.features] == ["size"]


def test_what_the_file_says_of_its_days_and_things_is_in_the_split_and_in_the_gates(root: Path) -> None:
    many = 400
    rows = {name: (values * 7)[: DAYS * many] for name, values in good().items()}
    rows["who"] = [f"w{n % many:03d}" for n in range(DAYS * many)]
    rows["day"] = [str(date(2024, 1, 1) + timedelta(days=n // many)) for n in range(DAYS * many)]

    found = table(root, rows)

    assert (found.name, found.seen, found.rows, found.source) == ("visits", "visits.csv", 4800, "file:data")
    assert (found.days, found.unseen, found.validation) == (2, 0.1, 0.1)  # two days, as one is less than a tenth
    assert found.least_rows == (344, 336)  # half of the rows of the two newest days, and of a tenth of the things
    assert (found.max_age_days, found.key, found.min_rows) == (3, True, 1000)
    assert (found.most_frequent, found.least_top_1, round(found.prior, 3)) == ("no", 0.66, 0.667)


def test_months_age_slowly_and_one_of_them_judges(root: Path) -> None:
    months = [f"2024-{1 + n // THINGS:02d}-01" for n in range(DAYS * THINGS)]

    found = table(root, good(day=months))

    assert (found.days, found.max_age_days) == (2, 62)


def test_rows_of_one_thing_at_one_time_make_no_key(root: Path) -> None:
    rows = good()
    rows["day"][1], rows["who"][1] = rows["day"][0], rows["who"][0]

    assert not table(root, rows).key


def test_a_small_file_gets_a_larger_share_to_stop_the_training_by(root: Path) -> None:
    few = {name: values[: 12 * 10] for name, values in good(who=column(*(f"w{n}" for n in range(10)))).items()}
    few["day"] = [str(date(2024, 1, 1 + n // 10)) for n in range(120)]

    found = table(root, few)

    assert found.validation > 0.1
    assert all(rows >= 2 for rows in found.least_rows)


def test_the_fewest_rows_that_are_taken_make_gates_that_want_more_than_one(root: Path) -> None:
    few = {name: values[:30] for name, values in good(who=column(*"abcde")).items()}
    few["day"] = [str(date(2024, 1, 1 + n // 5)) for n in range(30)]

    assert min(table(root, few).least_rows) == 2


def test_a_quoted_field_with_nothing_in_it_is_empty(root: Path) -> None:
    path = written(root, good(more=column("1.5", "", "3"), flag=column("true", "")))
    rows = pl.read_csv(path, infer_schema=False)
    rows.fill_null("").write_csv(path, quote_style="always")

    found = {column.name: column for column in read_table(root, path, **ROLES).columns}  # type: ignore[arg-type]

    assert {name: found[name].kind for name in ("size", "more", "flag")} == {
        "size": "Int64",
        "more": "Float64",
        "flag": "Boolean",
    }
    assert (found["more"].nullable, found["size"].nullable) == (True, False)


def said(root: Path, **changed: list[str] | None) -> list[str]:
    told: list[str] = []
    new_model(root, "visits", csv=written(root, good(**changed)), tell=told.append, **ROLES)  # type: ignore[arg-type]
    return told


def test_what_became_of_the_columns_is_said(root: Path) -> None:
    told = said(root, size=column("1", "2", "3", ""), note=column("a", "b"), born=column("1990-01-01"), no=column(""))

    assert told == [
        "features: size; 540 of 720 rows have a value in each",
        "`note` is text, so it is kept and is no feature",
        "`born` is a date, so it is kept and is no feature",
        "`no` is empty, so it is kept and is no feature",
    ]


@pytest.mark.parametrize("odd", ["ca. 500", "1234,56", "1,234.50"])
def test_a_column_that_is_all_but_numbers_is_pointed_at(root: Path, odd: str) -> None:
    [_, told] = said(root, cost=["1.5"] * (DAYS * THINGS - 1) + [odd])

    assert (
        told
        == f"`cost` is text, so it is kept and is no feature: 719 of its 720 values are numbers, and `{odd}` is none"
    )


def test_a_feature_that_teaches_nothing_is_pointed_at(root: Path) -> None:
    told = said(root, row=[str(n) for n in range(DAYS * THINGS)], same=column("4"))

    assert told[1:] == [
        "`row` is a feature, and another number in every row: take it out of the contract if it only counts them",
        "`same` is a feature, and `4` in every row: nothing can be learned from it",
    ]


def test_rare_classes_are_pointed_at(root: Path) -> None:
    [_, told] = said(root, gone=column(*["no"] * 39, "yes"))

    assert told.startswith("one class is 97.5% of the rows: a first model must be right more often than that")


def test_a_byte_order_mark_is_no_part_of_the_first_columns_name(root: Path) -> None:
    path = written(root, good())
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))  # as spreadsheets write it

    found = read_table(root, path, **ROLES)  # type: ignore[arg-type]

    assert [column.name for column in found.columns] == ["who", "day", "size", "gone"]
    assert found.classes == ("no", "yes")


def test_columns_are_called_what_the_reading_itself_uses(root: Path) -> None:
    """`count`, `day` and `len` are words of polars, and of the reading."""
    rows = {"count" if name == "gone" else name: values for name, values in good(len=column("1", "2")).items()}

    found = table(root, rows, target="count")

    assert (found.target, found.classes, found.most_frequent) == ("count", ("no", "yes"), "no")


def test_a_feature_that_keras_would_call_a_layer_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "models").mkdir()
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(root / "models")])
    path = written(root, good(other=column("1.5", "2"), flag=column("true", "false")))
    model = from_csv(root, "layered", path, {})
    statistics = {"q05": 0.0, "q50": 0.5, "q95": 1.0, "std": 1.0}

    network = model.build_network(model.Hyperparameters(), dict.fromkeys(("size", "other", "flag"), statistics), "ab")

    own = {"size", "other", "flag", "probabilities"}
    layers = {operation.name for operation in network.operations} - own
    kinds = {re.sub(r"_\d+$", "", name) for name in layers}  # the numbers count what this process has built so far
    assert kinds >= {"dense", "concatenate", "clip"}
    for name in sorted(layers):
        with pytest.raises(WrongUse, match=f"`{name}` is a name that Keras gives to a layer itself"):
            table(root, good(**{name: column("1", "2")}))
    assert table(root, good(**{name: column("a", "b") for name in layers})).texts == tuple(layers)
    del sys.modules["models.layered"]


def test_the_source_is_the_folder_of_the_file_from_the_projects_root(root: Path) -> None:
    (root / "some/place").mkdir(parents=True)

    assert read_table(root, written(root, good(), "visits.csv"), **ROLES).source == "file:."  # type: ignore[arg-type]
    assert read_table(root, written(root, good(), "some/place/visits.csv"), **ROLES).source == "file:some/place"  # type: ignore[arg-type]


def test_a_link_to_a_file_elsewhere_lies_in_the_project(root: Path, tmp_path: Path) -> None:
    written(root, good()).rename(tmp_path / "visits.csv")
    (root / "data/visits.csv").symlink_to(tmp_path / "visits.csv")

    assert read_table(root, root / "data/visits.csv", **ROLES).rows == 720  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "roles", "what", "do"),
    [
        ({}, {"target": "gon"}, "visits.csv has no column `gon`", "did you mean `gone`?"),
        ({}, {"time": "date"}, "visits.csv has no column `date`", "there is `day`, `gone`, `size`, `who`"),
        ({}, {"entity": ("who", "whom")}, "visits.csv has no column `whom`", "did you mean `who`?"),
        ({}, {"time": "gone"}, "`gone` can be only one of target, time and entity, and only once", "name three"),
        ({}, {"entity": ("who", "who")}, "`who` can be only one of target, time and entity, and only once", "name three"),
        ({"gone": column("yes")}, {}, "`gone` is `yes` in every row", "two classes or more"),
        ({"gone": column("")}, {}, "`gone` is empty in every row", "two classes or more"),
        ({"gone": column("0.5", "1")}, {}, "`gone` holds fractions, as 0.5, and a class is text", "add a column"),
        ({"gone": column("2024-01-01", "2024-01-02")}, {}, "`gone` holds dates, and a class is text", "add a column"),
        ({"gone": column("yes", "x" * 61)}, {}, f"`gone` holds text that is no name of a class, as `{'x' * 60}…`", "60"),
        ({"day": column("01.02.2024")}, {}, "`day` holds `01.02.2024`, which is no date", "write dates as in 2024-01-31"),
        ({"day": column("2024-01-01", "2024-02-30")}, {}, "`day` holds `2024-02-30`, which is no date", "write dates"),
        ({"day": column("2024-01")}, {}, "`day` holds `2024-01`, which is no date", "write dates as in 2024-01-31"),
        ({"day": column("")}, {}, "`day` is empty in every row", "write dates as in 2024-01-31"),
        ({"day": column("2024-01-01T00:00:00+01:00")}, {}, "`day` holds dates of several kinds, or with a zone", "2024-01-31"),
        ({"size": column("", "1", "1")}, {}, "visits.csv is too little to be parted", "480 rows of 40 things have a value"),
        ({"day": column("2024-01-01")}, {}, "visits.csv is too little to learn from: its rows", "two days or more"),
        ({"who": column("w1")}, {}, "visits.csv is too little to be parted", "720 rows of 1 things have a value in every feature"),
        ({"more": ["1"] + [""] * 719}, {}, "visits.csv is too little to learn from", "or leave out `more`, which is empty in 719"),
        ({"size": column("small", "large")}, {}, "visits.csv has no column of numbers, and none of true and false", "add"),
        ({"size": None}, {}, "visits.csv has no column of numbers, and none of true and false", "add one"),
        ({"size": column("1", "NA", "3")}, {}, "`size` holds numbers, and `NA`, which is none", "leave the field empty"),
        ({"size": column("1.5", "nan")}, {}, "`size` holds numbers, and `nan`, which is none", "leave the field empty"),
        ({"size": column("1.5", "-inf")}, {}, "`size` holds numbers, and `-inf`, which is none", "leave the field empty"),
        ({"size": column("")}, {}, "visits.csv has no column of numbers, and none of true and false", "add one"),
        ({"size": column("1", "-4e38")}, {}, "`size` holds -4e+38, and the graph's numbers end at 3e+38", "larger unit"),
        ({"label": column("1")}, {}, "`label` is the name of a column that the steps themselves add", "`label_`"),
        ({"Total Cost": column("1")}, {}, "`Total Cost` can be no column's name", "call it `Total_Cost`"),
        ({"größe": column("1")}, {}, "`größe` can be no column's name", "call it `groe`"),
        ({"gekündigt": column("1")}, {}, "`gekündigt` can be no column's name", "call it `gekundigt`"),
        ({"_x": column("1")}, {}, "`_x` can be no column's name", "call it `x`"),
        ({"2": column("1")}, {}, "`2` can be no column's name", "with a letter first"),
        ({"x" * 64: column("1")}, {}, f"`{'x' * 64}` can be no column's name", f"call it `{'x' * 63}`"),
    ],
)  # fmt: skip
def test_what_can_be_no_model_is_refused_and_why(root: Path, changed: Any, roles: Any, what: str, do: str) -> None:
    path = written(root, good(**changed))

    with pytest.raises(WrongUse) as refused:
        new_model(root, "visits", csv=path, **{**ROLES, **roles})

    assert refused.value.what.startswith(what)
    assert do in refused.value.do
    assert sorted(root.iterdir()) == [root / "data"]


@pytest.mark.parametrize(
    ("content", "what", "do"),
    [
        ("", "visits.csv is empty", "write a header and rows into it"),
        ("\n\n", "visits.csv is empty", "write a header and rows into it"),
        ("who,day,size,gone\n", "visits.csv has a header and no rows", "write rows into it"),
        ("who,day,who,gone\n1,2,3,4\n", "two columns of visits.csv are called `who`", "a name of its own"),
        ("who;day;size;gone\n1;2;3;4\n", "the columns of visits.csv are parted by ';'", "with commas"),
        (
            "who,day,size,gone\n1,2,3,4\n1,2\n",
            "a row of visits.csv has 2 fields, and the header has 4",
            "complete the row",
        ),
        ("who,day,size,gone\n1,2,3,4,5\n", "a row of visits.csv has 5 fields, and the header has 4", "take it out"),
        ("who,day,size,gone\n\n1,2,3,4\n", "a row of visits.csv has 0 fields, and the header has 4", "take it out"),
        ("who,day,size,\n1,2,3,4\n", "`` can be no column's name", "with a letter first"),
        (b"who,day\xff\n", "visits.csv is not UTF-8, by its byte 7", "save it as UTF-8"),
        (
            b"who,day,size,gone\n" + b"1,2,3,4\n" * 9999 + b"\xff,2,3,4\n",
            "visits.csv is not UTF-8, by its byte ",
            "save it as UTF-8",
        ),
    ],
)
def test_what_is_no_table_is_refused_and_why(root: Path, content: str | bytes, what: str, do: str) -> None:
    path = root / "data/visits.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())

    with pytest.raises(WrongUse) as refused:
        new_model(root, "visits", csv=path, **ROLES)  # type: ignore[arg-type]

    assert refused.value.what.startswith(what)
    assert do in refused.value.do


def test_more_classes_than_a_model_tells_apart_are_refused_and_as_many_as_it_does_are_not(root: Path) -> None:
    rows = {name: values * 3 for name, values in good().items()}
    rows["day"] = [str(date(2024, 1, 1) + timedelta(days=n // THINGS)) for n in range(len(rows["who"]))]

    rows["gone"] = [f"class {n % 1000}" for n in range(len(rows["who"]))]
    assert len(table(root, rows).classes) == 1000

    rows["gone"] = [f"class {n % 1001}" for n in range(len(rows["who"]))]
    with pytest.raises(
        WrongUse, match="`gone` has 1001 different values, and a model tells apart 1000 classes at most"
    ):
        table(root, rows)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("data/visits.parquet", "`visits.parquet` cannot be the name of a table with .csv behind it"),
        ("data/visits.CSV", "`visits.CSV` cannot be the name of a table with .csv behind it"),
        ("data/my visits.csv", "`my visits.csv` cannot be the name of a table with .csv behind it"),
        ("../visits.csv", "lies outside of the project, where no one else would find it"),
        ("data/visit.csv", "there is no file "),
        ("data", "there is no file "),
        (f"data/{'x' * 300}.csv", "there is no file "),
        (f"data/{'x' * 90}/visits.csv", "the folder of visits.csv has a name of 97 characters, and 90 are the most"),
    ],
)
def test_a_file_that_would_not_be_found_again_is_refused(root: Path, name: str, what: str) -> None:
    if what != "there is no file ":
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        written(root, good(), name)

    with pytest.raises(WrongUse) as refused:
        new_model(root, "visits", csv=root / name, **ROLES)  # type: ignore[arg-type]

    assert what in refused.value.what


def test_a_table_that_a_run_would_read_in_its_place_is_refused(root: Path) -> None:
    path = written(root, good())
    path.with_suffix(".parquet").touch()

    with pytest.raises(WrongUse, match=r"beside visits.csv lies visits.parquet, and a run would read that one"):
        new_model(root, "visits", csv=path, **ROLES)  # type: ignore[arg-type]


def test_a_folder_may_be_called_as_a_pattern_is(root: Path) -> None:
    (root / "data/a[1]*").mkdir()

    assert read_table(root, written(root, good(), "data/a[1]*/visits.csv"), **ROLES).rows == 720  # type: ignore[arg-type]


def test_a_contract_that_would_be_too_long_a_module_is_refused(root: Path) -> None:
    path = written(root, good(**{f"c{n}": column("1") for n in range(400)}))

    with pytest.raises(WrongUse, match=r"models/visits/contract.py would have 4\d\d lines, and no module .* over 400"):
        new_model(root, "visits", csv=path, **ROLES)  # type: ignore[arg-type]
    assert sorted(root.iterdir()) == [root / "data"]


AWKWARD: dict[str, tuple[dict[str, list[str] | None], dict[str, Any]]] = {
    "as_it_is": ({}, {}),
    "flag_target": ({"gone": column("true", "false", "")}, {}),
    "number_target": ({"gone": column("0", "1", "-2")}, {}),
    "decimal_target": ({"gone": column("0.0", "1.0")}, {}),
    "only_a_flag": ({"size": column("true", "false", "true")}, {}),
    "one_value": ({"size": column("4")}, {}),
    "gaps": ({"size": column("1", "2", "", "4"), "more": column("", "1.5", "2.5", "3", "4"),
              "flag": column("true", "", "false", "true", "true")}, {}),
    "two_entities": ({"shop": column("1", "2", "3")}, {"entity": ("who", "shop")}),
    "entity_of_any_kind": ({"born": column("1990-01-01", "1991-01-01"), "sex": column("true", "false"), "w": column("1.5")},
                           {"entity": ("who", "born", "sex", "w")}),
    "moments": ({"day": [f"2024-01-{1 + n // THINGS:02d} 23:59:59.5" for n in range(DAYS * THINGS)],
                 "seen": column("2024-01-01", "")}, {}),
    "case": ({"Size": column("1", "2")}, {}),
    "words_of_python": ({"class": column("1", "2"), "gone": None, "def": column("a", "b")}, {"target": "def"}),
    "long_names": ({"x" * 63: column("1.5", "2.5"), "y" * 63: column("-2.9999999999999998e38", "1.5e-300"),
                    "t" * 63: column("a", "b"), "gone": None}, {"target": "t" * 63}),
    "quoted_classes": ({"gone": column("it's", 'say "no"', "back\\slash", "Größe", "да", "a \u2013 b", "tab\tin", "both'\"")}, {}),
    "classes_of_lines": ({"gone": column("a\nb", "`c`")}, {}),
    "long_classes": ({"gone": column(*("z" * 50 + f"{n:04d}" for n in range(30)))}, {}),
    "many_classes": ({"gone": column(*(f"c{n * n % 307:03d}" for n in range(719)))}, {}),
}  # fmt: skip


@pytest.fixture
def importable(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The project's models can be loaded, beside those of the repository."""
    (root / "models").mkdir()
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(root / "models")])
    yield root
    for name in [name for name in sys.modules if name.startswith("models.awkward_")]:
        del sys.modules[name]


def from_csv(root: Path, name: str, path: Path, roles: dict[str, Any]) -> Model:
    new_model(root, name, csv=path, **{**ROLES, **roles})
    return models.load(name)


@pytest.mark.parametrize("case", AWKWARD)
def test_file_and_generator_keep_the_contract_that_was_read_and_can_be_prepared(
    importable: Path, tmp_path: Path, case: str
) -> None:
    changed, roles = AWKWARD[case]
    model = from_csv(importable, f"awkward_{case}", written(importable, good(**changed)), roles)

    for source in (f"file:{importable}/data", "synthetic:"):
        folder = tmp_path / source.partition(":")[0]
        fetch(source, folder / "tables", model)
        assert [str(problem) for problem in validate(folder / "tables", model).problems] == []
        prepared = prepare(folder / "tables", folder, model)
        assert prepared
        assert set(prepared.classes) <= set(model.CONTRACT.classes)
        assert all(prepared.rows.values())


CELLS = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1).map(str), min_size=1, max_size=6),
    st.lists(st.floats(allow_nan=False, allow_infinity=False).map(repr), min_size=1, max_size=6),
    st.lists(st.sampled_from(["true", "false", "TRUE", "False", "", "0", "1"]), min_size=1, max_size=4),
    st.lists(st.dates(date(1, 1, 1), date(9999, 12, 31)).map(str), min_size=1, max_size=4),
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters='"\r\n,\0'), max_size=12), min_size=1, max_size=6),
    st.lists(st.from_regex(r"[-+]?[0-9.eE_ ]{1,8}", fullmatch=True), min_size=1, max_size=6),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(columns=st.lists(CELLS, max_size=4))
def test_every_file_that_is_taken_keeps_the_contract_that_was_read_from_it(columns: list[list[str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        path = written(root, good(**{f"c{n}": column(*cells) for n, cells in enumerate(columns)}), "visits.csv")
        try:
            new_model(root, "visits", csv=path, **ROLES)  # type: ignore[arg-type]
        except WrongUse as refused:
            assert refused.what.partition("`")[2].startswith("c") or "too little" in refused.what  # noqa: PT017
            return
        names: dict[str, Any] = {}
        exec((root / "models/visits/contract.py").read_text(encoding="utf-8"), names)
        model: Any = type("OfTheFile", (), {"CONTRACT": names["CONTRACT"]})

        fetch(f"file:{root}", root / "tables", model)

        assert [str(problem) for problem in validate(root / "tables", model).problems] == []
