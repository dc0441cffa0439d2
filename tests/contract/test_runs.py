"""Runs: started in each way that kfp.Client has, followed, ended, kept."""

from __future__ import annotations

import base64
import json
import tarfile
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from urllib.error import HTTPError
from urllib.parse import quote

import pytest

from tests.contract import graphs
from tests.contract.server import ENDED, pages, refusal, where

UNKNOWN = "00000000-0000-4000-8000-000000000000"


def words(run) -> list[str]:
    """The states in order; a server may report one twice in a row."""
    return list(dict.fromkeys(entry.state for entry in run.state_history))


@pytest.fixture(scope="module", autouse=True)
def too_early(shared_server, experiment_id) -> tuple[str, float]:
    """A run that fails as a moment has not come yet, and how far ahead that lies. It is started before the test that
    waits for the moment, so that the others need not wait."""
    away = 4.0 if shared_server.is_localkfp else 60.0  # longer than a step takes to start
    return shared_server.start(experiment_id, graphs.until_a_moment, {"seconds": away}), away


# Started


def test_a_package_is_run_and_kept_with_its_arguments(server, client, experiment_id):
    name = server.name("package")
    started = client.run_pipeline(
        experiment_id, name, server.package(graphs.one_step), {"text": "é"}, service_account="somebody"
    )

    assert (started.state, words(started)) == ("PENDING", ["PENDING"])
    assert (started.display_name, started.experiment_id, started.storage_state) == (name, experiment_id, "AVAILABLE")
    run = server.ended(started.run_id)
    assert (run.state, words(run)) == ("SUCCEEDED", ["PENDING", "RUNNING", "SUCCEEDED"])
    assert run.runtime_config.parameters == {"text": "é"}
    assert run.service_account == "somebody"
    assert run.pipeline_spec == server.documents(graphs.one_step)[0]
    assert run.pipeline_version_reference is None
    assert started.created_at == run.created_at <= run.scheduled_at <= run.finished_at
    assert [entry.update_time for entry in run.state_history] == sorted(
        entry.update_time for entry in run.state_history
    )


def test_a_version_is_run_and_named_in_the_run(server, client, experiment_id):
    pipeline = server.upload("version-run", graphs.failing_step)
    version = client.upload_pipeline_version(server.package(graphs.one_step), "v1", pipeline_id=pipeline.pipeline_id)

    started = client.run_pipeline(
        experiment_id,
        server.name("version"),
        pipeline_id=pipeline.pipeline_id,
        version_id=version.pipeline_version_id,
    )

    run = server.ended(started.run_id)
    assert run.state == "SUCCEEDED"  # the pipeline's first version fails
    reference = run.pipeline_version_reference
    assert (reference.pipeline_id, reference.pipeline_version_id) == (
        pipeline.pipeline_id,
        version.pipeline_version_id,
    )
    assert run.pipeline_spec is None


def test_a_pipeline_without_a_version_is_refused_by_the_client_whatever_its_help_says(server, client, experiment_id):
    pipeline = server.upload("no-version")

    with pytest.raises(ValueError, match="both `pipeline_id` and `version_id` are required"):
        client.run_pipeline(experiment_id, server.name("no-version"), pipeline_id=pipeline.pipeline_id)


def test_a_pipeline_without_a_version_is_run_by_the_server_in_its_newest(server, client, experiment_id):
    pipeline = server.upload("newest", graphs.failing_step)
    newest = client.upload_pipeline_version(server.package(graphs.one_step), "v1", pipeline_id=pipeline.pipeline_id)

    started = client._run_api.run_service_create_run(
        {
            "experiment_id": experiment_id,
            "display_name": server.name("newest"),
            "pipeline_version_reference": {"pipeline_id": pipeline.pipeline_id},
        }
    )

    assert started.pipeline_version_reference.pipeline_version_id == newest.pipeline_version_id
    assert server.ended(started.run_id).state == "SUCCEEDED"


def test_a_run_from_a_package_is_a_new_run_on_each_call(server, client):
    experiment, name = server.name("each-call"), server.name("same-name")

    runs = [
        client.create_run_from_pipeline_package(
            server.package(graphs.one_step), run_name=name, experiment_name=experiment, namespace=server.namespace
        )
        for _ in range(2)
    ]

    found = client.get_experiment(experiment_name=experiment, namespace=server.namespace)
    listed = client.list_runs(experiment_id=found.experiment_id).runs
    assert sorted(run.run_id for run in listed) == sorted(run.run_id for run in runs)
    assert {run.display_name for run in listed} == {name}
    assert [server.ended(run.run_id).state for run in runs] == ["SUCCEEDED", "SUCCEEDED"]
    assert runs[0].wait_for_run_completion(timeout=60).state == "SUCCEEDED"


@pytest.mark.parametrize("filename", ["package.zip", "package.tar.gz"])
def test_a_packed_package_is_run(server, client, experiment_id, tmp_path, filename):
    packed, package = tmp_path / filename, server.package(graphs.one_step)
    if filename.endswith("zip"):
        with zipfile.ZipFile(packed, "w") as archive:
            archive.write(package, "pipeline.yaml")
    else:
        with tarfile.open(packed, "w:gz") as archive:
            archive.add(package, "pipeline.yaml")
    pipeline = client.upload_pipeline(str(packed), server.name("packed"), namespace=server.namespace)
    [version] = client.list_pipeline_versions(pipeline.pipeline_id).pipeline_versions

    assert version.pipeline_spec == server.documents(graphs.one_step)[0]


def test_twenty_runs_started_at_once_are_twenty_runs(server, client):
    experiment_id = server.experiment("at-once")
    names = [server.name(f"at-once-{number}") for number in range(20)]
    package = server.package(graphs.one_step)

    with ThreadPoolExecutor(20) as threads:
        started = list(threads.map(lambda name: client.run_pipeline(experiment_id, name, package).run_id, names))

    listed = [run for page in pages(client.list_runs, "runs", experiment_id=experiment_id, page_size=7) for run in page]
    assert sorted(run.run_id for run in listed) == sorted(started)
    assert sorted(run.display_name for run in listed) == sorted(names)
    for run_id in started:
        client.terminate_run(run_id) if server.run(run_id).state == "PENDING" else None
    assert {server.ended(run_id).state for run_id in started} <= {"SUCCEEDED", "CANCELED"}


# Refused


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            {"text": "a", "whole": 1, "part": 1.5, "yes": True, "some": [], "more": {}, "nobodys": 1},
            "parameter(s) provided are not required by pipeline: nobodys",
        ),
        (
            {"text": "a", "whole": 1, "part": 1.5, "yes": True, "some": []},
            "parameter more is not optional, yet has neither default value nor user provided value",
        ),
        ({"text": 1}, "input parameter text requires type string, but the input parameter is not of string value type"),
        (
            {"whole": "1"},
            "input parameter whole requires type double or integer, but the parameter value is not of number value type",
        ),
        (
            {"part": "1"},
            "input parameter part requires type double or integer, but the parameter value is not of number value type",
        ),
        ({"yes": "true"}, "input parameter yes requires type bool, but the input parameter is not of bool value type"),
        ({"some": {}}, "input parameter some requires type list, but the input parameter is not of list value type"),
        (
            {"more": []},
            "input parameter more requires type struct, but the input parameter is not of struct value type",
        ),
    ],
)
def test_arguments_that_the_pipeline_does_not_take_are_refused(server, client, experiment_id, arguments, said):
    right = {"text": "a", "whole": 1, "part": 1.5, "yes": True, "some": [], "more": {}}
    if len(arguments) == 1:
        arguments = right | arguments
    name = server.name("arguments")

    refused = refusal(client.run_pipeline, experiment_id, name, server.package(graphs.each_type), arguments)

    assert refused == (400, 3, said)
    assert client.list_runs(experiment_id=experiment_id, filter=where("display_name", "EQUALS", name)).runs is None


def test_an_unknown_experiment_is_refused(server, client):
    refused = refusal(client.run_pipeline, UNKNOWN, server.name("nowhere"), server.package(graphs.one_step))

    assert refused == (404, 5, f"Experiment {UNKNOWN} not found")


def test_an_unknown_version_is_an_error_of_the_server_in_the_servers_words(server, client, experiment_id):
    pipeline = server.upload("unknown-version")

    refused = refusal(
        client.run_pipeline,
        experiment_id,
        server.name("unknown-version"),
        pipeline_id=pipeline.pipeline_id,
        version_id=UNKNOWN,
    )

    assert refused == (500, 13, "Internal Server Error")


# Followed


def test_wait_returns_a_run_that_failed_and_raises_nothing(client, failed):
    assert client.wait_for_run_completion(failed, timeout=60).state == "FAILED"


def test_wait_polls_a_canceled_run_until_its_time_is_over(server, client, experiment_id):
    run_id = server.start(experiment_id, graphs.sleeping)
    server.until(lambda: server.run(run_id).run_details, "a task")

    client.terminate_run(run_id)

    assert server.run(run_id).state in ("CANCELING", *ENDED)
    run = server.ended(run_id)
    if server.is_localkfp:  # by its source, 2.17.0 lets such a run end as FAILED
        assert (run.state, words(run)) == ("CANCELED", ["PENDING", "RUNNING", "CANCELING", "CANCELED"])
        assert {detail.state for detail in run.run_details.task_details} == {"CANCELED"}
        with pytest.raises(TimeoutError, match="Run timeout"):
            client.wait_for_run_completion(run_id, timeout=0.3, sleep_duration=0.2)


def test_a_run_that_waits_for_its_turn_can_be_terminated(server, client, experiment_id):
    run_id = server.start(experiment_id, graphs.sleeping)

    client.terminate_run(run_id)

    assert server.ended(run_id).state in (("CANCELED",) if server.is_localkfp else ("CANCELED", "FAILED"))


def test_an_ended_run_cannot_be_terminated(client, server, succeeded):
    assert refusal(client.terminate_run, succeeded) == (
        400,
        3,
        f"Failed to terminate a run {succeeded}. Row not found",
    )
    assert server.run(succeeded).state == "SUCCEEDED"


def test_each_task_tells_when_it_ran_and_how_it_ended(server, failed):
    run = server.run(failed)

    tasks = {detail.display_name: detail for detail in run.run_details.task_details}
    assert (tasks["fail"].state, tasks["say"].state) == ("FAILED", "SUCCEEDED")
    assert len({detail.task_id for detail in run.run_details.task_details}) == len(run.run_details.task_details)
    for detail in (tasks["fail"], tasks["say"]):
        assert detail.run_id == failed
        assert run.created_at <= detail.start_time <= detail.end_time <= run.finished_at
        assert detail.state_history[-1].state == detail.state


def test_a_failed_run_says_which_step_failed_and_why(server, failed, only_here):
    run = server.run(failed)

    [task] = [detail for detail in run.run_details.task_details if detail.state == "FAILED"]
    assert (run.error.code, run.error.message) == (13, "fail: ValueError: no rows")
    assert task.error.message == "ValueError: no rows"


def test_what_a_step_printed_is_read(server, succeeded, failed, only_here):
    [said] = [detail for detail in server.run(succeeded).run_details.task_details if detail.display_name == "say"]
    [broken] = [detail for detail in server.run(failed).run_details.task_details if detail.display_name == "fail"]

    assert "hello" in server.read(f"/apis/v1alpha1/runs/{succeeded}/nodes/{said.pod_name}/log").decode().split("\n")
    log = server.read(f"/apis/v1alpha1/runs/{failed}/nodes/{broken.pod_name}/log").decode()
    assert "Traceback (most recent call last):" in log
    assert "ValueError: no rows" in log


def test_an_artifact_that_a_step_wrote_is_read(server, experiment_id, only_here):
    run = server.ended(server.start(experiment_id, graphs.each_artifact))

    [writer] = [detail for detail in run.run_details.task_details if detail.display_name == "write-artifacts"]
    path = f"/apis/v2beta1/runs/{run.run_id}/nodes/{writer.pod_name}/artifacts/page:read"
    assert base64.b64decode(json.loads(server.read(path))["data"]) == b"of page"


# Listed


def test_runs_are_listed_in_order_page_by_page_and_none_twice(server, client):
    experiment_id, word = server.experiment("paged"), server.name("paged")
    package = server.package(graphs.one_step)
    a, b, c, d, e = (client.run_pipeline(experiment_id, f"{word}-{n}", package).run_id for n in range(5))

    def ids(**kwargs):
        found = pages(client.list_runs, "runs", experiment_id=experiment_id, **kwargs)
        return [[run.run_id for run in page] for page in found]

    assert ids(page_size=2, sort_by="created_at desc") == [[e, d], [c, b], [a]]
    assert ids(page_size=3, sort_by="display_name") == [[a, b, c], [d, e]]
    assert ids(filter=where("display_name", "EQUALS", f"{word}-2")) == [[c]]
    assert client.list_runs(experiment_id=experiment_id, page_size=2).total_size == 5
    for run_id in (a, b, c, d, e):
        server.ended(run_id)
    assert ids(filter=where("state", "EQUALS", "SUCCEEDED"), page_size=4) == [[a, b, c, d], [e]]
    assert ids(filter=where("state", "EQUALS", "FAILED")) == [[]]


def test_a_list_tells_the_same_of_a_run_as_its_own_page(server, client, experiment_id, failed):
    name = server.run(failed).display_name

    [listed] = client.list_runs(experiment_id=experiment_id, filter=where("display_name", "EQUALS", name)).runs

    assert listed == server.run(failed)


def test_runs_are_listed_by_namespace(server, client, only_here):
    namespace = f"{server.mark}-b"
    run = client.create_run_from_pipeline_package(
        server.package(graphs.one_step),
        run_name=server.name("elsewhere"),
        experiment_name=server.name("elsewhere"),
        namespace=namespace,
    )

    listed = client.list_runs(namespace=namespace).runs

    assert [found.run_id for found in listed] == [run.run_id]
    mine = where("display_name", "EQUALS", run.run_info.display_name)
    assert client.list_runs(namespace=server.namespace, filter=mine).runs is None
    server.ended(run.run_id)
    client.delete_run(run.run_id)
    client.delete_experiment(run.run_info.experiment_id)


# Kept


def test_an_archived_run_is_kept_and_can_be_left_out_of_a_list(server, client):
    experiment_id = server.experiment("archive")
    kept, archived = (server.start(experiment_id, graphs.one_step) for _ in range(2))

    client.archive_run(archived)

    available = where("storage_state", "EQUALS", "AVAILABLE")
    assert client.get_run(archived).storage_state == "ARCHIVED"
    assert [run.run_id for run in client.list_runs(experiment_id=experiment_id, filter=available).runs] == [kept]
    client.unarchive_run(archived)
    assert client.get_run(archived).storage_state == "AVAILABLE"
    assert {server.ended(run_id).state for run_id in (kept, archived)} == {"SUCCEEDED"}


def test_a_deleted_run_is_gone(server, client, experiment_id):
    run_id = server.start(experiment_id, graphs.one_step)
    server.ended(run_id)

    client.delete_run(run_id)

    assert refusal(client.get_run, run_id) == (404, 5, f"Run {run_id} not found")


# Tried again


def test_a_retry_runs_again_what_failed_and_not_what_succeeded(server, client, too_early):
    run_id, away = too_early
    first = server.ended(run_id)
    server.until(lambda: time.time() > first.finished_at.timestamp() + away, "the moment")

    client._run_api.run_service_retry_run(run_id)  # a new `moment` would lie ahead again

    assert first.state == "FAILED"
    again = server.ended_again(run_id, first)
    assert again.state == "SUCCEEDED"
    done = [detail.display_name for detail in again.run_details.task_details if detail.state == "SUCCEEDED"]
    assert {"moment", "not-before"} <= set(done)


def test_a_retry_in_vain_fails_again(server, client, experiment_id):
    run_id = server.start(experiment_id, graphs.failing_step)
    before = server.ended(run_id)

    client._run_api.run_service_retry_run(run_id)

    assert (before.state, server.ended_again(run_id, before).state) == ("FAILED", "FAILED")


def test_a_run_that_succeeded_is_not_tried_again(client, server, succeeded):
    status, code, message = refusal(client._run_api.run_service_retry_run, succeeded)

    assert (status, code, message) == (409, 10, "Workflow must be Failed/Error to retry")
    assert server.run(succeeded).state == "SUCCEEDED"


def test_a_path_out_of_a_run_is_no_artifact_of_it(server, succeeded, only_here):
    [task] = [detail for detail in server.run(succeeded).run_details.task_details if detail.display_name == "say"]
    for name in ("../../../localkfp.db", "nothing"):
        path = f"/apis/v2beta1/runs/{succeeded}/nodes/{task.pod_name}/artifacts/{quote(name, safe='')}:read"
        with pytest.raises(HTTPError) as refused:
            server.read(path)
        assert refused.value.code == 404
