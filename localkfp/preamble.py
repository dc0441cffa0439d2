"""What KFP puts before a component's own command to install packages, and whether they are here already."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import InvalidRequirement, Requirement

PIP_INSTALL = re.compile(r"-m pip install --quiet --no-warn-script-location (.*?) +&& ")
WITH_VALUE = {"--index-url", "--extra-index-url", "--trusted-host"}


def split_preamble(command: list[str]) -> tuple[list[str], list[str]]:
    """The requirements that KFP's own preamble would install, and the command without the preamble."""
    if command[:2] == ["sh", "-c"] and command[3:5] == ["sh", "-ec"] and "pip install" in command[2]:
        wanted = [word for found in PIP_INSTALL.findall(command[2]) for word in _requirements(found)]
        return wanted, command[3:]
    return [], command


def is_installed(requirement: str) -> bool:
    try:
        wanted = Requirement(requirement)
        if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
            return True
        found = metadata.distribution(wanted.name)
    except (InvalidRequirement, metadata.PackageNotFoundError):
        return False
    of_extras = (
        str(needed)
        for needed in map(Requirement, found.requires or [])
        for extra in wanted.extras
        if needed.marker and "extra" in str(needed.marker) and needed.marker.evaluate({"extra": extra})
    )
    return wanted.specifier.contains(found.version, prereleases=True) and all(
        is_installed(needed.partition(";")[0]) for needed in of_extras
    )


def _requirements(arguments: str) -> Iterator[str]:
    words = iter(shlex.split(arguments))
    for word in words:
        if word in WITH_VALUE:
            next(words, None)
        elif not word.startswith("-"):
            yield word
