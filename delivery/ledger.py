"""What is current in an environment, and what was: one folder of numbered files a pipeline, to which is only ever added.

`000001.json` says what is wanted, and is written by a conditional write, so of two who want the same number one gets it;
`000001.done.json` says that it was made true.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timedelta, timezone
from typing import Any

from delivery.errors import Conflict, Failed
from storage import objects

PATIENCE = timedelta(minutes=15)  # with an entry that nobody finished: a killed CI job must not block for ever
STATE = ("release", "version", "evidence", "model", "schedule", "arguments")
VERBS = {"deploy": "deployment of", "promote": "promotion of", "rollback": "rollback to", "trigger": "retraining of"}
_FILE = re.compile(r"(\d{6})(\.done)?\.json")
_KINDS = {"model": (dict,), "arguments": (dict,), "restores": (int, type(None))}  # all others are text
_NOT_OURS = "find out who wrote that file; nothing but `mlops` writes in that folder, and nothing in it is ever changed"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What somebody wanted an environment to be; `done` once it was so."""

    number: int
    verb: str
    pipeline: str
    release: str
    version: str = ""
    evidence: str = ""  # file name inside the release's evidence/
    run_id: str = ""
    model: dict[str, str] = field(default_factory=dict)  # name and sha256, where the pipeline has one
    schedule: str = ""  # KFP cron with six fields
    arguments: dict[str, Any] = field(default_factory=dict)
    restores: int | None = None  # of a rollback: the number of the entry whose state it brings back
    by: str
    why: str = ""
    at: str  # ISO 8601, UTC
    done: bool = False

    @property
    def state(self) -> dict[str, Any]:
        """What it makes current, without who, when and why."""
        return {name: getattr(self, name) for name in STATE}

    @property
    def named(self) -> str:
        """As a person calls it: its version, where it has one, and its release."""
        return f"{self.version} (release {self.release[:12]})" if self.version else f"release {self.release[:12]}"

    @property
    def sentence(self) -> str:
        """Who began what, and when."""
        return f"{self.by} began the {VERBS[self.verb]} {self.named} at {self.at}"


_WRITTEN = tuple(
    item.name for item in fields(Entry) if item.name not in ("number", "done")
)  # the file's name says these


class Ledger:
    """The ledger of one pipeline in one environment; nothing is remembered between two calls, as others write too."""

    def __init__(self, store: str, pipeline: str) -> None:
        self.pipeline = pipeline
        self.folder = objects.join(store, "ledger", pipeline)

    def entries(self) -> list[Entry]:
        """Oldest first, done or not."""
        return [self._read(number, done) for number, done in self._numbers().items()]

    def newest(self) -> int:
        """The highest number, 0 before the first."""
        return max(self._numbers(), default=0)

    def current(self) -> Entry | None:
        """The highest-numbered one that is done."""
        done = [number for number, done in self._numbers().items() if done]
        return self._read(done[-1], True) if done else None

    def unfinished(self) -> Entry | None:
        """The newest one, when it is not done."""
        newest = self._newest()
        return None if newest is None or newest.done else newest

    def require_free(self, verb: str, release: str) -> None:
        """Nobody else is changing it; asked before a run, which takes long.

        Raises:
            Conflict: another change is going on.
        """
        begun = self.unfinished()
        if begun and (begun.verb, begun.release) != (verb, release) and not _is_old(begun):
            raise self._conflict(begun)

    def require_newest(self, entry: Entry) -> None:
        """Nothing was begun after it.

        Raises:
            Conflict: something was; so this entry will never be current.
        """
        numbers = self._numbers()
        newest = max(numbers, default=0)
        if newest > entry.number:
            newer = self._read(newest, numbers[newest])
            what = f"this {entry.verb} of release {entry.release[:12]} was overtaken: {newer.sentence}"
            do = "`mlops status` shows what is current; begin again if this is still wanted"
            raise Conflict(what, where=self._url(newest), do=do)

    def taken_back(self, release: str) -> Entry | None:
        """The rollback that took that release back, when it is the last change; what came after one has decided anew."""
        current = self.current()
        if current is None or current.restores is None or current.release == release:
            return None
        since = [entry for entry in self.entries() if current.restores < entry.number < current.number]
        return current if any(entry.done and entry.release == release for entry in since) else None

    def begin(
        self,
        *,
        verb: str,
        by: str,
        why: str,
        state: dict[str, Any],
        after: int,
        run_id: str = "",
        restores: int | None = None,
        supersede: bool = False,
    ) -> Entry:
        """A new entry, or the newest one when it wants the same: whoever began it, it is taken up.

        One that was cut off, and wanted the same release with other settings, gives way.

        `after` is the number of the newest entry that the caller knew of when it decided. `supersede` passes over one that nobody
        has finished yet.

        Raises:
            Conflict: another change is going on, or was made since.
        """
        state = json.loads(_bytes(state))  # as it will be read: a tuple is a list there
        while True:
            newest = self._newest()
            if newest and newest.state == state and (newest.number > after if newest.done else newest.verb == verb):
                return newest
            same = newest and (newest.verb, newest.release, newest.version) == (
                verb,
                state["release"],
                state["version"],
            )
            if newest and not newest.done and not supersede and not same and not _is_old(newest):
                raise self._conflict(newest)
            if newest and newest.done and newest.number > after:
                raise self._changed(newest, verb)
            entry = Entry(
                number=newest.number + 1 if newest else 1, pipeline=self.pipeline, verb=verb, by=by, why=why, run_id=run_id,
                restores=restores, at=_now(), **state,
            )  # fmt: skip
            if objects.create(self._url(entry.number), _bytes({name: asdict(entry)[name] for name in _WRITTEN})):
                return entry
            if self.newest() < entry.number:  # nobody was faster, so looking again would never end
                what = "something that is no file stands in the place of the next entry"
                raise Failed(what, where=self._url(entry.number), do=_NOT_OURS)

    def finish(self, entry: Entry) -> Entry:
        """From now on it is current; done already is fine.

        Raises:
            Conflict: a newer one was begun; then nothing is written.
        """
        done = replace(entry, done=True)
        if not self._numbers().get(entry.number):
            self.require_newest(entry)
            objects.create(self._url(entry.number, ".done"), _bytes({"at": _now()}))
        return done

    def _conflict(self, other: Entry) -> Conflict:
        ends = datetime.fromisoformat(other.at) + PATIENCE
        do = (
            "wait for its end; if it was cut off, repeat that very command, or take it back with `mlops rollback` "
            f"(after {ends.isoformat()} it gives way by itself)"
        )
        return Conflict(f"{other.sentence}, and it is not finished", where=self._url(other.number), do=do)

    def _changed(self, other: Entry, verb: str) -> Conflict:
        what = f"what is current changed while this {verb} was prepared: {other.sentence}, and it is done"
        do = "`mlops status` shows what is current; begin again if this is still wanted"
        return Conflict(what, where=self._url(other.number), do=do)

    def _url(self, number: int, done: str = "") -> str:
        return objects.join(self.folder, f"{number:06}{done}.json")

    def _newest(self) -> Entry | None:
        numbers = self._numbers()
        return self._read(max(numbers), numbers[max(numbers)]) if numbers else None

    def _numbers(self) -> dict[int, bool]:
        """Number -> is it done, in order."""
        begun, done = set[int](), set[int]()
        for name in objects.names(self.folder):
            match = _FILE.fullmatch(name)
            if not match:
                url = objects.join(self.folder, name)
                raise Failed(f"{name} is no file of a ledger", where=url, do=_NOT_OURS)
            (done if match[2] else begun).add(int(match[1]))
        for number in sorted(done - begun):
            url = self._url(number)
            raise Failed(f"{number:06}.json of the ledger is missing, and it was done", where=url, do=_NOT_OURS)
        return {number: number in done for number in sorted(begun)}

    def _read(self, number: int, done: bool) -> Entry:
        url = self._url(number)
        try:
            given = json.loads(objects.read_bytes(url))
            if not isinstance(given, dict) or given.keys() != set(_WRITTEN):
                raise ValueError(f"its keys are not {', '.join(_WRITTEN)}")
            wrong = [name for name in _WRITTEN if type(given[name]) not in _KINDS.get(name, (str,))]
            if not wrong:
                wrong += [
                    name for name, known in (("verb", VERBS), ("pipeline", [self.pipeline])) if given[name] not in known
                ]
                model = given["model"]
                texts = all(isinstance(value, str) for value in model.values())
                wrong += ["model"] if model and (model.keys() != {"name", "sha256"} or not texts) else []
            if wrong or datetime.fromisoformat(given["at"]).tzinfo is None:
                raise ValueError(f"wrong value of {', '.join(wrong) or 'at'}")
        except ValueError as error:
            raise Failed(f"{number:06}.json is no entry of the ledger: {error}", where=url, do=_NOT_OURS) from error
        return Entry(number=number, done=done, **given)


def pipelines_in(store: str) -> list[str]:
    """The pipelines of which anything was ever put to work in that store."""
    return objects.folders(objects.join(store, "ledger"))


def _is_old(entry: Entry) -> bool:
    return datetime.now(timezone.utc) - datetime.fromisoformat(entry.at) > PATIENCE


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _bytes(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"
