"""`make lifecycle`: what docs/delivery.md tells, done with the real pipeline in a clone, and every step printed.

Apart from `make test`, as it is one long story. It wants no Docker, no network and no GPU.
"""

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

import pytest

from delivery import git

ROOT = Path(__file__).parents[1]
PIPELINE = "jukebox"
SOURCE = 'source: "synthetic:?days=7"'  # of 72 countries; the networks below learn what they can of 16 in seconds
SMALLER = 'source: "synthetic:?days=8&countries=16&songs=1200"\n    hyperparameters: {epochs: 15}'
NETWORK, WIDTHS = "models/jukebox/network.py", "models/jukebox/hyperparameters.py"
NARROWER, NARROW, WIDE = (
    (r"(hidden: .* = ranged\()\(.*?\)", rf"\g<1>({width})") for width in ("6,", "96,", "256, 256")
)
LAST_LINE = "    return keras.Model(inputs, probabilities)\n"
PRINTED = "one print too many"
DEV, PROD = ("--env", "local-dev"), ("--env", "local-prod")
DEV_TO_PROD = ("--from", "local-dev", "--to", "local-prod")


@dataclass
class Clone:
    """A clone in which a person types; each command is a process of its own, and knows nothing of who started the test."""

    root: Path
    steps: int = 0

    def types(self, *words: str, code: int = 0, says: str = "", whole: bool = False) -> str:
        """Type a command, print what it said (its verdict, or the whole), and hold it against what it must say; its stdout."""
        typed, began = shlex.join(words), monotonic()
        done = self._run(*words)
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
        self.types("git", "commit", "--quiet", "--all", "--message", message)

    def releases(self) -> str:
        """The id of this commit's release, as a person would copy it."""
        return self.types("mlops", "release").split()[0][:12]

    def status(self) -> tuple[dict[str, str], dict[str, str]]:
        """What is current in local-dev and in local-prod, unprinted."""
        dev, prod = json.loads(self._run("mlops", "status", *DEV, *PROD, "--json").stdout)
        return dev, prod

    def log(self, release: str) -> str:
        """What the steps of that release printed in local-dev."""
        return (self.root / f".mlops/local-dev/logs/{PIPELINE}-{release[:12]}-1/run.log").read_text(encoding="utf-8")

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        start = {"git": ["git"], "mlops": [sys.executable, "-m", "delivery.cli"]}
        command = [*start.get(words[0], [sys.executable, "-m", words[0]]), *words[1:]]
        home = str(self.root.parent)
        known = {"PATH": os.environ["PATH"], "HOME": home, "TMPDIR": home, "PYTHONPATH": str(self.root)}
        return subprocess.run(command, cwd=self.root, env=known, capture_output=True, text=True)


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    """The commit that is checked out, and on top of it, as one more commit, what no commit holds yet."""
    root = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(root)], check=True)
    for key, value in {"user.name": "Ada", "user.email": "ada@mlops.example", "commit.gpgsign": "false"}.items():
        subprocess.run(["git", "config", key, value], cwd=root, check=True)
    print(f"\nA clone of {git.head(ROOT)[:12]}, in {root}")
    if git.is_dirty(ROOT):
        print("with one more commit: what is not committed, the tree as it is")
        subprocess.run(["git", "rm", "--quiet", "-r", "."], cwd=root, check=True)
        for path in git.files(ROOT):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / path, root / path, follow_symlinks=False)
        subprocess.run(["git", "add", "--all"], cwd=root, check=True)
        subprocess.run(["git", "commit", "--quiet", "--message", "The tree as it is"], cwd=root, check=True)
    return Clone(root)


def test_a_change_goes_from_a_commit_to_prod_and_back(clone: Clone) -> None:
    good = a_change_goes_to_prod(clone)
    a_worse_candidate_is_kept_out(clone)
    a_bad_release_is_rolled_back(clone, good)


def a_change_goes_to_prod(clone: Clone) -> dict[str, str]:
    print("\nA change goes to prod")
    for name in ("local-dev", "local-prod"):
        clone.edits(f"environments/{name}.yaml", re.escape(SOURCE), SMALLER)
    clone.edits(WIDTHS, *NARROW)
    clone.commits("Begin with a narrow network, on small samples")
    clone.types("ruff", "check", "models", "tests/models")
    clone.types("ruff", "format", "--check", "models", "tests/models")
    changed = ("tests/models/jukebox/test_network.py", "tests/models/test_hyperparameters.py")
    clone.types("pytest", "-q", "--disable-warnings", *changed)
    release = clone.releases()
    clone.types("mlops", "deploy", release, *DEV, says=f"{PIPELINE} release {release} is current in local-dev")
    clone.types("mlops", "deploy", release, *DEV, says="is current in local-dev already: nothing to do")
    clone.types("git", "tag", "v1.0.0")
    clone.types("mlops", "evidence", "v1.0.0", says=release)
    clone.types("mlops", "promote", "v1.0.0", *DEV_TO_PROD, says="v1.0.0")
    clone.types("mlops", "status", *DEV, *PROD, whole=True)

    dev, prod = clone.status()
    for what in ("release", "package", "image", "model"):
        assert re.search("[0-9a-f]{64}$", dev[what]), f"{what} has no SHA-256"
        assert dev[what] == prod[what]
    assert (prod["version"], prod["health"], dev["health"]) == ("v1.0.0", "ok", "ok")
    print("    release, package, code and model of local-prod are those of local-dev, by SHA-256")
    return prod


def a_worse_candidate_is_kept_out(clone: Clone) -> None:
    before = clone.status()
    print("\nA worse candidate is kept out")
    clone.edits(WIDTHS, *NARROWER)
    clone.commits("Save memory")
    clone.types("mlops", "deploy", clone.releases(), *DEV, code=3, says="decide: the candidate is blocked")
    clone.types("git", "tag", "v1.1.0")
    unproved = "may not be promoted: local-dev has no evidence"
    clone.types("mlops", "promote", "v1.1.0", *DEV_TO_PROD, code=3, says=unproved)

    assert clone.status() == before
    print("    what is current is v1.0.0 in both, and so is the champion")


def a_bad_release_is_rolled_back(clone: Clone, good: dict[str, str]) -> None:
    print("\nA release that is better by its gates, and bad by what it prints, is rolled back")
    clone.edits(WIDTHS, *WIDE)
    clone.edits(NETWORK, re.escape(LAST_LINE), f'    print("{PRINTED}", flush=True)\n{LAST_LINE}')
    clone.commits("Learn more")
    release = clone.releases()
    clone.edits(NETWORK, f'    print\\("{PRINTED}".*\n', "")
    clone.commits("Print nothing")
    clone.types("mlops", "deploy", release, *DEV, says=f"{PIPELINE} release {release} is current in local-dev")
    assert PRINTED in clone.log(release)
    assert PRINTED not in clone.log(good["release"])
    print("    its log shows that the released code ran, and not the one that is checked out by now")
    clone.types("git", "tag", "v1.2.0", "HEAD~1")
    clone.types("mlops", "promote", "v1.2.0", *DEV_TO_PROD, says="v1.2.0")
    dev, bad = clone.status()
    assert (bad["version"], bad["release"][:12], bad["health"]) == ("v1.2.0", release, "ok")
    assert bad["model"] == dev["model"] != good["model"]

    why = "its log shows what it should not"
    clone.types("mlops", "rollback", *PROD, "--why", why, says="v1.0.0")
    clone.types("mlops", "rollback", *PROD, says="is current in local-prod already: nothing to do")
    # In dev, too: else its model would judge the next candidates, and go to prod with one that is no better
    clone.types("mlops", "rollback", *DEV, "--why", why, says=good["release"][:12])
    clone.types("mlops", "status", *DEV, *PROD, whole=True)
    dev, now = clone.status()
    assert now == {**good, "verb": "rollback", "why": why, "at": now["at"]}
    assert (dev["release"], dev["model"]) == (good["release"], good["model"])
    assert dev["health"] == now["health"] == "ok"  # so the alias is that model's
    assert [*(clone.root / ".mlops/local-prod").glob("**/runs/*")] == []
    print("    nothing was ever trained in local-prod")
