from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from components import IMAGE
from delivery.environments import read_environment
from delivery.errors import Failed, MlopsError, NoAnswer, WrongUse
from delivery.kubeflow import connected, spec_of
from delivery.runs import Plan
from localkfp.server import ThreadedLocalKfp

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


@pytest.mark.parametrize(
    ("answer", "kind", "what", "do"),
    [
        ((401, "no"), Failed, "the endpoint says 401: Unauthorized", "give kfp's client what the endpoint wants"),
        ((403, '{"message": "not you"}'), Failed, "the endpoint says 403: not you", "give kfp's client"),
        ((302, ""), Failed, "the endpoint says 302: Found", "give kfp's client"),  # a login page
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
            return 200, json.dumps({"experiments": [{"experiment_id": "e"}] if made else []})
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
            assert spec_of(kfp.run(run_id))["pipelineInfo"]["name"] == "silent"
            assert kfp.find("00000000-0000-4000-8000-000000000000") is None
    assert capfd.readouterr().out == ""  # kfp's client prints links


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
