from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from localkfp.worker import sweep

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="what is left is looked for in /proc")


def sleeping(run_id: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "LOCALKFP_RUN_ID": run_id}
    return subprocess.Popen(["sleep", "60"], env=environment, start_new_session=True)


def test_a_sweep_ends_what_carries_the_runs_mark_and_nothing_else():
    mine, other = sleeping("a-run"), sleeping("a-run-2")

    sweep("a-run")

    assert mine.wait(5) == -9
    assert other.poll() is None
    sweep("a-run-2", leader=mine.pid)  # a leader that is gone is no mistake
    assert other.wait(5) == -9


def test_the_fork_server_ends_when_its_orders_do():
    process = subprocess.Popen(
        [sys.executable, "-c", "from localkfp.worker import main; main()"],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
    )
    assert process.stdin
    process.stdin.write(b'{"kill": "unknown"}\n')
    process.stdin.flush()
    time.sleep(0.1)

    process.stdin.close()

    assert process.wait(20) == 0
