"""`mlops status` in full: what is current where, by which bytes, and whether the environment still says the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from delivery import release as releases
from delivery.environments import Environment, read_environment
from delivery.errors import Failed, in_our_words
from delivery.kubeflow import connected
from delivery.ledger import Entry, Ledger, pipelines_in
from delivery.scheduling import scheduled
from delivery.settling import champion_moved, check, version_name
from delivery.uploading import uploaded
from storage.registry import open_registry

SHORT = 12


@dataclass(frozen=True, kw_only=True)
class Row:
    """An environment and a pipeline; the hashes are whole, so that a script can compare them."""

    environment: str
    pipeline: str = ""
    version: str = ""
    release: str = ""
    package: str = ""
    image: str = ""
    model: str = ""
    model_version: str = ""
    schedule: str = ""
    verb: str = ""
    by: str = ""
    at: str = ""
    why: str = ""
    health: str = ""

    @property
    def healthy(self) -> bool:
        return self.health in ("ok", "")


def status(names: Sequence[str], root: Path | None = None) -> list[Row]:
    """A row for each environment and pipeline; what cannot be asked says why in its row, and hides no other."""
    with ThreadPoolExecutor(max(1, len(names))) as pool:  # one that does not answer takes its timeout
        return [row for rows in pool.map(partial(_rows, root=root), names) for row in rows]


def failure(rows: Sequence[Row]) -> Failed | None:
    """None where all is as the ledgers say, or nothing was ever deployed."""
    bad = [row for row in rows if not row.healthy]
    if not bad:
        return None
    where = ", ".join(f"{row.environment} {row.pipeline}".rstrip() for row in bad)
    what = "; ".join(row.health for row in bad)
    return Failed(
        what,
        where=where,
        do="`mlops rollback --to` what is current, or deploy or promote it again, sets right what moved",
    )


def show(rows: Sequence[Row], console: Console) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("environment", "pipeline", "version", "release", "package", "code", "model", "schedule", "since"):
        table.add_column(heading, no_wrap=True)
    table.add_column("health", overflow="fold")
    for row in rows:
        model = f"{row.model[:SHORT]} (version {row.model_version or '-'})" if row.model else "-"
        since = f"{row.at[:16]} {row.verb} by {row.by}" if row.at else "-"
        code = row.image.rpartition("sha256:")[2][:SHORT]
        cells = (row.pipeline, row.version, row.release[:SHORT], row.package[:SHORT], code)
        health = Text(row.health or "nothing deployed", style="green" if row.healthy else "bold red")
        table.add_row(row.environment, *(cell or "-" for cell in cells), model, row.schedule or "-", since, health)
    console.print(table)


def as_json(rows: Sequence[Row]) -> list[dict[str, str]]:
    return [asdict(row) for row in rows]


def _rows(name: str, root: Path | None) -> list[Row]:
    try:
        return list(_pipelines(read_environment(name, root))) or [Row(environment=name)]
    except Exception as error:  # whatever it is, it is that environment's
        told = in_our_words(error)
        return [Row(environment=name, health=f"{told.what}: {told.do}" if told else str(error))]


def _pipelines(environment: Environment) -> Iterator[Row]:
    for pipeline in pipelines_in(environment.store):
        ledger = Ledger(environment.store, pipeline)
        if current := ledger.current():
            yield _row(environment, current, ledger.unfinished())
        elif begun := ledger.unfinished():
            yield Row(environment=environment.name, pipeline=pipeline, health=_begun(begun))


def _row(environment: Environment, entry: Entry, begun: Entry | None) -> Row:
    troubles, package, image, number = [_begun(begun)] if begun else [], "", "", ""
    try:
        release = releases.in_store(environment.store, entry.release)
        package, image = release.packages[entry.pipeline].sha256, release.image
        release.verify()
        check(environment, entry.state)
        if entry.model:
            model = open_registry(environment.registry).find(entry.model["name"], entry.model["sha256"])
            number = model.version if model else "none"
            troubles += filter(None, [champion_moved(environment, entry)])
        with connected(environment) as kfp:
            name = version_name(entry.pipeline, release)
            version = uploaded(kfp, entry.pipeline, name, release.package(entry.pipeline))
            if version is None:
                troubles.append(f"the KFP API has no version {name}")
            held = [(one.cron, one.version_id, one.arguments) for one in scheduled(kfp, entry.pipeline) if one.enabled]
            wanted = [(entry.schedule, version and version.version_id, entry.arguments)] if entry.schedule else []
            if held != wanted:
                troubles.append(f"what is scheduled is not this release at `{entry.schedule or 'no time'}`")
    except Exception as error:
        told = in_our_words(error)
        troubles.append(told.what if told else str(error))
    return Row(
        environment=environment.name,
        pipeline=entry.pipeline,
        version=entry.version,
        release=entry.release,
        package=package,
        image=image,
        model=entry.model.get("sha256", ""),
        model_version=number,
        schedule=entry.schedule,
        verb=entry.verb,
        by=entry.by,
        at=entry.at,
        why=entry.why,
        health="; ".join(troubles) or "ok",
    )


def _begun(entry: Entry) -> str:
    return f"{entry.verb} of {entry.named} was begun by {entry.by} at {entry.at} and has not ended: repeat it, or roll back"
