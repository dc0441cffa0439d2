"""`mlops trigger`: the released package again, on what there is now."""

import json
import re

from delivery.kubeflow import connected
from tests.delivery.delivered import Project


def test_a_better_model_of_new_data_is_current_and_can_be_taken_back(proved: Project) -> None:
    first = proved.current("local-dev")
    release = first.release

    assert proved.mlops("trigger", "data", "-p", "source=rich week", "--id", "upload-7").ok

    current = proved.current("local-dev")
    assert (current.verb, current.release, current.why) == ("trigger", release, "data upload-7")
    assert current.run_id in current.evidence
    assert current.run_id != first.run_id
    assert proved.champion("local-dev") == "first on rich week"
    assert proved.mlops("rollback", "--env", "local-dev").ok
    assert proved.champion("local-dev") == "first on week 1"


def test_a_model_that_is_no_better_changes_nothing(proved: Project) -> None:
    before = proved.current("local-dev")

    said = proved.mlops("trigger", "data", "-p", "source=week 2").ok

    assert re.search(r"trained again by run answer-\w{12}-data-\d{8}-\d{6}-1, and the champion stays", said)
    assert proved.current("local-dev") == before
    assert proved.champion("local-dev") == "first on week 1"


def test_the_same_event_twice_is_one_run(proved: Project) -> None:
    release = proved.current("local-dev").release

    for _ in range(2):
        assert proved.mlops("trigger", "data", "-p", "source=week 2", "--id", "upload-7").ok

    with connected(proved.environment("local-dev")) as kfp:
        assert kfp.latest(5) == [f"answer-{release[:12]}-data-upload-7-1", f"answer-{release[:12]}-1"]


def test_an_event_that_comes_again_after_a_rollback_changes_nothing(proved: Project) -> None:
    words = ("trigger", "data", "-p", "source=rich week", "--id", "upload-7")
    assert proved.mlops(*words).ok
    assert proved.mlops("rollback", "--env", "local-dev").ok

    assert "the champion stays" in proved.mlops(*words).ok

    assert proved.champion("local-dev") == "first on week 1"


def test_the_name_of_an_event_leads_nowhere_else(proved: Project) -> None:
    outcome = proved.mlops("trigger", "data", "--id", "../../elsewhere")

    assert outcome.exit_code == 2
    assert "cannot be part of a run's name" in outcome.err


def test_nothing_can_be_trained_again_where_nothing_is_current(proved: Project) -> None:
    outcome = proved.mlops("trigger", "schedule", "--env", "local-prod")

    assert outcome.exit_code == 1
    assert "no release of answer is current in local-prod" in outcome.err


def test_what_happened_must_be_a_known_kind(proved: Project) -> None:
    outcome = proved.mlops("trigger", "moon")

    assert outcome.exit_code == 2
    assert "data" in outcome.err


def test_a_gate_refuses_a_model_of_new_data_too(proved: Project) -> None:
    before = proved.current("local-dev")

    outcome = proved.mlops("trigger", "data", "-p", "source=bad week")

    assert outcome.exit_code == 3
    assert proved.current("local-dev") == before
    assert proved.champion("local-dev") == "first on week 1"


def test_the_schedule_trains_with_the_settings_of_the_environment(proved: Project) -> None:

    assert proved.mlops("trigger", "schedule", "--json").ok
    assert json.loads(proved.mlops("status", "--env", "local-dev", "--json").ok)[0]["health"] == "ok"
