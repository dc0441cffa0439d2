"""Whatever becomes of a step, its record says it; in JSON that every reader can read."""

from __future__ import annotations

import json
from datetime import date, datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from components.errors import GateRefused, StepError
from components.rim import plain, recorded, run_folder, run_id
from storage.objects import StorageError


def strictly(text: str) -> object:
    """JSON without the NaN and Infinity that Python alone can read."""

    def refuse(word: str) -> None:
        raise AssertionError(f"not JSON: {word}")

    return json.loads(text, parse_constant=refuse)


def test_the_run_id_is_read_from_the_environment_when_it_is_asked_for(monkeypatch):
    monkeypatch.setenv("PIPELINE_RUN_ID", "run-8")

    assert run_id() == "run-8"
    assert run_folder("s3://store/mlops") == "s3://store/mlops/runs/run-8"
    assert run_folder("s3://store/mlops", "run-1") == "s3://store/mlops/runs/run-1"


@pytest.mark.parametrize("value", [None, ""])
def test_a_run_without_an_id_is_called_unnamed(monkeypatch, value):
    monkeypatch.delenv("PIPELINE_RUN_ID", raising=False)
    if value is not None:
        monkeypatch.setenv("PIPELINE_RUN_ID", value)

    assert run_id() == "unnamed"
    assert run_folder("store") == "store/runs/unnamed"


def test_the_record_says_running_before_the_work_begins(run):
    with recorded("count", run.store) as facts:
        facts["rows"] = 3
        during = run.record("count")

    started = datetime.fromisoformat(during.pop("started"))
    assert abs((datetime.now(timezone.utc) - started).total_seconds()) < 60
    assert during == {
        "step": "count", "state": "RUNNING", "finished": None, "seconds": None, "error": None, "facts": {},
    }  # fmt: skip


def test_a_step_that_ends_well_has_its_facts_and_its_times(run):
    with recorded("count", run.store) as facts:
        facts.update(rows=3)

    record = run.record("count")
    started, finished = (datetime.fromisoformat(record.pop(name)) for name in ("started", "finished"))
    assert started.utcoffset() == finished.utcoffset() == timezone.utc.utcoffset(None)
    assert record.pop("seconds") == pytest.approx((finished - started).total_seconds(), abs=0.002)
    assert record == {"step": "count", "state": "SUCCEEDED", "error": None, "facts": {"rows": 3}}


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            StepError("no rows", where="charts", do="fetch more"),
            {"kind": "error", "gate": None, "what": "no rows", "where": "charts", "do": "fetch more"},
        ),
        (
            GateRefused("too bad", gate="parity", where="9 rows", do="look"),
            {"kind": "gate", "gate": "parity", "what": "too bad", "where": "9 rows", "do": "look"},
        ),
        (
            StorageError(what="there is no bucket b", where="s3://b", do="make it"),
            {"kind": "error", "gate": None, "what": "there is no bucket b", "where": "s3://b", "do": "make it"},
        ),
        (
            ZeroDivisionError("division by zero"),
            {"kind": "error", "gate": None, "what": "ZeroDivisionError: division by zero", "where": "", "do": ""},
        ),
        (
            KeyboardInterrupt("stopped"),
            {"kind": "error", "gate": None, "what": "KeyboardInterrupt: stopped", "where": "", "do": ""},
        ),
        (SystemExit(137), {"kind": "error", "gate": None, "what": "SystemExit: 137", "where": "", "do": ""}),
    ],
)
def test_a_step_that_dies_says_of_what_and_dies_all_the_same(run, error, told):
    def a_function_of_the_step():
        raise error

    with pytest.raises(type(error)) as raised, recorded("count", run.store):  # the block is the test
        a_function_of_the_step()

    record = run.record("count")
    assert raised.value is error
    assert run.error("count") == told
    assert "a_function_of_the_step" in record["error"]["traceback"]
    assert record["finished"] >= record["started"]
    assert record["seconds"] >= 0


def test_what_was_measured_before_a_refusal_is_kept(run):
    with pytest.raises(GateRefused), recorded("count", run.store) as facts:  # noqa: PT012
        facts["max_difference"] = float("nan")
        raise GateRefused("too far", gate="parity", where="", do="")

    assert run.record("count")["facts"] == {"max_difference": "NaN"}


def test_a_record_is_json_that_every_reader_can_read(run):
    with recorded("count", run.store) as facts:
        facts.update(
            loss=[0.5, float("nan")], top=np.float32("inf"), name="ü", rows=np.int64(3), when=date(2024, 6, 30)
        )

    [file] = (Path(run.store) / "runs" / run.run_id).iterdir()
    read = strictly(file.read_text(encoding="utf-8"))
    assert isinstance(read, dict)
    assert file.name == "count.json"
    assert read["facts"] == {"loss": [0.5, "NaN"], "top": "Infinity", "name": "ü", "rows": 3, "when": "2024-06-30"}


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (float("-inf"), "-Infinity"),
        (np.float32("nan"), "NaN"),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (True, True),
        (None, None),
        ((1, 2.5), [1, 2.5]),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.array([1.0, np.nan]), [1.0, "NaN"]),
        (np.array(7), 7),
        ({1: {"a": [np.int32(3)]}}, {"1": {"a": [3]}}),
        (datetime(2024, 6, 30, 12), "2024-06-30 12:00:00"),
        (Path("a/b"), "a/b"),
    ],
)
def test_facts_become_what_json_can_hold(value, told):
    found = plain(value)

    assert found == told
    assert type(found) is type(told)


def test_each_step_of_a_run_has_a_record_of_its_own_and_a_repeat_writes_it_anew(run):
    for step in ("fetch_data", "train_model"):
        with recorded(step, run.store) as facts:
            facts["of"] = step
    with pytest.raises(StepError), recorded("train_model", run.store):
        raise StepError("no", where="", do="")

    assert run.facts("fetch_data") == {"of": "fetch_data"}
    assert (run.record("train_model")["state"], run.record("train_model")["facts"]) == ("FAILED", {})


def test_records_are_kept_on_s3_as_in_a_folder(s3_run):
    with recorded("count", s3_run.store) as facts:
        facts["rows"] = 3

    assert s3_run.facts("count") == {"rows": 3}


def test_a_store_that_is_not_there_is_said_before_the_work_begins(s3, monkeypatch):
    began = []

    with pytest.raises(StorageError, match="there is no bucket nowhere"), recorded("count", "s3://nowhere/mlops"):
        began.append(True)

    assert began == []


def dead(url, value):
    raise StorageError(what="gone", where=url, do="wait")


def test_a_store_that_dies_with_the_step_does_not_hide_what_the_step_died_of(run, monkeypatch):
    def die():
        with recorded("count", run.store):
            monkeypatch.setattr("storage.objects.write_json", dead)
            raise ValueError("its own reason")

    with pytest.raises(ValueError, match="its own reason"):
        die()

    assert run.record("count")["state"] == "RUNNING"  # so the page shows it as cut off


def test_a_store_that_dies_when_the_step_is_done_is_the_steps_failure(run, monkeypatch):
    with pytest.raises(StorageError, match="gone"), recorded("count", run.store):
        monkeypatch.setattr("storage.objects.write_json", dead)
