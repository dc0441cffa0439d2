"""`mlops status` in full: what is current where, by which bytes, and whether the environment still says the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from delivery import release as releases
from delivery.environments import Environment
from delivery.errors import in_our_words
from delivery.kubeflow import connected
from delivery.ledger import Entry, Ledger, pipelines_in
from delivery.scheduling import scheduled
from delivery.settling import champion_moved, named, version_name
from delivery.uploading import uploaded
from storage import objects
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


def status(environments: Sequence[Environment]) -> list[Row]:
    """A row for each environment and pipeline; what cannot be asked says why in its row, and hides no other."""
    with ThreadPoolExecutor(max(1, len(environments))) as pool:  # one that does not answer takes its timeout
        return [row for rows in pool.map(_rows, environments) for row in rows]


def show(rows: Sequence[Row], console: Console) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("environment", "pipeline", "version", "release", "package", "code", "model", "schedule", "since"):
        table.add_column(heading, no_wrap=True)
    table.add_column("health", overflow="fold")
    for row in rows:
        model = f"{row.model[:SHORT]} (version {row.model_version})" if row.model else "-"
        since = f"{row.at[:16]} {row.verb} by {row.by}" if row.at else "-"
        code = row.image.rpartition("sha256:")[2][:SHORT]
        cells = (row.pipeline, row.version, row.release[:SHORT], row.package[:SHORT], code)
        health = Text(row.health or "nothing deployed", style="green" if row.healthy else "bold red")
        table.add_row(row.environment, *(cell or "-" for cell in cells), model, row.schedule or "-", since, health)
    console.print(table)


def as_json(rows: Sequence[Row]) -> list[dict[str, str]]:
    return [asdict(row) for row in rows]


def _rows(environment: Environment) -> list[Row]:
    try:
        return list(_pipelines(environment)) or [Row(environment=environment.name)]
    except Exception as error:  # whatever it is, it is that environment's
        told = in_our_words(error)
        return [Row(environment=environment.name, health=told.what if told else str(error))]


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
        release = releases.open_release(objects.join(environment.store, "releases", entry.release))
        package, image = release.packages[entry.pipeline].sha256, release.image
        release.verify()
        if entry.model:
            held = open_registry(environment.registry).find(entry.model["name"], entry.model["sha256"])
            number = held.version if held else "none"
            troubles += filter(None, [champion_moved(environment, entry)])
        with connected(environment) as kfp:
            name = version_name(entry.pipeline, release)
            if uploaded(kfp, entry.pipeline, name, release.package(entry.pipeline)) is None:
                troubles.append(f"the KFP API has no version {name}")
            held_schedules = [each.cron for each in scheduled(kfp, entry.pipeline) if each.enabled]
            if held_schedules != ([entry.schedule] if entry.schedule else []):
                troubles.append(
                    f"scheduled is {', '.join(held_schedules) or 'nothing'}, not `{entry.schedule or 'nothing'}`"
                )
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
    return f"{entry.verb} of {named(entry)} was begun by {entry.by} at {entry.at} and has not ended: repeat it, or roll back"
