"""What a registry of models can do, whichever server keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


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
