"""The life of a run: begun in its turn, ended when asked, and never left behind by whoever dies."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from localkfp.database import move
from localkfp.engine import Engine
from localkfp.packages import Package
from tests.localkfp.machine import Machine, compiled

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="what is left is looked for in /proc")


@dsl.component(base_image="python:3.12", install_kfp_package=False)
def add(a: int) -> int:
    return a + 1


@dsl.component(base_image="python:3.12", install_kfp_package=False)
def sleep(detached: str):
    """A child in a session of its own, and a step that does not want to end."""
    import signal
    import subprocess
    import time

    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with open(detached, "w") as file:
        file.write(str(child.pid))
    time.sleep(600)


@dsl.pipeline(name="quick")
def quick(a: int):
    add(a=add(a=a).output)


@dsl.pipeline(name="long")
def long(detached: str):
    add(a=1).after(sleep(detached=detached))


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Callable[..., Machine]]:
    """Machines on one folder, as many as asked for."""
    made: list[Machine] = []

    def make(parallel: int = 2) -> Machine:
        made.append(Machine(tmp_path / "machine", parallel))
        return made[-1].start()

    yield make
    for one in made:
        one.executor.stop()


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made, so that one that is left is seen."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def carrying(run_id: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            environ = path.read_bytes()
        except OSError:
            continue
        if f"LOCALKFP_RUN_ID={run_id}".encode() in environ:
            found.append(path.parent.name)
    return found


def is_sleeping(machine: Machine, run_id: str) -> bool:
    return bool(carrying(run_id)) and Path(json.loads(machine.row(run_id)["parameters"])["detached"]).exists()


def states(machine: Machine, run_id: str) -> list[str]:
    return [entry["state"] for entry in json.loads(machine.row(run_id)["state_history"])]


def test_thirty_runs_at_once_all_end_and_no_more_than_asked_run_together(machine, tmp_path):
    here = machine(parallel=4)
    package, most = compiled(quick), 0

    started = [here.add(package, f"run {number}", a=number) for number in range(30)]

    while any(here.row(run_id)["state"] in ("PENDING", "RUNNING") for run_id in started):
        with here.database.read() as db:
            [running] = db.execute("select count(*) from runs where state = 'RUNNING'").fetchone()
        most = max(most, running)
        time.sleep(0.02)
    ran = [here.ended(run_id) for run_id in started]
    assert [one.state for one in ran] == ["SUCCEEDED"] * 30
    assert [one.output("add-2") for one in ran] == [number + 2 for number in range(30)]
    assert [one.run["started_at"] for one in ran] == sorted(one.run["started_at"] for one in ran)
    assert 1 < most <= 4
    assert states(here, started[0]) == ["RUNNING", "SUCCEEDED"]


def test_a_run_that_is_ended_leaves_nothing(machine, scratch, tmp_path):
    here = machine()
    run_id = here.add(compiled(long), detached=str(tmp_path / "pid"))
    here.wait(lambda: is_sleeping(here, run_id))
    assert list(scratch.iterdir()) != []

    with here.database.write() as db:
        move(db, run_id, "CANCELING", ["RUNNING"])
    here.executor.wake()
    ran = here.ended(run_id)

    assert ran.state == "CANCELED"
    assert ran.run["error"] is None
    assert ran.states == {"sleep": "CANCELED"}
    assert carrying(run_id) == []
    assert list(scratch.iterdir()) == []
    assert states(here, run_id) == ["RUNNING", "CANCELING", "CANCELED"]


def test_a_run_that_waits_its_turn_is_canceled_without_a_process(machine, tmp_path):
    here = machine(parallel=1)
    package = compiled(long)
    first = here.add(package, detached=str(tmp_path / "pid"))
    second = here.add(package, detached=str(tmp_path / "other"))
    here.wait(lambda: is_sleeping(here, first))

    with here.database.write() as db:
        move(db, second, "CANCELING", ["PENDING"])
    here.executor.wake()

    assert here.ended(second).state == "CANCELED"
    assert here.row(first)["state"] == "RUNNING"
    assert not (tmp_path / "other").exists()


def test_a_run_that_is_deleted_is_ended_and_its_folder_goes(machine, tmp_path):
    here = machine()
    run_id = here.add(compiled(long), detached=str(tmp_path / "pid"))
    here.wait(lambda: is_sleeping(here, run_id))

    with here.database.write() as db:
        db.execute("delete from runs")
    here.executor.wake()

    here.wait(lambda: not (here.folder / "runs" / run_id).exists())
    assert carrying(run_id) == []


def test_a_server_that_stops_ends_its_runs_and_leaves_what_waits(machine, tmp_path):
    here = machine(parallel=1)
    running = here.add(compiled(long), detached=str(tmp_path / "pid"))
    waiting = here.add(compiled(quick), a=1)
    here.wait(lambda: is_sleeping(here, running))

    here.executor.stop()

    ran = here.ended(running)
    assert (ran.state, ran.run["error"]) == ("FAILED", "localkfp was stopped while it ran")
    assert ran.tasks["sleep"]["state"] == "FAILED"
    assert carrying(running) == []
    assert here.row(waiting)["state"] == "PENDING"

    assert machine().ended(waiting).state == "SUCCEEDED"


@pytest.mark.parametrize("also_the_fork_server", [False, True])
def test_a_server_that_is_killed_leaves_nothing_and_the_next_says_so(machine, scratch, tmp_path, also_the_fork_server):
    folder, package = tmp_path / "machine", compiled(long)
    (tmp_path / "package.json").write_text(json.dumps(package.as_json()))
    script = f"""
import json, sys, time
from pathlib import Path
from localkfp.packages import Package
from tests.localkfp.machine import Machine
machine = Machine(Path({str(folder)!r}), parallel=1).start()
package = Package.from_json(json.loads(Path({str(tmp_path / "package.json")!r}).read_text()))
for name in ("pid", "never"):
    print(machine.add(package, detached={str(tmp_path)!r} + "/" + name), flush=True)
while machine.executor._worker is None:
    time.sleep(0.1)
print(machine.executor._worker.pid, flush=True)
time.sleep(600)
"""
    root = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": str(root), "TMPDIR": str(scratch)}
    server = subprocess.Popen([sys.executable, "-c", script], cwd=root, env=env, stdout=subprocess.PIPE)
    assert server.stdout
    running, waiting, fork_server = (server.stdout.readline().decode().strip() for _ in range(3))
    here = Machine(folder)
    here.wait(lambda: is_sleeping(here, running))

    if also_the_fork_server:
        os.kill(int(fork_server), signal.SIGKILL)
    server.kill()
    server.wait()
    server.stdout.close()

    here.wait(lambda: carrying(running) == [] and list(scratch.iterdir()) == [], seconds=10)
    with here.database.write() as db:
        db.execute("update runs set parameters = ?, package = ? where run_id = ?", ['{"a": 1}', quick_json(), waiting])
    next_one = machine()
    ran = next_one.ended(running)
    assert (ran.state, ran.run["error"]) == ("FAILED", "localkfp was killed while it ran")
    assert next_one.ended(waiting).state == "SUCCEEDED"
    assert len(list((folder / "servers").iterdir())) == 1


def quick_json() -> str:
    return json.dumps(compiled(quick).as_json())


def test_a_server_leaves_the_runs_of_one_that_lives(machine, tmp_path):
    first = machine()
    run_id = first.add(compiled(long), detached=str(tmp_path / "pid"))
    first.wait(lambda: is_sleeping(first, run_id))

    machine()

    assert first.row(run_id)["state"] == "RUNNING"
    assert carrying(run_id) != []


def test_two_servers_may_take_over_from_one_at_the_same_moment(machine, tmp_path, monkeypatch):
    gone = Machine(tmp_path / "machine")
    run_id = gone.add(compiled(quick), a=1)
    flock = fcntl.flock

    def taken_meanwhile(file: Any, how: int) -> None:
        flock(file, how)
        if gone.executor.server_id in file.name:
            Path(file.name).unlink()  # as the other does, which had the lock just before

    monkeypatch.setattr(fcntl, "flock", taken_meanwhile)

    assert machine().ended(run_id).state == "SUCCEEDED"


def test_a_server_is_not_gone_while_a_process_of_its_runs_lives(machine, tmp_path):
    first = machine()
    run_id = first.add(compiled(long), detached=str(tmp_path / "pid"))
    first.wait(lambda: is_sleeping(first, run_id))

    first.executor._lock.close()  # as when the server is killed, and its fork server has not yet seen it
    machine()

    assert first.row(run_id)["state"] == "RUNNING"
    assert carrying(run_id) != []
    first.executor._lock = None


def test_what_a_fork_server_said_before_it_was_replaced_is_of_no_later_try(machine, tmp_path, caplog):
    here = machine()
    run_id = here.add(compiled(long), detached=str(tmp_path / "pid"))
    here.wait(lambda: is_sleeping(here, run_id))
    here.executor.stop()
    with here.database.write() as db:
        assert move(db, run_id, "PENDING", ["FAILED"])
    (tmp_path / "pid").unlink()

    here.executor.start()

    here.wait(lambda: is_sleeping(here, run_id))
    time.sleep(0.5)
    assert here.row(run_id)["state"] == "RUNNING"
    assert "could not go on" not in caplog.text


def test_a_run_whose_process_is_killed_says_how_it_ended(machine, tmp_path):
    here = machine()
    run_id = here.add(compiled(long), detached=str(tmp_path / "pid"))
    here.wait(lambda: is_sleeping(here, run_id))
    step = int(next(pid for pid in carrying(run_id) if pid != (tmp_path / "pid").read_text()))

    os.kill(os.getpgid(step), signal.SIGKILL)

    ran = here.ended(run_id)
    assert ran.state == "FAILED"
    assert ran.run["error"] == "the run's process ended by signal 9 before it could say how the run went"
    assert carrying(run_id) == []


def test_runs_go_on_after_the_fork_server_was_killed(machine, tmp_path):
    here = machine()
    run_id = here.add(compiled(long), detached=str(tmp_path / "pid"))
    here.wait(lambda: is_sleeping(here, run_id))

    here.executor._worker.kill()

    assert here.ended(run_id).run["error"] == "the process that forks runs is gone"
    assert carrying(run_id) == []
    assert here.run(quick, a=1).state == "SUCCEEDED"


def test_a_fork_server_that_dies_before_it_forks_leaves_nothing(machine, scratch):
    here = machine()
    run_id = here.add(compiled(quick), a=1)
    here.wait(lambda: here.executor._worker is not None)

    here.executor._worker.kill()  # it still imports KFP

    assert here.ended(run_id).run["error"] == "the process that forks runs is gone"
    assert list(scratch.iterdir()) == []


def test_a_machine_whose_fork_server_died_with_an_order_unread_can_be_stopped(machine):
    here = machine()
    here.add(compiled(quick), a=1)
    here.wait(lambda: here.executor._worker is not None)
    worker = here.executor._worker
    worker.kill()
    worker.wait()
    worker.stdin.write("an order")

    here.executor.stop()

    assert here.executor._worker is None


def test_a_run_that_another_machine_could_not_run_fails_with_the_reason(machine, monkeypatch):
    monkeypatch.setattr(Engine, "client", None)  # what an engine lacks is said in other words
    package = Package.from_json(json.loads(quick_json().replace("python:3.12", "elsewhere:1")))
    here = machine()

    ran = here.run(package, a=1)

    assert ran.state == "FAILED"
    assert "image elsewhere:1 of task add, add-2 is not known here" in ran.run["error"]


def test_a_schedule_is_asked_and_its_mistakes_stop_nobody(machine):
    here = machine()
    asked = []

    def fire() -> float:
        asked.append(time.monotonic())
        raise RuntimeError("a schedule that fails")

    here.executor.fire = fire
    here.executor.wake()
    here.wait(lambda: len(asked) > 1)

    here.executor.fire = lambda: 0.01
    assert here.run(quick, a=1).state == "SUCCEEDED"
