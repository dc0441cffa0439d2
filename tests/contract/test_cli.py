"""The `kfp` command as KFP ships it: what it prints is what the API says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.contract import graphs
from tests.contract.server import refusal, where

KFP = Path(sys.executable).with_name("kfp")


@pytest.fixture
def kfp(server, home):
    """Run `kfp` with some words, answer yes to what it asks, and read the JSON that ends what it prints."""

    def run(*words: str) -> Any:
        namespace = ["--namespace", server.namespace] if server.namespace else []
        outcome = subprocess.run(
            [KFP, "--endpoint", server.endpoint, *namespace, "--output", "json", *words],
            env={**os.environ, "HOME": str(home)},
            input="y\n",
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert outcome.returncode == 0, outcome.stderr
        # Before the JSON stand, on stdout too, links to pages or the question that was answered.
        return json.loads(re.sub(r"\A(\w+ details: .*\n)*(.*\[y/N\]: )?", "", outcome.stdout))

    return run


def said(model: Any) -> Any:
    """What the command must print of an answer of the API."""
    return json.loads(json.dumps(model.to_dict(), default=datetime.isoformat))


def test_kfp_pipeline(server, client, kfp):
    name = server.name("cli")
    package = server.package(graphs.one_step)

    made = kfp("pipeline", "create", "-p", name, "-d", "by hand", package)
    pipeline_id = made["pipeline_id"]
    version = kfp("pipeline", "create-version", "-v", "v1", "-n", name, package)

    assert made == said(client.get_pipeline(pipeline_id))
    assert (made["display_name"], made["description"]) == (name, "by hand")
    assert version == said(client.get_pipeline_version(pipeline_id, version["pipeline_version_id"]))
    assert kfp("pipeline", "get", pipeline_id) == made
    assert kfp("pipeline", "list", "--filter", where("display_name", "EQUALS", name)) == [made]
    versions = kfp("pipeline", "list-versions", pipeline_id)
    assert [one["display_name"] for one in versions] == ["v1", name]
    assert versions[0] == version
    for one in versions:
        client.delete_pipeline_version(pipeline_id, one["pipeline_version_id"])
    assert kfp("pipeline", "delete", pipeline_id) == pipeline_id
    assert refusal(client.get_pipeline, pipeline_id)[0] == 404


def test_kfp_experiment(server, client, kfp):
    name = server.name("cli")

    made = kfp("experiment", "create", "-d", "by hand", name)
    experiment_id = made["experiment_id"]

    assert made == said(client.get_experiment(experiment_id))
    assert (made["display_name"], made["description"], made["storage_state"]) == (name, "by hand", "AVAILABLE")
    assert kfp("experiment", "get", experiment_id) == made
    assert kfp("experiment", "list", "--filter", where("display_name", "EQUALS", name)) == [made]
    assert kfp("experiment", "archive", "--experiment-id", experiment_id) == {**made, "storage_state": "ARCHIVED"}
    assert kfp("experiment", "delete", experiment_id) == experiment_id
    assert refusal(client.get_experiment, experiment_id)[0] == 404


def test_kfp_run(server, client, kfp):
    experiment, name = server.name("cli"), server.name("cli")
    package = server.package(graphs.one_step)

    started = kfp("run", "create", "-e", experiment, "-r", name, "-f", package, "text=from a shell")
    run_id = started["run_id"]
    server.ended(run_id)
    made = kfp("run", "get", run_id)

    assert made == said(client.get_run(run_id))
    assert (made["state"], made["display_name"]) == ("SUCCEEDED", name)
    assert made["runtime_config"]["parameters"] == {"text": "from a shell"}
    assert client.get_experiment(made["experiment_id"]).display_name == experiment
    assert kfp("run", "list", "--experiment-id", made["experiment_id"]) == [made]


def test_kfp_recurring_run(server, client, experiment_id, kfp):
    name = server.name("cli")
    package = ["--pipeline-package-path", server.package(graphs.one_step)]
    schedule = ["--job-name", name, "--experiment-id", experiment_id, "--cron-expression", "0 0 0 1 1 *", "--enabled"]

    made = kfp("recurring-run", "create", *schedule, *package, "text=by hand")
    recurring_run_id = made["recurring_run_id"]

    assert made == said(client.get_recurring_run(recurring_run_id))
    assert (made["display_name"], made["status"], made["no_catchup"]) == (name, "ENABLED", True)
    assert kfp("recurring-run", "get", recurring_run_id) == made
    mine = ["-e", experiment_id, "--filter", where("display_name", "EQUALS", name)]
    assert kfp("recurring-run", "list", *mine) == [made]
    assert kfp("recurring-run", "disable", recurring_run_id)["status"] == "DISABLED"
    assert kfp("recurring-run", "enable", recurring_run_id)["status"] == "ENABLED"
    assert kfp("recurring-run", "delete", recurring_run_id) == recurring_run_id
    assert refusal(client.get_recurring_run, recurring_run_id)[0] == 404
