"""The registry's room for MLflow: a SQLite file on one machine, or a server."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, RunData, RunTag
from mlflow.entities.model_registry import ModelVersion as MlflowVersion
from mlflow.exceptions import MlflowException

from storage.objects import StorageError
from storage.registry.protocol import ModelVersion, require_numbers, require_word

_LINEAGE = "lineage."  # before the key of a tag, so that MLflow's own tags on the run stay out


class MlflowRegistry:
    """One experiment a model, one run a version: metrics as numbers and lineage as tags lie on the run."""

    def __init__(self, url: str) -> None:
        self._url, self._artifacts = url, None
        self._alone: Callable[[], AbstractContextManager[None]] = nullcontext
        if url.startswith("sqlite:"):
            file = Path(url.removeprefix("sqlite:///")).absolute()
            self._url = url = f"sqlite:///{file}"
            self._artifacts = (file.parent / "artifacts").as_uri()  # stays empty; by default it is ./mlruns
            self._alone = lambda: _alone(file.with_name(f"{file.name}.lock"))
            with self._told():
                file.parent.mkdir(parents=True, exist_ok=True)
                with closing(sqlite3.connect(file)) as probe:  # MLflow tries for minutes before it says no
                    probe.execute("pragma schema_version")
        with self._told(), self._alone():  # two that make the tables at once spoil them
            self._client = MlflowClient(tracking_uri=url, registry_uri=url)

    def register(
        self, name: str, *, url: str, sha256: str, metrics: dict[str, float], lineage: dict[str, str]
    ) -> tuple[ModelVersion, bool]:
        require_numbers(metrics, where=f"{name} in {self._url}")
        with self._told(), self._alone():
            if known := self.find(name, sha256):
                return known, False
            with _allowed("RESOURCE_ALREADY_EXISTS"):
                self._client.create_registered_model(name)
            with _allowed("RESOURCE_ALREADY_EXISTS"):
                self._client.create_experiment(name, self._artifacts)
            run = self._run(name, sha256, metrics, lineage)
            # Last, and in one call: a version that can be seen is complete.
            made = self._client.create_model_version(name, url, run_id=run, tags={"sha256": sha256})
            # A server has no lock for us. Of two who registered at once the older version stays, as both see it so.
            first = self._search(name, sha256)[0]
            if first.version != made.version:
                self._client.delete_model_version(name, made.version)
            return self._read(name, first.version), first.version == made.version

    def set_alias(self, name: str, alias: str, version: str) -> None:
        with self._told(), self._alone():
            self._client.set_registered_model_alias(name, alias, version)

    def alias(self, name: str, alias: str) -> ModelVersion | None:
        with self._told(), _allowed("RESOURCE_DOES_NOT_EXIST"):
            if version := self._client.get_registered_model(name).aliases.get(alias):
                return self._read(name, version)
        return None

    def find(self, name: str, sha256: str) -> ModelVersion | None:
        with self._told():
            return next((self._read(name, found.version) for found in self._search(name, sha256)), None)

    def versions(self, name: str) -> list[ModelVersion]:
        with self._told():
            return [self._read(name, found.version) for found in self._search(name)]

    def _search(self, name: str, sha256: str = "") -> list[MlflowVersion]:
        """Oldest first."""
        wanted = f"name = '{require_word(name)}'" + (f" and tags.sha256 = '{require_word(sha256)}'" if sha256 else "")
        return sorted(self._client.search_model_versions(wanted), key=lambda version: int(version.version))

    def _read(self, name: str, number: str) -> ModelVersion:
        version = self._client.get_model_version(name, number)  # again, as a server's search leaves out the aliases
        run = self._client.get_run(version.run_id).data if version.run_id else RunData()  # registered by hand: no run
        return ModelVersion(
            name=name,
            version=str(version.version),
            url=version.source or "",
            sha256=version.tags.get("sha256", ""),
            metrics=dict(run.metrics),
            lineage={key[len(_LINEAGE) :]: tag for key, tag in run.tags.items() if key.startswith(_LINEAGE)},
            aliases=tuple(sorted(version.aliases)),
        )

    def _run(self, name: str, sha256: str, metrics: dict[str, float], lineage: dict[str, str]) -> str:
        """A run that a killed process left without its version is taken up again."""
        experiment = self._client.search_experiments(filter_string=f"name = '{name}'")[0].experiment_id
        left = self._client.search_runs([experiment], f"tags.sha256 = '{sha256}'", max_results=1)
        run = (left or [self._client.create_run(experiment, tags={"sha256": sha256})])[0].info.run_id
        self._client.log_batch(
            run,
            metrics=[Metric(key, float(value), int(time.time() * 1000), 0) for key, value in metrics.items()],
            tags=[RunTag(_LINEAGE + key, value) for key, value in lineage.items()],
        )
        self._client.set_terminated(run)
        return run

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What MLflow, its file or its server refuse comes out as a StorageError."""
        try:
            yield
        except (MlflowException, sqlite3.Error, OSError) as error:
            what = f"the registry failed: {str(error).splitlines()[0]}"
            do = "check the URL, and that one may write there"
            if getattr(error, "error_code", "") in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                do = "correct what is named there, and run it again"
            raise StorageError(what=what, where=self._url, do=do) from error


@contextmanager
def _allowed(code: str) -> Iterator[None]:
    try:
        yield
    except MlflowException as error:
        if error.error_code != code:
            raise


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """One process at a time; a killed one lets go."""
    with closing(sqlite3.connect(lock, timeout=120, isolation_level=None)) as connection:
        connection.execute("begin exclusive")
        yield
