"""Schedules: made, listed, switched, and fired."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta, timezone

import pytest

from tests.contract import graphs
from tests.contract.server import pages, refusal, where

NEVER = "0 0 0 1 1 *"  # once a year


@pytest.fixture
def schedule(server, client, experiment_id):
    """Make a schedule of the one-step pipeline."""

    def make(name: str = "", **kwargs):
        if "interval_second" not in kwargs:
            kwargs.setdefault("cron_expression", NEVER)
        if "pipeline_id" not in kwargs:
            kwargs.setdefault("pipeline_package_path", server.package(graphs.one_step))
        kwargs.setdefault("experiment_id", experiment_id)
        return client.create_recurring_run(job_name=name or server.name("schedule"), **kwargs)

    return make


def test_a_schedule_by_cron_is_found_as_it_was_made(server, client, experiment_id, schedule):
    name = server.name("cron")
    made = schedule(name, description="each new year", max_concurrency=3, no_catchup=True, params={"text": "x"})

    found = client.get_recurring_run(made.recurring_run_id)

    assert found == made
    assert (found.display_name, found.description, found.experiment_id) == (name, "each new year", experiment_id)
    assert (found.mode, found.status, int(found.max_concurrency), found.no_catchup) == ("ENABLE", "ENABLED", 3, True)
    assert found.trigger.cron_schedule.cron == NEVER
    assert found.runtime_config.parameters == {"text": "x"}
    assert found.pipeline_spec == server.documents(graphs.one_step)[0]


def test_a_schedule_by_interval_names_its_version_and_its_bounds(server, client, schedule):
    pipeline = server.upload("scheduled")
    [version] = client.list_pipeline_versions(pipeline.pipeline_id).pipeline_versions

    made = schedule(
        interval_second=3600,
        pipeline_id=pipeline.pipeline_id,
        version_id=version.pipeline_version_id,
        start_time="2040-01-01T00:00:00Z",
        end_time="2041-01-01T00:00:00Z",
        enabled=False,
    )

    found = client.get_recurring_run(made.recurring_run_id)
    periodic = found.trigger.periodic_schedule
    assert (int(periodic.interval_second), periodic.start_time, periodic.end_time) == (
        3600,
        datetime(2040, 1, 1, tzinfo=timezone.utc),
        datetime(2041, 1, 1, tzinfo=timezone.utc),
    )
    assert (found.mode, found.status) == ("DISABLE", "DISABLED")
    reference = found.pipeline_version_reference
    assert (reference.pipeline_id, reference.pipeline_version_id) == (pipeline.pipeline_id, version.pipeline_version_id)


def test_the_same_schedule_made_twice_is_two_schedules(server, client, schedule):
    name = server.name("twice")

    first, second = schedule(name), schedule(name)

    found = client.list_recurring_runs(filter=where("display_name", "EQUALS", name), namespace=server.namespace)
    ids = {recurring.recurring_run_id for recurring in found.recurring_runs}
    assert ids == {first.recurring_run_id, second.recurring_run_id}


def test_schedules_are_listed_in_order_page_by_page_and_none_twice(server, client, schedule):
    experiment_id, word = server.experiment("schedules"), server.name("paged")
    a, b, c = (schedule(f"{word}-{n}", experiment_id=experiment_id).recurring_run_id for n in range(3))

    def ids(**kwargs):
        found = pages(client.list_recurring_runs, "recurring_runs", experiment_id=experiment_id, **kwargs)
        return [[recurring.recurring_run_id for recurring in page] for page in found]

    assert ids(page_size=2, sort_by="created_at desc") == [[c, b], [a]]
    assert ids(page_size=2, sort_by="display_name") == [[a, b], [c]]
    assert ids(filter=where("display_name", "EQUALS", f"{word}-1")) == [[b]]


def test_a_schedule_is_switched_off_and_on_however_often(client, schedule):
    recurring_run_id = schedule().recurring_run_id

    for _ in range(2):
        client.disable_recurring_run(recurring_run_id)
        assert client.get_recurring_run(recurring_run_id).status == "DISABLED"
    for _ in range(2):
        client.enable_recurring_run(recurring_run_id)
        assert client.get_recurring_run(recurring_run_id).status == "ENABLED"


def test_a_deleted_schedule_is_gone(client, schedule):
    recurring_run_id = schedule().recurring_run_id

    client.delete_recurring_run(recurring_run_id)

    assert refusal(client.get_recurring_run, recurring_run_id) == (404, 5, f"Job {recurring_run_id} not found")


def test_a_schedule_fires_runs_one_after_the_other_until_it_is_off(server, client, schedule):
    experiment_id, name = server.experiment("fired"), server.name("fired")
    made = schedule(name, experiment_id=experiment_id, interval_second=1, params={"text": "by the clock"})

    def fired(count: int):
        runs = client.list_runs(experiment_id=experiment_id, sort_by="scheduled_at").runs or []
        return runs if len(runs) >= count else None

    server.until(lambda: fired(2), "two runs of a schedule")
    client.disable_recurring_run(made.recurring_run_id)

    runs = [server.ended(run.run_id) for run in fired(2)]
    assert {run.state for run in runs} == {"SUCCEEDED"}
    assert {run.recurring_run_id for run in runs} == {made.recurring_run_id}
    assert {run.runtime_config.parameters["text"] for run in runs} == {"by the clock"}
    assert len({run.display_name for run in runs}) == len(runs)
    due = [run.scheduled_at for run in runs]
    assert due == sorted(set(due))
    if server.is_localkfp:  # a cluster's clock looks every ten seconds
        created = client.get_recurring_run(made.recurring_run_id).created_at
        assert created < due[0] <= created + timedelta(seconds=2)
        assert {later - earlier for earlier, later in itertools.pairwise(due)} == {timedelta(seconds=1)}
    by_schedule = client.list_runs(
        experiment_id=experiment_id, filter=where("recurring_run_id", "EQUALS", made.recurring_run_id)
    )
    assert len(by_schedule.runs) >= 2


def test_a_schedule_that_is_off_fires_nothing(server, client, schedule):
    experiment_id = server.experiment("off")
    schedule(experiment_id=experiment_id, interval_second=1, enabled=False)
    witness = server.experiment("witness")
    on = schedule(experiment_id=witness, interval_second=1)

    server.until(lambda: client.list_runs(experiment_id=witness).runs, "a run of the other schedule")
    client.delete_recurring_run(on.recurring_run_id)

    assert client.list_runs(experiment_id=experiment_id).runs is None


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"cron_expression": "1 * *"}, "Schedule cron is not a supported format"),
        ({"cron_expression": "0 0 0 L * *"}, "Schedule cron is not a supported format"),
        ({"cron_expression": "0 0 0 * * 7"}, "Schedule cron is not a supported format"),
        ({"cron_expression": "60 0 0 * * *"}, "Schedule cron is not a supported format"),
        ({"interval_second": -1}, "Found invalid period schedule interval -1. Set at interval to least 1 second"),
        ({"max_concurrency": 0}, "Max concurrency of a recurring run must be at least 1 and at most 10. Received 0"),
        ({"max_concurrency": 11}, "Max concurrency of a recurring run must be at least 1 and at most 10. Received 11"),
        ({"params": {"nobodys": 1}}, "parameter(s) provided are not required by pipeline: nobodys"),
        ({"params": {"text": 1}}, "input parameter text requires type string"),
    ],
)
def test_a_schedule_that_cannot_be_kept_is_refused(server, client, schedule, asked, said):
    name = server.name("refused")

    status, code, message = refusal(schedule, name, **asked)

    assert (status, code, said in message) == (400, 3, True), message
    assert client.list_recurring_runs(filter=where("display_name", "EQUALS", name)).recurring_runs is None


@pytest.mark.parametrize("cron", ["*/5 * * * * *", "0 0 9 ? * MON-FRI", "0 30 4 1,15 * 0", "@daily", "@every 1h30m"])
def test_the_ways_to_write_a_cron_are_kept_as_written(client, schedule, cron):
    made = schedule(cron_expression=cron, enabled=False)

    assert client.get_recurring_run(made.recurring_run_id).trigger.cron_schedule.cron == cron


@pytest.mark.parametrize("both", [{}, {"cron_expression": NEVER, "interval_second": 5}])
def test_a_schedule_has_a_cron_or_an_interval_and_not_both(server, client, experiment_id, both):
    with pytest.raises(ValueError, match="Either interval_second or cron_expression is required"):
        client.create_recurring_run(
            experiment_id, server.name("either"), pipeline_package_path=server.package(graphs.one_step), **both
        )
