"""The champion is what the registry's alias says, and its file must be the one that was registered."""

from __future__ import annotations

import hashlib

from components.decide.step import Champion
from components.errors import GateRefused
from storage import objects
from storage.registry import open_registry

ALIAS = "champion"


def find_champion(registry: str, name: str) -> Champion | None:
    """The champion of that model name, with its file; None before the first."""
    version = open_registry(registry).alias(name, ALIAS)
    if version is None:
        return None
    content = objects.read_bytes(version.url)
    found = hashlib.sha256(content).hexdigest()
    if found != version.sha256:
        raise GateRefused(
            f"the champion's file is not the one that was registered: SHA-256 {found[:12]}…, registered {version.sha256[:12]}…",
            gate="onnx-hash",
            where=version.url,
            do=f"put the registered file back, or move the alias `{ALIAS}` of `{name}` to a version whose file is whole",
        )
    return Champion(
        onnx=content,
        version=version.version,
        url=version.url,
        sha256=version.sha256,
        contract=version.lineage.get("contract", "unknown"),
    )
