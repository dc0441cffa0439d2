"""Many runs at once, and a server that dies among them: none is lost, none runs twice, and nothing is left behind."""

# No `annotations` from __future__ here: KFP's compiler reads the real ones.
import json
import os
import signal
import subprocess
import sys
import time
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kfp
import pytest
from google.protobuf import json_format
from kfp import dsl

RUNS, THREADS = 200, 20


@dsl.component(base_image="python:3.12")
def note(file: str, mark: str, seconds: float):
    """Say in a file that all runs share that it began, and that it is done."""
    import time

    with open(file, "a") as notes:
        notes.write(f"began {mark}\n")
    time.sleep(seconds)
    with open(file, "a") as notes:
        notes.write(f"done {mark}\n")


@dsl.component(base_image="python:3.12")
def family(mark: str):
    """A child, and a grandchild that no session and no living parent ties to the step."""
    import subprocess
    import sys
    import time

    sleep = "import time; time.sleep(600)"
    start = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {sleep!r}, sys.argv[1]], start_new_session=True)"
    subprocess.Popen([sys.executable, "-c", sleep, mark])
    subprocess.run([sys.executable, "-c", start, mark], start_new_session=True)
    time.sleep(600)


@dsl.pipeline(name="noting")
def noting(file: str, mark: str, seconds: float = 0.0):
    note(file=file, mark=mark, seconds=seconds)


@dsl.pipeline(name="having-a-family")
def having_a_family(mark: str):
    family(mark=mark)


@dataclass
class Serving:
    """`localkfp serve` as a person starts it, and as it can be killed."""

    folder: Path
    parallel: int = 4
    process: subprocess.Popen[str] | None = None
    client: Any = None

    def start(self) -> None:
        command = [sys.executable, "-m", "localkfp", "serve", "--port", "0", "--folder", str(self.folder)]
        with (self.folder.parent / "serve.log").open("a") as log:
            self.process = subprocess.Popen(
                [*command, "--parallel", str(self.parallel)], stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self.process.stdout
        self.client = client_of(self.process.stdout.readline().strip())

    def end(self, number: signal.Signals) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(timeout=30)
            assert self.process.stdout
            self.process.stdout.close()


@pytest.fixture
def serving(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serving]:
    monkeypatch.setattr(
        kfp.Client, "_LOCAL_KFP_CONTEXT", str(home / "context.json")
    )  # else that of a person's own home
    server = Serving(tmp_path / "folder")
    server.start()
    yield server
    server.end(signal.SIGTERM)


@pytest.fixture
def mark() -> str:
    """A word that no other process has on its command line."""
    return f"mark-{uuid.uuid4().hex}"


def client_of(url: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return kfp.Client(host=url)


def run(client: Any, pipeline: Any, **arguments: Any) -> str:
    """The id of a run that is named as its mark."""
    package = json_format.MessageToDict(pipeline.pipeline_spec)
    body = {"pipeline_spec": package, "runtime_config": {"parameters": arguments}, "display_name": arguments["mark"]}
    return str(client._run_api.run_service_create_run(body).run_id)


def until(done: Callable[[], Any], what: str, within: float = 60.0) -> Any:
    deadline = time.monotonic() + within
    while not (found := done()):
        assert time.monotonic() < deadline, f"{what}: not within {within:g} s"
        time.sleep(0.1)
    return found


def ended_runs(client: Any, within: float = 60.0) -> list[Any]:
    """All runs, once none of them has a way to go."""
    open_ = {"operation": "IN", "key": "state", "stringValues": {"values": ["PENDING", "RUNNING", "CANCELING"]}}
    asked = {"page_size": 1, "filter": json.dumps({"predicates": [open_]})}
    until(lambda: not client.list_runs(**asked).runs, "the end of all runs", within)
    return client.list_runs(page_size=200).runs


def notes(file: Path) -> Counter[str]:
    """How often each line was written."""
    return Counter(file.read_text().splitlines() if file.exists() else [])


def processes(mark: str) -> list[int]:
    """Those that have the mark on their command line, but for this one."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (entry / "cmdline").read_bytes() and int(entry.name) != os.getpid():
                found.append(int(entry.name))
        except OSError:  # it ended meanwhile
            continue
    return found


def test_of_200_runs_from_20_threads_none_is_lost_and_none_runs_twice(kfp_server, client, tmp_path):
    file, marks = tmp_path / "notes", [f"mark-{number}" for number in range(RUNS)]

    with ThreadPoolExecutor(THREADS) as threads:
        run_ids = list(threads.map(lambda mark: run(client, noting, file=str(file), mark=mark), marks))

    runs = ended_runs(client, within=300)
    assert Counter(one.state for one in runs) == {"SUCCEEDED": RUNS}
    assert sorted((one.run_id, one.display_name) for one in runs) == sorted(zip(run_ids, marks, strict=True))
    assert notes(file) == {f"{word} {mark}": 1 for word in ("began", "done") for mark in marks}


def test_runs_of_a_server_that_is_killed_all_come_to_an_end_and_none_runs_twice(serving, tmp_path):
    file, marks = tmp_path / "notes", [f"mark-{number}" for number in range(20)]
    run_ids = [run(serving.client, noting, file=str(file), mark=mark, seconds=0.5) for mark in marks]
    until(lambda: sum(line.startswith("done") for line in notes(file)) >= 4, "the first runs")
    until(lambda: notes(file).total() % 2, "a run in the middle of its step")

    serving.end(signal.SIGKILL)
    serving.start()

    runs = ended_runs(serving.client)
    assert {one.run_id: one.display_name for one in runs} == dict(zip(run_ids, marks, strict=True))
    cut_off = {one.display_name: one.error.message for one in runs if one.state != "SUCCEEDED"}
    assert 1 <= len(cut_off) <= serving.parallel
    assert set(cut_off.values()) == {"localkfp was killed while it ran"}
    written = notes(file)
    assert {line for line, times in written.items() if times > 1} == set()
    assert {mark for mark in marks if f"done {mark}" not in written} <= cut_off.keys()


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="no /proc tells of processes here")
@pytest.mark.parametrize("ending", ["terminate", "delete", "SIGTERM", "SIGKILL"])
def test_no_process_of_a_step_outlives_its_run(serving, mark, ending):
    run_id = run(serving.client, having_a_family, mark=mark)
    until(lambda: len(processes(mark)) >= 3, "the step and its family")

    if ending == "terminate":
        serving.client.terminate_run(run_id)
        until(lambda: serving.client.get_run(run_id).state == "CANCELED", "the end of the run")
    elif ending == "delete":
        serving.client.delete_run(run_id)
    else:
        serving.end(signal.Signals[ending])

    if ending == "SIGKILL":  # nobody is left to wait for
        until(lambda: not processes(mark), "the end of the step's processes", within=10)
    assert processes(mark) == []
