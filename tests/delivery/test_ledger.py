from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from moto.s3.responses import S3Response

from delivery.errors import Conflict, Failed
from delivery.ledger import Entry, Ledger, pipelines_in
from storage import objects

ONE, TWO = "1" * 64, "2" * 64


@pytest.fixture(params=["file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "file":
        return f"file:{tmp_path}/store"
    put, lock = S3Response._key_response_put, threading.Lock()

    def locked(self: S3Response, *given: Any) -> Any:
        with lock:  # S3 looks and writes in one act; moto needs a lock for that
            return put(self, *given)

    monkeypatch.setattr(S3Response, "_key_response_put", locked)
    return request.getfixturevalue("s3").bucket("store")


@pytest.fixture
def ledger(store: str) -> Ledger:
    return Ledger(store, "greet")


def state_of(release: str, **others: Any) -> dict[str, Any]:
    empty = {"version": "", "evidence": "", "model": {}, "schedule": "", "arguments": {}}
    return {"release": release, **empty, **others}


def begin(ledger: Ledger, release: str = ONE, verb: str = "promote", by: str = "Ada", **others: Any) -> Entry:
    others = {"after": ledger.newest(), "why": "it is time", "state": state_of(release), **others}
    return ledger.begin(verb=verb, by=by, **others)


def written(ledger: Ledger, number: int, change: Callable[[dict[str, Any]], Any]) -> None:
    url = objects.join(ledger.folder, f"{number:06}.json")
    value = objects.read_json(url)
    objects.write_json(url, change(value) or value)


def an_hour_ago() -> str:
    return (datetime.now(timezone.utc) - timedelta(hours=1)).isoformat(timespec="seconds")


def test_a_ledger_that_is_not_there_is_empty(store, ledger):
    assert (ledger.entries(), ledger.newest(), ledger.current(), ledger.unfinished()) == ([], 0, None, None)
    assert pipelines_in(store) == []


def test_an_entry_is_read_as_it_was_begun_and_is_current_once_it_is_finished(store, ledger):
    state = state_of(
        ONE, version="v1.2.3", evidence="greet-r1.json", model={"name": "toy", "sha256": TWO},
        schedule="0 0 4 * * *", arguments={"name": "Ünï", "rows": [1, 2.5, None]},
    )  # fmt: skip

    begun = begin(ledger, verb="deploy", state=state, run_id="r1")

    assert (begun.number, begun.verb, begun.pipeline, begun.run_id, begun.restores) == (
        1,
        "deploy",
        "greet",
        "r1",
        None,
    )
    assert (begun.by, begun.why, begun.done, begun.state) == ("Ada", "it is time", False, state)
    assert datetime.fromisoformat(begun.at).utcoffset() == timedelta(0)
    assert (ledger.entries(), ledger.current(), ledger.unfinished()) == ([begun], None, begun)

    done = ledger.finish(begun)

    assert done.done
    assert (ledger.entries(), ledger.current(), ledger.unfinished()) == ([done], done, None)
    assert objects.names(ledger.folder) == ["000001.done.json", "000001.json"]
    assert (pipelines_in(store), Ledger(store, "other").entries()) == (["greet"], [])


def test_entries_are_sorted_by_number_and_current_is_the_newest_that_is_done(ledger):
    for number in range(1, 12):
        entry = begin(ledger, f"{number}" * 64)
        if number < 11:
            ledger.finish(entry)

    assert [entry.number for entry in ledger.entries()] == [*range(1, 12)]
    assert (ledger.newest(), getattr(ledger.current(), "number", None)) == (11, 10)


def test_a_state_that_the_caller_knew_to_be_current_is_a_new_entry(ledger):
    first = ledger.finish(begin(ledger))

    again = begin(ledger, restores=first.number)

    assert (again.number, again.restores, again.state, again.done) == (2, 1, first.state, False)


def test_what_was_begun_and_not_finished_is_taken_up_by_whoever_repeats_it(ledger):
    state = state_of(ONE, arguments={"pair": ("a", "b")})
    begun = begin(ledger, state=state)

    again = begin(Ledger(ledger.folder.removesuffix("/ledger/greet"), "greet"), by="Bob", state=state)

    assert again == begun
    assert again.by == "Ada"
    assert objects.names(ledger.folder) == ["000001.json"]


@pytest.mark.parametrize(
    ("verb", "release"), [("promote", TWO), ("deploy", ONE)], ids=["another state", "another verb"]
)
def test_another_change_that_goes_on_is_named_and_nothing_is_written(ledger, verb, release):
    begun = begin(ledger, state=state_of(ONE, version="v1.0.0"))

    with pytest.raises(Conflict) as refused:
        begin(ledger, verb=verb, by="Bob", state=state_of(release, version="v1.0.0"))

    error, ends = refused.value, datetime.fromisoformat(begun.at) + timedelta(minutes=15)
    assert error.what == (
        f"Ada began the promotion of v1.0.0 (release 111111111111) at {begun.at}, and it is not finished"
    )
    assert error.where == f"{ledger.folder}/000001.json"
    assert error.do == (
        "wait for its end; if it was cut off, repeat that very command, or take it back with `mlops rollback` "
        f"(after {ends.isoformat()} it gives way by itself)"
    )
    assert objects.names(ledger.folder) == ["000001.json"]


def test_a_change_that_nobody_finished_in_a_quarter_of_an_hour_gives_way(ledger):
    begin(ledger)
    written(ledger, 1, lambda entry: entry.update(at=an_hour_ago()))

    assert begin(ledger, TWO).number == 2


def test_a_change_that_was_begun_ten_minutes_ago_does_not_give_way(ledger):
    ago = (datetime.now(timezone.utc) - timedelta(minutes=10)).isoformat()
    begin(ledger)
    written(ledger, 1, lambda entry: entry.update(at=ago))

    with pytest.raises(Conflict, match="Ada began"):
        begin(ledger, TWO)


def test_a_rollback_passes_over_what_is_not_finished_and_that_can_no_longer_be_finished(ledger):
    first = ledger.finish(begin(ledger))
    late = begin(ledger, TWO)

    back = begin(ledger, verb="rollback", by="Bob", restores=first.number, supersede=True)
    with pytest.raises(Conflict) as refused:
        ledger.finish(late)

    assert back.number == 3
    assert refused.value.what == (
        "this promote of release 222222222222 was overtaken: "
        f"Bob began the rollback to release 111111111111 at {back.at}"
    )
    assert ledger.current() == first
    assert "000002.done.json" not in objects.names(ledger.folder)
    assert ledger.finish(back) == ledger.current()


def test_what_is_finished_already_may_be_finished_again_even_when_more_came_after_it(ledger):
    first = begin(ledger)
    ledger.finish(first)
    begin(ledger, TWO)

    assert ledger.finish(first).done
    assert len(objects.names(ledger.folder)) == 3


def test_what_became_current_since_the_caller_looked_is_named(ledger):
    ledger.finish(begin(ledger))
    seen = ledger.newest()
    faster = ledger.finish(begin(ledger, TWO))

    with pytest.raises(Conflict) as refused:
        begin(ledger, "3" * 64, by="Bob", verb="deploy", after=seen)

    assert refused.value.what == (
        "what is current changed while this deploy was prepared: "
        f"Ada began the promotion of release 222222222222 at {faster.at}, and it is done"
    )
    assert ledger.newest() == 2
    assert begin(ledger, TWO, by="Bob", verb="deploy", after=seen) == faster  # the twin: the same was wanted


@pytest.mark.parametrize("same", [False, True], ids=["other states", "the same state"])
def test_of_twenty_that_begin_at_once_one_wins_and_the_others_are_told_who(ledger, same):
    together = threading.Barrier(20)

    def run(number: int) -> Entry | Conflict:
        together.wait()
        try:
            return begin(ledger, ONE if same else f"{number:064}", by=f"person {number}", after=0)
        except Conflict as error:
            return error

    with ThreadPoolExecutor(20) as pool:
        ends = [*pool.map(run, range(20))]

    [entry] = ledger.entries()
    assert ends.count(entry) == (20 if same else 1)
    for end in ends:
        assert end == entry or (isinstance(end, Conflict) and end.what.startswith(f"{entry.by} began the promotion"))


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: [entry],
        lambda entry: entry.pop("by") and None,
        lambda entry: entry.update(mood="good"),
        lambda entry: entry.update(release=7),
        lambda entry: entry.update(verb="destroy"),
        lambda entry: entry.update(pipeline="other"),
        lambda entry: entry.update(model={"x": "y"}),
        lambda entry: entry.update(model={"name": 1, "sha256": 2}),
        lambda entry: entry.update(verb=["deploy"]),
        lambda entry: entry.update(restores=True),
        lambda entry: entry.update(at="yesterday"),
        lambda entry: entry.update(at="2026-01-01T00:00:00"),
    ],
    ids=[
        "list",
        "missing",
        "unknown",
        "type",
        "verb",
        "pipeline",
        "model",
        "numbers",
        "verbs",
        "bool",
        "no time",
        "no zone",
    ],
)
def test_an_entry_that_is_none_is_refused_by_its_name(ledger, change):
    begin(ledger)
    assert len(ledger.entries()) == 1  # the twin

    written(ledger, 1, change)

    for ask in (ledger.entries, ledger.unfinished, lambda: begin(ledger)):
        with pytest.raises(Failed, match=r"000001\.json is no entry of the ledger: ") as refused:
            ask()
        assert refused.value.where == f"{ledger.folder}/000001.json"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("000001.json", b'{"verb": ', "000001.json is no entry of the ledger"),
        ("000001.json", b"\xff", "000001.json is no entry of the ledger"),
        ("notes.txt", b"", "notes.txt is no file of a ledger"),
        ("1.json", b"{}", "1.json is no file of a ledger"),
        ("000002.done.json", b"{}", "000002.json of the ledger is missing, and it was done"),
    ],
    ids=["half", "binary", "foreign", "short", "done alone"],
)
def test_a_foreign_file_is_refused_by_its_name(ledger, name, content, said):
    objects.write_bytes(objects.join(ledger.folder, name), content)

    with pytest.raises(Failed) as refused:
        ledger.entries()

    assert refused.value.what.startswith(said)
    assert refused.value.where.startswith(ledger.folder)


def test_a_folder_in_the_place_of_the_next_entry_ends_in_a_sentence(tmp_path):
    (tmp_path / "ledger/greet/000001.json").mkdir(parents=True)

    with pytest.raises(Failed, match="something that is no file stands in the place of the next entry"):
        begin(Ledger(str(tmp_path), "greet"))
