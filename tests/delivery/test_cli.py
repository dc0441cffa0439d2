from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import typer.main

from delivery import cli, errors
from delivery.cli import main

REPOSITORY = Path(__file__).parents[2]


def test_run_shows_the_steps_on_stderr_and_the_verdicts_on_stdout(mlops: Any, project: Path) -> None:
    outcome = mlops("run")

    [run] = (project / "store/runs").iterdir()
    assert outcome.exit_code == 0
    lines = outcome.err.splitlines()
    assert re.fullmatch(rf"run greet-\d{{8}}-\d{{6}}-[0-9a-f]{{4}} \({run.name}\)", lines[0])
    assert [line.split("  ")[:2] for line in lines[1:] if "running" not in line] == [
        ["make_words", "succeeded"],
        ["say_words", "succeeded"],
    ]
    assert re.search(r"words\.times +1 +>= 1 +passed", outcome.out)
    assert re.search(r"time +3 +0\.5", outcome.out)
    assert "verdict: promote\nit speaks better than silence\n" in outcome.out
    assert f"page: {run}/report.html\n" in outcome.out
    assert f"registry: sqlite:///{project}/registry.db\n" in outcome.out
    assert "\x1b" not in outcome.out + outcome.err


def test_run_as_json_prints_json_and_nothing_else_on_stdout(mlops: Any, project: Path) -> None:
    good, refused = mlops("run", "--json"), mlops("run", "greet", "--json", "-p", "fail=gate")

    told = json.loads(good.out)
    assert (good.exit_code, told["state"], told["error"]) == (0, "SUCCEEDED", None)
    assert f"run {told['run_name']} ({told['run_id']})\n" in good.err
    assert told["gates"][0]["name"] == "words.times"
    assert told["metrics"] == {"time": {"rows": 3, "top_1": 0.5}}
    assert [step["state"] for step in told["steps"]] == ["succeeded", "succeeded"]
    told = json.loads(refused.out)
    assert (refused.exit_code, told["state"]) == (3, "FAILED")
    assert told["error"] == {"what": "say_words: the tone is 3, allowed 2", "where": "words", "do": "say less"}


def test_a_gate_that_said_no_is_exit_3_and_its_twin_is_exit_0(mlops: Any) -> None:
    refused, accepted = mlops("run", "-p", "fail=gate"), mlops("run", "-p", "fail=")

    assert (refused.exit_code, accepted.exit_code) == (3, 0)
    assert refused.err.endswith("error: say_words: the tone is 3, allowed 2\n  where: words\n  to do: say less\n")
    assert "log: " in refused.out
    assert "error" not in accepted.err


def test_a_step_that_failed_is_exit_1(mlops: Any) -> None:
    outcome = mlops("run", "-p", "fail=sentence")

    assert outcome.exit_code == 1
    assert outcome.err.endswith("error: say_words: the mouth is shut\n  where: here\n  to do: open it\n")


def test_a_store_that_takes_no_record_is_told_with_its_own_place_and_cure(mlops: Any) -> None:
    outcome = mlops("run", "-p", "store=/proc/nowhere")

    assert outcome.exit_code == 1
    assert "error: make_words: writing failed: its folder cannot be made there\n" in outcome.err
    assert "  where: file:/proc/nowhere/runs/" in outcome.err
    assert outcome.err.endswith("  to do: name a place that can be written\n")


def test_a_run_without_a_page_gets_one(mlops: Any, project: Path) -> None:
    outcome = mlops("run", "-p", "page=false")

    [page] = project.glob("store/runs/*/report.html")
    assert outcome.exit_code == 0
    assert f"page: {page}\n" in outcome.out
    assert "make_words" in page.read_text()


@pytest.mark.parametrize(
    ("words", "what", "do"),
    [
        (["run", "gret"], "there is no pipeline `gret`", "did you mean `greet`?"),
        (["run", "--env", "dev"], "there is no environment `dev`", "did you mean `local-dev`?"),
        (["run", "-p", "nam=x"], "the pipeline has no parameter `nam`", "did you mean `name`?"),
        (["run", "-p", "options.tone=7"], "options.tone is 5 or more", "set them as said, and run again"),
        (["run", "bare", "--jsn"], "No such option: --jsn", "`mlops run --help` shows what it takes"),
        (["rnu"], "No such command 'rnu'", "`mlops --help` shows what it takes"),
        (["report"], "Missing argument 'RUN'", "`mlops report --help` shows what it takes"),
        (["report", "greet"], "there is no run `greet` in local-dev", "none; start one with `mlops run`"),
        (["compile", "gret"], "there is no pipeline `gret`", "did you mean `greet`?"),
    ],
)
def test_wrong_use_is_exit_2_with_three_strings_and_changes_nothing(
    mlops: Any, project: Path, words: list[str], what: str, do: str
) -> None:
    before = sorted(project.rglob("*"))

    outcome = mlops(*words)

    assert outcome.exit_code == 2
    assert outcome.out == ""
    said = outcome.err.splitlines()
    assert len(said) == 3
    assert said[0].startswith(f"error: {what}")
    assert said[1].startswith("  where: ")
    assert said[2].startswith("  to do: ")
    assert do in said[2]
    assert sorted(project.rglob("*")) == before


def test_a_package_that_may_not_be_written_does_not_run(mlops: Any, project: Path) -> None:
    outcome = mlops("run", "bare")

    assert outcome.exit_code == 1
    assert "do_nothing has no cpu limit" in outcome.err
    assert not (project / ".mlops").exists()


def test_without_a_default_a_pipeline_must_be_named(mlops: Any, project: Path) -> None:
    (project / "environments/none.yaml").write_text("endpoint: local\nstore: s\nregistry: sqlite:///r.db\n")

    outcome = mlops("run", "--env", "none")

    assert outcome.exit_code == 2
    assert "error: no pipeline is named, and there is no default" in outcome.err


def test_compile_prints_the_hash_and_the_path_of_each_package(mlops: Any, project: Path) -> None:
    one, other = mlops("compile", "greet"), mlops("compile", "greet", "silent", "--out", "there")

    assert (one.exit_code, one.err, other.exit_code, other.err) == (0, "", 0, "")
    digest, path = one.out.split()
    assert Path(path) == project / "build/packages/greet.yaml"
    assert other.out.splitlines()[0] == f"{digest}  there/greet.yaml"
    assert sorted(file.name for file in (project / "there").iterdir()) == ["greet.yaml", "silent.yaml"]


def test_report_makes_the_page_again_by_the_runs_name_or_its_id_and_prints_its_path(mlops: Any, project: Path) -> None:
    run = json.loads(mlops("run", "--json", "-p", f"store={project}/elsewhere", "-p", "fail=killed").out)
    page = project / "elsewhere/runs" / run["run_id"] / "report.html"

    for told in (run["run_name"], run["run_id"]):
        page.unlink()
        outcome = mlops("report", told)

        assert (outcome.exit_code, outcome.out, outcome.err) == (0, f"{page}\n", "")
        assert "say_words" in page.read_text()


def test_report_of_an_unknown_run_names_near_and_latest_ones(mlops: Any) -> None:
    one, other = (json.loads(mlops("run", "silent", "--json").out)["run_name"] for _ in range(2))

    near, far = mlops("report", one[:-1] + "x"), mlops("report", "00000000-0000-4000-8000-000000000000")

    assert (near.exit_code, far.exit_code) == (2, 2)
    assert f"to do: did you mean `{one}`" in near.err
    assert f"take one of the latest runs: `{other}`, `{one}`\n" in far.err


def test_report_of_a_run_without_records_says_so(mlops: Any, project: Path) -> None:
    run = json.loads(mlops("run", "silent", "--json").out)

    outcome = mlops("report", run["run_name"])

    assert outcome.exit_code == 1
    assert outcome.err.startswith(f"error: run {run['run_name']} has no records to make a page of\n")
    assert f"where: file:{project}/store/runs/{run['run_id']}\n" in outcome.err


def test_a_store_that_fails_is_a_sentence(mlops: Any, s3: Any) -> None:
    run = json.loads(mlops("run", "--json", "-p", f"store={s3.bucket('gone')}").out)
    for found in s3.client.list_objects_v2(Bucket="gone")["Contents"]:
        s3.client.delete_object(Bucket="gone", Key=found["Key"])
    s3.client.delete_bucket(Bucket="gone")

    outcome = mlops("report", run["run_name"])

    assert outcome.exit_code == 1
    assert outcome.err.startswith("error: ")
    assert "s3://gone" in outcome.err
    assert "Traceback" not in outcome.err


def test_an_endpoint_that_does_not_answer_is_a_sentence_and_comes_fast(mlops: Any) -> None:
    Path("environments/gone.yaml").write_text("endpoint: http://127.0.0.1:9\nstore: s\nregistry: sqlite:///r.db\n")
    start = time.perf_counter()

    outcomes = [mlops("run", "silent", "--env", "gone"), mlops("report", "x", "--env", "gone")]

    assert time.perf_counter() - start < 5
    for outcome in outcomes:
        assert (outcome.exit_code, outcome.out) == (1, "")
        what, where, do = outcome.err.splitlines()
        assert what.startswith("error: the endpoint does not answer: ")
        assert where == "  where: environments/gone.yaml, endpoint: http://127.0.0.1:9"
        assert do.startswith("  to do: start it, or correct `endpoint`")


def test_our_own_bug_keeps_its_traceback(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("delivery.environments.read_environment", broken)

    with pytest.raises(ZeroDivisionError):
        main(["run"], pipelines="tiny_pipelines")


def test_in_a_terminal_the_table_changes_in_place_and_no_color_is_respected(project: Path) -> None:
    coloured, plain = (_in_terminal(project, colour) for colour in ({}, {"NO_COLOR": "1"}))

    assert re.search(r"\x1b\[32msucceeded", coloured)
    assert "\x1b[1A" in coloured  # the cursor goes up: the table is drawn over itself
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", plain)
    assert "succeeded" in plain


def test_help_is_there_for_every_verb_and_comes_fast(mlops: Any) -> None:
    start = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-m", "delivery.cli", "--help"], capture_output=True, text=True, env=environment
    )
    seconds = time.perf_counter() - start

    assert done.returncode == 0
    assert seconds < 2  # 0.15 s when nothing else runs; importing kfp or TensorFlow would show
    for name, verb in typer.main.get_command(cli.app).commands.items():  # type: ignore[attr-defined]  # a group has them
        assert verb.help
        assert name in done.stdout
    assert mlops().out == mlops("--help").out


def test_help_imports_nothing_heavy() -> None:
    heavy = ("kfp", "tensorflow", "fsspec", "mlflow", "yaml")
    code = f"import sys, delivery.cli; print([name for name in {heavy} if name in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)

    assert done.stdout == "[]\n"


def test_every_error_has_an_exit_code_of_its_own() -> None:
    codes = {kind.__name__: kind.exit_code for kind in errors.MlopsError.__subclasses__()}

    assert codes == {"Failed": 1, "WrongUse": 2, "GateRefused": 3, "Interrupted": 130}


def _in_terminal(project: Path, variables: dict[str, str]) -> str:
    """What a person sees of `mlops run`, escape codes and all."""
    code = "from delivery.cli import main; main(['run'], pipelines='tiny_pipelines')"
    paths = os.pathsep.join([str(REPOSITORY), str(Path(__file__).parent)])
    environment = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
    environment.update({"TERM": "xterm", "PYTHONPATH": paths, **variables})
    ours, theirs = pty.openpty()
    child = subprocess.Popen([sys.executable, "-c", code], cwd=project, env=environment, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen = b""
    try:
        while chunk := os.read(ours, 4096):
            seen += chunk
    except OSError:  # Linux says so when the other end is closed
        pass
    os.close(ours)
    assert child.wait(timeout=20) == 0
    return seen.decode()
