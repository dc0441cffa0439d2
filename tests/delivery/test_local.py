from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from delivery import running
from delivery.environments import read_environment
from delivery.local import Progress, RunResult, State, log_lines, new_run_id, run_package
from delivery.verdicts import failure

PIPELINES = "tiny_pipelines"
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def run(project: Path) -> Callable[..., tuple[RunResult, list[list[Progress]]]]:
    """Run a pipeline to its end; what comes back is the result, and everything that was shown."""

    def go(pipeline: str, *given: str) -> tuple[RunResult, list[list[Progress]]]:
        shown: list[list[Progress]] = []
        plan = running.plan(read_environment("local-dev"), pipeline, given, PIPELINES)
        return run_package(plan, shown.append), shown

    return go


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
    run: Any, world: str, project: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pause in ("POLL_SECONDS", "POLL_REMOTE_SECONDS"):  # the tiny steps are over in less than a second
        monkeypatch.setattr(f"delivery.local.{pause}", 0.02)
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


def test_a_run_writes_below_the_environments_folders_only(run: Any, project: Path) -> None:
    before = set(project.iterdir())

    result, _ = run("greet")

    assert {path.name for path in set(project.iterdir()) - before} == {".mlops", "store"}
    assert sorted(path.name for path in result.log.parent.iterdir()) == [
        "arguments.json",
        "artifacts",
        "package.yaml",
        "run.log",
    ]
    assert json.loads((result.log.parent / "arguments.json").read_text())["git_commit"] == "unknown"


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
    run: Any, fail: str, state: str, exit_code: int, what: str, do: str
) -> None:
    result, shown = run("greet", f"fail={fail}")
    error = failure(result)

    assert result.state == "FAILED"
    assert states(shown[-1]) == {"make_words": "succeeded", "say_words": state}
    assert error is not None
    assert error.exit_code == exit_code
    assert error.what.startswith(what)
    assert error.do.startswith(do)
    assert result.report_url is not None  # the exit handler came to it all the same


def test_steps_without_records_are_followed_by_kfps_log(run: Any) -> None:
    good, shown = run("silent")
    bad, _ = run("silent", "fail=true")

    assert (good.state, good.records, good.report_url) == ("SUCCEEDED", {}, None)
    assert states(shown[-1]) == {"first": "succeeded", "second": "succeeded"}
    assert states(bad.progress) == {"first": "succeeded", "second": "failed"}
    assert str(failure(bad)).startswith("error: second failed: ValueError: second was told to fail\n")


def test_the_log_has_the_steps_output_and_no_colours(run: Any) -> None:
    result, _ = run("greet", "times=2")

    lines = log_lines(result.log)

    assert "    Ada Ada" in lines
    assert not any("\x1b" in line for line in lines)
    assert not any("Warning" in line for line in lines)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_ends_every_process_and_says_so(project: Path, sign: signal.Signals) -> None:
    command, pids = _start_sleeping_run(project)

    command.send_signal(sign)
    out, err = command.communicate(timeout=20)

    assert command.returncode == 130
    assert out == ""
    assert "was stopped, and all its processes are ended\n  where: " in err
    assert "to do: `mlops run greet` starts anew; `mlops report greet-" in err
    assert not any(alive(pid) for pid in pids)
    assert list((project / "tmp").iterdir()) == []


def test_a_killed_command_leaves_no_process_behind(project: Path) -> None:
    command, pids = _start_sleeping_run(project)

    command.kill()
    command.communicate(timeout=20)

    eventually(lambda: not any(alive(pid) for pid in pids))


def test_a_run_id_names_the_pipeline_and_no_two_are_the_same() -> None:
    ids = {new_run_id("greet") for _ in range(20)}

    assert len(ids) > 15  # four hex digits: a collision in one second is rare, not impossible
    assert all(running.RUN_ID.fullmatch(run_id) for run_id in ids)


def test_every_state_can_be_shown() -> None:
    from delivery.progress import STYLES

    assert set(STYLES) == set(State)


def _start_sleeping_run(project: Path) -> tuple[subprocess.Popen[str], list[int]]:
    """`mlops run` in a process of its own, in the step that sleeps; and the processes of that step."""
    (project / "tmp").mkdir()
    code = f"from delivery.cli import main; main(['run', '-p', 'fail=sleep'], pipelines={PIPELINES!r})"
    paths = os.pathsep.join([str(REPOSITORY), str(Path(__file__).parent)])
    command = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=project,
        env={**os.environ, "PYTHONPATH": paths, "TMPDIR": str(project / "tmp")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    eventually(lambda: list(project.glob("store/runs/*/pids.txt")))
    [told] = project.glob("store/runs/*/pids.txt")
    pids = [int(pid) for pid in json.loads(told.read_text())]
    assert all(alive(pid) for pid in pids)
    return command, pids
