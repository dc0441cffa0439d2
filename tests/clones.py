"""A clone in which a person types: for the tests that tell whole stories, each command as it is typed."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

ROOT = Path(__file__).parents[1]
WHERE = ("DOCKER_HOST", "PIP_INDEX_URL", "UV_DEFAULT_INDEX")  # what a person's machine says of where things are
COMMANDS = {name: name for name in ("mypy", "pytest", "ruff", "yamllint")} | {"mlops": "delivery.cli"}


@dataclass
class Clone:
    """Each command is a process of its own, and knows nothing of who started the test."""

    root: Path
    steps: int = 0

    def types(self, *words: str, code: int = 0, says: str = "", whole: bool = False) -> str:
        """Type a command, print what it said (its verdict, or the whole), and hold it against what it must say; its stdout."""
        typed, began = shlex.join(words), monotonic()
        done = self.run(*words)
        seconds = f"{monotonic() - began:.1f} s"
        if trained := re.search(r"^train_model +succeeded +([\d.]+ s)", done.stderr, re.MULTILINE):
            seconds += f", of which training {trained[1]}"
        spoken = done.stdout.rstrip().splitlines() or ["done"]
        refused = re.search(r"^error: (.*)", done.stderr, re.MULTILINE)
        verdict = refused[1] if refused else spoken[0 if words[0] == "mlops" else -1]
        self.steps += 1
        print(f"{self.steps:2}  {typed}\n      exit {done.returncode}, {seconds}: ", end="")
        print(*(["", *spoken] if whole else [verdict.replace(f"{self.root}/", "")]), sep="\n      ", flush=True)
        everything = f"`{typed}` ended {done.returncode}, wanted: {code}, {says!r}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == code, everything
        assert says in done.stdout + done.stderr, everything
        return done.stdout

    def edits(self, path: str, pattern: str, by: str) -> None:
        """One place of one file."""
        text, found = re.subn(pattern, by, (self.root / path).read_text(encoding="utf-8"))
        assert found == 1, f"{path} has {found} places that are like {pattern}"
        (self.root / path).write_text(text, encoding="utf-8")

    def commits(self, message: str) -> None:
        """All that is there and not ignored."""
        self.run("git", "add", "--all")
        self.types("git", "commit", "--quiet", "--message", message)

    def changes(self) -> list[str]:
        """What `git status` shows: two letters and a path."""
        return self.run("git", "status", "--porcelain", "--untracked-files=all").stdout.splitlines()

    def status(self, *names: str) -> list[dict[str, str]]:
        """What is current in these environments, unprinted."""
        words = [word for name in names for word in ("--env", name)]
        rows: list[dict[str, str]] = json.loads(self.run("mlops", "status", *words, "--json").stdout)
        return rows

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Unprinted, and however it ends."""
        home = self.root.parent
        path = f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}"
        known = {"PATH": path, "HOME": str(home), "TMPDIR": str(home), "PYTHONPATH": str(self.root)}
        known |= {name: os.environ[name] for name in WHERE if name in os.environ}
        return subprocess.run(words, cwd=self.root, env=known, capture_output=True, text=True)


def cloned(folder: Path) -> Clone:
    """A repository of one commit, which is this tree as it is: committed or not, in a repository, in another's, or in none."""
    root = folder / "clone"
    for name, module in COMMANDS.items():
        (folder / "bin").mkdir(exist_ok=True)
        # By the Python that runs the test, whatever is on its path
        (folder / "bin" / name).write_text(f'#!/bin/sh\nexec {sys.executable} -m {module} "$@"\n', encoding="utf-8")
        (folder / "bin" / name).chmod(0o755)
    _git(folder, "init", "--quiet", str(root))
    listed = _git(
        ROOT, f"--git-dir={root / '.git'}", "--work-tree=.", "ls-files", "-z", "--others", "--exclude-standard"
    )
    for path in filter(None, listed.split("\0")):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, root / path, follow_symlinks=False)
    for key, value in {"user.name": "Ada", "user.email": "ada@mlops.example", "commit.gpgsign": "false"}.items():
        _git(root, "config", key, value)
    _git(root, "add", "--all")
    _git(root, "commit", "--quiet", "--message", "The tree as it is")
    print(f"\nA repository of this tree as it is, in {root}")
    return Clone(root)


def _git(where: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=where, capture_output=True, text=True, check=True).stdout
