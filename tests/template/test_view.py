"""The view is the whole project: nothing is added, moved or removed here that a generated project silently lacks.

Each rule is a function from a root folder to the sentences that say where it is broken. No cookiecutter is needed for them.
"""

from __future__ import annotations

import configparser
import fnmatch
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from delivery import git
from tests.template.generated import ROOT, VIEW, copy_of_this_tree, lies_in, name_of, settings

Rule = Callable[[Path], Iterator[str]]
Tree = dict[str, str | None]  # a path -> what the file holds; "-> x" is a link


def entries(listed: list[str], folder: str) -> list[str]:
    """What lies in a folder, by its path from the root; `""` is the root."""
    start = f"{folder}/" if folder else ""
    return sorted({start + name[len(start) :].partition("/")[0] for name in listed if name.startswith(start)})


def view(root: Path) -> dict[str, Path]:
    """Each file and link of the view, by what it is called in a project."""
    told = settings(root)
    shown = [name for name in git.files(root) if name.startswith(f"{VIEW}/")]
    return {name_of(name.removeprefix(f"{VIEW}/"), told): root / name for name in shown}


def every_entry_arrives_or_is_machinery(root: Path) -> Iterator[str]:
    listed, shown, machinery = git.files(root), view(root), settings(root)["_machinery"]["paths"]

    def missing(folder: str) -> Iterator[str]:
        for entry in entries(listed, folder):
            if lies_in(entry, machinery):
                continue
            if any(name.startswith(f"{entry}/") for name in shown):  # a folder of the view's own
                yield from missing(entry)
            elif entry not in shown:
                yield f"{entry} is in no generated project: show it in {VIEW}/, or name it in `_machinery.paths`"

    yield from missing("")


def everything_in_the_view_is_here(root: Path) -> Iterator[str]:
    listed, machinery = git.files(root), settings(root)["_machinery"]["paths"]
    for name, path in view(root).items():
        if not any(lies_in(there, [name]) for there in listed):
            yield f"{VIEW}/ shows {name}, and {name} is not here"
        elif path.is_symlink() and path.resolve() != (root / name).resolve():
            yield f"{VIEW}/ shows {name}, and its link leads to {os.readlink(path)}"
        if lies_in(name, machinery):
            yield f"{VIEW}/ shows {name}, and `_machinery.paths` takes it away again"


def links_are_copied_and_files_are_rendered(root: Path) -> Iterator[str]:
    patterns = settings(root)["_copy_without_render"]
    shown = {path.relative_to(root / VIEW).as_posix(): path for path in view(root).values()}
    for name, path in shown.items():
        copied = any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
        if path.is_symlink() and name not in patterns:
            yield f"{name} is a link and not in `_copy_without_render`: a folder would be empty, a file rendered"
        elif copied and not path.is_symlink():
            yield f"{name} is in `_copy_without_render`, so nothing in it is rendered"
    for pattern in patterns:
        if pattern not in shown:
            yield f"`_copy_without_render` names {pattern}, and {VIEW}/ has no such entry"


def what_is_taken_away_is_here(root: Path) -> Iterator[str]:
    told, listed = settings(root), git.files(root)
    for name in told["_machinery"]["paths"]:
        if not any(lies_in(there, [name]) for there in listed):
            yield f"`_machinery.paths` names {name}, which is not here"
    for kept in told["_only_with"]:
        for name in kept["paths"]:
            if not any(lies_in(there, [name]) for there in listed):
                yield f"`_only_with` names {name}, which is not here"


def words_that_are_cut_are_words(root: Path) -> Iterator[str]:
    """And no word that stays runs what goes."""
    told, tox = settings(root)["_machinery"], configparser.ConfigParser(interpolation=None)
    tox.read(root / "tox.ini", encoding="utf-8")
    words = {name.removeprefix("testenv:"): tox[name] for name in tox.sections()}
    for name in told["tox"]:
        if name not in words:
            yield f"`_machinery.tox` names {name}, and tox.ini has no such word"
    for name in words.keys() - set(told["tox"]):
        for path in told["paths"]:
            if any(path in value for value in words[name].values()):
                yield f"tox.ini: {name} names {path}, which no project has: name {name} in `_machinery.tox`"


def every_answer_is_known(root: Path) -> Iterator[str]:
    told = settings(root)
    questions = {name: default for name, default in told.items() if not name.startswith("_")}
    for question, default in questions.items():
        prompt: Any = told["__prompts__"].get(question)
        if prompt is None:
            yield f"`__prompts__` has nothing for {question}"
        elif isinstance(default, list) and [*prompt] != ["__prompt__", *default]:
            yield f"`__prompts__` tells of {question}: {', '.join(prompt)}; and it has {', '.join(default)}"
    for kept in told["_only_with"]:
        choices = questions.get(kept["question"])
        if choices is None:
            yield f"`_only_with` asks for {kept['question']}, and there is no such question"
        elif isinstance(choices, list) and (strange := set(kept["answers"]) - set(choices)):
            yield f"`_only_with` knows {', '.join(sorted(strange))}, which {kept['question']} does not offer"
    for choice in questions.get("model_registry", []):
        if choice not in told["_registries"]:
            yield f"`_registries` has no URLs for {choice}"


JSON: dict[str, Any] = {
    "project_slug": "a",
    "ci": ["none", "one"],
    "__prompts__": {"project_slug": "b", "ci": {"__prompt__": "c", "none": "d", "one": "e"}},
    "_git": ".git",
    "_copy_without_render": ["models", "rooms/a", "tox.ini", "{{cookiecutter._git}}ignore"],
    "_machinery": {"paths": ["cookiecutter.json", VIEW], "tox": ["check"]},
    "_only_with": [{"question": "ci", "answers": ["one"], "paths": ["models/big"]}],
}
TREE: Tree = {
    "cookiecutter.json": json.dumps(JSON),
    "models/big/a.py": "",
    "rooms/a": "",
    "rooms/b": "",
    "tox.ini": "[testenv:check]\ncommands = cookiecutter.json\n[testenv:unit]\ncommands = pytest\n",
    ".gitignore": "",
    "README.md": "# here",
    f"{VIEW}/models": "-> ../models",
    f"{VIEW}/rooms/a": "-> ../../rooms/a",
    f"{VIEW}/rooms/b": "{{ cookiecutter.project_slug }}",
    f"{VIEW}/tox.ini": "-> ../tox.ini",
    f"{VIEW}/{{{{cookiecutter._git}}}}ignore": "-> ../.gitignore",
    f"{VIEW}/README.md": "# {{ cookiecutter.project_slug }}",
}


def told(**changed: Any) -> Tree:
    return {"cookiecutter.json": json.dumps({**JSON, **changed})}


# rule, what is laid over the tree (`None`: the file goes), what the sentence must name
CASES: list[tuple[Rule, Tree, str]] = [
    (every_entry_arrives_or_is_machinery, {"models/big/a.py": None, "serving/a.py": ""}, "serving is in no"),
    (every_entry_arrives_or_is_machinery, {"rooms/c": ""}, "rooms/c is in no"),
    (every_entry_arrives_or_is_machinery, {".dockerignore": ""}, ".dockerignore is in no"),
    (every_entry_arrives_or_is_machinery, {f"{VIEW}/README.md": None}, "README.md is in no"),
    (every_entry_arrives_or_is_machinery, {f"{VIEW}/{{{{cookiecutter._git}}}}ignore": None}, ".gitignore is in no"),
    (everything_in_the_view_is_here, {"models/big/a.py": None}, "models is not here"),
    (everything_in_the_view_is_here, {f"{VIEW}/NOTICE": ""}, "NOTICE is not here"),
    (everything_in_the_view_is_here, {f"{VIEW}/models": "-> ../rooms"}, "leads to ../rooms"),
    (everything_in_the_view_is_here, {f"{VIEW}/models": "-> ../nowhere"}, "leads to ../nowhere"),
    (everything_in_the_view_is_here, {f"{VIEW}/cookiecutter.json": "-> ../cookiecutter.json"}, "takes it away"),
    (links_are_copied_and_files_are_rendered, {f"{VIEW}/README.md": "-> ../README.md"}, "README.md is a link"),
    (links_are_copied_and_files_are_rendered, {f"{VIEW}/tox.ini": ""}, "nothing in it is rendered"),
    (links_are_copied_and_files_are_rendered, {f"{VIEW}/models": None}, "no such entry"),
    (
        links_are_copied_and_files_are_rendered,
        told(_copy_without_render=["models", "rooms/a", "tox.ini", "{{cookiecutter._git}}ignore", "READ*"]),
        "README.md is in `_copy_without_render`",
    ),
    (what_is_taken_away_is_here, {"models/big/a.py": None, "models/a.py": ""}, "models/big, which is not here"),
    (what_is_taken_away_is_here, told(_machinery={"paths": ["hooks"], "tox": []}), "hooks, which is not here"),
    (words_that_are_cut_are_words, told(_machinery={"paths": [], "tox": ["checks"]}), "no such word"),
    (
        words_that_are_cut_are_words,
        told(_machinery={"paths": ["cookiecutter.json"], "tox": []}),
        "check names cookiecutter.json",
    ),
    (every_answer_is_known, told(owner="a"), "nothing for owner"),
    (every_answer_is_known, told(ci=["none", "one", "two"]), "it has none, one, two"),
    (every_answer_is_known, told(ci=["none"]), "knows one, which ci does not offer"),
    (every_answer_is_known, told(_only_with=[{"question": "cd", "answers": []}]), "no such question"),
    (every_answer_is_known, told(model_registry=["x"], _registries={}), "no URLs for x"),
]
RULES = list(dict.fromkeys(rule for rule, *_ in CASES))


def lay(root: Path, tree: Tree) -> Path:
    for name, text in tree.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).unlink(missing_ok=True)
        if text is not None and text.startswith("-> "):
            (root / name).symlink_to(text.removeprefix("-> "))
        elif text is not None:
            (root / name).write_text(text, encoding="utf-8")
    return root


def begin_git(root: Path) -> Path:
    """So that git can list what is there."""
    subprocess.run(["git", "init", "--quiet", root], check=True)
    return root


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_this_repository_is_the_view_and_the_machinery(rule: Rule) -> None:
    assert list(rule(ROOT)) == []


@pytest.mark.parametrize(("rule", "change", "said"), CASES)
def test_a_rule_names_what_is_not_in_the_view_and_nothing_of_what_is(
    tmp_path: Path, rule: Rule, change: Tree, said: str
) -> None:
    begin_git(lay(tmp_path, TREE))
    assert list(rule(tmp_path)) == []

    lay(tmp_path, change)
    sentences = list(rule(tmp_path))
    assert said in " ".join(sentences)


def test_a_room_that_is_moved_turns_this_red(tmp_path: Path) -> None:
    moved = begin_git(copy_of_this_tree(tmp_path))
    assert list(every_entry_arrives_or_is_machinery(moved)) == []

    (moved / "components").rename(moved / "steps")
    [lost] = every_entry_arrives_or_is_machinery(moved)
    [dangling] = everything_in_the_view_is_here(moved)
    assert lost.startswith("steps is in no generated project")
    assert dangling == f"{VIEW}/ shows components, and components is not here"
