"""A KFP API and what this project asks of it, through kfp.Client; whatever goes wrong there is one sentence."""

from __future__ import annotations

import json
import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, redirect_stdout, suppress
from http import HTTPStatus
from io import StringIO
from pathlib import Path
from typing import Any

import kfp
from kfp_server_api import ApiException
from urllib3 import Retry
from urllib3.exceptions import HTTPError

from delivery.environments import Environment, served
from delivery.errors import Failed, MlopsError, NoAnswer, WrongUse
from delivery.runs import STATES, Plan, State, Task

Run = dict[str, Any]  # as the API says it
ENDED = {"SUCCEEDED", "FAILED", "CANCELED", "SKIPPED", "ERROR"}
ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
SECONDS = (5, 30)  # to connect, and for an answer; kfp.Client itself would wait for ever
ASK_SECONDS = 0.2
ASK_REMOTE_SECONDS = 1.0
CORRECT = "correct `endpoint` in the environment: the URL of a KFP API, without /apis"
CREDENTIALS = (
    "give kfp's client what the endpoint wants: client_authentication_header_name and"
    " client_authentication_header_value in ~/.config/kfp/context.json; or reach it by `kubectl port-forward`"
)


class Kubeflow:
    """A KFP API that has answered."""

    def __init__(self, client: kfp.Client, environment: Environment) -> None:
        self.client = client
        self.embedded = environment.endpoint == "local"
        self.where = environment.endpoint_setting
        self.seconds = ASK_SECONDS if self.embedded else ASK_REMOTE_SECONDS  # between two looks at a run

    def submit(self, plan: Plan) -> str:
        """Start a new run, in the experiment of its pipeline's name; what comes back is its id."""
        with self._in_sentences(), tempfile.TemporaryDirectory(prefix="mlops-") as scratch:
            package = Path(scratch) / "package.yaml"
            package.write_bytes(plan.package)
            with redirect_stdout(StringIO()):  # kfp prints links there
                experiment = self._experiment(plan.pipeline)
                run = self.client.run_pipeline(experiment, plan.run_name, str(package), params=plan.arguments)
            return str(run.run_id)

    def run(self, run_id: str) -> Run:
        """How it stands now."""
        with self._in_sentences():
            return self.client.get_run(run_id)

    def find(self, run: str) -> Run | None:
        """The run of that name or id."""
        with self._in_sentences():
            if not ID.fullmatch(run):
                equals = {"operation": "EQUALS", "key": "display_name", "stringValue": run}
                found = self.client.list_runs(filter=json.dumps({"predicates": [equals]})).runs
                if not found:
                    return None
                run = found[0].run_id
            try:
                return self.client.get_run(run)
            except ApiException as error:
                if error.status == HTTPStatus.NOT_FOUND:
                    return None
                raise

    def latest(self, count: int) -> list[str]:
        """The names of the newest runs, the newest first."""
        with self._in_sentences():
            found = self.client.list_runs(page_size=count, sort_by="created_at desc").runs
            return [run.display_name for run in found or []]

    def terminate(self, run_id: str) -> None:
        """Ask the run to end; one that has ended already stays as it is."""
        with suppress(WrongUse), self._in_sentences():
            self.client.terminate_run(run_id)

    def printed(self, run: Run) -> dict[str, list[str]]:
        """Step -> the lines that it printed; of a step whose log is not to be had, why not."""
        printed: dict[str, list[str]] = {}
        for task in _tasks(run):
            for node in _nodes(task):
                lines = printed.setdefault(_step(task), [])
                try:
                    with self._in_sentences():
                        lines += COLOUR.sub("", self.client.log(run["run_id"], node)).splitlines()
                except MlopsError as error:
                    lines.append(f"(no log: {error.what})")
        return {step: [line.rstrip() for line in lines if line.strip()] for step, lines in printed.items()}

    def _experiment(self, name: str) -> str:
        try:
            return str(self.client.create_experiment(name).experiment_id)  # or the one that is there
        except ApiException as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
            return str(self.client.get_experiment(experiment_name=name).experiment_id)  # made by another run meanwhile

    def _in_sentences(self) -> AbstractContextManager[None]:
        return in_sentences(self.where)


class Client(kfp.Client):
    """KFP's own client, with patience that ends."""

    def _load_config(self, *args: Any) -> Any:
        config = super()._load_config(*args)
        config.retries = Retry(0, raise_on_redirect=False)  # who watches a run tries again; a login page is no answer
        return config

    def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
        """Asked once: KFP's own tries five times, five seconds apart, and logs a traceback each time."""
        return self._healthz_api.healthz_service_get_healthz(_request_timeout=SECONDS)

    def get_run(self, run_id: str) -> Run:
        """The answer as it came: kfp_server_api would need 15 ms for its objects, and this is asked all the time."""
        answer = self._run_api.run_service_get_run(run_id, _preload_content=False, _request_timeout=SECONDS)
        try:
            return dict(json.loads(answer.data))
        except ValueError as error:
            raise ApiException(status=HTTPStatus.BAD_GATEWAY, reason="what came is no JSON") from error

    def terminate_run(self, run_id: str) -> None:
        self._run_api.run_service_terminate_run(run_id, _request_timeout=SECONDS)

    def log(self, run_id: str, node: str) -> str:
        """What a node printed; the generated API lacks this route, though the server has it."""
        answer = self._run_api.api_client.call_api(
            "/apis/v1alpha1/runs/{run}/nodes/{node}/log",
            "GET",
            path_params={"run": run_id, "node": node},
            auth_settings=["Bearer"],
            _preload_content=False,  # it is text, and the generated code would try it as JSON
            _return_http_data_only=True,
            _request_timeout=SECONDS,
        )
        return bytes(answer.data).decode("utf-8", "replace")


@contextmanager
def connected(environment: Environment) -> Iterator[Kubeflow]:
    """The endpoint of an environment, for as long as the block lasts; one that does not answer is told at once."""
    where = environment.endpoint_setting
    with served(environment) as url:
        with in_sentences(where), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # that kfp is made for KFP 2
            client = Client(host=url, namespace=environment.namespace)
            healthz = client.get_kfp_healthz()
        if healthz.multi_user is None:
            raise Failed("the endpoint answers, but not as a KFP API does", where=where, do=CORRECT)
        yield Kubeflow(client, environment)


@contextmanager
def in_sentences(where: str) -> Iterator[None]:
    """An error of KFP's client becomes one of ours: 400 is a wrong use, anything else a failure."""
    try:
        yield
    except HTTPError as error:
        do = "start it, or correct `endpoint` in the environment; `mlops doctor` asks it again"
        why = str(getattr(error, "reason", None) or error).rpartition("): ")[2]  # before that stand urllib3's objects
        raise NoAnswer(f"the endpoint does not answer: {why}", where=where, do=do) from error
    except ApiException as error:
        raise _sentence(error, where) from error


def _sentence(error: ApiException, where: str) -> Failed | WrongUse:
    said = _said(error)
    if error.status == HTTPStatus.BAD_REQUEST:
        return WrongUse(said, where=where, do="correct what it names: the package, a parameter or the environment")
    what = f"the endpoint says {error.status}: {said}"
    if error.status in (HTTPStatus.FOUND, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):  # found: a login page
        return Failed(what, where=where, do=CREDENTIALS)
    if error.status == HTTPStatus.TOO_MANY_REQUESTS or not error.status or error.status >= 500:
        return NoAnswer(what, where=where, do="try again; the server's own log says more")
    return Failed(what, where=where, do=CORRECT)


def _said(error: ApiException) -> str:
    """The server's own words, without the stack that some of its errors carry."""
    try:
        body = json.loads(error.body or "{}")
        said = body.get("message") or body.get("error_message")
    except (ValueError, AttributeError):
        said = None
    return next(iter(str(said or error.reason or "nothing").strip().splitlines()), "nothing")


def tasks_of(run: Run) -> list[Task]:
    """What the endpoint says of each task of a run."""
    return [
        Task(
            step=_step(task),
            state=STATES.get(task.get("state", ""), State.WAITING),
            started=task.get("start_time"),
            finished=task.get("end_time"),
        )
        for task in _tasks(run)
    ]


def spec_of(run: Run) -> dict[str, Any]:
    """The pipeline that ran, as its package has it; a platform's part stands beside it, and is left out."""
    spec = run.get("pipeline_spec", {})
    return dict(spec.get("pipeline_spec", spec))


def _tasks(run: Run) -> list[dict[str, Any]]:
    return list(run.get("run_details", {}).get("task_details", []))


def _step(task: Mapping[str, Any]) -> str:
    return str(task.get("display_name", "")).replace("-", "_")  # KFP writes fetch_data as fetch-data


def _nodes(task: Mapping[str, Any]) -> list[str]:
    """Whose logs are a task's: its own, or on a cluster those of the pods below it, where the task names none itself."""
    children = task.get("child_tasks", [])
    if "pod_name" in task:
        return [] if children else [task["pod_name"]]  # a group prints nothing
    return [child["pod_name"] for child in children if "pod_name" in child]
