"""What every model is held to, a new one too, on the data that it generates. (What it must offer at all: test_load.)"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import models
from components.prepare_data.step import prepare
from components.reading import raw_inputs, read_json

TOY = "tests.toy"
ROWS = 200  # that a network is asked about


@dataclass(frozen=True)
class Made:
    """A model, and the tables that it generates when it is told nothing."""

    model: models.Model
    folder: Path
    tables: dict[str, pl.DataFrame]


def generated(model: models.Model, folder: Path) -> dict[str, pl.DataFrame]:
    model.generate(folder)
    return {name: pl.read_parquet(folder / f"{name}.parquet") for name in model.CONTRACT.tables}


@pytest.fixture(scope="module", params=[*models.names(), TOY])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    model, folder = models.load(request.param), tmp_path_factory.mktemp("made")
    return Made(model, folder, generated(model, folder))


@pytest.fixture(scope="module")
def prepared(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pipeline's own step makes of them."""
    folder = tmp_path_factory.mktemp("prepared")
    assert prepare(made.folder, folder, made.model) is not None, "the tables break the contract"
    return folder


def test_what_it_generates_keeps_its_contract(made):
    assert [str(problem) for problem in made.model.CONTRACT.problems(made.tables)] == []


def test_it_generates_the_same_tables_again(made, tmp_path):
    again = generated(made.model, tmp_path)

    assert [name for name, table in made.tables.items() if not table.equals(again[name])] == []


def test_a_joined_row_stands_for_each_row_and_holds_all_that_a_step_reads_of_it(made):
    contract = made.model.CONTRACT

    joined = made.model.join({name: table.lazy() for name, table in made.tables.items()}).collect()

    assert len(joined) == len(made.tables[contract.rows])
    wanted = {*(f.name for f in contract.features), *contract.entity, contract.target, contract.time}
    assert wanted - set(joined.columns) == set()


def test_slices_are_masks_over_prepared_rows(made, prepared):
    rows = pl.read_parquet(prepared / "test_time.parquet")

    masks = made.model.slices(rows)

    assert {name: (len(mask), mask.dtype) for name, mask in masks.items()} == dict.fromkeys(
        masks, (len(rows), pl.Boolean)
    )


def test_its_network_makes_probabilities_of_raw_rows(made, prepared):
    contract, classes = made.model.CONTRACT, read_json(prepared, "classes")
    some = pl.read_parquet(prepared / "train.parquet").head(ROWS)

    network = made.model.build_network(made.model.Hyperparameters(), read_json(prepared, "profile"), classes)
    found = np.asarray(network(raw_inputs(some, contract.features)))

    assert {name: (put.dtype, put.shape) for name, put in network.input.items()} == {
        feature.name: (feature.dtype, (None, 1)) for feature in contract.features
    }
    assert found.shape == (len(some), len(classes))
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
