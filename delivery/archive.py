"""Released code as one file: packed, it says nothing of who did it, when and where; unpacked, it is what was packed."""

from __future__ import annotations

import fcntl
import io
import os
import shutil
import tarfile
from collections.abc import Iterable
from pathlib import Path

from delivery.errors import Failed, WrongUse

Tree = dict[str, tuple[bytes, bool]]  # path -> content, and whether it can be executed


def pack(root: Path, paths: Iterable[str]) -> bytes:
    """These files of the folder, in this order; a link is refused, as it may lead to what nobody released."""
    tree: Tree = {}
    for path in paths:
        at = root / path
        if at.is_symlink() or not at.is_file():
            raise WrongUse(f"{path} is a link, or no file at all", where=at, do="put the file itself there")
        tree[path] = _file(at)
    return _packed(tree)


def unpack(archive: bytes, target: Path, where: str) -> None:
    """Afterwards the folder holds the archive's files and no other, whatever was there, and however many do so at once."""
    tree, scratch = _opened(archive, where), target.parent / ".new"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with (target.parent / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # let go of when its holder dies
            if _tree(target) != tree:
                shutil.rmtree(scratch, ignore_errors=True)  # of one who died here
                _lay(tree, scratch)
                shutil.rmtree(target, ignore_errors=True)  # someone edited it: it is no longer what was released
                os.replace(scratch, target)
    except OSError as error:
        what = f"the released code cannot be unpacked: {error.strerror or error}"
        raise Failed(what, where=target, do="make the folder writable, or delete it") from error


def _packed(tree: Tree) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT, encoding="utf-8") as tar:
        for path, (content, executable) in tree.items():
            member = tarfile.TarInfo(path)  # made of nothing: it has no owner, and is of 1970
            member.size, member.mode = len(content), 0o755 if executable else 0o644
            tar.addfile(member, io.BytesIO(content))
    return archive.getvalue()


def _opened(archive: bytes, where: str) -> Tree:
    """What `_packed` wrote, and no other archive: so nothing in it is a link, or leads out of the folder."""
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:", encoding="utf-8") as tar:
            tree = {one.name: ((tar.extractfile(one) or io.BytesIO()).read(), bool(one.mode & 0o100)) for one in tar}
        if _packed(tree) == archive and not any({"", ".", ".."} & set(path.split("/")) for path in tree):
            return tree
    except (tarfile.TarError, ValueError, KeyError):  # key: a link that leads nowhere
        pass
    raise Failed("the archive was not packed by `mlops`", where=where, do="build the release again from its commit")


def _tree(folder: Path) -> Tree:
    """The files below a folder, without what Python leaves there when it runs them."""
    below = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    return {path.as_posix(): _file(at) for path, at in below.items() if "__pycache__" not in path.parts}


def _file(path: Path) -> tuple[bytes, bool]:
    return path.read_bytes(), bool(path.stat().st_mode & 0o100)


def _lay(tree: Tree, folder: Path) -> None:
    for path, (content, executable) in tree.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
        (folder / path).chmod(0o755 if executable else 0o644)
