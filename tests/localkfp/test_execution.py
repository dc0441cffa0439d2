"""What a step finds around it, what is kept of it, and what a second try of a run does."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from kfp import dsl, kubernetes

from localkfp.database import move
from localkfp.packages import Package
from tests.localkfp.machine import Machine, Ran, compiled

IMAGE = "local@sha256:" + "0" * 64


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("code")
    (folder / "of_the_image.py").write_text("NAME = 'code of the image'\n")
    return folder


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, code: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path_factory.mktemp("machine"), images={IMAGE: code}).start()
    yield machine
    machine.executor.stop()


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def look(names: list) -> dict:
    import os
    import sys

    import of_the_image  # type: ignore[import-not-found]  # it is where the step runs

    env = {name: os.environ.get(name) for name in names}
    return {"image": of_the_image.NAME, "python": sys.executable, "cwd": os.getcwd(), "env": env, "argument": "python3"}


@dsl.component(base_image="python:3.12")
def say(text: str) -> str:
    print(f"said {text}")
    return text


@dsl.component(base_image="python:3.12")
def fail_once(path: str) -> str:
    import os

    if not os.path.exists(path):
        open(path, "w").close()
        raise ValueError("the first time")
    return "ended well"


@dsl.component(base_image="python:3.12")
def write(text: str, data: dsl.Output[dsl.Dataset]):
    with open(data.path, "a") as file:
        file.write(text)


@dsl.component(base_image="python:3.12")
def read(data: dsl.Input[dsl.Dataset], path: str) -> str:
    import os

    if not os.path.exists(path):
        open(path, "w").close()
        raise ValueError("the first time")
    return open(data.path).read()


def test_a_step_has_the_code_of_its_image_its_own_settings_and_the_servers(here, monkeypatch):
    @dsl.pipeline(name="surroundings")
    def surroundings(names: list):
        task = look(names=names).set_env_variable("OWN", "own").set_env_variable("SHARED", "own")
        kubernetes.use_field_path_as_env(task, "RUN", "metadata.labels['pipeline/runid']")
        kubernetes.use_field_path_as_env(task, "NAMESPACE", "metadata.namespace")
        kubernetes.use_secret_as_env(task, "keys", {"key": "PASSWORD"})
        kubernetes.use_config_map_as_env(task, "options", {"key": "OPTION"}, optional=True)
        kubernetes.add_node_selector(task, "disk", "fast")

    monkeypatch.setenv("PASSWORD", "hush")  # pragma: allowlist secret
    monkeypatch.setenv("SHARED", "server's")
    names = ["OWN", "SHARED", "RUN", "NAMESPACE", "PASSWORD", "OPTION", "PYTHONUNBUFFERED", "LOCALKFP_RUN_ID", "TMPDIR"]

    ran = here.run(surroundings, names=names)

    assert ran.state == "SUCCEEDED", ran.log()
    found = ran.output("look")
    env, run_id = found["env"], ran.run["run_id"]
    assert found["image"] == "code of the image"
    assert found["python"] == sys.executable
    assert found["argument"] == "python3"
    assert Path(found["cwd"]).parent == ran.folder / "work"
    assert [env[name] for name in names[:6]] == ["own", "own", run_id, "ns", "hush", None]
    assert [env[name] for name in names[6:8]] == ["1", run_id]
    assert not Path(env["TMPDIR"]).exists()
    assert "task look: nodeSelector have no effect" in ran.log()
    assert "hush" not in json.dumps(ran.run)


def test_what_a_step_prints_is_in_a_log_of_its_own(here):
    @dsl.pipeline(name="talk")
    def talk():
        say(text="a")
        say(text="b")

    ran = here.run(talk)

    assert [f"said {text}" in ran.log("say") for text in "ab"] == [True, False]
    assert [f"said {text}" in ran.log("say-2") for text in "ab"] == [False, True]
    assert "said" not in ran.log()
    assert "\033" not in ran.log()


def test_a_run_is_told_its_name_its_id_and_its_time(here):
    @dsl.pipeline(name="placeholders")
    def placeholders():
        say(text=dsl.PIPELINE_JOB_NAME_PLACEHOLDER)
        say(text=f"{dsl.PIPELINE_JOB_ID_PLACEHOLDER} {dsl.PIPELINE_JOB_RESOURCE_NAME_PLACEHOLDER}")
        say(text=f"{dsl.PIPELINE_JOB_CREATE_TIME_UTC_PLACEHOLDER} {dsl.PIPELINE_JOB_SCHEDULE_TIME_UTC_PLACEHOLDER}")

    ran = here.run(placeholders, name='it\'s "mine"')

    run_id, time = ran.run["run_id"], f"{ran.run['created_at'][:19]}Z"
    assert ran.output("say") == 'it\'s "mine"'
    assert ran.output("say-2") == f"{run_id} placeholders-{run_id[:5]}"
    assert ran.output("say-3") == f"{time} {time}"


@dsl.component(base_image="python:3.12")
def note(status: dsl.PipelineTaskFinalStatus) -> str:
    return status.state


def retry(here: Machine, run_id: str) -> Ran:
    with here.database.write() as db:
        db.execute("delete from tasks where state <> 'SUCCEEDED'")
        move(db, run_id, "PENDING", ["FAILED"])
    return here.ended(run_id)


def test_an_exit_task_is_executed_in_every_try(here):
    @dsl.pipeline(name="exits")
    def exits():
        with dsl.ExitHandler(note()):
            fail_once(path="/nowhere/at/all")

    first = here.run(exits)
    again = retry(here, first.run["run_id"])

    assert [run.output("note") for run in (first, again)] == ["FAILED", "FAILED"]
    assert first.tasks["note"]["started_at"] < again.tasks["note"]["started_at"]


def test_a_retried_run_executes_only_what_had_not_succeeded(here, tmp_path):
    @dsl.pipeline(name="retried")
    def retried(path: str):
        with dsl.ExitHandler(note()):
            with dsl.ParallelFor(["a", "b"]) as name:
                say(text=name)
            read(data=write(text="once").outputs["data"], path=path)

    first = here.run(retried, path=str(tmp_path / "once"))
    again = retry(here, first.run["run_id"])

    assert (first.state, again.state) == ("FAILED", "SUCCEEDED")
    assert [run.output("note") for run in (first, again)] == ["FAILED", "SUCCEEDED"]
    assert again.output("exit-handler-1/read") == "once"
    kept = [path for path in again.tasks if path.endswith(("/say", "/write"))]
    assert len(kept) == 3
    assert {path: again.tasks[path]["started_at"] for path in kept} == {
        path: first.tasks[path]["started_at"] for path in kept
    }
    assert again.run["error"] is None


def test_the_error_of_a_step_is_its_exceptions_line_or_its_last_words(here):
    @dsl.component(base_image="python:3.12")
    def chain():
        try:
            raise KeyError("first")
        except KeyError:
            raise RuntimeError("second\nand more")  # noqa: B904

    @dsl.component(base_image="python:3.12")
    def leave():
        import os

        print("last words")
        os._exit(7)

    @dsl.component(base_image="python:3.12")
    def die():
        import os
        import signal

        print("killed")
        os.kill(os.getpid(), signal.SIGKILL)

    @dsl.pipeline(name="errors")
    def errors():
        chain()
        leave()
        die()

    ran = here.run(errors)

    assert ran.tasks["chain"]["error"] == "RuntimeError: second"
    assert ran.tasks["leave"]["error"] == "last words (exit code 7)"
    assert ran.tasks["die"]["error"] == "Killed (exit code 137)"


def test_the_error_of_a_step_that_is_tried_again_is_of_its_last_try(here):
    @dsl.component(base_image="python:3.12")
    def worse():
        import os

        if os.path.exists("tried"):
            os.kill(os.getpid(), 9)
        open("tried", "w").close()
        raise ValueError("first")

    @dsl.pipeline(name="twice")
    def twice():
        worse().set_retry(1, backoff_duration="0s")

    assert here.run(twice).run["error"] == "worse: Killed (exit code 137)"


def test_a_step_may_remove_the_workspace_itself(here):
    @dsl.component(base_image="python:3.12")
    def clean(path: str):
        import shutil

        shutil.rmtree(path)

    @dsl.pipeline(name="cleaning", pipeline_config=dsl.PipelineConfig(workspace=dsl.WorkspaceConfig(size="1Gi")))
    def cleaning():
        clean(path=dsl.WORKSPACE_PATH_PLACEHOLDER)

    assert here.run(cleaning).state == "SUCCEEDED"


def test_a_parameter_that_no_command_line_can_hold_is_told(here):
    @dsl.pipeline(name="long")
    def long(text: str):
        say(text=text)

    ran = here.run(long, text="a" * 200_000)

    assert ran.run["error"] == "say: its parameters are too long for a command line: pass them as an artifact"


def test_each_task_has_a_folder_of_its_own_to_be_in(here):
    @dsl.component(base_image="python:3.12")
    def leave(name: str) -> list:
        import os

        found = os.listdir()
        open(name, "w").close()
        return found

    @dsl.pipeline(name="litter")
    def litter():
        leave(name="b").after(leave(name="a"))

    ran = here.run(litter)

    assert [ran.output("leave"), ran.output("leave-2")] == [[], []]


def test_a_package_that_kfp_cannot_run_fails_with_kfps_words(here):
    package = compiled(dsl.pipeline(name="odd")(lambda: say(text="a") and None))
    spec = json.loads(json.dumps(package.pipeline_spec))
    spec["root"]["dag"]["tasks"]["say"]["inputs"]["parameters"]["text"] = {"componentInputParameter": "nowhere"}

    ran = here.run(Package.from_json(spec))

    assert ran.state == "FAILED"
    assert "nowhere" in ran.run["error"]
    assert "nowhere" in ran.tasks["say"]["error"]
