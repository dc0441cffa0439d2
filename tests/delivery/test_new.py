"""What may be called how, and that a skeleton is written whole or not at all. (What is in it: test_new_skeletons.)"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import components
import models
import pipelines
from delivery import new
from delivery.errors import Failed, WrongUse

REPOSITORY = Path(__file__).parents[2]
VERBS: dict[str, Callable[[Path, str], list[Path]]] = {
    "model": new.new_model,
    "component": new.new_component,
    "pipeline": new.new_pipeline,
}
WRITTEN = {
    "model": [
        *(f"models/clean_text/{name}" for name in ("README.md", "__init__.py", "contract.py", "gates.yaml")),
        *(f"models/clean_text/{name}.py" for name in ("generator", "hyperparameters", "network")),
        "pipelines/clean_text.py",
        *(
            f"tests/models/clean_text/test_{name}.py"
            for name in ("contract", "generator", "learning", "network", "rule")
        ),
        "tests/pipelines/test_clean_text.py",
    ],
    "component": [
        *(f"components/clean_text/{name}.py" for name in ("__init__", "component", "step")),
        *(f"tests/components/clean_text/test_{name}.py" for name in ("component", "step")),
    ],
    "pipeline": ["pipelines/clean_text.py", "tests/pipelines/test_clean_text.py"],
}


@pytest.fixture
def root(project: Path) -> Path:
    """A project with one model."""
    (project / "models/first").mkdir(parents=True)
    (project / "models/first/contract.py").touch()
    return project


def files(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def refused(function: Callable[[], object], kind: type[Exception] = WrongUse) -> Any:
    with pytest.raises(kind) as error:
        function()
    return error.value


@pytest.mark.parametrize("kind", VERBS)
def test_what_is_written_is_printed_and_what_comes_next_is_said_beside(mlops: Any, root: Path, kind: str) -> None:
    before = files(root)

    outcome = mlops("new", kind, "clean_text")

    following = "pytest tests/components/clean_text" if kind == "component" else "mlops run clean_text"
    assert (outcome.exit_code, outcome.err) == (0, f"next: {following}\n")
    assert outcome.out.splitlines() == WRITTEN[kind]
    after = files(root)
    assert after.keys() - before.keys() == {*WRITTEN[kind]}
    assert {path: after[path] for path in before} == before
    assert [path for path in root.iterdir() if path.name.startswith(".new-")] == []


@pytest.mark.parametrize("kind", VERBS)
@pytest.mark.parametrize(
    ("name", "why", "do"),
    [
        ("Clean-Text", "it is not in snake_case", "did you mean `clean_text`?"),
        ("cleanText", "it is not in snake_case", "did you mean `clean_text`?"),
        ("HTTPServer2", "it is not in snake_case", "did you mean `http_server2`?"),
        ("Größe", "it is not in snake_case", "did you mean `groe`?"),
        ("../../clean", "it is not in snake_case", "did you mean `clean`?"),
        ("clean__text", "it is not in snake_case", "did you mean `clean_text`?"),
        ("_clean", "it is not in snake_case", "did you mean `clean`?"),
        ("2nd", "it is not in snake_case", "write a-z, 0-9 and single underscores, as in `clean_text`"),
        ("", "it is not in snake_case", "write a-z, 0-9 and single underscores, as in `clean_text`"),
        ("Class", "it is not in snake_case", "write a-z, 0-9 and single underscores, as in `clean_text`"),
        (
            "test_run",
            "it begins as the name of a test does",
            "take another name",
        ),
        ("class", "it is a word of Python's own", "take another name"),
        ("match", "it is a word of Python's own", "take another name"),
        ("type", "it is a word of Python's own", "take another name"),
        (
            "a" * 41,
            "it has 41 characters, and 40 are the most",
            "shorten it by 1 or more",
        ),
    ],
)
def test_what_is_no_name_is_refused_with_the_nearest_that_is_one(
    mlops: Any, root: Path, kind: str, name: str, why: str, do: str
) -> None:
    before = files(root)

    outcome = mlops("new", kind, name)

    said = f"error: `{name}` is no name for a {kind}: {why}\n  where: NAME\n  to do: {do}\n"
    assert (outcome.exit_code, outcome.out, outcome.err) == (2, "", said)
    assert files(root) == before


def test_the_longest_name_is_one(root: Path) -> None:
    assert new.new_model(root, "a" * 40)


@pytest.mark.parametrize("kind", VERBS)
@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("contract", "models/contract.py"),
        ("hyperparameters", "models/hyperparameters.py"),
        ("training", "pipelines/training.py"),
        ("on_kubernetes", "pipelines/on_kubernetes.py"),
        ("rim", "components/rim.py"),
        ("fetch_data", "components/fetch_data"),
        (models.names()[0], f"models/{models.names()[0]}"),
        ("conftest", "tests/components/conftest.py"),
        ("every_pipeline", "tests/pipelines/test_every_pipeline.py"),
    ],
)
def test_a_name_means_one_thing_in_all_rooms(kind: str, name: str, place: str) -> None:
    error = refused(lambda: new.require_name(REPOSITORY, name, kind))

    assert error.what == f"`{name}` is the name of something else: {place}"


@pytest.mark.parametrize("kind", VERBS)
@pytest.mark.parametrize(
    "name", ["docs", "storage", "delivery", "dsl", "place", "checks", "json", "calendar", "print", "on"]
)
def test_a_name_that_python_or_the_project_uses_is_refused(root: Path, kind: str, name: str) -> None:
    before = files(root)

    error = refused(lambda: VERBS[kind](root, name))

    assert error.what == f"`{name}` is a name that Python or this project uses itself"
    assert files(root) == before


@pytest.mark.parametrize("room", [components, models, pipelines], ids=lambda room: room.__name__)
def test_a_name_that_a_room_offers_itself_is_refused(room: ModuleType) -> None:
    """A module `load` of the room would take the place of its function."""
    offered = [name for name, value in vars(room).items() if name.islower() and callable(value)]

    for name in offered:
        with pytest.raises(WrongUse):
            new.require_name(REPOSITORY, name, "model")
    assert room is components or {"load", "names"} <= {*offered}


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        (kind, path)
        for kind, paths in WRITTEN.items()
        for path in sorted({str(new.whole(Path(path), "clean_text")) for path in paths})
    ],
)
def test_where_anything_is_in_the_way_nothing_is_written(root: Path, kind: str, place: str) -> None:
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    (root / place).write_text("mine")
    before = files(root)

    error = refused(lambda: VERBS[kind](root, "clean_text"))

    assert error.what == f"`clean_text` is the name of something else: {place}"
    assert files(root) == before


def test_what_cannot_be_written_to_its_end_is_taken_back(root: Path) -> None:
    (root / "tests").write_text("no folder")
    before = files(root)

    error = refused(lambda: new.new_model(root, "clean_text"), Failed)

    assert error.what.startswith("it cannot be written: ")
    assert files(root) == before
    assert not (root / "models/clean_text").exists()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("moves", range(4))
def test_stopped_at_any_move_nothing_is_left(
    root: Path, monkeypatch: pytest.MonkeyPatch, moves: int, after: bool
) -> None:
    before, really, seen = files(root), os.rename, list[set[str]]()

    def rename(source: Path, target: Path) -> None:
        last = len(seen) == moves
        if after or not last:
            really(source, target)
        seen.append({name for name in files(root) if not name.startswith(".new-")} - set(before))
        if last:
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(KeyboardInterrupt):
        new.new_model(root, "clean_text")

    assert files(root) == before
    assert len(seen) == moves + 1
    assert bool(seen[-1]) == (moves > 0 or after)  # what was there when it was stopped


def test_no_name_is_one_that_a_tool_passes_over(root: Path) -> None:
    """A model in a folder that git ignores is not committed, and one that pytest does not enter is not tested."""
    ignored = re.findall(r"(?m)^/?([a-z_]+)/$", (REPOSITORY / ".gitignore").read_text(encoding="utf-8"))
    unentered = ["build", "dist", "node_modules", "venv"]  # of pytest's norecursedirs, what can be a name

    for name in [*ignored, *unentered]:
        with pytest.raises(WrongUse):
            new.require_name(root, name, "model")
    assert {"build", "reports", "local_outputs"} <= {*ignored}


def test_a_model_without_a_file_wants_nothing_but_the_standard_library(root: Path) -> None:
    """cookiecutter's Python has no polars, no typer and no kfp; -S hides what is installed."""
    code = (
        "import sys; from pathlib import Path; from delivery.new import new_model; new_model(Path(sys.argv[1]), 'mine')"
    )
    known = {"PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}

    done = subprocess.run([sys.executable, "-S", "-c", code, str(root)], env=known, capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")
    assert (root / "models/mine/contract.py").is_file()


def test_a_pipeline_is_of_the_first_model_or_of_the_one_that_is_named(root: Path) -> None:
    (root / "models/second").mkdir()
    (root / "models/second/contract.py").touch()

    new.new_pipeline(root, "one")
    new.new_pipeline(root, "other", "second")

    assert 'MODEL = "first"' in (root / "pipelines/one.py").read_text()
    assert 'source: str = "synthetic:",' in (root / "pipelines/one.py").read_text()
    assert 'MODEL = "second"' in (root / "pipelines/other.py").read_text()


def test_a_pipeline_looks_at_the_data_of_its_model(root: Path) -> None:
    (root / "pipelines").mkdir(exist_ok=True)
    (root / "pipelines/first.py").write_text('MODEL = "first"\nSOURCE = "file:data"  # where the tables are\n')

    new.new_pipeline(root, "nightly")

    assert 'source: str = "file:data",' in (root / "pipelines/nightly.py").read_text()


def test_without_a_kind_it_is_said_what_is_missing(mlops: Any, root: Path) -> None:
    outcome = mlops("new")

    said = "error: Missing command\n  where: mlops new\n  to do: `mlops new --help` shows what it takes\n"
    assert (outcome.exit_code, outcome.err) == (2, said)


def test_a_pipeline_of_an_unknown_model_is_told_the_known_ones(mlops: Any, root: Path) -> None:
    outcome = mlops("new", "pipeline", "nightly", "--model", "frist")

    said = "error: there is no model `frist`\n  where: --model\n  to do: did you mean `first`?\n"
    assert (outcome.exit_code, outcome.err) == (2, said)


def test_without_a_model_there_can_be_no_pipeline(mlops: Any, project: Path) -> None:
    outcome = mlops("new", "pipeline", "nightly")

    assert outcome.exit_code == 2
    assert outcome.err.startswith("error: there is no model to make a pipeline of\n")
    assert outcome.err.endswith("`mlops new model NAME` first\n")


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--target", "a", "--entity", "b"], "--target, --entity say what a file's columns are, and there is no file"),
        (["--csv", "a.csv"], "with --csv, --target, --time, --entity must be given"),
        (["--csv", "a.csv", "--target", "a", "--time", "b", "--entity", " , "], "with --csv, --entity must be given"),
    ],
)
def test_a_file_and_its_columns_are_given_together(mlops: Any, root: Path, words: list[str], what: str) -> None:
    outcome = mlops("new", "model", "churn", *words)

    assert outcome.exit_code == 2
    assert outcome.err.startswith(f"error: {what}\n")
    assert not (root / "models/churn").exists()


@pytest.fixture
def elsewhere(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (root / "some/folder").mkdir(parents=True)
    monkeypatch.chdir(root / "some/folder")
    return root


def test_it_is_written_into_the_project_from_any_folder_of_it(mlops: Any, elsewhere: Path) -> None:
    assert mlops("new", "model", "churn").ok

    assert (elsewhere / "models/churn/contract.py").is_file()


@pytest.mark.parametrize("kind", VERBS)
def test_an_mlops_that_was_installed_without_skeletons_says_so(
    root: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(new, "SKELETONS", root / "nowhere")
    before = files(root)

    with pytest.raises(Failed, match="there are no skeletons to write"):
        VERBS[kind](root, "clean_text")

    assert files(root) == before
