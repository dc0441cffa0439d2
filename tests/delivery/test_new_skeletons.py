"""What `mlops new` writes is right as it stands: in a clone, the linters have nothing to say, and it runs and passes its tests."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from delivery.errors import WrongUse
from delivery.new import SKELETONS, SNAKE, new_component, new_model, new_pipeline
from tests.clones import Clone, cloned
from tests.delivery.test_new_csv import AWKWARD, ROLES, good, written

MODEL, STEP, GRAPH = "story_model", "story_step", "story_graph"
OURS = re.compile(r"(tests/)?(models|components|pipelines)/(test_)?\w+(\.py$|/)")
LINTERS = ["ruff check .", "ruff format --check .", "yamllint --strict models"]


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone with one of each, as it is typed."""
    clone = cloned(tmp_path_factory.mktemp("grown"))
    clone.types("mlops", "new", "model", MODEL)
    clone.types("mlops", "new", "component", STEP)
    clone.types("mlops", "new", "pipeline", GRAPH, "--model", MODEL)
    return clone


def added(clone: Clone) -> list[str]:
    return [line.partition(" ")[2] for line in clone.changes()]


def test_only_new_files_in_their_own_places(grown: Clone) -> None:
    assert {line[:2] for line in grown.changes()} == {"??"}
    assert [path for path in added(grown) if not OURS.match(path)] == []
    assert all(any(name in path for name in (MODEL, STEP, GRAPH)) for path in added(grown))


@pytest.mark.parametrize("linter", LINTERS)
def test_the_linters_have_nothing_to_say(grown: Clone, linter: str) -> None:
    grown.types(*linter.split())


def test_mypy_has_nothing_to_say(grown: Clone) -> None:
    grown.types("mypy", *(path for path in added(grown) if path.endswith(".py")), says="Success")


@pytest.mark.pipeline
def test_its_tests_are_green_and_so_are_the_rules_of_the_house(grown: Clone) -> None:
    tests = [path for path in added(grown) if path.startswith("tests/")]
    every = ["tests/test_house.py", "tests/models/test_every_model.py", "tests/pipelines/test_every_pipeline.py"]

    grown.types("pytest", "-q", "-p", "no:cacheprovider", *tests, says=" passed")
    grown.types("pytest", "-q", "-p", "no:cacheprovider", *every, "-k", f"house or {MODEL} or {GRAPH}", says=" passed")


@pytest.mark.pipeline
def test_the_graph_runs_and_its_gate_is_passed(grown: Clone) -> None:
    said = grown.types("mlops", "run", GRAPH)

    assert re.search(r"contract +0 +<= 0 +passed", said)


def test_any_name_and_any_file_keep_the_linters_quiet(tmp_path: Path) -> None:
    """Lines break, and imports stand in an order, by how long and how early in the alphabet a name is."""
    clone = cloned(tmp_path)
    for verb in (new_model, new_component, new_pipeline):
        for name in ("a", "zz", "con", "gate", "hyper_2", "checker", f"{'x' * 19}_{verb.__name__:y<20}"):
            verb(clone.root, f"{name}{verb.__name__[4]}"[:40])
    (clone.root / "data").mkdir()
    for case, (changed, roles) in AWKWARD.items():
        new_model(clone.root, f"file_{case}", csv=written(clone.root, good(**changed)), **{**ROLES, **roles})

    for linter in LINTERS:
        clone.types(*linter.split())


@pytest.mark.parametrize("verb", [new_model, new_component, new_pipeline])
def test_no_word_of_a_skeleton_is_a_name_that_breaks_it(tmp_path: Path, verb: Callable[[Path, str], object]) -> None:
    """A step that is called as what it imports, say, would hide it."""
    clone = cloned(tmp_path)
    text = "\n".join(path.read_text(encoding="utf-8") for path in SKELETONS.rglob("*.tmpl"))
    words = sorted(word for word in set(re.findall(r"\w+", text)) if SNAKE.fullmatch(word))
    taken = []
    for word in words:
        try:
            verb(clone.root, word)
        except WrongUse:
            taken.append(word)

    assert {"dsl", "place", "fetch_data", "training", "checks", "models"} <= {*taken}
    assert len(words) - len(taken) > 100  # the others were written
    for linter in LINTERS:
        clone.types(*linter.split())
