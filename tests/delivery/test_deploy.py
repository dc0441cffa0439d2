"""`mlops deploy`: what may become current, and that a repeat changes nothing."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from delivery import deploy as deploying
from delivery import prove as proving
from delivery import release as releases
from delivery import running
from delivery.errors import Failed, MlopsError
from delivery.kubeflow import ENDED, Version, connected
from delivery.runs import Plan, RunResult
from delivery.uploading import upload
from tests.delivery.delivered import Project


def test_a_release_is_run_and_judged_and_then_it_is_current(delivery: Project) -> None:
    release = delivery.release("first", 0.6)

    said = delivery.mlops("deploy", release, "--by", "Ada", "--why", "the first").ok

    entry = delivery.current("local-dev")
    assert (entry.release, entry.verb, entry.by, entry.why) == (release, "deploy", "Ada", "the first")
    assert entry.run_id in entry.evidence
    assert entry.model["name"] == "answer"
    assert entry.arguments["git_commit"] == delivery.git("rev-parse", "HEAD")
    assert delivery.champion("local-dev") == "first on week 1"
    assert f"release {release[:12]} is current in local-dev: proved by run answer-{release[:12]}-1 (promote), " in said


def test_deployed_again_it_is_one_version_one_run_and_one_entry(delivery: Project) -> None:
    release = delivery.delivered("first", 0.6)
    before = delivery.current("local-dev")

    said = delivery.mlops("deploy", release[:8]).ok

    assert "nothing to do" in said
    assert delivery.current("local-dev") == before
    with connected(delivery.environment("local-dev")) as kfp:
        pipeline = kfp.client.get_pipeline_id("answer")
        names = [version.display_name for version in kfp.client.list_pipeline_versions(pipeline).pipeline_versions]
        assert sorted(names) == ["answer", f"answer-{release[:12]}"]
        assert kfp.latest(5) == [f"answer-{release[:12]}-1"]


def test_a_worse_candidate_is_kept_out(delivery: Project) -> None:
    good = delivery.delivered("good", 0.9)
    worse = delivery.release("worse", 0.7)

    outcome = delivery.mlops("deploy", worse)

    assert outcome.exit_code == 3
    assert "decide: the candidate is blocked: 0.7 against 0.9" in outcome.err
    current = delivery.current("local-dev")
    assert current.release == good
    assert delivery.champion("local-dev") == "good on week 1"


def test_a_candidate_as_good_brings_its_release_but_not_its_model(delivery: Project) -> None:
    delivery.delivered("good", 0.9)
    equal = delivery.delivered("equal", 0.9)

    current = delivery.current("local-dev")
    assert current.release == equal
    assert delivery.champion("local-dev") == "good on week 1"


def test_a_step_that_fails_is_named_and_quoted_and_the_next_deploy_tries_anew(delivery: Project) -> None:
    delivery.configure("local-dev", parameters={"answer": {"mood": "failing"}})
    release = delivery.release("first", 0.6)

    outcome = delivery.mlops("deploy", release)

    assert outcome.exit_code == 1
    assert "train_model: ValueError: the disk is full" in outcome.err
    assert delivery.is_empty("local-dev")
    delivery.configure("local-dev", parameters={"answer": {"mood": "well"}})
    assert delivery.mlops("deploy", release).ok
    with connected(delivery.environment("local-dev")) as kfp:
        assert kfp.latest(5) == [f"answer-{release[:12]}-2", f"answer-{release[:12]}-1"]


def test_a_run_that_hangs_is_ended_after_the_time_that_the_environment_gives(delivery: Project) -> None:
    delivery.configure("local-dev", parameters={"answer": {"mood": "hanging"}})
    release = delivery.release("first", 0.6)
    environment = replace(delivery.environment("local-dev"), stall_minutes=0.1)

    with pytest.raises(Failed, match="train_model") as refused:
        deploying.deploy(release, environment, None, Console(quiet=True), by="Ada")

    assert "stall_minutes" in str(refused.value)
    assert delivery.is_empty("local-dev")
    with connected(environment) as kfp:
        assert kfp.runs_named(f"answer-{release[:12]}-1")[0]["state"] == "CANCELED"


def test_a_run_that_someone_ends_at_the_endpoint_is_no_success(delivery: Project) -> None:
    delivery.configure("local-dev", parameters={"answer": {"mood": "hanging"}})
    release, environment = delivery.release("first", 0.6), delivery.environment("local-dev")
    name = f"answer-{release[:12]}-1"

    def end() -> None:
        while not any(Path(environment.store[5:]).glob("runs/*/train_model.json")):
            time.sleep(0.05)
        with connected(environment) as kfp:
            kfp.terminate(kfp.runs_named(name)[0]["run_id"])

    ender = threading.Thread(target=end)
    ender.start()
    outcome = delivery.mlops("deploy", release)
    ender.join()

    assert outcome.exit_code == 1
    assert f"run {name} was" in outcome.err
    assert "train_model" in outcome.err
    assert delivery.is_empty("local-dev")


def test_the_code_that_runs_is_the_code_that_was_released(delivery: Project) -> None:
    release = delivery.release("released", 0.6)
    delivery.code("changed since", 0.9)

    assert delivery.mlops("deploy", release).ok

    assert delivery.champion("local-dev") == "released on week 1"
    assert delivery.current("local-dev").arguments["git_commit"] == delivery.git("rev-parse", "HEAD~1")


def test_changed_settings_are_a_new_entry_without_a_new_run(delivery: Project) -> None:
    release = delivery.delivered("first", 0.6)
    first = delivery.current("local-dev")
    delivery.configure("local-dev", schedules={"answer": "0 0 4 * * *"})

    said = delivery.mlops("deploy", release).ok

    entry = delivery.current("local-dev")
    assert "scheduled at `0 0 4 * * *`, noted in the ledger" in said  # and the champion stays
    assert (entry.number, entry.run_id) == (first.number + 1, first.run_id)
    delivery.configure("local-dev", parameters={"answer": {"source": "week 2"}})
    assert delivery.mlops("deploy", release).ok
    assert delivery.current("local-dev").arguments["source"] == "week 2"


def test_what_is_current_is_proved_anew_when_that_is_wanted(proved: Project) -> None:
    first = proved.current("local-dev")

    assert "verdict: keep" in proved.mlops("deploy", first.release, "--again").err

    second, environment = proved.current("local-dev"), proved.environment("local-dev")
    assert (second.number, second.model) == (first.number + 1, first.model)
    assert second.run_id in second.evidence != first.evidence
    newest = proving.proved(environment, releases.find(first.release, environment), "answer")
    assert newest
    assert newest.file == second.evidence


def test_nothing_is_trained_that_could_not_be_signed(delivery: Project) -> None:
    delivery.configure("local-dev", signing_key={"env": "NOT_THERE"})
    release = delivery.release("first", 0.6)

    assert "NOT_THERE" in delivery.mlops("deploy", release).err

    with connected(delivery.environment("local-dev")) as kfp:
        assert kfp.latest(5) == []


@pytest.mark.parametrize(
    ("states", "again", "attempt"),
    [
        (["RUNNING"], False, ("r-1", "0")),
        (["FAILED", "PENDING"], True, ("r-2", "1")),
        (["CANCELED", "SUCCEEDED"], False, ("r-2", "1")),
        (["FAILED", "SUCCEEDED"], True, ("r-3", "")),
    ],
)
def test_a_run_that_goes_on_or_went_well_is_taken_up(states: list[str], again: bool, attempt: tuple[str, str]) -> None:
    version, of = Version("p", "v", "r"), {"pipeline_version_id": "v"}
    runs = {
        f"r-{number + 1}": [{"state": state, "run_id": str(number), "pipeline_version_reference": of}]
        for number, state in enumerate(states)
    }
    kfp: Any = SimpleNamespace(runs_named=runs.get)

    assert proving._attempt(kfp, "r", version, {}, again=again) == attempt


@pytest.mark.parametrize(("kind", "runs"), [("error", ["r-1", "r-2"]), ("gate", ["r-1"])])
def test_a_run_that_was_taken_up_and_failed_is_tried_once_more_unless_a_gate_refused(
    proved: Project, monkeypatch: pytest.MonkeyPatch, kind: str, runs: list[str]
) -> None:
    environment, seen, attempts = proved.environment("local-dev"), [], iter([("r-1", "an id"), ("r-2", "")])

    def watched(kfp: object, plan: Plan, talk: object, **_: object) -> RunResult:
        seen.append(plan.run_name)
        records = {"decide": {"state": "FAILED", "error": {"kind": kind, "what": "no", "where": "-", "do": "-"}}}
        ended: dict[str, Any] = {"run_id": "1", "state": "FAILED", "records": records, "log": Path("log")}
        return RunResult(run_name=plan.run_name, progress=[], report_url=None, **ended)

    monkeypatch.setattr(proving, "_attempt", lambda *_, **__: next(attempts))
    monkeypatch.setattr(running, "watched", watched)
    with pytest.raises(MlopsError):
        deploying.deploy(
            proved.current("local-dev").release, environment, None, Console(quiet=True), by="Ada", again=True
        )

    assert seen == runs


@pytest.mark.parametrize("file", ["manifest.json", "packages/answer.yaml", "code.tar"])
def test_a_release_changed_by_one_byte_is_not_deployed(delivery: Project, file: str) -> None:
    release = delivery.release("first", 0.6)
    path = delivery.root / "build/releases" / release / file
    path.write_bytes(path.read_bytes()[:-1] + b"!")

    outcome = delivery.mlops("deploy", release)

    assert (outcome.exit_code, file in outcome.err) == (3, True), outcome.err
    assert delivery.is_empty("local-dev")


def test_a_dirty_tree_is_not_released(delivery: Project) -> None:
    delivery.write("models/answer.py", "NAME = 'nobody committed this'\n")

    outcome = delivery.mlops("release")

    assert outcome.exit_code == 3
    assert "the tree is not what commit" in outcome.err
    assert not (delivery.root / "build").exists()
    delivery.commit("now it is")
    assert delivery.mlops("release").ok


def test_a_change_that_git_was_told_to_overlook_is_a_dirty_tree(delivery: Project) -> None:
    delivery.git("update-index", "--assume-unchanged", "models/answer.py")
    delivery.write("models/answer.py", 'NAME = "nobody sees this"\nQUALITY = 0.9\n')

    assert delivery.mlops("release").exit_code == 3


def test_a_run_of_another_release_is_not_taken_for_this_ones(proved: Project) -> None:
    first, environment = proved.current("local-dev").release, proved.environment("local-dev")
    second = proved.release("second", 0.7)
    package = releases.find(first, environment).package("answer")
    with connected(environment, releases.unpacked(releases.find(first, environment), proved.root)) as kfp:
        version = upload(kfp, "answer", f"answer-{first[:12]}", package)
        arguments = {**proved.current("local-dev").arguments, "source": "rich week"}
        run_id = kfp.start(version, "answer", f"answer-{second[:12]}-1", arguments)
        while kfp.run(run_id)["state"] not in ENDED:
            time.sleep(0.1)

    assert proved.mlops("deploy", second).ok

    assert proved.champion("local-dev") == "second on week 1"
    assert proved.current("local-dev").run_id != run_id


def test_a_parameter_that_no_api_can_hold_is_a_wrong_use(delivery: Project) -> None:
    release = delivery.release("first", 0.6)
    path = delivery.root / "environments/local-dev.yaml"
    path.write_text(path.read_text().replace("{answer: {}}", "{answer: {options: {1: one}}}"))

    outcome = delivery.mlops("deploy", release)

    assert outcome.exit_code == 2
    assert "JSON" in outcome.err


def test_the_page_of_a_deployments_run_can_be_made_anew(proved: Project) -> None:
    current = proved.current("local-dev")

    pages = [proved.mlops("report", run).ok for run in (f"answer-{current.release[:12]}-1", current.run_id)]

    assert pages[0] == pages[1]
    assert "publish_model" in Path(pages[0].strip()).read_text()


@pytest.fixture
def ctrl_c_counts() -> Iterator[None]:
    """A shell has what it starts in the background ignore Ctrl-C, and these tests with it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c_counts")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_verb_that_is_stopped_says_so_and_its_repeat_completes(
    delivery: Project, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    release, copy = delivery.release("first", 0.6), releases.copy

    def stopped(*given: Any) -> Any:
        os.kill(os.getpid(), number)
        return copy(*given)

    with monkeypatch.context() as patch:
        patch.setattr(releases, "copy", stopped)
        outcome = delivery.mlops("deploy", release)

    assert outcome.exit_code == 130
    assert outcome.err.startswith("error: it was stopped\n")
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert delivery.mlops("deploy", release).ok


def test_a_user_without_a_name_can_deploy(delivery: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("delivery.cli.getuser", nobody)
    release = delivery.release("first", 0.6)

    assert delivery.mlops("deploy", release).ok

    assert delivery.current("local-dev").by.startswith("user ")


def test_a_code_archive_goes_to_no_cluster(delivery: Project) -> None:
    release = delivery.release("first", 0.6)
    delivery.configure("local-prod", name_only_here=1)
    path = delivery.root / "environments/local-prod.yaml"
    path.write_text(
        path.read_text().replace("endpoint: local", "endpoint: https://kfp.example").replace("name_only_here: 1", "")
    )

    outcome = delivery.mlops("deploy", release, "--env", "local-prod")

    assert outcome.exit_code == 2
    assert "mlops release --image REPO@sha256:" in outcome.err


def test_what_a_script_reads_is_json(delivery: Project) -> None:
    release = delivery.release("first", 0.6)

    change = json.loads(delivery.mlops("deploy", release, "--json").ok)

    assert (change["environment"], change["release"], change["changed"]) == ("local-dev", release, True)
    assert json.loads(delivery.mlops("deploy", release, "--json").ok)["changed"] is False
