"""What git knows of the project: which commit it is, and whether the files are still that commit's."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from delivery.errors import WrongUse

SECONDS = 30  # on a cold disk a large tree takes a while


def head(root: Path) -> str:
    """The commit that is checked out."""
    return os.fsdecode(_said(root, "rev-parse", "--verify", "HEAD^{commit}")).strip()


def committed_at(root: Path, commit: str) -> str:
    """When it was made, in ISO 8601."""
    return os.fsdecode(_said(root, "show", "--no-patch", "--format=%cI", commit)).strip()


def commit_of(root: Path, name: str) -> str | None:
    """The commit that a tag names; a branch, or a commit's own name, is no tag."""
    tag = f"refs/tags/{name}"
    if _asked(root, "show-ref", "--verify", "--quiet", tag).returncode == 1:  # v1~1 would be a commit, and is no tag
        return None
    return os.fsdecode(_said(root, "rev-parse", "--verify", f"{tag}^{{commit}}")).strip()


def is_dirty(root: Path) -> bool:
    """Is there anything that no commit holds: a change, or a file that is neither tracked nor ignored?"""
    if _said(root, "status", "--porcelain", "--untracked-files=normal"):  # a person's git may hide the new ones
        return True
    # Of a file that is assumed unchanged, or skipped, git status says nothing.
    return any(line[:1].islower() or line[:1] == b"S" for line in _said(root, "ls-files", "-v").splitlines())


def files(root: Path) -> list[str]:
    """Every file of the project that is there and not ignored, sorted, by its path from the root."""
    listed = _said(root, "ls-files", "--cached", "--others", "--exclude-standard", "-z").split(b"\0")
    found = {os.fsdecode(path) for path in listed if path}  # a set: in a merge, git names a file thrice
    return sorted(path for path in found if os.path.lexists(root / path))


def _said(root: Path, *words: str) -> bytes:
    done = _asked(root, *words)
    if done.returncode:
        why = (
            os.fsdecode(done.stderr).strip().partition("\n")[0].removeprefix("fatal: ") or f"it ended {done.returncode}"
        )
        do = "run it where `git log` shows a commit"
        raise WrongUse(f"git does not know this as a project with a commit: {why}", where=root, do=do)
    return done.stdout


def _asked(root: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["git", "-C", str(root), *words], capture_output=True, timeout=SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        do = "install git, or see why `git status` takes so long here"
        raise WrongUse(f"git cannot be asked: {error}", where=root, do=do) from error
