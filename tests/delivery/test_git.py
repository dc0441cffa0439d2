from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from delivery.errors import WrongUse
from delivery.git import commit_of, files, head, is_dirty


def git(root: Path, *words: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b.example")
    return subprocess.run(["git", "-C", str(root), *who, *words], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A project in a folder of a repository, with two commits; the first has two tags."""
    root = tmp_path / "project"
    root.mkdir()
    (root / "one é.py").touch()
    (root / ".gitignore").write_text("ignored\n")
    git(tmp_path, "init", "-q", "-b", "main")
    for words in ("add .", "commit -q -m one", "tag v1.0.0", "tag -a -m one v1", "commit -q --allow-empty -m two"):
        git(root, *words.split())
    return root


def test_a_tag_is_the_commit_that_it_names_and_nothing_else_is_a_tag(tree: Path) -> None:
    first, second = git(tree, "rev-parse", "HEAD~1", "HEAD").split()

    assert (commit_of(tree, "v1.0.0"), commit_of(tree, "v1"), head(tree)) == (first, first, second)
    for name in ("v2", "main", "HEAD", second, "v1.0.0~0", "v1^{commit}", "../heads/main", "", "-d"):
        assert commit_of(tree, name) is None


def test_the_tree_is_dirty_with_a_change_or_a_new_file_and_not_with_an_ignored_one(tree: Path) -> None:
    git(tree, "config", "status.showUntrackedFiles", "no")  # a person's taste changes nothing
    (tree / "ignored").touch()
    assert not is_dirty(tree)

    (tree / "new.py").touch()
    assert is_dirty(tree)

    (tree / "new.py").unlink()
    (tree / "one é.py").write_text("changed")
    assert is_dirty(tree)


def test_the_files_are_those_that_are_there_and_not_ignored(tree: Path) -> None:
    for name in ("ignored", "new.py", "gone.py"):
        (tree / name).touch()
    git(tree, "add", "gone.py")
    (tree / "gone.py").unlink()

    assert files(tree) == [".gitignore", "new.py", "one é.py"]


def test_without_git_or_a_commit_there_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for ask in (head, is_dirty, files, lambda root: commit_of(root, "v1")):
        with pytest.raises(WrongUse, match="not a git repository"):
            ask(tmp_path)
    git(tmp_path, "init", "-q")
    with pytest.raises(WrongUse, match="git does not know this as a project with a commit"):
        head(tmp_path)

    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(WrongUse, match="git cannot be asked"):
        head(tmp_path)
