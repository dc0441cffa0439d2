from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from components import IMAGE
from delivery.environments import read_environment
from delivery.errors import NoAnswer, WrongUse
from delivery.kubeflow import Kubeflow, Version, connected
from delivery.runs import Plan
from delivery.scheduling import Scheduled, schedule, scheduled
from delivery.uploading import upload
from localkfp.server import ThreadedLocalKfp
from tests.delivery.unreliable import CutAt, unreliable

YEARLY, DAILY = "0 0 0 1 1 *", "0 0 3 * * *"
NAME = "silent-v1-scheduled"


@pytest.fixture
def server(project: Path) -> Iterator[ThreadedLocalKfp]:
    with ThreadedLocalKfp(images={IMAGE: project}) as server:
        yield server


@pytest.fixture
def kfp(server: ThreadedLocalKfp) -> Iterator[Kubeflow]:
    with connected(replace(read_environment("local-dev"), endpoint=server.url)) as kfp:
        yield kfp


@pytest.fixture
def version(kfp: Kubeflow, plan: Plan) -> Version:
    return upload(kfp, "silent", "v1", plan.package)


def told(schedules: list[Scheduled]) -> list[tuple[str, str, str, dict[str, Any], bool]]:
    return [(one.name, one.cron, one.version_id, one.arguments, one.enabled) for one in schedules]


def test_a_schedule_is_made_once_and_found_as_it_was_wanted(
    kfp: Kubeflow, server: ThreadedLocalKfp, version: Version
) -> None:
    assert scheduled(kfp, "silent") == []

    changes = [schedule(kfp, "silent", version, YEARLY, {"fail": False}, NAME) for _ in range(2)]

    assert changes == [True, False]
    assert told(scheduled(kfp, "silent")) == [(NAME, YEARLY, version.version_id, {"fail": False}, True)]
    [row] = server.dump()["recurring_runs"]
    assert (row["max_concurrency"], bool(row["no_catchup"])) == (1, True)
    [experiment] = [row["display_name"] for row in server.dump()["experiments"] if row["display_name"] != "Default"]
    assert experiment == "silent"


@pytest.mark.parametrize("change", ["cron", "arguments", "version", "disabled"])
def test_what_differs_is_replaced(kfp: Kubeflow, version: Version, plan: Plan, change: str) -> None:
    schedule(kfp, "silent", version, YEARLY, {"fail": False}, NAME)
    [before] = scheduled(kfp, "silent")
    cron, arguments = YEARLY, {"fail": False}
    match change:
        case "cron":
            cron = DAILY
        case "arguments":
            arguments = {"fail": True}
        case "version":
            version = upload(kfp, "silent", "v2", plan.package)
        case "disabled":
            kfp.client.disable_recurring_run(before.id)

    assert schedule(kfp, "silent", version, cron, arguments, NAME)

    [after] = scheduled(kfp, "silent")
    assert after.id != before.id
    assert told([after]) == [(NAME, cron, version.version_id, arguments, True)]


def test_an_empty_cron_takes_the_schedule_away_and_makes_no_experiment(
    kfp: Kubeflow, server: ThreadedLocalKfp, version: Version
) -> None:
    assert not schedule(kfp, "silent", version, "", {}, NAME)
    assert [row["display_name"] for row in server.dump()["experiments"]] == ["Default"]

    schedule(kfp, "silent", version, YEARLY, {}, NAME)
    changes = [schedule(kfp, "silent", version, "", {}, NAME) for _ in range(2)]

    assert changes == [True, False]
    assert server.dump()["recurring_runs"] == []


def test_what_people_made_beside_it_is_left_alone(kfp: Kubeflow, version: Version) -> None:
    def by_hand(name: str, experiment: str) -> str:
        made = kfp.client.create_recurring_run(
            kfp.experiment(experiment),
            name,
            cron_expression=YEARLY,
            pipeline_id=version.pipeline_id,
            version_id=version.version_id,
        )
        return str(made.recurring_run_id)

    theirs = {by_hand("mine", "silent"), by_hand("silent", "silent"), by_hand("silent-v1", "another")}
    ours = {by_hand("silent-old", "silent")}

    schedule(kfp, "silent", version, DAILY, {}, NAME)

    [made] = scheduled(kfp, "silent")
    left = {row["recurring_run_id"] for row in kfp.listed(_all(kfp), "recurringRuns")}
    assert left == theirs | {made.id}
    assert made.id not in ours


def test_a_pipeline_of_several_words_knows_its_schedule_by_either_spelling(kfp: Kubeflow, version: Version) -> None:
    for name in ("very-silent-v1", "very_silent-v2"):
        schedule(kfp, "very_silent", version, DAILY if "v1" in name else YEARLY, {}, name)

    assert [one.name for one in scheduled(kfp, "very_silent")] == ["very_silent-v2"]
    with pytest.raises(ValueError, match="would not be found again"):
        schedule(kfp, "very_silent", version, DAILY, {}, "silent-v1")


def test_of_two_that_were_made_at_once_one_stays(kfp: Kubeflow, version: Version) -> None:
    for _ in range(2):
        kfp.client.create_recurring_run(
            kfp.experiment("silent"),
            NAME,
            cron_expression=YEARLY,
            no_catchup=True,
            pipeline_id=version.pipeline_id,
            version_id=version.version_id,
        )
    older, _ = scheduled(kfp, "silent")

    assert schedule(kfp, "silent", version, YEARLY, {}, NAME)

    assert scheduled(kfp, "silent") == [older]


@pytest.mark.parametrize("part", ["request", "answer"])
@pytest.mark.parametrize("cron", [pytest.param(DAILY, id="another"), pytest.param("", id="none")])
def test_a_schedule_that_is_cut_anywhere_and_repeated_ends_the_same(
    kfp: Kubeflow, server: ThreadedLocalKfp, version: Version, monkeypatch: pytest.MonkeyPatch, part: str, cron: str
) -> None:
    monkeypatch.setattr("delivery.kubeflow.PATIENCE_SECONDS", -1)
    for number in range(20):
        for old in scheduled(kfp, "silent"):
            kfp.client.delete_recurring_run(old.id)
        schedule(kfp, "silent", version, YEARLY, {}, "silent-v0")
        cut = CutAt(number, part)
        with unreliable(server.url, cut) as url, connected(replace(kfp.environment, endpoint=url)) as other:
            with suppress(NoAnswer):
                schedule(other, "silent", version, cron, {}, NAME)
            between = scheduled(kfp, "silent")
        assert between or not cron  # never without one, where one is wanted
        schedule(kfp, "silent", version, cron, {}, NAME)
        wanted: list[object] = [(NAME, cron, version.version_id, {}, True)] if cron else []
        assert list(told(scheduled(kfp, "silent"))) == wanted
        if not cut.was_reached:
            break

    assert 5 <= number < 20


def test_a_cron_that_the_endpoint_does_not_know_is_a_wrong_use_and_keeps_the_old_one(
    kfp: Kubeflow, version: Version
) -> None:
    schedule(kfp, "silent", version, YEARLY, {}, NAME)

    with pytest.raises(WrongUse, match="Schedule cron is not a supported format"):
        schedule(kfp, "silent", version, "every day", {}, NAME)

    assert [one.cron for one in scheduled(kfp, "silent")] == [YEARLY]


def _all(kfp: Kubeflow) -> Any:
    return kfp.client._recurring_run_api.recurring_run_service_list_recurring_runs
