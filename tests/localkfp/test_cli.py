# No `annotations` from __future__ here: KFP's compiler reads the real ones.

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
import yaml
from kfp import compiler, dsl

from localkfp.cli import main

SECONDS = 30
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """`localkfp ...` in a folder of its own, as a shell starts it: with a process group."""
    started = []

    def start(*words: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        command = [sys.executable, "-m", "localkfp", *words]
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def outcome(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=SECONDS)
    return process.returncode, out, err


def asked(url: str, data: Any = None) -> Any:
    body = None if data is None else json.dumps(data).encode()
    with urlopen(Request(url, data=body, method="GET" if body is None else "POST"), timeout=SECONDS) as answer:
        return json.load(answer)


@dsl.component(base_image="python:3.12")
def wait_for_ever():
    import subprocess

    subprocess.run(["sleep", "987"])


@dsl.component(base_image="example/trainer:1.0")
def say_ours():
    import ours  # type: ignore[import-not-found]  # it lies in the folder that the test makes

    print(ours.word)


def package(component: Any, folder: Path) -> Any:
    """A pipeline of one step, as REST takes it."""
    compiler.Compiler().compile(component, str(folder / "package.yaml"))
    found = yaml.safe_load((folder / "package.yaml").read_text())
    (folder / "package.yaml").unlink()
    return found


def belongs_to(run_id: str) -> list[str]:
    """The processes of a run, by their command lines."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"LOCALKFP_RUN_ID={run_id}".encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def until(true: Callable[[], Any]) -> None:
    end = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_it_prints_its_url_and_how_to_use_it_and_keeps_its_state_in_a_folder(start: Start, tmp_path: Path) -> None:
    process = start("serve", "--port", "0", "--parallel", "3")
    assert process.stdout
    url = process.stdout.readline().strip()

    health = asked(f"{url}/apis/v2beta1/healthz")
    process.send_signal(signal.SIGTERM)
    code, out, err = outcome(process)

    assert url.startswith("http://127.0.0.1:")
    assert health["multi_user"] is False
    assert (code, out) == (0, "")
    assert f"export KF_PIPELINES_ENDPOINT={url}\n" in err
    assert f"kfp --endpoint {url} run create" in err
    assert "keeps everything in .localkfp, runs up to 3 pipelines at a time" in err
    assert (tmp_path / ".localkfp/localkfp.db").is_file()


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_whatever_ends_it_ends_its_runs_and_the_next_one_on_the_folder_knows(
    start: Start, tmp_path: Path, end: signal.Signals
) -> None:
    body = {"display_name": "waits", "pipeline_spec": package(wait_for_ever, tmp_path)}
    process = start("serve", "--port", "0", "--folder", "kept")
    assert process.stdout
    url = process.stdout.readline().strip()
    run_id = asked(f"{url}/apis/v2beta1/runs", body)["run_id"]
    until(lambda: any("sleep 987" in command for command in belongs_to(run_id)))

    os.killpg(process.pid, end)  # Ctrl-C reaches every process of the terminal
    code, _, err = outcome(process)

    assert (code, "Traceback" in err) == (0, False)
    assert belongs_to(run_id) == []
    again = start("serve", "--port", "0", "--folder", "kept")
    assert again.stdout
    run = asked(f"{again.stdout.readline().strip()}/apis/v2beta1/runs/{run_id}")
    assert (run["state"], run["error"]["message"]) == ("FAILED", "localkfp was stopped while it ran")


def test_it_listens_on_this_machine_only(start: Start) -> None:
    process = start("serve", "--port", "0")
    assert process.stdout
    port = int(process.stdout.readline().rpartition(":")[2])

    listening = {
        line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[3] == "0A"
    }

    assert [address for address in listening if address.endswith(f":{port:04X}")] == [f"0100007F:{port:04X}"]


def test_a_taken_port_is_a_sentence(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        told = outcome(start("serve", "--port", str(port)))

    assert told == (
        1,
        "",
        f"error: port {port} is taken\n  where: 127.0.0.1:{port}\n  to do: choose another, `localkfp serve --port 0`\n",
    )


def test_a_folder_that_cannot_be_is_a_sentence(start: Start, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/localkfp.db").write_text("no database" * 100)

    blocked, foreign = (outcome(start("serve", "--port", "0", "--folder", folder)) for folder in ("file", "other"))

    do = "  to do: choose a folder in which you may write, `localkfp serve --folder DIR`\n"
    move = "  to do: move localkfp.db out of it, or choose another folder, `localkfp serve --folder DIR`\n"
    assert blocked[0] == foreign[0] == 1
    assert blocked[1] == foreign[1] == ""
    assert blocked[2] in {
        f"error: nothing can be kept there: {said}\n  where: {tmp_path}/file\n{do}"
        for said in ("File exists", "Not a directory")
    }
    assert foreign[2] == f"error: nothing can be kept there: file is not a database\n  where: {tmp_path}/other\n{move}"


@pytest.mark.parametrize(
    ("words", "what", "do"),
    [
        (["serve", "--image", "example/trainer"], "`example/trainer` is not an image and a folder", "write REF=DIR"),
        (["serve", "--image", "=."], "`=.` is not an image and a folder", "write REF=DIR"),
        (["serve", "--image", "a="], "`a=` is not an image and a folder", "write REF=DIR"),
        (["serve", "--image", "a=gone"], "there is no folder `gone`", "name the folder that holds the code"),
        (["serve", "--port", "65536"], "Invalid value for '--port'", "`localkfp serve --help` shows what it takes"),
        (["serve", "--parallel", "0"], "Invalid value for '--parallel'", "`localkfp serve --help` shows what it takes"),
        (["serve", "--host", "0.0.0.0"], "No such option: --host", "`localkfp serve --help` shows what it takes"),
        (["sreve"], "No such command 'sreve'", "`localkfp --help` shows what it takes"),
    ],
)
def test_wrong_use_is_exit_2_with_a_sentence_and_makes_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    what: str,
    do: str,
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(SystemExit) as ended:
        main(words)

    out, err = capsys.readouterr()
    first, where, last = err.splitlines()
    assert (ended.value.code, out) == (2, "")
    assert first.startswith(f"error: {what}")
    assert where.startswith("  where: ")
    assert last.startswith(f"  to do: {do}")
    assert list(tmp_path.iterdir()) == []


def test_a_known_image_runs_with_the_code_of_its_folder(start: Start, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code/ours.py").write_text("word = 'from our own code'\n")
    spec = package(say_ours, tmp_path)

    process = start("serve", "--port", "0", "--image", "example/trainer:1.0=code")
    assert process.stdout
    runs = f"{process.stdout.readline().strip()}/apis/v2beta1/runs"
    run_id = asked(runs, {"display_name": "ours", "pipeline_spec": spec})["run_id"]
    until(lambda: "finished_at" in asked(f"{runs}/{run_id}"))

    assert asked(f"{runs}/{run_id}")["state"] == "SUCCEEDED"
    [log] = tmp_path.glob(".localkfp/runs/*/logs/*.log")
    assert "from our own code" in log.read_text()


def test_without_a_word_it_says_what_there_is(start: Start) -> None:
    code, out, err = outcome(start())

    assert (code, err) == (0, "")
    assert "serve" in out
    assert "Exit codes: 0 done, 1 failed, 2 wrong use." in out
