import base64
import io
import json
import os
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl
from kfp.dsl import Artifact, Model, Output

from localkfp import ThreadedLocalKfp, experiments, pipelines, runs
from localkfp.database import ENDED, move, now
from localkfp.errors import ApiError
from localkfp.server import LocalKfp
from tests.localkfp.machine import compiled

RUNS = "/apis/v2beta1/runs"
TASK = """
insert into tasks (task_id, run_id, path, name, display_name, state, state_history, inputs, outputs, started_at)
values (:task_id, :run_id, :task_id, :task_id, :task_id, :state, '[]', '{}', :outputs, :now)
"""
component = dsl.component(base_image="python:3.12", install_kfp_package=False)


@component
def make(text: str, model: Output[Model], parts: Output[Artifact]) -> str:
    from pathlib import Path

    print(f"made {text}")
    Path(model.path).write_text(text)
    Path(parts.path).mkdir(parents=True)
    (Path(parts.path) / "a.txt").write_text("a part")
    (Path(parts.path) / "secret").symlink_to(text)
    return text


@component
def need(path: str):
    open(path).close()


@component
def linger(path: str):
    import os
    import time
    from pathlib import Path

    Path(path).write_text(str(os.getpid()))
    time.sleep(600)


@dsl.pipeline(name="make-and-need")
def make_and_need(text: str, path: str):
    need(path=path).after(make(text=text))


@dsl.pipeline(name="lingering")
def lingering(path: str):
    linger(path=path)


@pytest.fixture(scope="module")
def kfp_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreadedLocalKfp]:
    """One for all tests here: its first run waits until KFP is imported."""
    with ThreadedLocalKfp(tmp_path_factory.mktemp("localkfp")) as server:
        yield server


@pytest.fixture
def kfp(kfp_server: ThreadedLocalKfp) -> LocalKfp:
    return kfp_server.kfp


@pytest.fixture
def idle(tmp_path: Path) -> LocalKfp:
    """A server whose executor sleeps: its runs are in the state in which a test puts them."""
    return LocalKfp(tmp_path / "idle")


@pytest.fixture
def run_id(idle: LocalKfp, spec: dict[str, Any]) -> str:
    return str(runs.create(idle, {"display_name": "a run", "pipeline_spec": spec})["run_id"])


def begin(kfp: LocalKfp, pipeline: Any, **parameters: str) -> str:
    config = {"parameters": parameters}
    body = {"display_name": pipeline.name, "pipeline_spec": compiled(pipeline).as_json(), "runtime_config": config}
    return str(runs.create(kfp, body)["run_id"])


def ended(kfp: LocalKfp, run_id: str) -> dict[str, Any]:
    wait(lambda: runs.get(kfp, run_id)["state"] in ENDED)
    return runs.get(kfp, run_id)


def wait(until: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not until():
        assert time.monotonic() < deadline, "this should have been so by now"
        time.sleep(0.02)


def pid_in(path: Path) -> int:
    wait(lambda: path.exists() and path.read_text())
    return int(path.read_text())


def is_alive(pid: int) -> bool:
    """Also true for a moment of what has ended, until init has seen that."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def states(run: dict[str, Any]) -> list[str]:
    return [one["state"] for one in run["state_history"]]


def put(kfp: LocalKfp, run_id: str, *states: str, **error: str) -> None:
    with kfp.database.write() as db:
        for state in states:
            assert move(db, run_id, state, ("PENDING", "RUNNING", "CANCELING"), **error)


def put_task(kfp: LocalKfp, run_id: str, task_id: str, state: str = "SUCCEEDED", **artifacts: str) -> None:
    outputs = {"artifacts": {name: [{"name": name, "uri": uri}] for name, uri in artifacts.items()}}
    values = {"run_id": run_id, "task_id": task_id, "state": state, "outputs": json.dumps(outputs), "now": now()}
    with kfp.database.write() as db:
        db.execute(TASK, values)


def refusal(function: Callable[..., Any], kfp: LocalKfp, *given: Any) -> tuple[int, str]:
    with pytest.raises(ApiError) as refused:
        function(kfp, *given)
    return refused.value.code.http, refused.value.message


# With an executor


def test_a_run_is_told_alike_to_who_gets_it_and_who_lists_it(kfp, client, tmp_path):
    run_id = begin(kfp, make_and_need, text="a", path=str(tmp_path))
    ended(kfp, run_id)

    run = client.get_run(run_id)
    [listed] = [run for run in client.list_runs(page_size=100).runs if run.run_id == run_id]

    assert run == listed
    assert (run.state, run.error.code, states(run.to_dict())) == ("FAILED", 13, ["PENDING", "RUNNING", "FAILED"])
    assert run.error.message.startswith("need: IsADirectoryError: ")
    assert run.finished_at > run.created_at
    tasks = {task.display_name: task for task in run.run_details.task_details}
    assert {name: (task.state, task.run_id) for name, task in tasks.items()} == {
        "make": ("SUCCEEDED", run_id),
        "need": ("FAILED", run_id),
    }
    assert (tasks["make"].error, tasks["need"].error.message) == (None, run.error.message.removeprefix("need: "))
    assert tasks["make"].start_time < tasks["make"].end_time <= tasks["need"].start_time


def test_a_retried_run_goes_on_where_it_failed(kfp, client, tmp_path):
    needed = tmp_path / "needed"
    run_id = begin(kfp, make_and_need, text="a", path=str(needed))
    failed = ended(kfp, run_id)
    needed.touch()

    client._run_api.run_service_retry_run(run_id)

    run = ended(kfp, run_id)
    assert (run["state"], run["run_id"], "error" in run) == ("SUCCEEDED", run_id, False)
    assert states(run) == ["PENDING", "RUNNING", "FAILED", "PENDING", "RUNNING", "SUCCEEDED"]
    [made, was_missed] = failed["run_details"]["task_details"]
    [kept, found] = run["run_details"]["task_details"]
    assert kept == made
    assert (was_missed["state"], found["state"], "error" in found) == ("FAILED", "SUCCEEDED", False)
    assert runs.log(kfp, run_id, made["task_id"]).read_text().count("made a") == 1


def test_a_terminated_run_is_canceled_and_its_step_gone(kfp, client, tmp_path):
    run_id = begin(kfp, lingering, path=str(tmp_path / "pid"))
    pid = pid_in(tmp_path / "pid")

    client.terminate_run(run_id)

    run = ended(kfp, run_id)
    assert states(run) == ["PENDING", "RUNNING", "CANCELING", "CANCELED"]
    wait(lambda: not is_alive(pid))


def test_an_active_run_that_is_deleted_leaves_nothing(kfp, client, tmp_path):
    run_id = begin(kfp, lingering, path=str(tmp_path / "pid"))
    pid, folder = pid_in(tmp_path / "pid"), kfp.folder / "runs" / run_id
    assert folder.is_dir()

    client.delete_run(run_id)

    wait(lambda: not is_alive(pid))
    assert not folder.exists()
    assert refusal(runs.get, kfp, run_id)[0] == 404
    assert not [task for task in kfp.dump()["tasks"] if task["run_id"] == run_id]


def test_logs_and_artifacts_are_read_as_on_the_server(kfp, ask, tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("not the run's")
    run_id = begin(kfp, make_and_need, text=str(outside), path=str(outside))
    [make_id, _] = [task["task_id"] for task in ended(kfp, run_id)["run_details"]["task_details"]]
    node = f"runs/{run_id}/nodes/{make_id}"

    _, model = ask("GET", f"/apis/v2beta1/{node}/artifacts/model:read")
    _, parts = ask("GET", f"/apis/v2beta1/{node}/artifacts/parts:read")

    status, log = ask("GET", f"/apis/v1alpha1/{node}/log")
    assert (status, f"made {outside}" in log) == (200, True)
    assert "succeeded" in ask("GET", f"/apis/v1alpha1/runs/{run_id}/nodes/run/log")[1]
    assert base64.b64decode(model["data"]).decode() == str(outside)
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(parts["data"]))) as packed:
        assert {member.name: (member.isfile(), member.issym()) for member in packed} == {
            "parts": (False, False),
            "parts/a.txt": (True, False),
            "parts/secret": (False, True),
        }


# Without one


def test_a_pending_run_is_terminated_once(idle, run_id):
    runs.terminate(idle, run_id)

    assert states(runs.get(idle, run_id)) == ["PENDING", "CANCELING"]
    assert refusal(runs.terminate, idle, run_id) == (400, f"Failed to terminate a run {run_id}. Row not found")


def test_a_run_that_is_retried_while_it_is_deleted_is_ended_again(idle, run_id, monkeypatch):
    turns = iter([("CANCELED", "PENDING"), ("CANCELED",)])

    def others_turn(_: float) -> None:
        assert runs.get(idle, run_id)["state"] == "CANCELING"
        with idle.database.write() as db:
            for state in next(turns):
                assert move(db, run_id, state, ("CANCELING", "CANCELED"))

    monkeypatch.setattr(time, "sleep", others_turn)

    runs.delete(idle, run_id)

    assert refusal(runs.get, idle, run_id)[0] == 404


@pytest.mark.parametrize("path", [["RUNNING"], ["RUNNING", "SUCCEEDED"], ["RUNNING", "CANCELING"], []])
def test_only_a_run_that_failed_or_was_canceled_is_retried(idle, run_id, path):
    put(idle, run_id, *path)

    assert refusal(runs.retry, idle, run_id) == (409, "Workflow must be Failed/Error to retry")
    assert states(runs.get(idle, run_id)) == ["PENDING", *path]


@pytest.mark.parametrize("path", [["RUNNING", "FAILED"], ["CANCELING", "CANCELED"]])
def test_a_retried_run_is_of_the_server_that_was_asked(idle, run_id, path):
    put(idle, run_id, *path, error="the reason")
    for task_id, state in {"a": "SUCCEEDED", "b": "FAILED", "c": "SKIPPED", "d": "CANCELED"}.items():
        put_task(idle, run_id, task_id, state)
    other = LocalKfp(idle.folder)

    runs.retry(other, run_id)

    [row] = idle.dump()["runs"]
    assert (row["state"], row["owner"], row["error"], row["outcome"], row["finished_at"]) == (
        *("PENDING", other.executor.server_id),
        *(None, None, None),
    )
    assert [task["task_id"] for task in idle.dump()["tasks"]] == ["a"]


def test_a_run_is_not_retried_on_a_server_that_lacks_its_image(idle, spec, monkeypatch):
    spec["deploymentSpec"]["executors"]["exec-say"]["container"]["image"] = "acme/say:1"
    idle.know({"acme/say:1": None})
    run_id = runs.create(idle, {"display_name": "a run", "pipeline_spec": spec})["run_id"]
    put(idle, run_id, "RUNNING", "FAILED", error="the reason")
    before = idle.dump()["runs"]
    with idle.database.write() as db:
        db.execute("delete from images")
    other = LocalKfp(idle.folder)
    monkeypatch.setattr(type(other.executor.engine), "client", None)

    status, said = refusal(runs.retry, other, run_id)

    assert (status, "image acme/say:1 of task say is not known here" in said) == (400, True)
    assert idle.dump()["runs"] == before


def test_a_run_is_archived_and_its_experiment_must_not_be_when_it_is_to_come_back(idle, run_id):
    experiment_id = runs.get(idle, run_id)["experiment_id"]

    runs.archive(idle, run_id)
    runs.archive(idle, run_id)
    experiments.archive(idle, experiment_id)

    status, said = refusal(runs.unarchive, idle, run_id)
    assert (status, f"experiment {experiment_id} must be un-archived first" in said) == (400, True)
    assert runs.get(idle, run_id)["storage_state"] == "ARCHIVED"
    experiments.unarchive(idle, experiment_id)
    runs.unarchive(idle, run_id)
    assert runs.get(idle, run_id)["storage_state"] == "AVAILABLE"


@pytest.mark.parametrize("function", [runs.get, runs.terminate, runs.retry, runs.archive, runs.unarchive, runs.delete])
def test_an_unknown_run_is_not_found(idle, function):
    assert refusal(function, idle, "x") == (404, "Run x not found")


def test_a_list_is_of_an_experiment_or_of_a_namespace(idle, spec):
    made = [experiments.create(idle, {"display_name": "e", "namespace": name}) for name in ("", "team")]
    bodies = [{"display_name": "r", "pipeline_spec": spec, "experiment_id": one["experiment_id"]} for one in made]
    [of_nobody, of_team] = [runs.create(idle, body)["run_id"] for body in bodies]

    def ids(**query: str) -> list[str]:
        return [run["run_id"] for run in runs.list_(idle, query).get("runs", [])]

    assert ids() == [of_nobody]
    assert ids(namespace="team") == [of_team]
    assert ids(experiment_id=made[1]["experiment_id"]) == [of_team]
    assert ids(namespace="other") == []
    assert refusal(runs.list_, idle, {"experiment_id": "x"}) == (404, "Experiment x not found")


def test_a_list_is_sorted_filtered_and_paged(idle, spec):
    made = [runs.create(idle, {"display_name": name, "pipeline_spec": spec})["run_id"] for name in "bca"]
    put(idle, made[0], "RUNNING")
    running = {"predicates": [{"operation": "EQUALS", "key": "state", "string_value": "RUNNING"}]}

    page = runs.list_(idle, {"sort_by": "name desc", "page_size": "2"})
    rest = runs.list_(idle, {"page_token": page["next_page_token"], "page_size": "2"})

    assert [run["display_name"] for run in page["runs"] + rest["runs"]] == ["c", "b", "a"]
    assert (page["total_size"], rest["total_size"], "next_page_token" in rest) == (3, 3, False)
    assert [run["run_id"] for run in runs.list_(idle, {"filter": json.dumps(running)})["runs"]] == [made[0]]


def test_groups_name_their_tasks_and_tasks_their_group(idle, run_id):
    for task_id in ("loop", "first", "second"):
        put_task(idle, run_id, task_id)
    with idle.database.write() as db:
        db.execute("update tasks set parent_id = 'loop' where task_id <> 'loop'")

    tasks = {task["task_id"]: task for task in runs.get(idle, run_id)["run_details"]["task_details"]}

    assert tasks["loop"]["child_tasks"] == [{"task_id": "first"}, {"task_id": "second"}]
    assert [tasks[name]["parent_task_id"] for name in ("first", "second")] == ["loop", "loop"]
    assert "parent_task_id" not in tasks["loop"]


def test_a_link_out_of_the_artifacts_and_a_place_beside_them_are_not_found(idle, run_id):
    folder = idle.folder / "runs" / run_id / "artifacts"
    (folder / "p").mkdir(parents=True)
    (folder / "p/model").write_text("weights")
    (folder.parent / "run.log").write_text("said")
    (folder / "link").symlink_to(folder.parent / "run.log")
    (folder / "inner").symlink_to(folder / "p/model")
    os.mkfifo(folder / "fifo")

    found = [runs.artifact(idle, run_id, path) for path in ("p/model", str(folder / "p/model"), "inner", "p")]

    assert found == [folder / "p/model", folder / "p/model", folder / "p/model", folder / "p"]
    for path in (
        "link",
        "../run.log",
        str(folder.parent / "run.log"),
        "s3://b/model",
        "fifo",
        "a\0b",
        "a" * 5000,
        "no",
    ):
        assert refusal(runs.artifact, idle, run_id, path)[0] == 404, path


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("v1alpha1/runs/x/nodes/y/log", "Run x not found"),
        ("v1alpha1/runs/{run_id}/nodes/y/log", "pods y not found"),
        ("v2beta1/runs/x/nodes/y/artifacts/z:read", "Run x not found"),
        ("v2beta1/runs/{run_id}/nodes/a/artifacts/z:read", "artifact z not found"),
        ("v2beta1/runs/{run_id}/nodes/a/artifacts/elsewhere:read", "artifact file /etc/passwd not found"),
    ],
)
def test_what_is_not_the_runs_own_cannot_be_read(kfp, ask, spec, path, said):
    run_id = runs.create(kfp, {"display_name": "a run", "pipeline_spec": spec})["run_id"]
    put_task(kfp, run_id, f"a-{run_id}", elsewhere="/etc/passwd")

    status, answer = ask("GET", f"/apis/{path.format(run_id=run_id)}".replace("nodes/a/", f"nodes/a-{run_id}/"))

    assert (status, answer["details"][0]["message"]) == (404, said)


def test_the_log_of_a_task_that_has_said_nothing_is_empty(kfp, ask, spec):
    run_id = runs.create(kfp, {"display_name": "a run", "pipeline_spec": spec})["run_id"]
    put_task(kfp, run_id, f"a-{run_id}")

    assert ask("GET", f"/apis/v1alpha1/runs/{run_id}/nodes/a-{run_id}/log") == (200, "")


# What is asked for


def submit(kfp: LocalKfp, spec: dict[str, Any] | None = None, **body: Any) -> dict[str, Any]:
    given = {"pipeline_spec": spec} if spec else {}
    return runs.create(kfp, {"display_name": "a run", **given, **body})


def refused_submission(kfp: LocalKfp, **body: Any) -> tuple[int, str]:
    """Nothing is left of a run that is refused."""
    refused = refusal(runs.create, kfp, {"display_name": "a run", **body})
    assert runs.list_(kfp, {}) == {}
    return refused


def upload(kfp: LocalKfp, name: str, spec: dict[str, Any], **query: str) -> str:
    return str(pipelines.upload(kfp, {"name": name, **query}, "p.yaml", json.dumps(spec).encode())["pipeline_id"])


def upload_version(kfp: LocalKfp, pipeline_id: str, name: str, spec: dict[str, Any]) -> str:
    query, data = {"name": name, "pipelineid": pipeline_id}, json.dumps(spec).encode()
    return str(pipelines.upload_version(kfp, query, "p.yaml", data)["pipeline_version_id"])


def test_a_package_of_its_own_is_answered_as_it_was_given(idle, spec):
    run = submit(idle, spec, description="why")

    assert run["pipeline_spec"] == spec
    assert "pipeline_version_reference" not in run
    assert (run["state"], run["storage_state"], run["description"]) == ("PENDING", "AVAILABLE", "why")
    assert states(run) == ["PENDING"]
    assert run["created_at"] == run["scheduled_at"] == run["state_history"][0]["update_time"]
    assert run["service_account"] == "pipeline-runner"
    assert run.keys() & {"finished_at", "error", "run_details", "recurring_run_id", "runtime_config"} == set()


def test_a_pipeline_is_run_in_its_newest_version_or_the_named_one(idle, spec):
    pipeline_id = upload(idle, "greeting", spec)
    named, newest = (upload_version(idle, pipeline_id, name, spec) for name in ("v2", "v3"))

    of_pipeline = submit(idle, pipeline_version_reference={"pipeline_id": pipeline_id})
    of_version = submit(idle, pipeline_version_reference={"pipeline_version_id": named})

    references = [run["pipeline_version_reference"] for run in (of_pipeline, of_version)]
    assert references == [{"pipeline_id": pipeline_id, "pipeline_version_id": one} for one in (newest, named)]
    assert "pipeline_spec" not in of_pipeline


def test_a_run_without_an_experiment_is_the_default_ones_and_its_last(idle, spec):
    run = submit(idle, spec)

    [experiment] = experiments.list_(idle, {})["experiments"]
    assert (experiment["display_name"], experiment["experiment_id"]) == ("Default", run["experiment_id"])
    assert experiment["last_run_created_at"] == run["created_at"]


def test_macros_in_parameters_are_replaced_but_those_of_a_schedule_only_by_one(idle, spec):
    text = "[[RunUUID]] [[CurrentTime]] [[ScheduledTime]] [[Index]]"

    run = submit(idle, spec, runtime_config={"parameters": {"text": text}})

    stamp = run["created_at"][:19].translate(str.maketrans("", "", "-T:"))
    assert run["runtime_config"] == {"parameters": {"text": f"{run['run_id']} {stamp} [[ScheduledTime]] [[Index]]"}}


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({}, "parameter text is not optional, yet has neither default value nor user provided value"),
        ({"text": 1}, "input parameter text requires type string, but the input parameter is not of string value type"),
        ({"text": "a", "x": 1}, "parameter(s) provided are not required by pipeline: x"),
    ],
)
def test_parameters_that_the_pipeline_does_not_take_are_refused_in_the_servers_words(idle, spec, parameters, said):
    del spec["root"]["inputDefinitions"]["parameters"]["text"]["defaultValue"]
    config = {"parameters": parameters}

    assert refused_submission(idle, pipeline_spec=spec, runtime_config=config) == (400, said)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"display_name": ""}, 400, "Run name cannot be empty"),
        ({"experiment_id": "x"}, 404, "Experiment x not found"),
        ({}, 400, "unknown template format"),
        ({"pipeline_spec": {"pipelineInfo": {}}}, 400, "unknown template format"),
        ({"pipeline_version_reference": {"pipeline_version_id": "x"}}, 500, "Internal Server Error"),
        ({"pipeline_version_reference": {"pipeline_id": "x"}}, 500, "Internal Server Error"),
    ],
)
def test_what_cannot_be_submitted_is_refused(idle, body, status, said):
    refused = refused_submission(idle, **body)

    assert (refused[0], said in refused[1]) == (status, True), refused


def test_a_version_is_not_run_as_one_of_another_pipeline(idle, spec):
    one, other = (upload(idle, name, spec) for name in ("one", "other"))
    version = upload_version(idle, one, "v2", spec)

    with pytest.raises(ApiError) as refused:
        submit(idle, pipeline_version_reference={"pipeline_id": other, "pipeline_version_id": version})

    assert f"Pipeline version {version} belongs to pipeline {one} (not {other})" in refused.value.chain


def test_a_pipeline_runs_in_its_own_namespace_and_one_of_none_in_all(idle, spec):
    experiment_id = experiments.create(idle, {"display_name": "e", "namespace": "team"})["experiment_id"]
    own, common, foreign = (
        {"pipeline_version_reference": {"pipeline_id": upload(idle, "greeting", spec, namespace=name)}}
        for name in ("team", "", "other")
    )

    status, said = refused_submission(idle, experiment_id=experiment_id, **foreign)
    made = [submit(idle, experiment_id=experiment_id, **reference)["run_id"] for reference in (own, common)]

    assert (status, "is of namespace 'other', and the experiment of 'team'" in said) == (400, True)
    assert {run["run_id"] for run in runs.list_(idle, {"namespace": "team"})["runs"]} == set(made)


def test_an_image_that_is_not_known_is_refused_when_the_run_is_made(idle, spec, monkeypatch):
    monkeypatch.setattr(type(idle.executor.engine), "client", None)
    spec["deploymentSpec"]["executors"]["exec-say"]["container"]["image"] = "acme/train:1"

    status, said = refused_submission(idle, pipeline_spec=spec)

    assert (status, "image acme/train:1 of task say is not known here" in said) == (400, True)


def test_a_pipeline_root_is_refused_as_it_would_not_be_used(idle, spec):
    status, said = refused_submission(idle, pipeline_spec=spec, runtime_config={"pipeline_root": "s3://b/x"})

    assert (status, said.startswith("pipeline_root is s3://b/x, but this server keeps")) == (400, True)


@pytest.mark.parametrize(
    "asked",
    [
        {"display_name": 1},
        {"pipeline_spec": "spec"},
        {"runtime_config": {"parameters": [1]}},
        {"pipeline_version_reference": {"pipeline_id": {}}},
    ],
)
def test_what_has_not_the_type_that_it_should_have_is_refused(ask, spec, asked):
    status, answer = ask("POST", RUNS, {"display_name": "a run", "pipeline_spec": spec, **asked})

    assert (status, answer["code"], answer["message"].startswith("Failed to create a new run: ")) == (400, 3, True)
