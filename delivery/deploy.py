"""`mlops deploy` in full: a release is put into an environment, run there, judged by its gates, and then it is current.

Every part can be repeated: what is there is kept, a run that goes on is taken up, and what the ledger says is made true.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rich.console import Console

from delivery import release as releases
from delivery.environments import Environment
from delivery.errors import NotSigned
from delivery.evidence import Evidence
from delivery.kubeflow import connected
from delivery.ledger import Ledger
from delivery.prove import arguments_of, pipeline_of, prove, proved
from delivery.settling import Change, check, keep_up, put_to_work, require_not_taken_back, require_runnable


def deploy(
    name: str,
    environment: Environment,
    pipeline: str | None,
    talk: Console,
    *,
    by: str,
    why: str = "",
    again: bool = False,
) -> Change:
    """Put the release to work there, and prove it first unless it is proved; `again` proves it in any case."""
    release = releases.find(name, environment)
    release.verify()
    require_runnable(release, environment)
    pipeline = pipeline_of(environment, pipeline)
    arguments = arguments_of(release, environment, pipeline)
    ledger = Ledger(environment.store, pipeline)
    seen, current = ledger.newest(), ledger.current()
    if not again:
        require_not_taken_back(ledger, release, environment)
    ledger.require_free("deploy", release.id)
    if environment.require_signature and not (current and current.release == release.id):
        what = f"{environment.name} takes nothing but what another environment has proved and signed"
        do = f"deploy it where it is proved, then `mlops promote VERSION --from ... --to {environment.name}`"
        raise NotSigned(what, where=f"environments/{environment.name}.yaml, require_signature", do=do)
    release = releases.copy(release, environment.store)
    with connected(environment, releases.unpacked(release, environment.root)) as kfp:
        if current and current.release == release.id and not again:  # its settings may be others
            state = {**current.state, **settings(environment, pipeline, arguments)}
            if state == current.state and ledger.unfinished() is None:
                return keep_up(environment, kfp, current, release)
            run_id, said = current.run_id, []
        else:
            given = None if again else proved(environment, release, pipeline)
            given = given or prove(environment, kfp, release, pipeline, arguments, talk, again=again)
            run_id, verdict = given.evidence.run_id, given.evidence.verdict or "passed"
            said = [f"proved by run {given.evidence.run_name} ({verdict})"]
            state = {
                "release": release.id,
                "version": "",
                "evidence": given.file,
                "model": model_of(given.evidence),
                **settings(environment, pipeline, arguments),
            }
        check(environment, state)
        entry = ledger.begin(verb="deploy", by=by, why=why, state=state, run_id=run_id, after=seen)
        change = put_to_work(environment, kfp, ledger, entry, release)
        return replace(change, done=[*said, *change.done])


def settings(environment: Environment, pipeline: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The part of a ledger's entry that the environment decides."""
    return {"schedule": environment.schedules.get(pipeline, ""), "arguments": arguments}


def model_of(evidence: Evidence) -> dict[str, str]:
    """The part of a ledger's entry that says which model serves."""
    return {"name": evidence.model.name, "sha256": evidence.model.sha256} if evidence.model else {}
