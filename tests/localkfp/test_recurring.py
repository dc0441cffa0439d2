from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from localkfp import experiments, pipelines, recurring, runs
from localkfp.database import move
from localkfp.errors import ApiError
from localkfp.gateway import as_text
from localkfp.server import LocalKfp

START = datetime(2026, 1, 1, 9, 0, 0, tzinfo=timezone.utc)
NAMED = {"display_name": "Nightly Run!", "max_concurrency": 1, "mode": "ENABLE"}


def at(seconds: float) -> str:
    return as_text(START + timedelta(seconds=seconds))


def every(seconds: int, **span: str) -> dict[str, Any]:
    return {"trigger": {"periodic_schedule": {"interval_second": seconds, **span}}}


def cron(text: str, **span: str) -> dict[str, Any]:
    return {"trigger": {"cron_schedule": {"cron": text, **span}}}


class Clockwork(LocalKfp):
    """A server whose executor sleeps: time passes when a test says so, and a run is over when it says so."""

    spec: dict[str, Any]

    def schedule(self, created: float = 0, **body: Any) -> str:
        given = {**NAMED, "pipeline_spec": self.spec, **body}
        if "pipeline_version_reference" in body:
            del given["pipeline_spec"]
        return str(recurring.create(self, given, at(created))["recurring_run_id"])

    def fire(self, seconds: float) -> float | None:
        return recurring.fire(self, at(seconds))

    def made(self) -> list[dict[str, Any]]:
        with self.database.read() as db:
            return [dict(row) for row in db.execute("select * from runs order by scheduled_at, run_id")]

    def ticks(self) -> list[float]:
        """Of the runs that were made, in seconds since the start."""
        scheduled = [datetime.fromisoformat(run["scheduled_at"].replace("Z", "+00:00")) for run in self.made()]
        return [(tick - START).total_seconds() for tick in scheduled]

    def end_all(self) -> None:
        with self.database.write() as db:
            for run in self.made():
                move(db, run["run_id"], "SUCCEEDED", ("PENDING",))

    def upload(self, spec: dict[str, Any], **query: str) -> str:
        data = json.dumps(spec).encode()
        return str(pipelines.upload(self, {"name": "greeting", **query}, "p.yaml", data)["pipeline_id"])

    def refusal(self, function: Callable[..., Any], *given: Any) -> tuple[int, str]:
        with pytest.raises(ApiError) as refused:
            function(self, *given)
        return refused.value.code.http, refused.value.message


@pytest.fixture
def server(tmp_path: Path, spec: dict[str, Any]) -> Clockwork:
    made = Clockwork(tmp_path / "localkfp")
    made.spec = spec
    return made


# When


def test_the_first_run_of_an_interval_is_due_an_interval_after_its_creation(server):
    server.schedule(**every(60))

    waited = server.fire(59)
    assert (waited, server.ticks()) == (1, [])
    server.fire(61)

    assert server.ticks() == [60]


def test_the_first_run_of_an_interval_is_due_an_interval_after_its_start(server):
    server.schedule(**every(60, start_time="2026-01-01T10:00:00Z"))

    assert server.fire(3600) == 60
    server.fire(3660)

    assert server.ticks() == [3660]


def test_a_start_that_has_passed_is_caught_up_with(server):
    server.schedule(max_concurrency=9, **every(1800, start_time="2026-01-01T08:00:00Z"))

    server.fire(0)

    assert server.ticks() == [-1800, 0]


def test_a_cron_expression_is_read_in_utc(server):
    server.schedule(**cron("0 30 9 * * *"))

    assert server.fire(0) == 1800
    server.fire(1801)

    assert server.ticks() == [1800]


def test_after_its_end_there_is_no_run(server):
    server.schedule(max_concurrency=9, **every(60, end_time="2026-01-01T09:02:00Z"))

    left = server.fire(600)

    assert (left, server.ticks()) == (None, [60, 120])


def test_missed_ticks_are_caught_up_with_as_far_as_concurrency_allows(server):
    server.schedule(max_concurrency=2, **every(60))

    waits = server.fire(250)
    assert (server.ticks(), waits) == ([60, 120], 1)
    server.end_all()
    server.fire(251)

    assert server.ticks() == [60, 120, 180, 240]


@pytest.mark.parametrize("trigger", [every(60), cron("0 * * * * *")])
def test_of_missed_ticks_only_the_latest_is_run_where_it_does_not_catch_up(server, trigger):
    server.schedule(no_catchup=True, **trigger)

    waits = server.fire(250)
    server.end_all()
    server.fire(299)
    assert (server.ticks(), waits) == ([240], 50)
    server.fire(300)

    assert server.ticks() == [240, 300]


def test_a_run_that_is_active_holds_the_next_one_back(server):
    server.schedule(no_catchup=True, **every(60))
    server.fire(60)

    server.fire(130)
    assert server.ticks() == [60]
    server.end_all()
    server.fire(190)

    assert server.ticks() == [60, 180]


def test_a_disabled_one_makes_no_runs(server):
    recurring_run_id = server.schedule(**every(60))

    recurring.disable(server, recurring_run_id)

    assert (server.fire(600), server.ticks()) == (None, [])


@pytest.mark.parametrize(("no_catchup", "missed"), [(True, []), (False, [60, 120, 180, 240, 300])])
def test_what_was_missed_while_it_was_disabled_is_run_only_where_it_catches_up(server, no_catchup, missed):
    recurring_run_id = server.schedule(mode="DISABLE", no_catchup=no_catchup, max_concurrency=10, **every(60))

    recurring.enable(server, recurring_run_id, at(310))
    server.fire(311)
    assert server.ticks() == missed
    recurring.enable(server, recurring_run_id, at(361))  # it is: what is due stays so
    server.fire(362)

    assert server.ticks() == [*missed, 360]


def test_one_of_several_servers_makes_the_run(server):
    for _ in range(3):
        server.schedule(**every(60))
    others = [LocalKfp(server.folder) for _ in range(4)]

    with ThreadPoolExecutor(len(others)) as threads:
        list(threads.map(lambda other: recurring.fire(other, at(60)), others))

    assert server.ticks() == [60, 60, 60]
    assert len({run["recurring_run_id"] for run in server.made()}) == 3


# What


def test_a_run_is_of_its_recurring_run_and_numbered(server):
    recurring_run_id = server.schedule(**every(60))

    server.fire(61)

    [run] = server.made()
    assert (run["recurring_run_id"], run["display_name"]) == (recurring_run_id, "Nightly Run!-1")
    assert (run["state"], run["created_at"], run["owner"]) == (
        *("PENDING", "2026-01-01T09:01:01.000000Z"),
        server.executor.server_id,
    )


def test_macros_in_parameters_tell_the_runs_apart(server):
    text = "[[Index]] of [[ScheduledTime]] at [[CurrentTime]] as [[RunUUID]]"
    server.schedule(max_concurrency=2, runtime_config={"parameters": {"text": text}}, **every(60))

    server.fire(121)

    runs = server.made()
    assert [json.loads(run["parameters"])["text"] for run in runs] == [
        f"1 of 20260101090100 at 20260101090201 as {runs[0]['run_id']}",
        f"2 of 20260101090200 at 20260101090201 as {runs[1]['run_id']}",
    ]


def test_a_pipeline_without_a_version_is_run_in_its_newest_at_every_tick(server, spec):
    pipeline_id = server.upload(spec)
    server.schedule(max_concurrency=2, pipeline_version_reference={"pipeline_id": pipeline_id}, **every(60))
    server.fire(60)
    query = {"name": "v2", "pipelineid": pipeline_id}
    newest = pipelines.upload_version(server, query, "p.yaml", json.dumps(spec).encode())["pipeline_version_id"]

    server.fire(120)

    first, second = (run["pipeline_version_id"] for run in server.made())
    assert (first != newest, second == newest) == (True, True)
    [answer] = recurring.list_(server, {})["recurringRuns"]
    assert answer["pipeline_version_reference"] == {"pipeline_id": pipeline_id}


def test_a_tick_whose_pipeline_is_gone_is_a_failed_run_and_the_others_go_on(server, spec):
    pipeline_id = server.upload(spec)
    broken = server.schedule(pipeline_version_reference={"pipeline_id": pipeline_id}, **every(60))
    server.schedule(**every(60))
    pipelines.delete(server, pipeline_id, {"cascade": "true"})

    server.fire(60)
    server.fire(61)

    assert server.ticks() == [60, 60]
    [failed] = [run for run in server.made() if run["recurring_run_id"] == broken]
    answer = runs.get(server, failed["run_id"])
    assert (answer["state"], answer["finished_at"]) == ("FAILED", answer["created_at"])
    assert f"Pipeline {pipeline_id} not found" in answer["error"]["message"]
    assert server.refusal(runs.retry, failed["run_id"])[0] == 400
    assert runs.get(server, failed["run_id"]) == answer


def test_a_tick_whose_package_is_refused_here_is_a_failed_run(server, spec, monkeypatch):
    spec["deploymentSpec"]["executors"]["exec-say"]["container"]["image"] = "acme/say:1"
    server.know({"acme/say:1": None})
    server.schedule(max_concurrency=9, **every(60))
    with server.database.write() as db:
        db.execute("delete from images")
    other = Clockwork(server.folder)
    monkeypatch.setattr(type(other.executor.engine), "client", None)

    other.fire(300)

    [failed] = server.made()
    assert (failed["state"], server.ticks()) == ("FAILED", [60])  # and the rest not at once
    assert "image acme/say:1 of task say is not known here" in failed["error"]


def test_a_mistake_of_ours_is_a_failed_run_and_the_others_go_on(server, monkeypatch):
    server.schedule(display_name="one", **every(60))
    server.schedule(display_name="two", **every(60))
    mistakes = [RuntimeError("a mistake")]

    def check(_: object) -> None:
        if mistakes:
            raise mistakes.pop()

    monkeypatch.setattr(server.executor, "check", check)

    server.fire(60)

    found = {(run["state"], run["error"]) for run in server.made()}
    assert found == {("FAILED", "RuntimeError('a mistake')"), ("PENDING", None)}


# What is asked of it


def test_it_is_answered_as_it_was_given(server, spec):
    body = {
        **NAMED,
        "description": "why",
        "max_concurrency": 3,
        "no_catchup": True,
        "pipeline_spec": spec,
        "runtime_config": {"parameters": {"text": "a"}},
        "trigger": {"periodic_schedule": {"interval_second": 60, "start_time": "2026-02-01T00:00:00.000000Z"}},
    }

    answer = recurring.create(server, body, at(0))

    assert answer == recurring.get(server, answer["recurring_run_id"])
    assert answer == {
        "recurring_run_id": answer["recurring_run_id"],
        "experiment_id": experiments.list_(server, {})["experiments"][0]["experiment_id"],
        "display_name": "Nightly Run!",
        "description": "why",
        "mode": "ENABLE",
        "status": "ENABLED",
        "max_concurrency": "3",
        "no_catchup": True,
        "pipeline_spec": spec,
        "runtime_config": {"parameters": {"text": "a"}},
        "trigger": {"periodic_schedule": {"interval_second": 60, "start_time": "2026-02-01T00:00:00.000000Z"}},
        "service_account": "pipeline-runner",
        "created_at": "2026-01-01T09:00:00.000000Z",
        "updated_at": "2026-01-01T09:00:00.000000Z",
    }


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"display_name": ""}, 400, "Run name cannot be empty"),
        *(
            (
                {"max_concurrency": number},
                400,
                f"Max concurrency of a recurring run must be at least 1 and at most 10. Received {number}",
            )
            for number in (0, 11, -1)
        ),
        (cron("1 * *"), 400, "Schedule cron is not a supported format"),
        (every(0), 400, "Found invalid period schedule interval 0. Set at interval to least 1 second"),
        ({"trigger": {}}, 400, "a trigger is either a cron_schedule or a periodic_schedule"),
        ({"experiment_id": "x"}, 404, "Experiment x not found"),
        (
            {"pipeline_version_reference": {"pipeline_id": "x", "pipeline_version_id": "y"}},
            500,
            "Internal Server Error",
        ),
        ({"runtime_config": {"parameters": {"text": 1}}}, 400, "input parameter text requires type string"),
    ],
)
def test_what_can_make_no_runs_is_refused_in_the_servers_words(server, spec, body, status, said):
    refused = server.refusal(recurring.create, {**NAMED, **every(60), "pipeline_spec": spec, **body})

    assert (refused[0], said in refused[1]) == (status, True), refused
    assert recurring.list_(server, {}) == {}


@pytest.mark.parametrize("function", [recurring.get, recurring.enable, recurring.disable, recurring.delete])
def test_an_unknown_one_is_not_found(server, function):
    assert server.refusal(function, "x") == (404, "Job x not found")


@pytest.mark.parametrize("start", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_a_start_at_an_end_of_time_is_one_like_any_other(ask, spec, start):
    trigger = every(86400, start_time=start)
    body = {**NAMED, "pipeline_spec": spec, **trigger}

    status, made = ask("POST", recurring.ALL, body)

    assert (status, made["trigger"]["periodic_schedule"]["start_time"][:19]) == (200, start[:19])
    assert ask("GET", recurring.ALL)[1]["recurringRuns"][0] == made


@pytest.mark.parametrize(
    "asked",
    [
        {"mode": "SOMETIMES"},
        {"max_concurrency": "many"},
        {"trigger": {"cron_schedule": "@daily"}},
        {"trigger": {"lunar_schedule": {}}},
        every(60, start_time="tomorrow"),
        every(60, start_time="0001-01-01T00:00:00+05:00"),
        every(2**70),
    ],
)
def test_what_has_not_the_type_that_it_should_have_is_refused(ask, spec, asked):
    status, answer = ask("POST", recurring.ALL, {**NAMED, **every(60), "pipeline_spec": spec, **asked})

    assert (status, answer["code"]) == (400, 3)


def test_a_deleted_one_leaves_its_runs(server):
    recurring_run_id = server.schedule(**every(60))
    server.fire(60)

    recurring.delete(server, recurring_run_id)

    assert (server.fire(600), server.ticks(), recurring.list_(server, {})) == (None, [60], {})


def test_an_archived_experiment_makes_no_more_runs(server):
    recurring_run_id = server.schedule(**every(60))

    experiments.archive(server, recurring.get(server, recurring_run_id)["experiment_id"])

    assert (server.fire(600), server.ticks()) == (None, [])
    assert recurring.get(server, recurring_run_id)["status"] == "DISABLED"


def test_a_server_makes_the_runs_of_a_schedule_by_itself(kfp_server, client, package):
    made = client.create_recurring_run(
        client.create_experiment("e").experiment_id, "quick", interval_second=1, pipeline_package_path=package
    )

    deadline = time.monotonic() + 10
    while not (found := client.list_runs().runs):
        assert time.monotonic() < deadline
        time.sleep(0.05)

    assert found[0].recurring_run_id == made.recurring_run_id
    assert found[0].display_name == "quick-1"
    assert found[0].scheduled_at == made.created_at + timedelta(seconds=1)
