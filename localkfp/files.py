"""What a run left behind, as far as a person can read it at once: the ends of its logs, and its artifacts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

LAST_LINES, MOST_BYTES, MOST_FILES = 2000, 1 << 20, 200
CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
DRAWN = ("confusionMatrix", "confidenceMetrics")  # metadata that has a drawing of its own


@dataclass(frozen=True, kw_only=True)
class Text:
    """The last lines of a file."""

    text: str = ""
    is_whole: bool = True


@dataclass(frozen=True, kw_only=True)
class File:
    """One file of an artifact, by its URL here."""

    name: str
    url: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """What a task gave, with its files as far as they are the run's own."""

    name: str
    kind: str
    uri: str
    metadata: Mapping[str, Any]
    text: str | None = None
    files: list[File] = field(default_factory=list)

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def page(self) -> File | None:
        """The file to show in a frame."""
        return self.files[0] if self.kind == "HTML" and len(self.files) == 1 else None

    @property
    def values(self) -> dict[str, Any]:
        return {name: value for name, value in self.metadata.items() if name not in DRAWN}


def artifacts(folder: Path, run_id: str, outputs: Mapping[str, Any]) -> Iterator[Artifact]:
    """Of a task's outputs; the folder is the one of the run's artifacts, and no link leads out of it."""
    for one in (one for several in outputs.get("artifacts", {}).values() for one in several):
        path, files, text = Path(one["uri"]), [], None
        kind = one["type"]["schemaTitle"].removeprefix("system.")
        if path.is_relative_to(folder) and path.exists() and is_within(path, folder):
            found = [path] if path.is_file() else sorted(path.rglob("*"))
            own = [file for file in found if file.is_file() and is_within(file, folder)]
            for file in own[:MOST_FILES]:
                url = f"/runs/{quote(run_id, safe='')}/artifacts/{quote(file.relative_to(folder).as_posix())}"
                name = path.name if file == path else file.relative_to(path).as_posix()
                files.append(File(name=name, url=url, size=file.stat().st_size))
            if kind == "Markdown" and own == [path]:
                text = last_lines(path).text
        metadata = one.get("metadata") or {}
        yield Artifact(name=one["name"], kind=kind, uri=one["uri"], metadata=metadata, text=text, files=files)


def is_within(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def last_lines(file: Path, begin: int = 0) -> Text:
    """As a terminal would show them: without colours, and of a line that was overwritten the last state."""
    try:
        with file.open("rb") as opened:
            skipped = max(0, opened.seek(0, 2) - MOST_BYTES - begin)
            opened.seek(begin + skipped)
            lines = opened.read(MOST_BYTES).decode(errors="replace").rstrip("\n").split("\n")
    except FileNotFoundError:
        return Text()
    kept = lines[1:] if skipped else lines  # the first may have lost its beginning
    shown = [CONTROL.sub("", line.rstrip("\r").rpartition("\r")[2]) for line in kept[-LAST_LINES:]]
    return Text(text="\n".join(shown), is_whole=not skipped and len(lines) <= LAST_LINES)


def is_text(file: Path) -> bool:
    with file.open("rb") as opened:
        return b"\0" not in opened.read(1 << 13)
