"""What the project is called, whose it is and where its image is kept: project.yaml, read and checked."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from pathlib import Path

from delivery.environments import parsed
from delivery.errors import WrongUse, meant

FILE = "project.yaml"
REPOSITORY = re.compile(r"[a-z0-9][a-z0-9.-]*(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+")  # no tag, and no digest
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Project:
    """The identity of one project; every setting that differs between environments is in environments/ instead."""

    name: str
    owner: str
    image: str  # the repository of the steps' image, without tag or digest


def read_project(root: Path) -> Project:
    """What project.yaml says; a missing, unknown or impossible key is a sentence."""
    path = root / FILE
    given = parsed(path)
    known = [item.name for item in fields(Project)]
    for key in given:
        if key not in known:
            raise WrongUse(f"`{key}` is no setting of a project", where=path, do=meant(str(key), known))
    for key in known:
        if not isinstance(given.get(key), str) or not given[key].strip():
            raise WrongUse(f"`{key}` is missing, or no text", where=path, do=f'write `{key}: "..."`')
    project = Project(**given)
    if not REPOSITORY.fullmatch(project.image):
        do = "write it without tag and digest, as in registry.example/team/name"
        raise WrongUse(f"`image` is `{project.image}`, and no image repository", where=path, do=do)
    return project


def image_of(root: Path, said: str) -> str:
    """An image as `--image` names it; a digest alone is one of the project's own repository."""
    return f"{read_project(root).image}@{said}" if DIGEST.fullmatch(said) else said
