from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from components import IMAGE
from delivery import running
from delivery.environments import read_environment
from delivery.errors import AccessDenied, Failed, GateRefused, Interrupted, RunCanceled, RunFailed, RunStalled, WrongUse
from delivery.kubeflow import Kubeflow, connected
from delivery.kubeflow import Run as ApiRun
from delivery.runs import Plan, Progress, RunResult, State
from delivery.secrets import Secret
from delivery.uploading import upload
from delivery.verdicts import failure
from delivery.watching import run_to_end
from localkfp.server import ThreadedLocalKfp
from storage import objects
from tests.delivery.unreliable import unreliable

PIPELINES = "tiny_pipelines"
REPOSITORY = Path(__file__).parents[2]
SETTINGS = """\
endpoint: {endpoint}
store: file:store
registry: sqlite:///registry.db
parameters: {{greet: {{name: Ada}}}}
"""
Run = Callable[..., tuple[RunResult, list[list[Progress]]]]


def follow(kfp: Any, plan: Plan, run_id: str, watch: Any, *, stall_seconds: float) -> RunResult:
    """Watch a run that goes on already."""
    return run_to_end(kfp, plan, watch, start=lambda: run_id, stall_seconds=stall_seconds)


@pytest.fixture
def run(project: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a pipeline to its end; what comes back is the result, and everything that was shown."""
    for pause in ("delivery.kubeflow.ASK_SECONDS", "delivery.watching.ASK_REMOTE_SECONDS"):
        monkeypatch.setattr(pause, 0.02)  # the tiny steps are over in less than a second

    def go(pipeline: str, *given: str, env: str = "local-dev") -> tuple[RunResult, list[list[Progress]]]:
        shown: list[list[Progress]] = []
        environment = read_environment(env)
        plan = running.plan(environment, pipeline, given, PIPELINES)
        with connected(environment) as kfp:
            return run_to_end(kfp, plan, shown.append), shown

    return go


@pytest.fixture
def server(project: Path) -> Iterator[ThreadedLocalKfp]:
    """A KFP API that outlives the command, and an environment `served` that names it."""
    with ThreadedLocalKfp(images={IMAGE: project}) as server:
        (project / "environments/served.yaml").write_text(SETTINGS.format(endpoint=server.url))
        yield server


@pytest.fixture
def process(project: Path) -> Iterator[subprocess.Popen[str]]:
    """The same in a process of its own, which a test may halt."""
    words = ["serve", "--port", "0", "--folder", str(project / "kfp"), "--image", f"{IMAGE}={project}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "localkfp", *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    (project / "environments/served.yaml").write_text(SETTINGS.format(endpoint=process.stdout.readline().strip()))
    yield process
    process.send_signal(signal.SIGCONT)
    process.terminate()
    process.wait(timeout=20)
    process.stdout.close()


def states(steps: list[Progress]) -> dict[str, str]:
    return {step.step: step.state.value for step in steps}


def alive(pid: int) -> bool:
    """Whether it still runs; a process that only waits to be reaped does not."""
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


def eventually(question: Callable[[], object], seconds: float = 20) -> object:
    end = time.monotonic() + seconds
    while not (answer := question()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)
    return answer


@pytest.mark.parametrize("world", ["file", "s3"])
def test_a_run_gives_its_records_and_shows_the_steps_while_it_runs(
    run: Run, world: str, project: Path, request: pytest.FixtureRequest
) -> None:
    store = f"file:{project}/store" if world == "file" else request.getfixturevalue("s3").bucket("runs")

    result, shown = run("greet", f"store={store}", "options.tone=2")

    assert result.state == "SUCCEEDED"
    assert {name: record["state"] for name, record in result.records.items()} == {
        "make_words": "SUCCEEDED",
        "say_words": "SUCCEEDED",
    }
    assert result.records["make_words"]["facts"]["options"] == {"tone": 2}
    assert result.report_url == f"{store}/runs/{result.run_id}/report.html"
    assert states(shown[0]) == {"make_words": "waiting", "say_words": "waiting"}
    assert {"make_words": "succeeded", "say_words": "running"} in [states(steps) for steps in shown]
    assert states(shown[-1]) == {"make_words": "succeeded", "say_words": "succeeded"}
    assert failure(result) is None


def test_an_endpoint_with_an_address_runs_the_same(run: Run, server: ThreadedLocalKfp, project: Path) -> None:
    good, _ = run("greet", "times=2", env="served")
    bad, _ = run("greet", "fail=gate", env="served")

    assert (good.state, failure(good)) == ("SUCCEEDED", None)
    assert good.printed["say_words"].count("Ada Ada") == 1
    assert good.report_url == f"file:{project}/store/runs/{good.run_id}/report.html"
    assert getattr(failure(bad), "exit_code", None) == 3
    with connected(read_environment("served")) as kfp:
        assert kfp.latest(5) == [bad.run_name, good.run_name]
        assert [_found(kfp, run)["run_id"] for run in (good.run_name, good.run_id)] == [good.run_id] * 2


def test_a_run_writes_below_the_environments_folders_only(run: Run, project: Path) -> None:
    before = set(project.iterdir())

    result, _ = run("greet")

    assert {path.name for path in set(project.iterdir()) - before} == {".mlops", "store"}
    assert sorted(path.name for path in (project / ".mlops/local-dev").iterdir()) == ["kfp", "logs"]
    assert [path.name for path in result.log.parent.iterdir()] == ["run.log"]


@pytest.mark.parametrize(
    ("fail", "state", "exit_code", "what", "do"),
    [
        ("gate", "failed", 3, "say_words: the tone is 3, allowed 2", "say less"),
        ("sentence", "failed", 1, "say_words: the mouth is shut", "open it"),
        ("bare", "failed", 1, "say_words: KeyError: 'x'", "the traceback stands in that log"),
        ("unrecorded", "failed", 1, "say_words failed: ValueError: there is no record of this", "the traceback stands"),
        ("killed", "lost", 1, "say_words ended without writing a result (killed, or out of memory)", "read that log"),
    ],
)
def test_a_failed_run_says_why_in_the_words_of_its_step(
    run: Run, fail: str, state: str, exit_code: int, what: str, do: str
) -> None:
    result, shown = run("greet", f"fail={fail}")
    error = failure(result)

    assert result.state == "FAILED"
    assert states(shown[-1]) == {"make_words": "succeeded", "say_words": state}
    assert type(error) is (GateRefused if fail == "gate" else RunFailed)
    assert error.exit_code == exit_code
    assert error.what.startswith(what)
    assert error.do.startswith(do)
    assert result.report_url is not None  # the exit handler came to it all the same


def test_steps_without_records_are_followed_by_what_the_endpoint_says(run: Run) -> None:
    good, shown = run("silent")
    bad, _ = run("silent", "fail=true")

    assert (good.state, good.records, good.report_url) == ("SUCCEEDED", {}, None)
    assert states(shown[-1]) == {"first": "succeeded", "second": "succeeded"}
    assert {"first": "succeeded", "second": "running"} in [states(steps) for steps in shown]
    assert all(step.seconds for step in good.progress)
    assert states(bad.progress) == {"first": "succeeded", "second": "failed"}
    assert str(failure(bad)).startswith("error: second failed: ValueError: second was told to fail\n")


def test_the_log_has_what_each_step_printed_below_its_name(run: Run) -> None:
    result, _ = run("greet", "times=2")
    failed, _ = run("greet", "fail=unrecorded")

    lines = result.log.read_text().splitlines()
    assert lines[0] == f"{result.run_name} ({result.run_id}): SUCCEEDED"
    assert lines.index("== make_words ==") < lines.index("== say_words ==") < lines.index("Ada Ada")
    assert not any("\x1b" in line for line in lines)
    assert not any("Warning" in line for line in lines)
    lines = failed.log.read_text().splitlines()
    assert lines[:2] == [
        f"{failed.run_name} ({failed.run_id}): FAILED",
        "say-words: ValueError: there is no record of this",
    ]
    assert "Traceback (most recent call last):" in lines


def test_a_package_that_the_endpoint_refuses_is_a_wrong_use_and_leaves_no_run(
    run: Run, server: ThreadedLocalKfp, project: Path
) -> None:
    server.stop()
    with ThreadedLocalKfp(images={}) as other:
        (project / "environments/served.yaml").write_text(SETTINGS.format(endpoint=other.url))

        with pytest.raises(WrongUse, match=IMAGE):
            run("silent", env="served")

        with connected(read_environment("served")) as kfp:
            assert kfp.latest(5) == []


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("env", ["local-dev", "served"])
def test_a_stopped_run_is_canceled_and_says_so(
    project: Path, server: ThreadedLocalKfp, sign: signal.Signals, env: str
) -> None:
    command, pids = _start_sleeping_run(project, env)

    os.killpg(command.pid, sign)  # as a terminal does: every process of the command gets it
    out, err = command.communicate(timeout=30)

    assert command.returncode == 130
    assert out == ""
    assert f"was stopped{', and all its processes are ended' if env == 'local-dev' else ''}\n  where: " in err
    assert "to do: `mlops run greet` starts anew; `mlops report greet-" in err
    assert not any(alive(pid) for pid in pids)
    assert list((project / "tmp").iterdir()) == []
    with connected(read_environment(env)) as kfp:
        [name] = kfp.latest(5)
        assert _found(kfp, name)["state"] == "CANCELED"
    assert (project / f".mlops/{env}/logs/{name}/run.log").read_text().splitlines()[0].endswith(": CANCELED")


def test_a_killed_command_leaves_no_process_behind(project: Path) -> None:
    command, pids = _start_sleeping_run(project, "local-dev")
    children = [int(pid) for pid in Path(f"/proc/{command.pid}/task/{command.pid}/children").read_text().split()]

    command.kill()
    command.communicate(timeout=20)

    eventually(lambda: not any(alive(pid) for pid in [*pids, *children]))
    with connected(read_environment("local-dev")) as kfp:
        [name] = kfp.latest(5)
        eventually(lambda: _found(kfp, name)["state"] == "FAILED")


def test_a_killed_command_leaves_a_run_elsewhere_alone(project: Path, server: ThreadedLocalKfp) -> None:
    command, pids = _start_sleeping_run(project, "served")

    command.kill()
    command.communicate(timeout=20)

    with connected(read_environment("served")) as kfp:
        assert _found(kfp, kfp.latest(1)[0])["state"] == "RUNNING"
    assert all(alive(pid) for pid in pids)


def test_a_run_that_someone_else_stops_is_a_failure_that_says_so(
    run: Run, server: ThreadedLocalKfp, project: Path
) -> None:
    def stop() -> None:
        eventually(lambda: list(project.glob("store/runs/*/pids.txt")))
        with connected(read_environment("served")) as kfp:
            kfp.terminate(_found(kfp, kfp.latest(1)[0])["run_id"])

    thread = threading.Thread(target=stop)
    thread.start()
    result, _ = run("greet", "fail=sleep", env="served")
    thread.join()

    error = failure(result)
    assert result.state == "CANCELED"
    assert states(result.progress) == {"make_words": "succeeded", "say_words": "lost"}
    assert error is not None
    assert isinstance(error, RunCanceled)
    assert (
        error.what
        == f"run {result.run_name} was stopped at the endpoint while say_words was running: the run ended before it did"
    )


GIVEN = [
    "[KFP Executor 2030-01-01 00:00:00,000 INFO]: Got executor_input:",
    "{",
    '    "inputs": {}',
    "}",
]  # what KFP prints of every step


@pytest.mark.parametrize(
    ("state", "printed", "error", "said"),
    [
        (State.FAILED, [*GIVEN, "so far"], "stopped", "while first was running: no rows"),
        (State.LOST, [*GIVEN, "so far"], "stopped", "while first was running: so far"),
        (State.LOST, ["epoch 3", "so far"], "stopped", "while first was running: so far"),
        (State.LOST, GIVEN, "stopped", "while first was running: stopped"),
        (State.LOST, [], "", "while first was running: it printed nothing"),
        (State.SUCCEEDED, ["so far"], "stopped", "was stopped at the endpoint"),
    ],
)
def test_a_stopped_run_quotes_the_step_that_was_running(
    plan: Plan, state: State, printed: list[str], error: str, said: str
) -> None:
    steps = [Progress(step="before", state=State.SUCCEEDED), Progress(step="first", state=state, told="no rows")]
    ended: dict[str, Any] = {
        "run_name": "r-1",
        "run_id": "r",
        "state": "CANCELED",
        "records": {},
        "report_url": None,
        "log": plan.log,
    }
    result = RunResult(**ended, progress=steps, printed={"first": printed}, error=error)

    told = failure(result)

    assert isinstance(told, RunCanceled)
    assert told.what.endswith(said)


@pytest.mark.parametrize("again", [True, False])
def test_an_endpoint_that_falls_silent_is_asked_again_for_a_while(
    run: Run, process: subprocess.Popen[str], project: Path, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    monkeypatch.setattr("delivery.kubeflow.PATIENCE_SECONDS", 20 if again else 0.5)

    def fall_silent() -> None:
        eventually(lambda: list(project.glob("store/runs/*/say_words.json")))
        monkeypatch.setattr("delivery.client.SECONDS", (1, 1))  # not before: the answers to the start may be slow here
        process.send_signal(signal.SIGSTOP)
        if again:
            time.sleep(3)
            process.send_signal(signal.SIGCONT)

    silence = threading.Thread(target=fall_silent)
    silence.start()
    try:
        if again:
            assert run("greet", env="served")[0].state == "SUCCEEDED"
        else:
            with pytest.raises(Failed, match="the endpoint does not answer") as told:
                run("greet", "fail=sleep", env="served")
            assert told.value.what.endswith(" may go on there, and is watched no longer")
            assert "; then `mlops report greet-" in told.value.do
    finally:
        silence.join()


def test_a_run_that_cannot_be_stopped_is_not_said_to_be(project: Path, process: subprocess.Popen[str]) -> None:
    command, _ = _start_sleeping_run(project, "served")
    process.kill()
    process.wait()

    command.send_signal(signal.SIGINT)
    out, err = command.communicate(timeout=30)

    assert (command.returncode, out) == (130, "")
    assert "could not be stopped, and goes on there: the endpoint does not answer" in err


@pytest.mark.parametrize(
    ("is_there", "terminated", "said"),
    [
        (False, (200, "{}"), "was stopped before it began"),
        (True, (200, "{}"), "was asked to stop, and has not ended yet"),
        (True, (403, ""), "could not be stopped, and goes on there: the endpoint says 403"),
    ],
)
def test_a_run_that_did_not_end_is_not_said_to_have(
    stranger: Any, plan: Plan, monkeypatch: pytest.MonkeyPatch, is_there: bool, terminated: tuple[int, str], said: str
) -> None:
    monkeypatch.setattr("delivery.watching.STOP_SECONDS", 0.1)
    experiment = {"experiment_id": "e", "display_name": plan.pipeline}
    run = {"run_id": "r", "display_name": plan.run_name}

    def answer(method: str, path: str, _: Any) -> tuple[int, str]:
        answers = {
            "healthz": (200, '{"multi_user": false}'),
            "/experiments": (200, json.dumps({"experiments": [experiment]})),
            ":terminate": terminated,
            "/runs?": (200, json.dumps({"runs": [run] if is_there else []})),
            "/log": (404, ""),
        }
        return next((answers[part] for part in answers if part in path), (200, '{"run_id": "r", "state": "RUNNING"}'))

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with connected(stranger(answer)) as kfp, pytest.raises(Interrupted, match=said):
        run_to_end(kfp, plan, watch=stop)


def test_a_run_that_makes_no_progress_is_ended_and_named(project: Path, server: ThreadedLocalKfp) -> None:
    environment = read_environment("served")
    plan = running.plan(environment, "greet", ["fail=sleep"], PIPELINES)
    with connected(environment) as kfp:
        run_id = kfp.submit(plan)
        eventually(lambda: list(project.glob("store/runs/*/pids.txt")))

        with pytest.raises(RunStalled) as told:
            follow(kfp, plan, run_id, lambda _: None, stall_seconds=1.5)

        assert _found(kfp, plan.run_name)["state"] == "CANCELED"
    assert told.value.what == (
        f"run {plan.run_name} made no progress for 0.025 minutes, with say_words running, and was ended"
    )
    assert told.value.where == str(plan.log)
    assert "`stall_minutes` in environments/served.yaml" in told.value.do
    assert plan.log.read_text().splitlines()[0].endswith(": CANCELED")


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


Watched = Callable[..., Kubeflow]


@pytest.fixture
def watched(stranger: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    """Connects to an endpoint that says of run r what the test gives, one look a second, and SUCCEEDED afterwards."""
    with ExitStack() as open_:

        def connect(looks: list[ApiRun], ends: str = "CANCELED", terminate: int = 200) -> Kubeflow:
            terminated: list[str] = []

            def answer(method: str, path: str, _: Any) -> tuple[int, str]:
                if "healthz" in path or path.endswith("/log"):
                    return 200, '{"multi_user": false}'
                if path.endswith(":terminate"):
                    terminated.append(path)
                    return terminate, "{}"
                run = looks.pop(0) if looks and not terminated else {"state": ends if terminated else "SUCCEEDED"}
                return 200, json.dumps({"run_id": "r", **run})

            kfp = open_.enter_context(connected(stranger(answer)))
            monkeypatch.setattr("delivery.watching.time", Clock())
            kfp.seconds = 1.0
            return kfp

        yield connect


def looks(*states: str) -> list[ApiRun]:
    """A run with one task, as it stands at each look."""
    tasks = [{"display_name": "first", "state": state, "start_time": "2030-01-01T00:00:00Z"} for state in states]
    return [{"state": "RUNNING", "run_details": {"task_details": [task]}} for task in tasks]


def test_a_run_that_goes_on_is_followed_for_longer_than_it_may_stand_still(watched: Watched, plan: Plan) -> None:
    kfp = watched(looks(*["PENDING"] * 9, *["RUNNING"] * 9, *["SUCCEEDED"] * 9))

    assert follow(kfp, plan, "r", lambda _: None, stall_seconds=10).state == "SUCCEEDED"


def test_a_record_is_progress_though_the_endpoint_says_the_same(watched: Watched, plan: Plan) -> None:
    kfp, count = watched(looks(*["RUNNING"] * 27)), itertools.count()

    def write_one(_: object) -> None:
        if (number := next(count)) % 9 == 8:
            objects.write_json(f"{plan.store}/runs/r/step_{number}.json", {"state": "RUNNING"})

    assert follow(kfp, plan, "r", write_one, stall_seconds=10).records.keys() == {"step_8", "step_17", "step_26"}


@pytest.mark.parametrize(
    ("state", "ends", "terminate", "said"),
    [
        ("RUNNING", "CANCELED", 200, "made no progress for 0.166667 minutes, with first running, and was ended"),
        ("PENDING", "CANCELED", 200, "with no step running, and was ended"),
        ("RUNNING", "CANCELING", 200, "with first running; it was asked to stop, and has not ended yet"),
        ("RUNNING", "CANCELED", 403, "; it could not be stopped, and goes on there: the endpoint says 403"),
    ],
)
def test_a_run_that_stands_still_for_too_long_is_given_up(
    watched: Watched, plan: Plan, state: str, ends: str, terminate: int, said: str
) -> None:
    kfp = watched(looks(*[state] * 12), ends, terminate)

    with pytest.raises(RunStalled, match=re.escape(said)):
        follow(kfp, plan, "r", lambda _: None, stall_seconds=10)


def test_a_run_that_ended_by_itself_in_the_last_moment_did_end(watched: Watched, plan: Plan) -> None:
    kfp = watched(looks(*["RUNNING"] * 12), ends="SUCCEEDED")

    assert follow(kfp, plan, "r", lambda _: None, stall_seconds=10).state == "SUCCEEDED"


def test_an_uploaded_version_is_run_and_taken_up_again(project: Path, server: ThreadedLocalKfp) -> None:
    environment = read_environment("served")
    plan = running.plan(environment, "greet", [], PIPELINES)
    begun: list[str] = []
    with connected(environment) as kfp:
        kfp.seconds = 0.05
        version = upload(kfp, "greet", "v1", plan.package)

        first = run_to_end(
            kfp,
            plan,
            lambda _: None,
            begun.append,
            stall_seconds=60,
            start=lambda: kfp.start(version, "greet", plan.run_name, plan.arguments),
        )
        again = follow(kfp, plan, first.run_id, lambda _: None, stall_seconds=60)

        assert begun == [first.run_id]
        assert again == first
        assert kfp.latest(5) == [plan.run_name]


def test_ctrl_c_ends_a_run_that_was_taken_up_and_says_what_starts_it_anew(
    project: Path, server: ThreadedLocalKfp
) -> None:
    environment = read_environment("served")
    plan = running.plan(environment, "greet", ["fail=sleep"], PIPELINES)

    def stop(steps: list[Progress]) -> None:
        if steps[1].state is State.RUNNING:
            signal.raise_signal(signal.SIGTERM)

    with connected(environment) as kfp:
        run_id = kfp.submit(plan)
        with pytest.raises(Interrupted, match="was stopped") as told:
            follow(kfp, plan, run_id, stop, stall_seconds=60)

        assert kfp.run(run_id)["state"] == "CANCELED"
    assert told.value.do.startswith("the same command starts anew; ")


@pytest.mark.parametrize("part", ["request", "answer"])
def test_a_network_that_goes_away_for_a_while_loses_no_run(project: Path, server: ThreadedLocalKfp, part: str) -> None:
    environment = read_environment("served")
    plan = running.plan(environment, "greet", [], PIPELINES)
    looked = itertools.count()

    def lost(method: str, path: str) -> str:
        return part if "/runs/" in path and next(looked) in range(3, 9) else ""

    with unreliable(server.url, lost) as url, connected(replace(environment, endpoint=url)) as kfp:
        kfp.seconds = 0.05
        assert run_to_end(kfp, plan, lambda _: None, stall_seconds=60).state == "SUCCEEDED"

    assert next(looked) > 9


@pytest.mark.parametrize("expires", [True, False])
def test_a_token_that_expires_while_a_run_is_watched_is_told_and_the_run_goes_on(
    stranger: Any, plan: Plan, monkeypatch: pytest.MonkeyPatch, expires: bool
) -> None:
    monkeypatch.setenv("KFP_TOKEN", "of-an-hour")
    asked = itertools.count()

    def answer(method: str, path: str, _: Any) -> tuple[int, str]:
        if "healthz" in path or path.endswith("/log"):
            return 200, '{"multi_user": false}'
        assert not path.endswith(":terminate")
        number = next(asked)
        if number < 3:
            return 200, '{"run_id": "r", "state": "RUNNING"}'
        return (401, "") if expires else (200, '{"run_id": "r", "state": "SUCCEEDED"}')

    environment = replace(stranger(answer), token=Secret(env="KFP_TOKEN"))
    with connected(environment) as kfp:
        kfp.seconds = 0.01
        if not expires:
            assert follow(kfp, plan, "r", lambda _: None, stall_seconds=60).state == "SUCCEEDED"
            return
        with pytest.raises(AccessDenied) as told:
            follow(kfp, plan, "r", lambda _: None, stall_seconds=60)

    assert "the token of the variable KFP_TOKEN has expired" in told.value.what
    assert told.value.what.endswith(f"; run {plan.run_name} may go on there, and is watched no longer")
    assert told.value.do == "renew it there; then the same command takes the run up again"
    assert "of-an-hour" not in str(told.value)


def test_two_runs_at_once_in_one_environment_do_not_meet(project: Path) -> None:
    commands = [_command(["run", "-p", f"times={times}", "--json"], project) for times in (2, 3)]

    told = [(json.loads(command.communicate(timeout=60)[0]), command.returncode) for command in commands]

    assert [code for _, code in told] == [0, 0]
    assert [result["gates"][0]["value"] for result, _ in told] == [2, 3]
    with connected(read_environment("local-dev")) as kfp:
        assert sorted(kfp.latest(5)) == sorted(result["run_name"] for result, _ in told)


def _found(kfp: Kubeflow, run: str) -> ApiRun:
    found = kfp.find(run)
    assert found is not None
    return found


def _command(words: list[str], project: Path) -> subprocess.Popen[str]:
    """`mlops` in a process group of its own."""
    (project / "tmp").mkdir(exist_ok=True)
    code = f"import sys; from delivery.cli import main; main(sys.argv[1:], pipelines={PIPELINES!r})"
    paths = os.pathsep.join([str(REPOSITORY), str(Path(__file__).parent)])
    return subprocess.Popen(
        [sys.executable, "-c", code, *words],
        cwd=project,
        env={**os.environ, "PYTHONPATH": paths, "TMPDIR": str(project / "tmp")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _start_sleeping_run(project: Path, env: str) -> tuple[subprocess.Popen[str], list[int]]:
    """`mlops run`, in the step that sleeps; and the processes of that step."""
    command = _command(["run", "greet", "--env", env, "-p", "fail=sleep"], project)
    eventually(lambda: list(project.glob("store/runs/*/pids.txt")))
    [told] = project.glob("store/runs/*/pids.txt")
    pids = [int(pid) for pid in json.loads(told.read_text())]
    assert all(alive(pid) for pid in pids)
    return command, pids
