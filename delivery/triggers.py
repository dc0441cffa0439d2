"""`mlops trigger` in full: what is current in an environment is trained again, and passes the same gates."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timezone

from rich.console import Console

from delivery import release as releases
from delivery.deploy import model_of
from delivery.environments import Environment
from delivery.errors import Failed, WrongUse, meant
from delivery.kubeflow import connected
from delivery.ledger import Ledger
from delivery.prove import arguments_of, known_pipeline, prove
from delivery.settling import Change, champion_is, put_to_work, version_name

KINDS = ("data", "schedule")
EVENT = re.compile(r"[\w.-]{1,64}", re.ASCII)


def trigger(
    kind: str,
    environment: Environment,
    pipeline: str | None,
    given: Sequence[str],
    talk: Console,
    *,
    event: str = "",
    by: str,
    why: str = "",
) -> Change:
    """Run the released package again; a model that its gates let become the champion is current afterwards.

    `event` names what happened: the same event twice is one run. Without it each call makes a new one.
    """
    if kind not in KINDS:
        raise WrongUse(f"`{kind}` is nothing that can trigger a training", where="mlops trigger", do=meant(kind, KINDS))
    pipeline = known_pipeline(environment, pipeline)
    ledger = Ledger(environment.store, pipeline)
    seen, current = ledger.newest(), ledger.current()
    if current is None:
        do = f"`mlops deploy RELEASE --env {environment.name}`, or promote one there, first"
        raise Failed(f"no release of {pipeline} is current in {environment.name}", where=environment.store, do=do)
    if event and not EVENT.fullmatch(event):
        do = "up to 64 letters, digits, dots, dashes and underscores"
        raise WrongUse(f"`{event}` cannot be part of a run's name", where="--id", do=do)
    ledger.require_free("trigger", current.release)
    release = releases.in_store(environment.store, current.release)
    release.verify()
    arguments = arguments_of(release, environment, pipeline, given)
    event = event or datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S")
    with connected(environment, releases.unpacked(release, environment.root)) as kfp:
        name = f"{version_name(pipeline, release)}-{kind}-{event}"
        signed = prove(environment, kfp, release, pipeline, arguments, talk, name=name)
        model = model_of(signed.evidence)
        if model == current.model or not champion_is(environment, model):
            done = [f"trained again by run {signed.evidence.run_name}, and the champion stays"]
            return Change(environment=environment.name, entry=current, done=done)
        state = {**current.state, "evidence": signed.file, "model": model}
        why = why or f"{kind} {event}"
        entry = ledger.begin(verb="trigger", by=by, why=why, state=state, run_id=signed.evidence.run_id, after=seen)
        return put_to_work(environment, kfp, ledger, entry, release)
