from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from localkfp import ThreadedLocalKfp, experiments

EXPERIMENTS = "/apis/v2beta1/experiments"


def children() -> set[int]:
    """Processes of this one, and theirs."""
    found, parents = {os.getpid()}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    while new := {process for process, parent in parents.items() if parent in found} - found:
        found |= new
    return found - {os.getpid()}


def test_it_says_that_it_is_well(ask):
    assert ask("GET", "/apis/v2beta1/healthz") == (
        200,
        {"commit_sha": "unknown", "tag_name": "unknown", "multi_user": False, "pipeline_store": "database"},
    )


@pytest.mark.parametrize(
    "path", ["/apis/v2beta1/nothing", "/apis/v1beta1/runs", "/localkfp/no", "/apis/v2beta1/runs/x/y"]
)
def test_a_path_that_no_server_has_is_not_found_in_the_gateways_words(ask, path):
    assert ask("GET", path) == (404, {"code": 5, "message": "Not Found"})


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_method_that_a_path_has_not_is_unimplemented_as_at_the_gateway(ask, method):
    assert ask(method, EXPERIMENTS) == (501, {"code": 12, "message": "Method Not Allowed"})


def test_a_mistake_of_its_own_has_the_servers_shape_and_its_traceback_is_in_the_log_only(monkeypatch, caplog):
    def broken(*_: object) -> None:
        raise RuntimeError("a secret of the house")

    with caplog.at_level(logging.ERROR), ThreadedLocalKfp() as server:
        monkeypatch.setattr(experiments, "find", broken)
        with pytest.raises(HTTPError) as refused:
            urlopen(f"{server.url}{EXPERIMENTS}/x", timeout=30)
        with urlopen(f"{server.url}{EXPERIMENTS}", timeout=30) as still_there:
            assert still_there.status == 200

    body = refused.value.read()
    assert (refused.value.code, json.loads(body)["code"]) == (500, 13)
    assert json.loads(body)["details"][0]["message"] == "a mistake of localkfp's own, its log says where"
    assert b"secret" not in body
    assert "a secret of the house" in caplog.text


def test_what_is_in_it_can_be_seen_and_forgotten(kfp_server, ask, client, package):
    client.upload_pipeline(package, "a")
    assert [row["name"] for row in ask("GET", "/localkfp/dump")[1]["pipeline_versions"]] == ["a"]
    assert ask("GET", "/localkfp/dump")[1] == kfp_server.dump()

    assert ask("POST", "/localkfp/reset") == (200, {})

    [default] = kfp_server.dump().pop("experiments")
    assert default["display_name"] == "Default"
    assert {table: rows for table, rows in kfp_server.dump().items() if rows} == {"experiments": [default]}
    assert client.upload_pipeline(package, "a").display_name == "a"


def test_it_can_be_told_to_forget_by_several_at_once():
    with ThreadedLocalKfp() as server:
        threads = threading.active_count()
        resets = [threading.Thread(target=server.reset) for _ in range(8)]
        refused: list[Any] = []
        hook, threading.excepthook = threading.excepthook, refused.append
        for reset in resets:
            reset.start()
        for reset in resets:
            reset.join()
        threading.excepthook = hook

        assert refused == []
        assert threading.active_count() == threads
        assert [row["display_name"] for row in server.dump()["experiments"]] == ["Default"]


def test_state_outlives_the_server_in_a_folder(tmp_path):
    with ThreadedLocalKfp(tmp_path / "state") as server:
        before = server.dump()

    with ThreadedLocalKfp(tmp_path / "state") as server:
        assert server.dump() == before


def test_it_starts_and_stops_ten_times_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    server, threads, processes = ThreadedLocalKfp(), threading.active_count(), children()
    started, stopped, urls = [], [], set()

    for _ in range(10):
        begun = time.monotonic()
        server.start()
        started.append(time.monotonic() - begun)
        urls.add(server.url)
        assert len(list(tmp_path.iterdir())) == 1
        begun = time.monotonic()
        server.stop()
        stopped.append(time.monotonic() - begun)
        server.stop()  # a second time is no error

    assert list(tmp_path.iterdir()) == []
    assert threading.active_count() == threads
    assert children() == processes
    assert min(started) < 0.5
    assert min(stopped) < 1.0


def test_a_second_start_ends_what_the_first_began(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    server, threads = ThreadedLocalKfp(), threading.active_count()

    server.start()
    server.start()
    assert len(list(tmp_path.iterdir())) == 1
    server.stop()

    assert list(tmp_path.iterdir()) == []
    assert threading.active_count() == threads


def test_several_live_side_by_side_and_each_has_its_own(tmp_path):
    with ThreadedLocalKfp() as one, ThreadedLocalKfp() as two:
        with one.kfp.database.write() as db:
            experiments.resolve(db, "", "team")

        assert one.url != two.url
        assert [len(server.dump()["experiments"]) for server in (one, two)] == [2, 1]


def test_a_port_that_is_taken_is_said_at_once_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    threads = threading.active_count()
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        ThreadedLocalKfp(port=taken.getsockname()[1]).start()

    assert list(tmp_path.iterdir()) == []
    assert threading.active_count() == threads


def test_a_port_is_free_again_after_stop():
    with ThreadedLocalKfp() as server:
        port = int(server.url.rpartition(":")[2])

    with ThreadedLocalKfp(port=port) as server:
        assert server.url == f"http://127.0.0.1:{port}"


def test_it_stops_while_someone_is_still_sending():
    server = ThreadedLocalKfp()
    server.start()
    stopping = threading.Thread(target=server.stop)
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as sender:
        sender.sendall(b"POST /apis/v2beta1/experiments HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        time.sleep(0.1)

        stopping.start()
        stopping.join(timeout=5)

        assert not stopping.is_alive()


def test_it_listens_on_this_machine_only(kfp_server):
    port = int(kfp_server.url.rpartition(":")[2])

    listening = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]

    assert f"0100007F:{port:04X}" in listening
    assert f"00000000:{port:04X}" not in listening


def test_what_a_program_imports_to_use_it_is_not_kfp():
    code = "import sys, localkfp; print(sorted({'kfp', 'kfp_server_api'} & sys.modules.keys()))"

    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert outcome.stdout == "[]\n"


def test_it_leaves_nothing_behind_when_the_program_forgets_to_stop_it(tmp_path):
    code = "from localkfp import ThreadedLocalKfp; server = ThreadedLocalKfp(); server.start(); print(server.url)"
    before = children()

    outcome = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert outcome.stdout.startswith("http://127.0.0.1:")
    deadline = time.monotonic() + 10
    while (list(tmp_path.iterdir()) or children() - before) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list(tmp_path.iterdir()) == []
    assert children() == before


def test_a_folder_remembers_which_images_are_known(tmp_path):
    code = tmp_path / "code"
    with ThreadedLocalKfp(tmp_path / "kfp", images={"acme/steps:1": code, "acme/bare:1": None}):
        pass

    with ThreadedLocalKfp(tmp_path / "kfp", images={"acme/bare:1": code}) as server:
        server.reset()
        assert server.kfp.images() == {"acme/steps:1": code, "acme/bare:1": code}
