"""A model becomes visible in one act, under the hash of its bytes; published again, nothing changes.

First the objects, at a place that their hash names and nobody looks at; then the registry's version; last the alias, one row, which
is what every reader follows. Cut off anywhere, a repeat ends in the same state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from components.errors import GateRefused
from storage import objects
from storage.registry import Registry

CANDIDATE, CHAMPION = "candidate", "champion"
# Another file of one of these names at the same hash is somebody's change, and is refused; the others tell of their run.
SAME_FOR_SAME_MODEL = ("model.onnx", "classes.json", "profile.json")


@dataclass(frozen=True, kw_only=True)
class Published:
    """Where it is, and under which names it is found."""

    url: str
    sha256: str
    name: str
    version: str
    aliases: list[str]
    already_published: bool
    lineage: dict[str, str]
    metrics: dict[str, float]

    def facts(self) -> dict[str, Any]:
        return asdict(self)


def publish(
    files: Mapping[str, Path | bytes],
    *,
    name: str,
    verdict: str,
    judged_sha256: str,
    judged_against: str | None = None,
    store: str,
    registry: Registry,
    metrics: dict[str, float],
    lineage: dict[str, str],
) -> Published:
    """Put `files` (file name -> path or bytes; `model.onnx` is one) to `<store>/models/<name>/<sha256>/` and register them.

    `verdict` is that of decide: `promote` moves the alias `champion`, `keep` only `candidate`. `judged_against` is the version of
    the champion that decide met (None: there was none).

    Raises:
        GateRefused: the verdict is another, the ONNX file is not the one that was judged, or the champion no more the same.
        storage.objects.StorageError: the store or the registry refuses.
    """
    contents = {file: source if isinstance(source, bytes) else source.read_bytes() for file, source in files.items()}
    sha256 = hashlib.sha256(contents["model.onnx"]).hexdigest()
    if verdict not in ("promote", "keep"):
        raise GateRefused(
            f"the verdict is `{verdict}`",
            gate="decision",
            where="publish_model",
            do="publish only what decide lets pass",
        )
    if sha256 != judged_sha256:
        raise GateRefused(
            f"the ONNX file is not the one that was judged: SHA-256 {sha256[:12]}…, judged {judged_sha256[:12]}…",
            gate="onnx-hash", where="publish_model", do="run the pipeline again",
        )  # fmt: skip
    place = objects.join(store, "models", name, sha256)
    url = objects.join(place, "model.onnx")
    for file in sorted(contents, key=lambda file: file == "model.onnx"):  # the model last: where it is, all of it is
        if file in SAME_FOR_SAME_MODEL or not objects.exists(objects.join(place, file)):
            objects.write_once(objects.join(place, file), contents[file])
    version, created = registry.register(name, url=url, sha256=sha256, metrics=metrics, lineage=lineage)
    aliases = [CANDIDATE, CHAMPION] if verdict == "promote" else [CANDIDATE]
    now = registry.alias(name, CHAMPION)
    if verdict == "promote" and now and now.version not in (version.version, judged_against):
        raise GateRefused(
            f"the champion is version {now.version} by now; this model was judged against {judged_against or 'none'}",
            gate="decision", where=f"alias `{CHAMPION}` of `{name}`", do="run the pipeline again, against the new champion",
        )  # fmt: skip
    for alias in aliases:
        held = registry.alias(name, alias)
        if held is None or held.version != version.version:
            registry.set_alias(name, alias, version.version)
    return Published(
        url=url, sha256=sha256, name=name, version=version.version, aliases=aliases,
        already_published=not created, lineage=version.lineage, metrics=version.metrics,
    )  # fmt: skip
