"""With the answers that describe this repository, the template makes this repository, without its machinery.

So there is one truth: what the project's own tests prove here holds in what is generated.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.template.generated import ITSELF, VIEW, Files, Template, files, name_of, settings

pytest.importorskip("cookiecutter", reason="cookiecutter is not here: `make template` has it")

ABOUT_THE_TEMPLATE = "(docs/template.md)"  # the README's one line that a project has not


def wanted(root: Path) -> Files:
    """This repository's files, as a project has them."""
    told = settings(root)
    kept = files(root, without=told["_machinery"]["paths"])
    kept["README.md"] = changed(kept["README.md"], without_the_line)
    kept["tox.ini"] = changed(kept["tox.ini"], lambda lines: without_sections(lines, told["_machinery"]["tox"]))
    return kept


def changed(file: tuple[int, bytes], by: Callable[[list[str]], list[str]]) -> tuple[int, bytes]:
    mode, said = file
    return mode, "".join(by(said.decode().splitlines(keepends=True))).encode()


def without_the_line(lines: list[str]) -> list[str]:
    [at] = [number for number, line in enumerate(lines) if ABOUT_THE_TEMPLATE in line]
    assert lines[at + 1] == "\n"
    return lines[:at] + lines[at + 2 :]


def without_sections(lines: list[str], words: list[str]) -> list[str]:
    """tox.ini's lines without those of some environments."""
    left, section, cut = [], "", [f"[testenv:{word}]" for word in words]
    for line in lines:
        section = line.strip() if line.startswith("[") else section
        left += [] if section in cut else [line]
    return left


def differences(root: Path, made: Path) -> Iterator[str]:
    told, here, there = settings(root), wanted(root), files(made)
    view = {name_of(path.relative_to(root / VIEW).as_posix(), told): path for path in (root / VIEW).rglob("*")}
    for name in sorted(here.keys() | there.keys()):
        if name not in there:
            yield f"{name} is here, and not in the project"
        elif name not in here:
            yield f"{name} is in the project, and not here"
        elif here[name][0] != there[name][0]:
            yield f"{name} has mode {here[name][0]:o} here, and {there[name][0]:o} in the project"
        elif here[name] != there[name]:
            rendered = name in view and not view[name].is_symlink()
            todo = f"edit {VIEW}/{view[name].relative_to(root / VIEW)}" if rendered else "it is a link, so see hooks/"
            old, new = (side[name][1].decode(errors="replace").splitlines() for side in (here, there))
            diff = difflib.unified_diff(old, new, f"here/{name}", f"project/{name}", lineterm="")
            yield "\n".join([f"{name} differs: {todo}", *diff])


def test_the_template_makes_this_repository(template: Template, tmp_path: Path) -> None:
    made = template.makes(tmp_path, **ITSELF)

    assert "\n\n".join(differences(template.root, made.root)) == ""


def test_a_difference_is_shown_with_the_file_of_the_view_to_edit(checkout: Template, tmp_path: Path) -> None:
    made = checkout.makes(tmp_path / "made", **ITSELF).root
    readme = checkout.root / "README.md"
    readme.write_text(readme.read_text(encoding="utf-8") + "A line that the view has not.\n", encoding="utf-8")
    (checkout.root / "Makefile").chmod(0o755)
    (checkout.root / "NOTICE").rename(checkout.root / "NOTES")
    (made / "tox.ini").write_text("", encoding="utf-8")

    makefile, notes, notice, title, tox = differences(checkout.root, made)

    assert makefile == "Makefile has mode 755 here, and 644 in the project"
    assert notes == "NOTES is here, and not in the project"
    assert notice == "NOTICE is in the project, and not here"
    assert title.startswith(f"README.md differs: edit {VIEW}/README.md\n--- here/README.md\n")
    assert title.endswith("\n-A line that the view has not.")
    assert tox.startswith("tox.ini differs: it is a link, so see hooks/\n")
