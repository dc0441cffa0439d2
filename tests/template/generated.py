"""Projects as a person makes them from this template: cookiecutter, cruft and git as commands, in a home of their own."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from delivery import git

ROOT = Path(__file__).parents[2]
VIEW = "{{cookiecutter.project_slug}}"
ITSELF = {  # the answers that describe this repository
    "project_name": "kubeflow-mlops-template",
    "project_slug": "kubeflow-mlops-template",
    "first_model": "jukebox",
    "ci": "both",
    "model_registry": "mlflow",
    "licence_holder": "The kubeflow-mlops-template authors",
}
NASTY = "Ölpreis-Prognose für Süd- & Nord-West (Größe Ø), 2. Stufe é1"  # 60 characters
LONGEST_MODEL = "units_sold_by_store_and_week_of_the_year"  # 40 characters
SECONDS = 300
GIT_CONFIG = "[user]\nname = Ada\nemail = ada@mlops.example\n[commit]\ngpgsign = false\n[init]\ndefaultBranch = main\n"

Done = subprocess.CompletedProcess[str]
Files = dict[str, tuple[int, bytes]]  # by path from a root: mode and bytes


@dataclass(frozen=True, kw_only=True)
class Person:
    """Someone who types: the tools of this interpreter, a home of their own, and nothing of who started the tests."""

    home: Path

    def types(self, *words: str | Path, at: Path, code: int | None = 0, typed: str = "", **more: str) -> Done:
        """Type a command there, then what it asks for, and hold it against how it must end; `None` is any end."""
        bin_folder = str(Path(sys.executable).parent)
        known = {"PATH": f"{bin_folder}:{os.environ['PATH']}", "HOME": str(self.home), "LANG": "C.UTF-8", **more}
        known["TMPDIR"] = str(self.home / "tmp")  # cookiecutter runs the hooks from there
        command = [str(word) for word in words]
        done = subprocess.run(
            command, cwd=at, env=known, capture_output=True, encoding="utf-8", timeout=SECONDS, input=typed
        )
        ended = f"`{shlex.join(command)}` ended {done.returncode}\n{done.stdout}{done.stderr}"
        assert code in (None, done.returncode), ended
        return done

    def commits(self, at: Path, message: str) -> str:
        """Everything that is there, in the repository that is there or begins now; the commit's name."""
        if not (at / ".git").exists():
            self.types("git", "init", "--quiet", at=at)
        self.types("git", "add", "--all", at=at)
        self.types("git", "commit", "--quiet", "--message", message, at=at)
        return self.types("git", "rev-parse", "HEAD", at=at).stdout.strip()


@dataclass(frozen=True, kw_only=True)
class Project:
    """A project that was made."""

    root: Path
    person: Person

    def runs(self, module: str, *words: str | Path, code: int | None = 0) -> Done:
        """`python -m module words` there, with the project's own packages."""
        command = [sys.executable, "-B", "-m", module, *words]
        return self.person.types(*command, at=self.root, code=code, PYTHONPATH=str(self.root))

    def says(self, path: str) -> str:
        return (self.root / path).read_text(encoding="utf-8")

    def edits(self, path: str, old: str, new: str) -> None:
        """One place of one file."""
        text = self.says(path)
        assert text.count(old) == 1, f"{path} has {text.count(old)} places that say {old!r}"
        (self.root / path).write_text(text.replace(old, new), encoding="utf-8")


@dataclass(frozen=True, kw_only=True)
class Template:
    """A checkout of this template, and someone who makes projects from it."""

    root: Path
    person: Person

    def asked(self, where: Path, *flags: str, **answers: str) -> Done:
        """Ask cookiecutter for a project in `where`, with these answers and the others' defaults; however it ends."""
        where.mkdir(parents=True, exist_ok=True)
        given = (f"{name}={value}" for name, value in answers.items())
        return self.person.types("cookiecutter", *flags, "--no-input", self.root, *given, at=where, code=None)

    def makes(self, where: Path, *flags: str, **answers: str) -> Project:
        """The same, when it must work."""
        before = set(where.iterdir()) if where.exists() else set()
        done = self.asked(where, *flags, **answers)
        assert done.returncode == 0, f"{answers}\n{done.stdout}{done.stderr}"
        made = [path for path in where.iterdir() if path not in before or "-f" in flags]
        assert len(made) == 1, f"{where} holds {sorted(made)} more than before"
        return Project(root=made[0], person=self.person)


def a_person(home: Path) -> Person:
    (home / "tmp").mkdir(parents=True)
    (home / ".gitconfig").write_text(GIT_CONFIG, encoding="utf-8")
    return Person(home=home)


def copy_of_this_tree(to: Path) -> Path:
    """What a clone would hold if everything were committed: what git lists, links as links."""
    for name in git.files(ROOT):
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, to / name, follow_symlinks=False)
    return to


def files(root: Path, without: Iterable[str] = (".git",)) -> Files:
    """Every file under a folder."""
    found = (path for path in sorted(root.rglob("*")) if path.is_file() or path.is_symlink())
    named = ((path, path.relative_to(root).as_posix()) for path in found)
    return {
        name: (stat.S_IMODE(path.stat().st_mode), path.read_bytes())
        for path, name in named
        if not lies_in(name, without)
    }


def lies_in(name: str, paths: Iterable[str]) -> bool:
    """Is it one of the paths, or under one?"""
    return any(name == path or name.startswith(f"{path}/") for path in paths)


def settings(root: Path) -> dict[str, Any]:
    """cookiecutter.json"""
    told: dict[str, Any] = json.loads((root / "cookiecutter.json").read_text(encoding="utf-8"))
    return told


def name_of(shown: str, told: dict[str, Any]) -> str:
    """What a path of the view is called in the repository and in a project: some names are spelt by a variable."""
    return re.sub(r"\{\{ ?cookiecutter\.(\w+) ?\}\}", lambda variable: str(told[variable[1]]), shown)
