"""`mlops rollback` in full: release, model, alias, schedule and arguments as they were, without building or training."""

from __future__ import annotations

from dataclasses import replace

from delivery import release as releases
from delivery.environments import Environment
from delivery.errors import NothingToRollBackTo
from delivery.kubeflow import connected
from delivery.ledger import Entry, Ledger
from delivery.prove import known_pipeline
from delivery.settling import Change, champion_moved, check, keep_up, put_to_work

LATEST = 10  # entries that are told to who names none of them


def rollback(environment: Environment, to: str | None, pipeline: str | None, *, by: str, why: str = "") -> Change:
    """Take back the last change, or go to the version or release that is named.

    A bare rollback after a rollback changes nothing, so that a repeat of one that was cut off goes no further than meant.
    """
    pipeline = known_pipeline(environment, pipeline)
    ledger = Ledger(environment.store, pipeline)
    seen, current = ledger.newest(), ledger.current()
    wanted = _named(ledger, environment, to) if to else _before(ledger, environment, current)
    release = releases.in_store(environment.store, wanted.release)
    release.verify()
    check(environment, wanted.state)
    with connected(environment, releases.unpacked(release, environment.root)) as kfp:
        settled = current is not None and current.state == wanted.state and ledger.unfinished() is None
        if current and settled and not (to and champion_moved(environment, current)):
            change = keep_up(environment, kfp, current, release)
            if to is None:
                note = f"the last change was a rollback already; further back by `--to`: {_told(ledger)}"
                change = replace(change, notes=[note, *change.notes])
            return change
        restores = wanted.restores or wanted.number
        entry = ledger.begin(
            verb="rollback", by=by, why=why, state=wanted.state, run_id=wanted.run_id, restores=restores,
            after=seen, supersede=True,
        )  # fmt: skip
        return put_to_work(environment, kfp, ledger, entry, release)


def _before(ledger: Ledger, environment: Environment, current: Entry | None) -> Entry:
    """What was current before the last change; that change may be one that never came to its end."""
    unfinished = ledger.unfinished()
    if unfinished and unfinished.verb == "rollback":
        return unfinished  # cut off: it is brought to its end
    if unfinished and current:
        return current
    if current and current.verb == "rollback":
        return current  # taken back already
    earlier = [entry for entry in ledger.entries() if entry.done and current and entry.number < current.number]
    if not earlier:
        what = f"{environment.name} has no earlier state to go back to"
        if unfinished:
            what = (
                f"nothing was ever current in {environment.name}: {unfinished.verb} of {unfinished.named} is its first"
            )
        do = f"`mlops status --env {environment.name}` shows what there is"
        raise NothingToRollBackTo(what, where=environment.store, do=do)
    return next((entry for entry in reversed(earlier) if current and entry.state != current.state), earlier[-1])


def _told(ledger: Ledger) -> str:
    """The latest states, by number and name, the newest first."""
    done = [entry for entry in ledger.entries() if entry.done]
    return ", ".join(f"{entry.number}: {entry.named}" for entry in reversed(done[-LATEST:]))


def _named(ledger: Ledger, environment: Environment, to: str) -> Entry:
    """The newest entry of that version, or of the release whose id begins so; or the entry of that number."""
    done = [entry for entry in ledger.entries() if entry.done]
    found = [entry for entry in done if to == entry.version or (len(to) >= 6 and entry.release.startswith(to))]
    found = found or [entry for entry in done if to == str(entry.number)]
    if not found:
        known = _told(ledger) or "nothing yet"
        what = f"`{to}` was never current in {environment.name}"
        raise NothingToRollBackTo(what, where=environment.store, do=f"name one that was: {known}")
    return found[-1]
