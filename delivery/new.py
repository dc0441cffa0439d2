"""`mlops new`: a skeleton that runs and passes its tests at once, written whole or, on an error or Ctrl-C, not at all.

Without a CSV file, only the standard library is wanted: cookiecutter, too, makes its first model so, under a Python of its own.
"""

from __future__ import annotations

import builtins
import keyword
import os
import re
import shutil
import sys
import tempfile
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from string import Template

from delivery.errors import Failed, WrongUse, meant
from delivery.new_table import EXAMPLE
from delivery.new_words import words_of

SKELETONS = Path(__file__).parent / "skeletons"
SUFFIX = ".tmpl"
PLACE = "NAME"  # in a path of a skeleton
LONGEST = 40  # characters of a name
LINES = 400  # of a module, as tests/test_house.py has it
SNAKE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
ROOMS = ("models", "components", "pipelines")  # a name means one thing in all of them
RESERVED = {  # what means something else: in a skeleton, in a room's __init__.py, as a folder, to a tool, in YAML
    *("dsl", "day", "place", "training", "checks", "check_parameters"),
    *("load", "names", "module", "import_module", "cast"),
    *("storage", "delivery", "localkfp", "docs", "environments", "requirements", *ROOMS),
    *(
        "build",
        "dist",
        "reports",
        "local_outputs",
        "mlruns",
        "node_modules",
        "venv",
    ),  # git, pytest or ruff pass over a folder of that name
    *("on", "off", "yes", "no", "true", "false", "null"),  # YAML reads them as values, and environments name pipelines
}
PYTHONS = {*keyword.kwlist, *keyword.softkwlist, "type"}  # `type` is one since 3.12


def new_model(
    root: Path,
    name: str,
    *,
    csv: Path | None = None,
    target: str = "",
    time: str = "",
    entity: Sequence[str] = (),
    tell: Callable[[str], object] = lambda _: None,
) -> list[Path]:
    """A model with its pipeline and its tests, on data that it draws itself, or with the contract of a CSV file.

    Returns the paths that were written, from the root. `tell` is told what was seen in the file, a sentence at a time.

    Raises:
        WrongUse: the name, or the file, can be none of a model; nothing was written.
    """
    require_name(root, name, "model")
    options = {"--target": target, "--time": time, "--entity": ",".join(entity)}
    if csv is None:
        if given := [option for option, value in options.items() if value]:
            do = "name it, as in `--csv data/churn.csv`, or leave them out"
            raise WrongUse(
                f"{', '.join(given)} say what a file's columns are, and there is no file", where="--csv", do=do
            )
        return _write(root, name, ("model", "example"), words_of(name, EXAMPLE))
    if missing := [option for option, value in options.items() if not value]:
        do = "say which columns hold the answer, the day, and who or what a row is about"
        raise WrongUse(f"with --csv, {', '.join(missing)} must be given", where=", ".join(missing), do=do)
    from delivery.new_csv import read_table  # here, as it brings polars

    table = read_table(root, csv, target, time, tuple(entity))
    written = _write(root, name, ("model",), words_of(name, table))
    for remark in table.remarks:
        tell(remark)
    return written


def new_component(root: Path, name: str) -> list[Path]:
    """A step that reads an artifact and writes one, with its tests."""
    require_name(root, name, "component")
    return _write(root, name, ("component",), {})


def new_pipeline(root: Path, name: str, model: str = "") -> list[Path]:
    """A small graph of the steps that there are, on one of the models and on its data, with its tests."""
    require_name(root, name, "pipeline")
    models = sorted(contract.parent.name for contract in (root / "models").glob("*/contract.py"))
    if not models:
        raise WrongUse(
            "there is no model to make a pipeline of", where=root / "models", do="`mlops new model NAME` first"
        )
    if model and model not in models:
        raise WrongUse(f"there is no model `{model}`", where="--model", do=meant(model, models))
    model = model or models[0]
    return _write(root, name, ("pipeline",), {"model": model, "source": _source(root / f"pipelines/{model}.py")})


def _source(pipeline: Path) -> str:
    """Where a model's own pipeline has its tables from, as Python writes it; the model's generator, where that says nothing."""
    found = re.search(r"(?m)^SOURCE = (\S+)", pipeline.read_text(encoding="utf-8")) if pipeline.is_file() else None
    return found[1] if found else '"synthetic:"'


def require_name(root: Path, name: str, kind: str) -> None:
    """Refuse what is no name, or another thing's; the sentence says what would be right where that can be known."""
    why, near = _wrong(name), _snake(name)
    if why:
        possible = near != name and not _wrong(near)
        do = f"did you mean `{near}`?" if possible else "write a-z, 0-9 and single underscores, as in `clean_text`"
        if SNAKE.fullmatch(name):  # written as it should be, and yet none
            do = f"shorten it by {len(name) - LONGEST} or more" if len(name) > LONGEST else "take another name"
        raise WrongUse(f"`{name}` is no name for a {kind}: {why}", where="NAME", do=do)
    do = "take another name"
    if taken := _taken(root, name):
        raise WrongUse(f"`{name}` is the name of something else: {taken}", where="NAME", do=do)
    # A module of that name would stand before Python's own wherever its folder is on the path
    if name in sys.stdlib_module_names or hasattr(builtins, name) or name in RESERVED:
        raise WrongUse(f"`{name}` is a name that Python or this project uses itself", where="NAME", do=do)


def _wrong(name: str) -> str:
    if not SNAKE.fullmatch(name):
        return "it is not in snake_case"
    if name.startswith("test"):
        return "it begins as the name of a test does"
    if name in PYTHONS:
        return "it is a word of Python's own"
    return f"it has {len(name)} characters, and {LONGEST} are the most" if len(name) > LONGEST else ""


def _snake(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", plain).lower()
    return re.sub(r"[^a-z0-9]+", "_", parted).strip("_")


def _taken(root: Path, name: str) -> str:
    folders = [*ROOMS, *(f"tests/{room}" for room in ROOMS)]
    places = [f"{folder}/{name}{suffix}" for folder in folders for suffix in ("", ".py")]
    places += [f"tests/{room}/test_{name}.py" for room in ROOMS]
    return next((place for place in places if os.path.lexists(root / place)), "")


def whole(path: Path, name: str) -> Path:
    """What is put in place at once: the folder of that name, or the file."""
    return Path(*path.parts[: path.parts.index(name) + 1]) if name in path.parts else path


def _write(root: Path, name: str, skeletons: Sequence[str], words: Mapping[str, str]) -> list[Path]:
    """All files of the skeletons, in their places at once; where anything is in the way, none of them."""
    texts = {path: text for skeleton in skeletons for path, text in _filled(skeleton, name, words)}
    if not texts:  # this package was installed without its data
        raise Failed("there are no skeletons to write", where=SKELETONS, do="use the `mlops` of `make install`")
    for path, text in texts.items():
        if len(text.splitlines()) > LINES:
            what = f"{path} would have {len(text.splitlines())} lines, and no module of this project has over {LINES}"
            raise WrongUse(what, where="--csv", do="leave out columns, or classes, that the model does not need")
    wholes = {whole(path, name) for path in texts}
    scratch, begun = None, list[Path]()
    try:
        scratch = Path(tempfile.mkdtemp(prefix=".new-", dir=root))
        for path, text in texts.items():
            (scratch / path).parent.mkdir(parents=True, exist_ok=True)
            (scratch / path).write_text(text, encoding="utf-8")
        for part in sorted(wholes):
            (root / part).parent.mkdir(parents=True, exist_ok=True)
            begun.append(part)
            os.rename(scratch / part, root / part)  # `require_name` saw that nothing is there
    except BaseException as error:
        for part in begun:
            if scratch and not os.path.lexists(scratch / part):  # it was moved; Ctrl-C may come right after that
                shutil.rmtree(root / part) if (root / part).is_dir() else (root / part).unlink()
        if isinstance(error, OSError):
            why = error.strerror or error
            raise Failed(
                f"it cannot be written: {why}", where=root, do="make the folder writable, or free space"
            ) from error
        raise
    finally:
        if scratch:
            shutil.rmtree(scratch, ignore_errors=True)
    return sorted(texts)


def _filled(skeleton: str, name: str, words: Mapping[str, str]) -> Iterator[tuple[Path, str]]:
    folder = SKELETONS / skeleton
    for file in sorted(folder.rglob(f"*{SUFFIX}")):
        path = file.relative_to(folder).as_posix().removesuffix(SUFFIX).replace(PLACE, name)
        text = Template(file.read_text(encoding="utf-8")).substitute(words, name=name)
        yield Path(path), _imports_sorted(text) if path.endswith(".py") else text


def _imports_sorted(text: str) -> str:
    """Lines of imports that follow one another, in the order of their modules: where a new name stands among them, it decides."""
    lines = text.splitlines(keepends=True)
    for imports, run in groupby(range(len(lines)), lambda at: lines[at].lstrip().startswith("from ")):
        at = list(run)
        if imports:
            lines[at[0] : at[-1] + 1] = sorted((lines[n] for n in at), key=lambda line: line.split()[1])
    return "".join(lines)
