"""Secrets: a file of environments/ says where one is, and never what it is."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from delivery.errors import WrongUse

HOW = "write exactly one of {env: NAME} or {file: PATH}"
WRITTEN = {  # what it looks like, without a word of what it says
    "a password in a URL": re.compile(r"://[^/\s@]*:[^/\s@]+@"),
    "an AWS key id": re.compile(r"\b(AKIA|ASIA)[A-Z0-9]{16}\b"),
    "a JSON Web Token": re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "a GitHub token": re.compile(r"\b(gh[oprsu]_|github_pat_)\w{20,}"),
}


@dataclass(frozen=True, kw_only=True)
class Secret:
    """Where a secret is: an environment variable of who runs `mlops`, or a file (`~` is their home)."""

    __pydantic_config__ = ConfigDict(extra="forbid", json_schema_extra={"minProperties": 1, "maxProperties": 1})

    env: Annotated[str, Field(strict=True, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = ""
    file: Annotated[str, Field(strict=True, min_length=1)] = ""

    def __post_init__(self) -> None:
        if bool(self.env) == bool(self.file):
            raise ValueError("a secret is in one place: in a variable, or in a file")


def read(secret: Secret, root: Path) -> str:
    """The secret, read anew each time, as tokens are renewed; a relative path starts at the project's root."""
    if secret.env:
        if text := os.environ.get(secret.env, "").strip():
            return text
        what = f"the environment variable `{secret.env}` holds no secret"
        raise WrongUse(what, where=f"${secret.env}", do=f"set it for this command: export {secret.env}=...")
    path = _path(secret, root)
    try:
        text = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        what = f"a secret's file cannot be read: {error.strerror}"
        raise WrongUse(what, where=path, do="put the secret there, readable by you alone") from error
    except UnicodeDecodeError:
        text = ""
    if not text:
        raise WrongUse("a secret's file holds no text", where=path, do="put the secret there, readable by you alone")
    return text


def is_open(secret: Secret, root: Path) -> bool:
    """Whether others than its owner have a right to the secret's file."""
    return bool(secret.file) and bool(_path(secret, root).stat().st_mode & 0o077)


def _path(secret: Secret, root: Path) -> Path:
    return root / Path(secret.file).expanduser()


def refuse_written(settings: Mapping[str, Any], path: Path) -> None:
    """Refuse settings that hold a secret themselves: files are read by many, and git never forgets one."""
    for key, text in _texts(settings, ""):
        for kind, pattern in WRITTEN.items():
            if pattern.search(text):
                do = f"take it out, and renew it, as others may have read it; where a secret is needed {HOW}"
                raise WrongUse(f"`{key or 'a key'}` holds {kind}", where=path, do=do)


def _texts(value: object, key: str) -> Iterator[tuple[str, str]]:
    """Every text below a setting, the keys too, by the path of keys that leads there."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield key, str(name)
            yield from _texts(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _texts(inner, f"{key}.{number}")
    elif isinstance(value, str):
        yield key, value
