"""What a registry of models can do, whichever server keeps it, and what none of them takes."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from numbers import Real
from typing import Protocol

from storage.objects import StorageError


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    name: str
    version: str
    url: str
    sha256: str
    metrics: dict[str, float]
    lineage: dict[str, str]
    aliases: tuple[str, ...]


class Registry(Protocol):
    def register(
        self, name: str, *, url: str, sha256: str, metrics: dict[str, float], lineage: dict[str, str]
    ) -> tuple[ModelVersion, bool]:
        """One version per name and sha256: a second call changes nothing, and gives (that version, False)."""

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """From now on the alias names this version, and no other."""

    def alias(self, name: str, alias: str) -> ModelVersion | None:
        """None when the model or the alias is not there."""

    def find(self, name: str, sha256: str) -> ModelVersion | None:
        """None when this file was never registered under this name."""

    def versions(self, name: str) -> list[ModelVersion]:
        """Oldest first; a model that is not there has none."""


def require_word(text: str) -> str:
    """The text, when it can be a name; names go into queries."""
    if not re.fullmatch(r"[\w.-]+", text):
        what, do = f"{text!r} cannot be a name in the registry", "use letters, digits, dots, dashes and underscores"
        raise StorageError(what=what, where="the registry", do=do)
    return text


def require_numbers(metrics: dict[str, float], where: str) -> None:
    """A metric that is not a finite number refuses the whole version."""
    for metric, value in metrics.items():
        if not isinstance(value, (Real, float)) or type(value) is bool or not math.isfinite(value):
            what = f"the metric {metric} is {value!r}, not a finite number, so nothing was registered"
            raise StorageError(what=what, where=where, do="find out why the step that measured it gave no number")
