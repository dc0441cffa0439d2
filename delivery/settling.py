"""What an entry of the ledger wants, made true in its environment. A repeat changes nothing, so a cut does no harm."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from delivery import evidence as evidences
from delivery import release as releases
from delivery.environments import Environment
from delivery.errors import BytesDiffer, Conflict, WrongUse
from delivery.evidence import CHAMPION, Evidence, Model
from delivery.images import is_pushed
from delivery.kubeflow import Kubeflow
from delivery.ledger import Entry, Ledger
from delivery.release import Release
from delivery.scheduling import schedule
from delivery.uploading import upload, uploaded
from storage import objects
from storage.registry import ModelVersion, open_registry


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a verb did to an environment: `entry` is current now, and `done` says in words what had to change for it."""

    environment: str
    entry: Entry
    done: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def sentence(self) -> str:
        what = f"{self.entry.pipeline} {self.entry.named}"
        if not self.done:
            return f"{what} is current in {self.environment} already: nothing to do"
        return f"{what} is current in {self.environment}: {', '.join(self.done)}"

    def as_json(self) -> dict[str, Any]:
        entry = {"number": self.entry.number, "verb": self.entry.verb, **self.entry.state}
        return {
            "environment": self.environment,
            "changed": bool(self.done),
            "done": self.done,
            "notes": self.notes,
            **entry,
        }


def put_to_work(environment: Environment, kfp: Kubeflow, ledger: Ledger, entry: Entry, release: Release) -> Change:
    """Make a begun entry true, and only then current. Its release, evidence and model are in the environment's store.

    Raises:
        Conflict: another change overtook this one. What is current is made true again before that is told.
    """
    try:
        ledger.require_newest(entry)
        done = _package_and_schedule(kfp, entry, release)
        ledger.require_newest(entry)
        done += _champion(environment, entry)
        entry = ledger.finish(entry)
    except Conflict:
        _restore(environment, kfp, ledger)
        raise
    return Change(environment=environment.name, entry=entry, done=[*done, "noted in the ledger"])


def _restore(environment: Environment, kfp: Kubeflow, ledger: Ledger) -> None:
    """What is current, made true once more: this change may have undone some of it after the other was through."""
    settled = None
    while (current := ledger.current()) and current != settled:
        _package_and_schedule(kfp, current, releases.in_store(environment.store, current.release))
        _champion(environment, current)
        settled = current


def keep_up(environment: Environment, kfp: Kubeflow, entry: Entry, release: Release) -> Change:
    """Mend what is missing of the current entry, but not its champion: a scheduled run may have made a better one since."""
    check(environment, entry.state)
    done, notes = _package_and_schedule(kfp, entry, release), []
    if moved := champion_moved(environment, entry):
        to = entry.version or entry.release[:12]
        notes.append(f"{moved}; `mlops rollback --env {environment.name} --to {to}` sets it back")
    return Change(environment=environment.name, entry=entry, done=done, notes=notes)


def champion_moved(environment: Environment, entry: Entry) -> str:
    """A sentence when the champion is not the model of the entry; empty when it is, or when the entry has none."""
    if not entry.model:
        return ""
    held = open_registry(environment.registry).alias(entry.model["name"], CHAMPION)
    if held is None:
        return "there is no champion, though the ledger names one"
    if held.sha256 == entry.model["sha256"]:
        return ""
    return f"the champion is version {held.version} of run {held.lineage.get('run', 'unknown')}, not that of the ledger"


def champion_is(environment: Environment, model: dict[str, str]) -> bool:
    """Does the alias name that model now?"""
    held = open_registry(environment.registry).alias(model["name"], CHAMPION) if model else None
    return held is not None and held.sha256 == model["sha256"]


def check(environment: Environment, state: Mapping[str, Any]) -> None:
    """The model that an entry wants is in the environment's store, and every file of it is the one that was validated."""
    if (proof := _proof(environment, state)) and proof.model:
        check_model(proof.model, model_folder(environment.store, proof.model))


def model_folder(store: str, model: Model) -> str:
    """Where that model lies in a store: by its hash, in every environment alike."""
    return objects.join(store, "models", model.name, model.sha256)


def check_model(model: Model, folder: str) -> None:
    """Every file of the model is the one that the evidence names."""
    for file, wanted in sorted(model.files.items()):
        url = objects.join(folder, file)
        found = hashlib.sha256(objects.read_bytes(url)).hexdigest() if objects.exists(url) else "nothing"
        if found != wanted:
            what = (
                f"{file} of the model {model.name} is not the one that was validated: {found[:12]}, not {wanted[:12]}"
            )
            raise BytesDiffer(
                what,
                where=url,
                do="find out who changed it, and put the file back; a promotion repeated brings one that is gone",
            )


def copy_model(model: Model, source: str, target: str) -> None:
    """From one store to the other, the ONNX file last: where it is, all of it is. Checked before and afterwards."""
    there, here = model_folder(source, model), model_folder(target, model)
    check_model(model, there)
    for file in sorted(model.files, key=lambda file: file == "model.onnx"):
        if not objects.exists(objects.join(here, file)):
            objects.write_once(objects.join(here, file), objects.read_bytes(objects.join(there, file)))
    check_model(model, here)


def require_not_taken_back(ledger: Ledger, release: Release, environment: Environment) -> None:
    """A command that CI repeats must not undo what a person did in the meantime."""
    if back := ledger.taken_back(release.id):
        what = f"release {release.short} was taken back in {environment.name} by {back.by} at {back.at}"
        do = "deploy or promote a better one; this one in spite of that by `--again`"
        raise Conflict(f"{what}: {back.why}" if back.why else what, where=environment.store, do=do)


def require_runnable(release: Release, environment: Environment) -> None:
    """An archive of code stands for an image on one machine only, and an image that was never pushed is on no other."""
    if environment.endpoint != "local" and (release.code or not is_pushed(release.image)):
        named = "a code archive as its image" if release.code else f"an image that was never pushed ({release.image})"
        what = f"release {release.short} names {named}, which no cluster can pull"
        do = "`mlops image build --push`, then `mlops release`; or `mlops release --image REPO@sha256:...` of one that is there"
        raise WrongUse(what, where=environment.endpoint_setting, do=do)


def version_name(pipeline: str, release: Release) -> str:
    """What the version is called at the KFP API."""
    return f"{pipeline.replace('_', '-')}-{release.short}"


def _proof(environment: Environment, state: Mapping[str, Any]) -> Evidence | None:
    file = state["evidence"]
    return evidences.read(environment.store, state["release"], file).evidence if file else None


def _package_and_schedule(kfp: Kubeflow, entry: Entry, release: Release) -> list[str]:
    """What is referred to is there before what refers to it."""
    done: list[str] = []
    package, name = release.package(entry.pipeline), version_name(entry.pipeline, release)
    if uploaded(kfp, entry.pipeline, name, package) is None:
        done.append("package uploaded")
    version = upload(kfp, entry.pipeline, name, package)
    if schedule(kfp, entry.pipeline, version, entry.schedule, entry.arguments, f"{name}-scheduled"):
        done.append(f"scheduled at `{entry.schedule}`" if entry.schedule else "schedule removed")
    return done


def _champion(environment: Environment, entry: Entry) -> list[str]:
    if not entry.model:
        return []
    done: list[str] = []
    proof = _proof(environment, entry.state)
    registry = open_registry(environment.registry)
    model: ModelVersion | None = registry.find(entry.model["name"], entry.model["sha256"])
    if proof and proof.model:
        url = proof.model.url  # where it was proved, it lies where its pipeline put it
        if proof.environment != environment.name:
            url = objects.join(model_folder(environment.store, proof.model), "model.onnx")
        if model and model.url != url:
            what = f"version {model.version} of {model.name} in the registry names another file: {model.url}"
            raise BytesDiffer(what, where=environment.registry, do=f"delete that version; it must name {url}")
    if model is None and proof and proof.model:
        model, _ = registry.register(
            proof.model.name,
            url=url,
            sha256=proof.model.sha256,
            metrics=proof.model.metrics,
            lineage=proof.model.lineage,
        )
        done.append(f"model registered as version {model.version}")
    if model is None:
        what = f"the model {entry.model['sha256'][:12]} is not in the registry, and no evidence says what to register"
        raise BytesDiffer(what, where=environment.registry, do="deploy or promote the release again")
    held = registry.alias(model.name, CHAMPION)
    if held is None or held.version != model.version:
        registry.set_alias(model.name, CHAMPION, model.version)
        done.append(f"champion moved to version {model.version}")
    return done
