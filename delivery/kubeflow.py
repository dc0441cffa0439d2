"""A KFP API and what this project asks of it, through kfp.Client; whatever goes wrong there is one sentence."""

from __future__ import annotations

import json
import re
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from http import HTTPStatus
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from kfp_server_api import ApiException

from delivery.client import CORRECT, Client, as_json, in_sentences
from delivery.environments import Environment, served
from delivery.errors import Failed, MlopsError, NoAnswer, WrongUse
from delivery.runs import STATES, Plan, State, Task
from delivery.secrets import read

Run = dict[str, Any]  # as the API says it
T = TypeVar("T")
ENDED = {"SUCCEEDED", "FAILED", "CANCELED", "SKIPPED", "ERROR"}
ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
ASK_SECONDS = 0.2
ASK_REMOTE_SECONDS = 1.0
PATIENCE_SECONDS = 120.0  # with an endpoint that gives no answer
PAGE = 100  # rows that one answer of a list brings


@dataclass(frozen=True)
class Version:
    """A package under a name at a KFP API; what it holds never changes."""

    pipeline_id: str
    version_id: str
    name: str


class Kubeflow:
    """A KFP API that has answered."""

    def __init__(self, client: Client, environment: Environment) -> None:
        self.client = client
        self.environment = environment
        self.namespace = (
            client.get_user_namespace()
        )  # kfp takes "kubeflow" for none, as an installation for all has none
        self.embedded = environment.endpoint == "local"
        self.where = environment.endpoint_setting
        self.seconds = ASK_SECONDS if self.embedded else ASK_REMOTE_SECONDS  # between two looks at a run

    def submit(self, plan: Plan) -> str:
        """Start a new run, in the experiment of its pipeline's name; what comes back is its id."""
        with self.in_sentences(), tempfile.TemporaryDirectory(prefix="mlops-") as scratch:
            package = Path(scratch) / "package.yaml"
            package.write_bytes(plan.package)
            experiment = self.experiment(plan.pipeline)
            with redirect_stdout(StringIO()):  # kfp prints a link there
                run = self.client.run_pipeline(experiment, plan.run_name, str(package), params=plan.arguments)
            return str(run.run_id)

    def start(self, version: Version, experiment: str, run_name: str, arguments: Mapping[str, Any]) -> str:
        """Start a new run of an uploaded version; an endpoint that is away for a while starts one all the same."""
        body = {
            "display_name": run_name,
            "pipeline_version_reference": reference(version),
            "runtime_config": {"parameters": dict(arguments)},
        }
        before = {run["run_id"] for run in self.patiently(lambda: self.runs_named(run_name))}

        def once() -> str:
            """If the answer to an earlier try was lost, its run is there."""
            for run in self.runs_named(run_name):
                if run["run_id"] not in before:
                    return str(run["run_id"])
            with self.in_sentences():
                made = self.client.create_run({**body, "experiment_id": self.experiment(experiment)})
                return str(made["run_id"])

        return self.patiently(once)

    def run(self, run_id: str) -> Run:
        """How it stands now."""
        with self.in_sentences():
            return self.client.get_run(run_id)

    def runs_named(self, run_name: str) -> list[Run]:
        """The runs of exactly that name, the newest first."""
        api = self.client._run_api
        return self.listed(api.run_service_list_runs, "runs", run_name, namespace=self.namespace)

    def find(self, run: str) -> Run | None:
        """The run of that id, or the newest of that name."""
        if not ID.fullmatch(run):
            named = self.runs_named(run)
            if not named:
                return None
            run = named[0]["run_id"]
        with self.in_sentences():
            try:
                return self.client.get_run(run)
            except ApiException as error:
                if error.status == HTTPStatus.NOT_FOUND:
                    return None
                raise

    def spec(self, run: Run) -> dict[str, Any]:
        """The pipeline that ran, as its package has it; a platform's part stands beside it, and is left out.

        A run that was started from a version names that only.
        """
        spec: dict[str, Any] = run.get("pipeline_spec") or {}
        of = run.get("pipeline_version_reference", {})
        if not spec and of.get("pipeline_version_id"):
            with self.in_sentences():
                ids = (of.get("pipeline_id", ""), of["pipeline_version_id"])
                answer = self.client._pipelines_api.pipeline_service_get_pipeline_version(*ids, _preload_content=False)
                spec = as_json(answer).get("pipeline_spec") or {}
        return dict(spec.get("pipeline_spec") or spec)

    def latest(self, count: int) -> list[str]:
        """The names of the newest runs, the newest first."""
        with self.in_sentences():
            found = self.client.list_runs(page_size=count, sort_by="created_at desc").runs
            return [run.display_name for run in found or []]

    def terminate(self, run_id: str) -> None:
        """Ask the run to end; one that has ended already stays as it is."""
        with suppress(WrongUse), self.in_sentences():
            self.client.terminate_run(run_id)

    def printed(self, run: Run) -> dict[str, list[str]]:
        """Step -> the lines that it printed; of a step whose log is not to be had, why not."""
        printed: dict[str, list[str]] = {}
        for task in _tasks(run):
            for node in _nodes(task):
                lines = printed.setdefault(_step(task), [])
                try:
                    with self.in_sentences():
                        lines += COLOUR.sub("", self.client.log(run["run_id"], node)).splitlines()
                except MlopsError as error:
                    lines.append(f"(no log: {error.what})")
        return {step: [line.rstrip() for line in lines if line.strip()] for step, lines in printed.items()}

    def experiment(self, name: str) -> str:
        """The id of the experiment of that name; it is made where there is none."""
        body = {"display_name": name, "namespace": self.namespace}
        with self.in_sentences():
            make = self.client._experiment_api.experiment_service_create_experiment
            return found_or_made(lambda: self.experiment_named(name), lambda: make(experiment=body))

    def experiment_named(self, name: str) -> str | None:
        """The id of the experiment of that name."""
        ask = self.client._experiment_api.experiment_service_list_experiments
        found = self.listed(ask, "experiments", name, namespace=self.namespace)
        return str(found[0]["experiment_id"]) if found else None

    def listed(self, ask: Callable[..., Any], rows: str, name: str = "", **asked: str) -> list[dict[str, Any]]:
        """All that a list call gives, on however many pages, or what has exactly that name; the newest first."""
        if name:
            equals = {"operation": "EQUALS", "key": "display_name", "stringValue": name}
            asked["filter"] = quote(json.dumps({"predicates": [equals]}))  # the server unquotes it once more than HTTP
        found: list[dict[str, Any]] = []
        token: str | None = ""
        with self.in_sentences():
            while token is not None:
                paged = {"page_size": PAGE, "page_token": token, "sort_by": "created_at desc"}
                page = as_json(ask(**paged, **asked, _preload_content=False))
                found += page.get(rows, [])
                token = page.get("next_page_token") or None
        return [row for row in found if not name or row.get("display_name") == name]  # a server may not look at case

    def patiently(self, ask: Callable[[], T]) -> T:
        """Ask again for a while when no answer comes; so it must do no harm to ask twice."""
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return ask()
            except NoAnswer:
                if time.monotonic() > end:
                    raise
                time.sleep(self.seconds)

    def in_sentences(self) -> AbstractContextManager[None]:
        return in_sentences(self.environment)


@contextmanager
def connected(environment: Environment, images: Mapping[str, Path] | None = None) -> Iterator[Kubeflow]:
    """The endpoint of an environment, for as long as the block lasts; one that does not answer is told at once."""
    token = read(environment.token, environment.root) if environment.token else None
    if token and not re.fullmatch(r"[!-~]+", token):  # said here: the HTTP library's error would quote it
        what = "the token has a space, a line break or another character that no HTTP header can hold"
        raise WrongUse(what, where=f"environments/{environment.name}.yaml, token", do="write the token alone there")
    with served(environment, images) as url:
        with in_sentences(environment), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # that kfp is made for KFP 2
            client = Client(host=url, namespace=environment.namespace, existing_token=token)
            healthz = client.get_kfp_healthz()
        if healthz.multi_user is None:
            what = "the endpoint answers, but not as a KFP API does"
            raise Failed(what, where=environment.endpoint_setting, do=CORRECT)
        yield Kubeflow(client, environment)


def reference(version: Version) -> dict[str, str]:
    """How a run or a schedule names the version that it is of."""
    return {"pipeline_id": version.pipeline_id, "pipeline_version_id": version.version_id}


def found_or_made(find: Callable[[], T | None], make: Callable[[], object]) -> T:
    """What is there, made before if need be; whoever comes a moment too late finds what another made."""
    there, refused = find(), None
    if there is None:
        try:
            make()
        except ApiException as error:  # 409 says that it is there; older servers say 400 or 500
            refused = error
        there = find()
    if there is None:
        raise refused or ApiException(status=HTTPStatus.BAD_GATEWAY, reason="what was made is not there")
    return there


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
