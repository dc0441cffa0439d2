"""Objects by URL: a folder and S3 answer alike, and a reader never sees half an object."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.exceptions import FSTimeoutError
from fsspec.implementations.local import LocalFileSystem

_MISTYPED = re.compile(r"file://[^/]|s3:(?!//)")  # else the folders `host/` and `s3:bucket/` would appear here
_CONFLICTS = 5  # S3 may answer "two at once, ask again" in place of a yes or a no


class StorageError(Exception):
    """Reads as three lines: what is wrong, where, and what to do."""

    def __init__(self, *, what: str, where: str, do: str) -> None:
        super().__init__(f"{what}\n  where: {where}\n  to do: {do}")
        self.what, self.where, self.do = what, where, do


def join(base: str, *parts: str) -> str:
    """One slash between the parts, and no part leads out of the base."""
    for part in parts:
        if not part.strip("/") or ".." in part.split("/"):  # a run id from outside may be a part
            raise StorageError(what=f"{part!r} is not a name in a folder", where=base, do="use a name without '..'")
    return "/".join([base.rstrip("/"), *(part.strip("/") for part in parts)])


def read_bytes(url: str) -> bytes:
    with _told("reading", url) as (fs, path):
        return bytes(fs.cat_file(path))


def write_bytes(url: str, data: bytes) -> None:
    """Afterwards all of `data` is there, or what was there before."""
    with _told("writing", url) as (fs, path):
        if isinstance(fs, LocalFileSystem):
            with _part_of(path) as part:
                part.write_bytes(data)
        else:
            fs.pipe_file(path, data)


def create(url: str, data: bytes) -> bool:
    """True when nothing was there and all of `data` now is, False when something is there; of many at once, one gets True."""
    with _told("writing", url) as (fs, path):
        return _created(fs, path, data)


def write_once(url: str, data: bytes) -> bool:
    """True when written, False when the same bytes are there already, refused when they are others."""
    with _told("writing", url) as (fs, path):
        if not fs.exists(path) and _created(fs, path, data):
            return True
        held = bytes(fs.cat_file(path))
    if held == data:
        return False
    there, new = (hashlib.sha256(each).hexdigest()[:12] for each in (held, data))
    do = "write under another name: what is published never changes"
    raise StorageError(what=f"other bytes are there already: sha256 {there}, not {new}", where=url, do=do)


def read_json(url: str) -> Any:
    try:
        return json.loads(read_bytes(url))
    except ValueError as error:
        raise StorageError(what=f"not JSON: {error}", where=url, do="run the step that wrote it again") from error


def write_json(url: str, value: object) -> None:
    """The same value always gives the same bytes, and NaN is refused."""
    try:
        text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        do = "write NaN and infinity as strings"
        raise StorageError(what=f"no JSON can hold this value: {error}", where=url, do=do) from error
    # A lone surrogate (an undecodable file name in a traceback) has no UTF-8; escaped, it is JSON again.
    write_bytes(url, text.encode("utf-8", "backslashreplace") + b"\n")


def exists(url: str) -> bool:
    with _told("looking for", url) as (fs, path):
        return bool(fs.exists(path))


def names(url: str) -> list[str]:
    """The files directly in that folder, sorted; a folder that is not there has none."""
    return [name for name in _listed(url, "file") if not (name[0] == "." and name.endswith(".part"))]


def folders(url: str) -> list[str]:
    """The folders directly in that folder, sorted; a folder that is not there has none."""
    return _listed(url, "directory")


def download(url: str, target: Path) -> None:
    """Afterwards the whole object is at `target`, or what was there before."""
    with _told("reading", url) as (fs, path), _part_of(target) as part:
        if isinstance(fs, LocalFileSystem):
            shutil.copyfile(path, part)  # fsspec would make a folder of a folder
        else:
            fs.get_file(path, str(part))


def upload(source: Path, url: str) -> None:
    """Afterwards the whole file is at `url`, or what was there before."""
    with _told("reading", str(source)), source.open("rb"):  # else the sentence would blame the URL
        pass
    with _told("writing", url) as (fs, path):
        if isinstance(fs, LocalFileSystem):
            with _part_of(path) as part:
                shutil.copyfile(source, part)
        else:
            fs.put_file(str(source), path)


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with _told("reading", str(path)), path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _listed(url: str, kind: str) -> list[str]:
    with _told("listing", url) as (fs, path):
        try:
            listed = fs.ls(path, detail=True)
        except FileNotFoundError as error:
            if _s3_code(error) == "NoSuchBucket":  # a wrong setting, not an empty folder
                raise
            return []
        # Asked for a file, or for a folder with a marker object, S3 lists the thing itself: it is not in the folder.
        inside = path.rstrip("/") + "/"
        found = [each["name"][len(inside) :].rstrip("/") for each in listed if each["type"] == kind]
        return sorted(name for name in found if name)


def _created(fs: AbstractFileSystem, path: str, data: bytes) -> bool:
    """The store itself decides whether something is there, in the same act in which it writes."""
    if isinstance(fs, LocalFileSystem):
        Path(path).parent.mkdir(parents=True, exist_ok=True)  # a file in the folder's place is not the file asked for
        try:
            with _part_of(path, os.link) as part:  # unlike replace, link fails when another was faster
                part.write_bytes(data)
        except FileExistsError:
            return False
        return True
    for _ in range(_CONFLICTS):
        try:
            fs.pipe_file(path, data, mode="create")
            return True
        except FileExistsError:
            return False
        except OSError as error:
            conflict = error
            if _s3_code(error) == "PreconditionFailed":  # s3fs wants to be told which: MinIO does not say
                return False
            if _s3_code(error) != "ConditionalRequestConflict":
                raise
    raise conflict


@contextmanager
def _part_of(target: str | Path, keep: Callable[[Path, str | Path], None] = os.replace) -> Iterator[Path]:
    """A path beside `target` that becomes it when all went well, and is gone afterwards in any case."""
    folder = Path(target).parent
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{uuid4().hex}.part"
    try:
        yield part
        keep(part, target)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _told(doing: str, url: str) -> Iterator[tuple[AbstractFileSystem, str]]:
    """What goes wrong inside with disk, S3 or network comes out as a StorageError; our own bugs stay as they are."""
    if _MISTYPED.match(url):
        do = "write s3://bucket/name, file:/folder/name or a path"
        raise StorageError(what=f"{url!r} is neither a URL nor a path", where=f"{doing} it", do=do)
    try:
        # Connections are kept, listings are not: in a long-lived process others write too.
        place = url_to_fs(url, use_listings_cache=False)
    except (ImportError, ValueError, TypeError) as error:
        scheme, why = url.partition(":")[0], str(error).removeprefix("Please ")
        do = f"use a path, file: or s3:// here, or give this Python what it lacks: {why}"
        raise StorageError(what=f"this Python cannot open {scheme}:// URLs", where=url, do=do) from error
    try:
        yield place
    except Exception as error:
        # botocore by name: it is there only where S3 is used
        if isinstance(error, (OSError, FSTimeoutError)) or type(error).__module__.startswith("botocore."):
            raise _sentence(error, doing, url) from error
        raise


def _s3_code(error: BaseException) -> str:
    return str(getattr(error.__cause__, "response", {}).get("Error", {}).get("Code", ""))


def _sentence(error: Exception, doing: str, url: str) -> StorageError:
    remote, kind = "://" in url and not url.startswith("file:"), type(error).__name__
    if _s3_code(error) == "NoSuchBucket":
        bucket = url.removeprefix("s3://").partition("/")[0]
        what, do = f"there is no bucket {bucket}", "make the bucket, or correct the URL"
    elif isinstance(error, FileNotFoundError) and doing == "writing" and not remote:  # missing folders are made
        what, do = "writing failed: its folder cannot be made there", "name a place that can be written"
    elif isinstance(error, FileNotFoundError):
        what, do = f"{doing} failed: there is no such file", "correct the URL, or run first what writes it"
    elif isinstance(error, PermissionError) and remote:
        what, do = f"{doing} was refused: {error}", "let the bucket's policy allow it, or set another AWS_ACCESS_KEY_ID"
    elif isinstance(error, PermissionError):
        what, do = f"{doing} was refused: {error.strerror}", "give this user the right: ls -ld shows who has it"
    elif kind in ("NoCredentialsError", "PartialCredentialsError"):
        what, do = "there is no key for S3", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    elif kind.endswith(("ConnectionError", "TimeoutError", "HTTPClientError", "ConnectionClosedError")):
        what, do = f"the store does not answer: {error}", "check AWS_ENDPOINT_URL, and that a server runs there"
    else:
        why = getattr(error, "strerror", None) or error
        what, do = f"{doing} failed: {why}", "put that right and run it again; nothing was left half written"
    return StorageError(what=what, where=url, do=do)
