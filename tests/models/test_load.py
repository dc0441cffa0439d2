"""A model is found by a string, and is one only if it offers what the protocol names."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import models
from models.contract import Contract
from models.gates import Gates
from models.hyperparameters import Hyperparameters
from models.metrics import summary
from models.split import Split

TOY = "tests.toy"
ALL = [*models.names(), TOY]
ROOT = Path(models.__file__).parent.parent
COLOURS = ("blue", "green", "red", "yellow")
OFFERS = "CONTRACT, SPLIT, GATES, Hyperparameters, join, build_network, slices, generate"


def module_on_path(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> str:
    """A package of one module, importable until the test ends; its dotted name."""
    (folder / name).mkdir()
    (folder / name / "model.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    return f"{name}.model"


def written(folder: Path, **options) -> dict[str, pl.DataFrame]:
    """The toy's tables, read back from the files that it wrote."""
    toy = models.load(TOY)
    toy.generate(folder, **options)
    assert sorted(path.name for path in folder.iterdir()) == ["events.parquet", "items.parquet"]
    return {name: pl.read_parquet(folder / f"{name}.parquet") for name in toy.CONTRACT.tables}


@pytest.mark.parametrize("name", ALL)
def test_every_model_keeps_the_protocol(name):
    model = models.load(name)

    assert isinstance(model.CONTRACT, Contract)
    assert isinstance(model.SPLIT, Split)
    assert isinstance(model.GATES, Gates)
    assert issubclass(model.Hyperparameters, Hyperparameters)
    model.Hyperparameters()  # every setting has a default


@pytest.mark.parametrize("name", ALL)
def test_every_contract_names_columns_that_are_there(name):
    contract = models.load(name).CONTRACT
    columns = {column for schema in contract.tables.values() for column in schema.columns}

    assert contract.rows in contract.tables
    assert {contract.target, contract.time} <= set(contract.tables[contract.rows].columns)
    assert {*contract.entity, *(feature.name for feature in contract.features)} <= columns
    assert set(contract.min_rows) <= set(contract.tables)


@pytest.mark.parametrize("name", ALL)
def test_every_gate_on_a_number_names_one_that_the_evaluation_makes(name):
    gates = models.load(name).GATES
    numbers = summary(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 1]), np.array([0.5, 0.5]))
    made = {f"{part}.{number}" for part in ("time", "unseen") for number in numbers}

    assert {*gates.floors, *gates.ceilings} <= made


@pytest.mark.parametrize("name", ALL)
def test_a_model_is_loaded_without_any_framework(name):
    code = (
        f"import sys, models; models.load({name!r}); print(sorted({{'keras', 'tensorflow', 'kfp'}} & set(sys.modules)))"
    )

    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert loaded.stdout == "[]\n"


@pytest.mark.parametrize("name", ["nope", "models.nope", "no_package.nope", "", ".", "../nope", "nope/", "a..b"])
def test_an_unknown_model_is_a_sentence_with_those_that_are_known(name):
    with pytest.raises(LookupError) as refused:
        models.load(name)

    assert refused.value.args == (f"there is no model `{name}`; known: {', '.join(models.names())}",)


def test_a_module_that_is_no_model_is_refused_with_what_it_lacks():
    with pytest.raises(LookupError) as refused:
        models.load("contract")

    assert refused.value.args == (f"`contract` is no model: it lacks {OFFERS}; known: {', '.join(models.names())}",)


def test_a_model_that_lacks_one_thing_is_refused_with_its_name(tmp_path, monkeypatch):
    text = "CONTRACT = SPLIT = GATES = Hyperparameters = join = build_network = slices = 0"
    name = module_on_path(tmp_path, monkeypatch, "almost_a", text)

    with pytest.raises(LookupError, match=r"^`almost_a\.model` is no model: it lacks generate; known: "):
        models.load(name)


def test_a_model_whose_own_import_fails_shows_its_own_failure(tmp_path, monkeypatch):
    name = module_on_path(tmp_path, monkeypatch, "incomplete", "import a_library_that_nobody_has")

    with pytest.raises(ModuleNotFoundError) as failed:
        models.load(name)

    assert failed.value.name == "a_library_that_nobody_has"


def test_names_are_the_folders_with_a_contract():
    folders = {path.name for path in Path(models.__file__).parent.iterdir() if (path / "contract.py").is_file()}

    assert folders
    assert models.names() == sorted(folders)


def test_the_toy_writes_the_same_tables_for_the_same_seed_and_others_for_another(tmp_path):
    first, again, other = (written(tmp_path / n, seed=s, items=20, days=4) for n, s in (("a", 3), ("b", 3), ("c", 4)))

    assert all(first[name].equals(again[name]) for name in first)
    assert not any(first[name].equals(other[name]) for name in first)


def test_the_toy_reads_its_options_as_an_address_spells_them(tmp_path):
    as_text = written(tmp_path / "text", seed="3", items="20", days="4")

    assert_frame_equal(as_text["events"], written(tmp_path / "numbers", seed=3, items=20, days=4)["events"])
    assert len(as_text["events"]) == 80


def test_the_toy_keeps_its_contract_and_can_be_learnt_but_not_guessed(tmp_path):
    toy = models.load(TOY)
    tables = written(tmp_path)

    rows = toy.join({name: table.lazy() for name, table in tables.items()}).collect()
    rule = [COLOURS[2 * b + (s / 100 + w > 1)] for b, s, w in rows.select("bright", "size", "warmth").iter_rows()]

    assert toy.CONTRACT.problems(tables) == []
    assert rows.select(pl.col("colour") == pl.Series(rule)).to_series().sum() > 0.9 * len(rows)
    assert max(rows["colour"].value_counts()["count"].to_list()) < 0.35 * len(rows)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("nulls", "items.warmth: not null (3 rows)"),
        ("out_of_range", "items.size: in_range(0, 100) (2 rows)"),
        ("missing_column", "items.warmth: the column is missing (20 rows)"),
        ("duplicate_keys", "events.item_id, day: unique together (8 rows)"),
    ],
)
def test_each_defect_of_the_toy_breaks_one_rule(tmp_path, bad, said):
    tables = written(tmp_path, items=20, days=4, bad=bad)

    assert [str(problem) for problem in models.load(TOY).CONTRACT.problems(tables)] == [said]


def test_the_toy_refuses_a_defect_that_it_does_not_know(tmp_path):
    with pytest.raises(ValueError, match=r"^`bad` is one of nulls, out_of_range, .*, or empty; not `worse`$"):
        written(tmp_path, bad="worse")

    assert list(tmp_path.iterdir()) == []
