"""`mlops rollback`: release, model, alias and schedule as they were."""

import json
from typing import Any

import pytest

from delivery import release as releases
from delivery import settling, uploading
from delivery.kubeflow import connected
from delivery.ledger import Ledger
from delivery.scheduling import scheduled
from storage.registry import open_registry
from tests.delivery.delivered import Project


def test_release_model_alias_and_schedule_go_back(promoted: Project) -> None:
    first, _ = Ledger(promoted.environment("local-prod").store, "answer").entries()
    assert promoted.champion("local-prod") == "v2 on week 1"

    said = promoted.mlops("rollback", "--env", "local-prod", "--why", "v2 is slow").ok

    current = promoted.current("local-prod")
    assert current.state == first.state
    assert (current.verb, current.restores, current.why) == ("rollback", first.number, "v2 is slow")
    assert current.run_id == first.run_id
    assert promoted.champion("local-prod") == "v1 on week 1"
    assert f"v1 (release {first.release[:12]}) is current in local-prod: " in said
    with connected(promoted.environment("local-prod")) as kfp:
        (schedule,) = scheduled(kfp, "answer")
        assert (schedule.cron, schedule.name) == ("0 0 1 * * *", f"answer-{first.release[:12]}-scheduled")
        assert schedule.arguments == first.arguments


def test_what_runs_after_a_rollback_is_the_code_that_was_released_then(promoted: Project) -> None:
    promoted.code("nobody released this", 0.9)
    assert promoted.mlops("rollback", "--env", "local-prod").ok

    assert promoted.mlops("trigger", "data", "--env", "local-prod", "-p", "source=week 2").ok

    (log,) = (promoted.root / ".mlops/local-prod/logs").rglob("run.log")
    assert "trained by the code of v1" in log.read_text()


def test_a_bare_rollback_after_a_rollback_goes_no_further(promoted: Project) -> None:
    promoted.delivered("v3", 0.8, "v3")
    assert promoted.mlops("promote", "v3", "--from", "local-dev", "--to", "local-prod").ok

    assert "v2" in promoted.mlops("rollback", "--env", "local-prod").ok
    again = promoted.mlops("rollback", "--env", "local-prod").ok
    assert "nothing to do" in again
    assert "the last change was a rollback already" in again
    assert "1: v1 (release" in again

    assert promoted.current("local-prod").version == "v2"
    assert "v1" in promoted.mlops("rollback", "--env", "local-prod", "--to", "v1").ok
    assert promoted.champion("local-prod") == "v1 on week 1"
    assert "v3" in promoted.mlops("rollback", "--env", "local-prod", "--to", "v3").ok
    assert promoted.champion("local-prod") == "v3 on week 1"


def test_there_must_be_something_to_go_back_to(proved: Project) -> None:
    nothing = proved.mlops("rollback", "--env", "local-prod")
    assert proved.mlops("promote", "v1", "--from", "local-dev", "--to", "local-prod").ok
    only_one = proved.mlops("rollback", "--env", "local-prod")
    unknown = proved.mlops("rollback", "--env", "local-prod", "--to", "v9")
    other = proved.mlops("rollback", "--env", "local-prod", "--pipeline", "anser")

    assert (other.exit_code, "did you mean `answer`?" in other.err) == (2, True)
    assert [outcome.exit_code for outcome in (nothing, only_one, unknown)] == [1, 1, 1]
    assert "no earlier state" in nothing.err
    assert "no earlier state" in only_one.err
    assert "`v9` was never current in local-prod" in unknown.err
    assert "v1 (release" in unknown.err


def test_what_was_taken_back_comes_again_only_when_someone_insists(promoted: Project) -> None:
    promote = ("promote", "v2", "--from", "local-dev", "--to", "local-prod")
    assert promoted.mlops("rollback", "--env", "local-prod", "--by", "Eve", "--why", "it is slow").ok

    repeated = promoted.mlops(*promote)

    assert repeated.exit_code == 1
    assert "was taken back in local-prod by Eve at" in repeated.err
    assert "it is slow" in repeated.err
    assert promoted.champion("local-prod") == "v1 on week 1"
    assert promoted.mlops(*promote, "--again").ok
    assert promoted.champion("local-prod") == "v2 on week 1"


def test_what_a_rollback_led_to_may_be_promoted_again(promoted: Project) -> None:
    assert promoted.mlops("rollback", "--env", "local-prod").ok

    assert promoted.mlops("promote", "v1", "--from", "local-dev", "--to", "local-prod").ok
    assert promoted.current("local-prod").version == "v1"


def test_a_promotion_that_was_cut_off_is_taken_back(promoted: Project) -> None:
    ledger = Ledger(promoted.environment("local-prod").store, "answer")
    current = promoted.current("local-prod")
    ledger.begin(verb="promote", by="Bob", why="", state={**current.state, "version": "v3"}, after=current.number)
    assert "promote of v3" in promoted.mlops("status", "--json").ok
    refused = promoted.mlops("promote", "v1", "--from", "local-dev", "--to", "local-prod")

    said = promoted.mlops("rollback", "--env", "local-prod").ok

    assert refused.exit_code == 1
    assert "Bob" in refused.err
    assert "v2 (release" in said
    assert [(entry.verb, entry.done) for entry in ledger.entries()[-2:]] == [("promote", False), ("rollback", True)]
    assert "nothing to do" in promoted.mlops("rollback", "--env", "local-prod").ok
    assert promoted.champion("local-prod") == "v2 on week 1"


def test_a_rollback_that_was_cut_off_is_brought_to_its_end(promoted: Project) -> None:
    ledger = Ledger(promoted.environment("local-prod").store, "answer")
    first, second = ledger.entries()
    begun = ledger.begin(verb="rollback", by="Bob", why="", state=first.state, restores=1, after=second.number)

    assert "v1" in promoted.mlops("rollback", "--env", "local-prod").ok

    assert (promoted.current("local-prod").number, promoted.current("local-prod").by) == (begun.number, "Bob")


def test_what_never_came_to_its_end_is_not_gone_back_to(promoted: Project) -> None:
    ledger = Ledger(promoted.environment("local-prod").store, "answer")
    first, second = ledger.entries()
    ledger.begin(verb="promote", by="Bob", why="", state={**second.state, "version": "v3"}, after=2)
    newer = {**first.state, "schedule": "0 0 9 * * *"}
    ledger.finish(ledger.begin(verb="promote", by="Ada", why="", state=newer, after=3, supersede=True))
    back = "rollback", "--env", "local-prod"

    for name in ("v3", first.release[:5]):
        assert "was never current" in promoted.mlops(*back, "--to", name).err
    assert "v2" in promoted.mlops(*back).ok
    assert promoted.mlops(*back, "--to", first.release[:8]).ok
    assert promoted.current("local-prod").state == newer  # the newest of that name


@pytest.mark.parametrize(
    "words",
    ["deploy,{},--env", "promote,v1,--from,local-dev,--to", "rollback,--env", "trigger,data,-p,source=rich week,--env"],
)
def test_a_change_that_somebody_made_meanwhile_is_not_undone(
    promoted: Project, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    ledger, unpacked = Ledger(promoted.environment("local-prod").store, "answer"), releases.unpacked
    first, second = ledger.entries()
    promoted.schedule("local-prod", "0 0 7 * * *")

    def meanwhile(*given: Any) -> Any:
        state = {**first.state, "version": "v0"}
        ledger.finish(ledger.begin(verb="promote", by="Bob", why="", state=state, after=2))
        return unpacked(*given)

    monkeypatch.setattr(releases, "unpacked", meanwhile)
    outcome = promoted.mlops(*words.format(second.release).split(","), "local-prod")

    assert outcome.exit_code == 1
    assert "was prepared: Bob" in outcome.err
    assert promoted.current("local-prod").by == "Bob"


def test_a_champion_that_a_run_moved_is_set_back_by_name(promoted: Project) -> None:
    registry = open_registry(promoted.environment("local-prod").registry)
    other, _ = registry.register(
        "answer", url="file:/x", sha256="0" * 64, metrics={}, lineage={"run": "a scheduled one"}
    )
    registry.set_alias("answer", "champion", other.version)

    again = promoted.mlops("promote", "v2", "--from", "local-dev", "--to", "local-prod").ok

    assert "nothing to do" in again
    assert "a scheduled one" in again
    assert "rollback --env local-prod --to v2" in again
    for _ in range(2):
        assert promoted.mlops("rollback", "--env", "local-prod", "--to", "v2").ok
        assert promoted.champion("local-prod") == "v2 on week 1"
        assert promoted.current("local-prod").restores == 2  # what was promoted, not the rollback before
        registry.set_alias("answer", "champion", other.version)
    assert "nothing to do" in promoted.mlops("rollback", "--env", "local-prod").ok  # it is not named


def test_a_changed_model_is_not_put_back_to_work(promoted: Project) -> None:
    first, _ = Ledger(promoted.environment("local-prod").store, "answer").entries()
    promoted.file("local-prod", f"models/answer/{first.model['sha256']}/model.onnx").write_text("V1 on week 1")

    outcome = promoted.mlops("rollback", "--env", "local-prod")

    assert outcome.exit_code == 3
    assert "model.onnx of the model answer is not the one that was validated" in outcome.err
    assert promoted.champion("local-prod") == "v2 on week 1"
    assert promoted.current("local-prod").version == "v2"
    assert Ledger(promoted.environment("local-prod").store, "answer").unfinished() is None


def test_any_earlier_state_has_a_number(promoted: Project) -> None:
    assert promoted.mlops("trigger", "data", "--env", "local-prod", "-p", "source=rich week").ok
    unknown = promoted.mlops("rollback", "--env", "local-prod", "--to", "7")

    assert promoted.mlops("rollback", "--env", "local-prod", "--to", "2").ok

    assert "3: v2 (release" in unknown.err
    assert promoted.champion("local-prod") == "v2 on week 1"


def test_a_promotion_that_a_rollback_overtakes_undoes_nothing_of_it(
    promoted: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    promoted.delivered("v3", 0.8, "v3")
    real = uploading.upload

    def overtaken(*given: Any) -> Any:
        monkeypatch.setattr(settling, "upload", real)
        assert promoted.mlops("rollback", "--env", "local-prod", "--by", "Eve").ok
        return real(*given)

    monkeypatch.setattr(settling, "upload", overtaken)
    lost = promoted.mlops("promote", "v3", "--from", "local-dev", "--to", "local-prod")

    assert lost.exit_code == 1
    assert "was overtaken: Eve began the rollback" in lost.err
    (row,) = json.loads(promoted.mlops("status", "--env", "local-prod", "--json").ok)
    assert (row["version"], row["health"]) == ("v2", "ok")
    assert promoted.champion("local-prod") == "v2 on week 1"


def test_while_a_change_is_going_on_nothing_is_mended_under_it(promoted: Project) -> None:
    ledger, current = Ledger(promoted.environment("local-prod").store, "answer"), promoted.current("local-prod")
    ledger.begin(verb="promote", by="Bob", why="", state={**current.state, "version": "v3"}, after=current.number)

    for words in (
        ("promote", "v2", "--from", "local-dev", "--to", "local-prod"),
        ("deploy", current.release, "--env", "local-prod"),
        ("trigger", "data", "--env", "local-prod"),
    ):
        outcome = promoted.mlops(*words)
        assert (outcome.exit_code, "Bob began the promotion of v3" in outcome.err) == (1, True), outcome
    assert not (promoted.root / ".mlops/local-prod/logs").exists()  # and nothing was trained
