from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from components import IMAGE
from delivery.environments import read_environment
from delivery.errors import AccessDenied, Failed, MlopsError, NoAnswer, WrongUse
from delivery.kubeflow import Kubeflow, Version, connected, reference
from delivery.runs import Plan
from delivery.scheduling import schedule
from delivery.secrets import Secret
from delivery.uploading import upload
from localkfp.server import ThreadedLocalKfp
from tests.delivery.unreliable import FirstAnswer, unreliable

Answer = tuple[int, str]  # status, body
HEALTHY = (200, '{"multi_user": false, "pipeline_store": "database"}')
CONNECT = """
from dataclasses import replace
from delivery.environments import read_environment
from delivery.kubeflow import connected
import sys
with connected(replace(read_environment("local-dev"), endpoint=sys.argv[1])):
    print("connected")
"""


@pytest.fixture
def kfp(project: Path) -> Iterator[Kubeflow]:
    """A KFP API with an address, as a cluster's has one."""
    with ThreadedLocalKfp(images={IMAGE: project}) as server:
        environment = replace(read_environment("local-dev"), endpoint=server.url)
        with connected(environment) as kfp:
            yield kfp


@pytest.fixture
def version(kfp: Kubeflow, plan: Plan) -> Version:
    return upload(kfp, "silent", "v1", plan.package)


@pytest.mark.parametrize(
    ("answer", "kind", "what", "do"),
    [
        ((401, "no"), AccessDenied, "the endpoint says 401: Unauthorized", "name a token in the environment"),
        ((302, ""), AccessDenied, "the endpoint says 302: Found", "give kfp's client what"),  # a login page
        (
            (403, '{"message": "not you"}'),
            AccessDenied,
            "the endpoint says 403: not you; the caller may not do this in its namespace",
            "correct `namespace` or `token`",
        ),
        ((404, "?"), Failed, "the endpoint says 404: Not Found", "correct `endpoint` in the environment"),
        ((200, "<html>"), Failed, "the endpoint answers, but not as a KFP API does", "correct `endpoint`"),
        ((200, "{}"), Failed, "the endpoint answers, but not as a KFP API does", "correct `endpoint`"),
        ((500, '{"message": "out\\nof stack"}'), NoAnswer, "the endpoint says 500: out", "the server's own log"),
        ((503, "[]"), NoAnswer, "the endpoint says 503: Service Unavailable", "the server's own log"),
    ],
)
def test_what_is_no_kfp_api_or_lets_nobody_in_is_told_at_once(
    stranger: Any, answer: Answer, kind: type[MlopsError], what: str, do: str
) -> None:
    environment = stranger(lambda *_: answer)

    with pytest.raises(kind) as told, connected(environment):
        pass

    assert told.value.what == what
    assert told.value.where == f"environments/local-dev.yaml, endpoint: {environment.endpoint}"
    assert do in told.value.do


def test_the_cure_for_401_works(stranger: Any, home: Path) -> None:
    """In a process of its own, as kfp asks for the home when it is imported."""
    environment = stranger(lambda _, __, headers: HEALTHY if headers["Authorization"] == "Bearer x" else (401, ""))
    context = {"namespace": "", "client_authentication_header_name": "Authorization"}
    (home / ".config/kfp").mkdir(parents=True)
    told = []
    for token in ("y", "x"):
        settings = {**context, "client_authentication_header_value": f"Bearer {token}"}
        (home / ".config/kfp/context.json").write_text(json.dumps(settings))
        command = [sys.executable, "-c", CONNECT, environment.endpoint]
        told.append(subprocess.run(command, capture_output=True, text=True, env=os.environ))

    assert "the endpoint says 401: Unauthorized" in told[0].stderr
    assert (told[1].stdout, told[1].stderr) == ("connected\n", "")


@pytest.mark.parametrize("place", ["env", "file"])
def test_a_token_is_read_anew_for_each_connection_and_never_told(
    stranger: Any, project: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    secret = Secret(env="KFP_TOKEN") if place == "env" else Secret(file="token.txt")

    def renew(token: str) -> None:
        monkeypatch.setenv("KFP_TOKEN", token)
        (project / "token.txt").write_text(f"{token}\n")

    answer = lambda _, __, headers: HEALTHY if headers["Authorization"] == "Bearer new" else (401, "")  # noqa: E731
    environment = replace(stranger(answer), token=secret)
    renew("old")
    with pytest.raises(AccessDenied) as told, connected(environment):
        pass
    renew("new")
    with connected(environment) as kfp:
        assert isinstance(kfp, Kubeflow)

    name = "the variable KFP_TOKEN" if place == "env" else "the file token.txt"
    assert told.value.what == (
        f"the endpoint says 401: Unauthorized; the token of {name} has expired, or is not for this endpoint"
    )
    assert told.value.do == "renew it there"
    assert "old" not in str(told.value)


@pytest.mark.parametrize("token", ["two\nlines", "wörd", "two words"])
def test_a_token_that_no_header_can_hold_is_refused_and_not_told(
    stranger: Any, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("TOKEN", token)
    environment = replace(stranger(lambda *_: HEALTHY), token=Secret(env="TOKEN"))

    with pytest.raises(WrongUse) as refused, connected(environment):
        pass

    assert token[:3] not in str(refused.value)


def test_another_namespace_than_the_tokens_is_named(stranger: Any, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KFP_TOKEN", "x")

    def answer(method: str, path: str, _: Any) -> Answer:
        if "healthz" in path:
            return HEALTHY
        return (200, "{}") if "namespace=ours" in path else (403, '{"message": "no list of runs"}')

    environment = replace(stranger(answer), token=Secret(env="KFP_TOKEN"), namespace="theirs")
    with connected(environment) as kfp, pytest.raises(AccessDenied) as told:
        kfp.runs_named("x")
    with connected(replace(environment, namespace="ours")) as kfp:
        assert kfp.runs_named("x") == []

    assert told.value.what == (
        "the endpoint says 403: no list of runs;"
        " the token of the variable KFP_TOKEN may not do this in namespace `theirs`"
    )


ASKED: dict[str, Callable[[Kubeflow, Plan], object]] = {
    "submit": lambda kfp, plan: kfp.submit(plan),
    "start": lambda kfp, plan: kfp.start(Version("p", "v", "v1"), "e", "r-1", {}),
    "run": lambda kfp, plan: kfp.run("r"),
    "latest": lambda kfp, plan: kfp.latest(5),
    "terminate": lambda kfp, plan: kfp.terminate("r"),
    "upload": lambda kfp, plan: upload(kfp, "silent", "v1", plan.package),
    "schedule": lambda kfp, plan: schedule(kfp, "silent", Version("p", "v", "v1"), "", {}, "silent-v1"),
}


@pytest.mark.parametrize("asked", ASKED)
def test_an_endpoint_that_takes_a_request_and_never_answers_is_not_waited_for(
    stranger: Any, plan: Plan, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    def lost(method: str, path: str) -> str:
        return "" if "healthz" in path else "silence"

    environment = stranger(lambda *_: HEALTHY)
    with unreliable(environment.endpoint, lost) as url, connected(replace(environment, endpoint=url)) as kfp:
        monkeypatch.setattr("delivery.client.SECONDS", (5, 0.1))
        monkeypatch.setattr("delivery.kubeflow.PATIENCE_SECONDS", -1)
        with pytest.raises(NoAnswer, match="the endpoint does not answer: Read timed out"):
            ASKED[asked](kfp, plan)


def test_what_the_endpoint_calls_a_bad_request_is_a_wrong_use_in_its_words(stranger: Any, plan: Plan) -> None:
    def answer(method: str, path: str, _: Any) -> Answer:
        refusal = {"code": 3, "message": "Failed to create a new run: parameter(s) provided are not required: x"}
        return HEALTHY if "healthz" in path else (400, json.dumps(refusal))

    with connected(stranger(answer)) as kfp, pytest.raises(WrongUse, match="provided are not required: x"):
        kfp.submit(plan)


def test_an_answer_that_is_no_json_is_none(stranger: Any) -> None:
    environment = stranger(lambda _, path, __: HEALTHY if "healthz" in path else (200, "<html>"))

    with connected(environment) as kfp, pytest.raises(NoAnswer, match="what came is no JSON"):
        kfp.run("r")


def test_an_experiment_that_another_run_makes_in_the_same_moment_is_taken(stranger: Any, plan: Plan) -> None:
    made: list[str] = []

    def answer(method: str, path: str, _: Any) -> Answer:
        if path.endswith("/experiments"):  # the other one was quicker
            made.append(plan.pipeline)
            return 409, "{}"
        if "/experiments" in path:
            there = {"experiment_id": "e", "display_name": plan.pipeline}
            return 200, json.dumps({"experiments": [there] if made else []})
        return HEALTHY if "healthz" in path else (200, '{"run_id": "r"}')

    with connected(stranger(answer)) as kfp:
        assert kfp.submit(plan) == "r"


def test_runs_are_those_of_the_environments_namespace(project: Path, plan: Plan, capfd: Any) -> None:
    with ThreadedLocalKfp(images={IMAGE: project}) as server:
        environment = replace(read_environment("local-dev"), endpoint=server.url, namespace="team")
        with connected(environment) as kfp, connected(replace(environment, namespace="")) as other:
            run_id = kfp.submit(plan)

            assert (kfp.latest(5), other.latest(5)) == ([plan.run_name], [])
            found = kfp.find(plan.run_name)  # it goes on between two looks: only what it is can be compared
            assert (found and found["run_id"], other.find(plan.run_name)) == (run_id, None)
            assert kfp.client.get_experiment(experiment_name="silent").namespace == "team"
            assert kfp.spec(kfp.run(run_id))["pipelineInfo"]["name"] == "silent"
            assert kfp.find("00000000-0000-4000-8000-000000000000") is None
    assert capfd.readouterr().out == ""  # kfp's client prints links


def test_a_run_is_found_by_exactly_its_name_and_the_newest_of_several(kfp: Kubeflow, version: Version) -> None:
    name = "silent-v1.0+dirty 100%"
    first, second, _ = (kfp.start(version, "silent", name, {}) for name in (name, name, name.upper()))

    assert [run["run_id"] for run in kfp.runs_named(name)] == [second, first]
    found = kfp.find(name)
    assert found
    assert found["run_id"] == second
    assert (kfp.runs_named(name[:-1]), kfp.find("silent-v1.0 dirty 100%")) == ([], None)


def test_a_run_of_an_uploaded_version_says_whose_it_is(kfp: Kubeflow, version: Version, capfd: Any) -> None:
    run = kfp.run(kfp.start(version, "silent", "silent-1", {"fail": True}))

    assert run["pipeline_version_reference"] == reference(version)
    assert run["runtime_config"]["parameters"] == {"fail": True}
    assert run["experiment_id"] == kfp.experiment("silent")
    assert capfd.readouterr().out == ""


def test_a_start_whose_answer_is_lost_gives_one_run_and_another_start_another(kfp: Kubeflow, version: Version) -> None:
    lost = FirstAnswer("POST", "/runs")
    with unreliable(kfp.environment.endpoint, lost) as url, connected(replace(kfp.environment, endpoint=url)) as other:
        other.seconds = 0.01
        first = other.start(version, "silent", "silent-1", {})
        second = other.start(version, "silent", "silent-1", {})

    assert lost.was_lost
    assert [run["run_id"] for run in kfp.runs_named("silent-1")] == [second, first]


def test_a_list_of_many_pages_is_read_to_its_end(
    kfp: Kubeflow, version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("delivery.kubeflow.PAGE", 2)
    made = [kfp.start(version, "silent", "silent-1", {}) for _ in range(5)]

    assert [run["run_id"] for run in kfp.runs_named("silent-1")] == made[::-1]


def test_an_embedded_endpoint_knows_the_images_that_it_is_told_of(project: Path, plan: Plan) -> None:
    image = "local@sha256:" + "0" * 64
    package = plan.package.replace(f"image: {IMAGE}".encode(), f"image: {image}".encode())

    with (
        connected(read_environment("local-dev")) as kfp,
        pytest.raises(WrongUse, match=r"is not (known here|in the Docker engine)"),
    ):
        upload(kfp, "silent", "v1", package)
    with connected(read_environment("local-dev"), {image: project}) as kfp:
        assert upload(kfp, "silent", "v1", package).name == "v1"


def test_a_run_that_ended_in_the_meantime_need_not_be_terminated(project: Path, plan: Plan) -> None:
    with connected(read_environment("local-dev")) as kfp:
        run_id = kfp.submit(plan)
        kfp.terminate(run_id)
        kfp.terminate(run_id)

        assert kfp.run(run_id)["state"] in ("CANCELING", "CANCELED")


def test_on_a_cluster_the_logs_are_those_of_the_pods_below_a_task(stranger: Any) -> None:
    def answer(method: str, path: str, _: Any) -> Answer:
        if path.endswith("/nodes/pod-2/log"):
            return 500, json.dumps({"error_message": "the pod is gone"})
        return HEALTHY if "healthz" in path else (200, "3\n\n\x1b[1mtwo  \n" if path.endswith("pod-1/log") else "?")

    def task(name: str, *pods: str) -> dict[str, Any]:
        return {"display_name": name, "child_tasks": [{"pod_name": pod} for pod in pods]}

    tasks = [task("fetch-data", "pod-1"), task("train-model", "pod-2"), task("executor")]
    with connected(stranger(answer)) as kfp:
        printed = kfp.printed({"run_id": "r", "run_details": {"task_details": tasks}})

    assert printed == {
        "fetch_data": ["3", "two"],
        "train_model": ["(no log: the endpoint says 500: the pod is gone)"],
    }
