from __future__ import annotations

from pathlib import Path

import pytest

from localkfp.tasks import Task, error_in

TRACE = "Traceback (most recent call last):\n  File 'a', line 1\n"


def test_a_task_has_the_same_id_in_every_try_of_its_run():
    loop = Task("run", "for-loop-1", "for-loop-1", None)
    inside = Task("run", "add", "add up", loop)

    assert inside.path == "for-loop-1/add"
    assert inside.task_id == Task("run", "add", "other", loop).task_id
    assert (
        len({inside.task_id, loop.task_id, Task("run", "add", "", None).task_id, Task("b", "add", "", loop).task_id})
        == 4
    )


@pytest.mark.parametrize(
    ("log", "exit_code", "said"),
    [
        (f"{TRACE}ValueError: no rows\n", 1, "ValueError: no rows"),
        (f"{TRACE}KeyError: 1\n\nThe above was the cause:\n\n{TRACE}    x\nOSError: a\nb\n", 1, "OSError: a"),
        (f"{TRACE}KeyError: 1\nlater\n", 1, "KeyError: 1"),
        ("one\ntwo \n\n", 3, "two (exit code 3)"),
        ("one\n", -9, "one (ended by signal 9)"),
        ("", 3, "exit code 3"),
        (TRACE, 1, "File 'a', line 1 (exit code 1)"),
        ("[KFP Executor 1 INFO]: Got executor_input:\n{\n  {\n  }\n}\n", -9, "ended by signal 9"),
        ("one\n[KFP Executor 1 INFO]: a\n[KFP Executor 1 INFO]: b:\n{\n}\n{x}\n", 1, "{x} (exit code 1)"),
        (None, -11, "ended by signal 11"),
    ],
)
def test_the_error_of_a_step_is_read_from_what_it_printed(tmp_path: Path, log, exit_code, said):
    if log is not None:
        (tmp_path / "log").write_text(log)

    assert error_in(tmp_path / "log", exit_code) == said


def test_the_error_is_of_the_last_try_and_of_the_end_of_a_long_log(tmp_path: Path):
    before = f"{TRACE}ValueError: first\n"
    (tmp_path / "log").write_text(f"{before}Killed\n")
    (tmp_path / "long").write_text("x" * (3 << 20) + f"\n{TRACE}ValueError: {'y' * 100_000}\n")

    assert error_in(tmp_path / "log", 137, len(before)) == "Killed (exit code 137)"
    assert error_in(tmp_path / "long", 1) == f"ValueError: {'y' * 988}"
