from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from delivery.progress import STYLES
from delivery.runs import RUN_NAME, Progress, State, Task, new_run_name, progress

NOW = datetime.now(timezone.utc)


def one(record: dict[str, Any] | None, *tasks: State, over: bool = False, seconds: float | None = None) -> Progress:
    """What is shown of a step with that record, when the endpoint says that of its tasks."""
    finished = (NOW + timedelta(seconds=seconds)).isoformat() if seconds else "1970-01-01T00:00:00Z"
    told = [Task(step="a", state=state, started=NOW.isoformat(), finished=finished) for state in tasks]
    [step] = progress(["a"], told, {} if record is None else {"a": record}, over=over)
    return step


@pytest.mark.parametrize(
    ("tasks", "over", "state"),
    [
        ([], False, State.WAITING),
        ([], True, State.WAITING),
        ([State.RUNNING], False, State.RUNNING),
        ([State.RUNNING], True, State.LOST),
        ([State.SUCCEEDED], True, State.SUCCEEDED),
        ([State.SUCCEEDED, State.RUNNING], False, State.RUNNING),  # a step in a loop
        ([State.FAILED, State.SUCCEEDED], True, State.FAILED),
    ],
)
def test_a_step_without_a_record_stands_as_the_endpoint_says(tasks: list[State], over: bool, state: State) -> None:
    assert one(None, *tasks, over=over).state is state


def test_a_record_says_more_than_the_endpoint() -> None:
    good = one({"state": "SUCCEEDED", "seconds": 0.5}, State.RUNNING)
    bad = one({"state": "FAILED", "seconds": 0.5, "error": {"what": "no rows"}}, State.FAILED)

    assert (good.state, good.seconds) == (State.SUCCEEDED, 0.5)
    assert (bad.state, bad.seconds, bad.told) == (State.FAILED, 0.5, "no rows")


@pytest.mark.parametrize(("task", "over"), [(State.FAILED, False), (State.LOST, False), (State.RUNNING, True)])
def test_a_step_that_began_and_never_wrote_how_it_ended_is_lost(task: State, over: bool) -> None:
    lost, alive = one({"state": "RUNNING"}, task, over=over), one({"state": "RUNNING"}, State.RUNNING)

    assert (lost.state, lost.told) == (State.LOST, "it ended without writing a result")
    assert alive.state is State.RUNNING


def test_seconds_are_counted_from_the_record_and_else_from_the_task() -> None:
    minute_ago = (datetime.now(timezone.utc) - timedelta(minutes=1)).isoformat(timespec="milliseconds")

    by_record = one({"state": "RUNNING", "started": minute_ago}, State.RUNNING).seconds
    unreadable = one({"state": "RUNNING", "started": "yesterday"}, State.RUNNING).seconds

    assert by_record is not None
    assert 60 <= by_record < 70
    assert unreadable is None
    assert one(None, State.SUCCEEDED, seconds=2.5).seconds == 2.5
    assert one(None, State.RUNNING).seconds is not None


def test_steps_outside_the_graph_are_shown_when_they_have_a_record() -> None:
    tasks = [Task(step=name, state=State.RUNNING) for name in ("a", "exit_handler_1")]

    shown = progress(["a"], tasks, {"b": {"state": "SUCCEEDED"}}, over=False)

    assert [step.step for step in shown] == ["a", "b"]


def test_a_run_name_names_the_pipeline_and_no_two_are_the_same() -> None:
    names = {new_run_name("greet_all") for _ in range(20)}

    assert len(names) > 15  # four hex digits: a collision in one second is rare, not impossible
    assert {named["pipeline"] for name in names if (named := RUN_NAME.fullmatch(name))} == {"greet_all"}


def test_every_state_can_be_shown() -> None:
    assert set(STYLES) == set(State)
