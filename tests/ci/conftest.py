"""What both sides of CI are held against: the words of tox.ini. It stays as long as one of them does."""

import configparser
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

Rule = Callable[[str], Iterator[str]]  # from a file's text to the sentences that say where it is broken


def words() -> set[str]:
    """The environments of tox.ini, each of which is a `make` word."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "tox.ini", encoding="utf-8")
    return {name.removeprefix("testenv:") for name in parser.sections() if name.startswith("testenv:")}


WORDS = words()


def each_is_one_word(spoken: dict[str, list[str]]) -> Iterator[str]:
    """A job of GitHub's, or a task of Tekton's, is one line that a person can type."""
    for name, said in spoken.items():
        make, _, word = " ".join(said).partition(" ")
        if len(said) != 1 or make != "make" or word not in WORDS:
            yield f"{name} runs {said}: wanted is one `make` word of tox.ini"


def pairs(node: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, however deep it stands."""
    if isinstance(node, dict):
        yield from node.items()
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else []:
        yield from pairs(inner)
