"""What kfp.Client does that nobody expects, and that a project built on it must know: named here, so that a new kfp which
does otherwise is seen. Traps of a resource stand with the resource."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from urllib.parse import quote

import kfp
import pytest

from tests.contract import graphs
from tests.contract.server import where

SET_NAMESPACE = """
import sys, warnings
import kfp
warnings.simplefilter("ignore")
kfp.Client(host=sys.argv[1]).set_user_namespace("somebody")
print(kfp.Client(host=sys.argv[1]).get_user_namespace())
"""


def experiment_of(client, run) -> str:
    return client.get_experiment(run.run_info.experiment_id).display_name


def start(server, **kwargs):
    package = server.package(graphs.one_step)
    return server.client.create_run_from_pipeline_package(
        package, run_name=server.name("environment"), namespace=server.namespace, **kwargs
    )


def test_the_environment_overrides_the_experiment_that_the_caller_names(server, client, monkeypatch):
    theirs, ours = server.name("theirs"), server.name("ours")
    monkeypatch.setenv("KF_PIPELINES_OVERRIDE_EXPERIMENT_NAME", theirs)

    with pytest.warns(UserWarning, match="Changing experiment name"):
        run = start(server, experiment_name=ours)

    assert experiment_of(client, run) == theirs
    server.ended(run.run_id)


def test_the_environment_names_the_experiment_where_the_caller_names_none(server, client, monkeypatch):
    theirs, ours = server.name("theirs"), server.name("ours")
    monkeypatch.setenv("KF_PIPELINES_DEFAULT_EXPERIMENT_NAME", theirs)

    runs = [start(server), start(server, experiment_name=ours)]

    assert [experiment_of(client, run) for run in runs] == [theirs, ours]
    for run in runs:
        server.ended(run.run_id)


def test_caching_is_overridden_for_the_outermost_tasks_only(server, client, experiment_id):
    package = server.package(graphs.nested_failure)
    run = client.run_pipeline(experiment_id, server.name("caching"), package, enable_caching=False)

    spec = client.get_run(run.run_id).pipeline_spec

    outer = spec["root"]["dag"]["tasks"]["inner-failure"]["cachingOptions"]
    inner = spec["components"]["comp-inner-failure"]["dag"]["tasks"]["fail"]["cachingOptions"]
    assert (outer.get("enableCache", False), inner.get("enableCache", False)) == (False, True)
    server.ended(run.run_id)


def test_a_namespace_that_one_client_sets_is_every_later_clients(server, tmp_path):
    said = subprocess.run(
        [sys.executable, "-c", SET_NAMESPACE, server.endpoint],
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert said.stdout == "somebody\n"
    assert json.loads((tmp_path / ".config/kfp/context.json").read_text()) == {"namespace": "somebody"}


def test_each_client_warns_of_old_servers(server):
    with pytest.warns(FutureWarning, match="This client only works with Kubeflow Pipeline v2.0.0-beta.2"):
        kfp.Client(host=server.endpoint)


@pytest.mark.parametrize("version", ["v1.2.3+build", "100%25"])
def test_a_name_with_a_plus_or_a_percent_sign_is_found_only_by_a_filter_that_is_quoted_once_more(
    server, client, version
):
    pipeline = server.upload("signs")
    package = server.package(graphs.one_step)
    client.upload_pipeline_version(package, version, pipeline_id=pipeline.pipeline_id)
    wanted = where("display_name", "EQUALS", version)

    plain = client.list_pipeline_versions(pipeline.pipeline_id, filter=wanted)
    quoted = client.list_pipeline_versions(pipeline.pipeline_id, filter=quote(wanted))

    assert plain.pipeline_versions is None
    assert [found.display_name for found in quoted.pipeline_versions] == [version]
