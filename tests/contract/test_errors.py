"""What a server says of itself, and of what it does not have: clients match on codes, words and shape."""

from __future__ import annotations

import json
from urllib.error import HTTPError

import kfp
import pytest
from urllib3.exceptions import MaxRetryError

from tests.contract.server import refusal, where

UNKNOWN = "00000000-0000-4000-8000-000000000000"


def test_the_server_says_that_it_is_well(server, client):
    health = json.loads(server.read("/apis/v2beta1/healthz"))

    assert health.keys() >= {"commit_sha", "tag_name", "multi_user"}
    assert client.get_kfp_healthz().multi_user == health["multi_user"]


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda client: client.get_pipeline(UNKNOWN), "Pipeline"),
        (lambda client: client.delete_pipeline(UNKNOWN), "Pipeline"),
        (lambda client: client.list_pipeline_versions(UNKNOWN), "Pipeline"),
        (lambda client: client.get_pipeline_version(UNKNOWN, UNKNOWN), "PipelineVersion"),
        (lambda client: client.delete_pipeline_version(UNKNOWN, UNKNOWN), "PipelineVersion"),
        (lambda client: client.get_experiment(UNKNOWN), "Experiment"),
        (lambda client: client.delete_experiment(UNKNOWN), "Experiment"),
        (lambda client: client.list_runs(experiment_id=UNKNOWN), "Experiment"),
        (lambda client: client.get_run(UNKNOWN), "Run"),
        (lambda client: client.terminate_run(UNKNOWN), "Run"),
        (lambda client: client._run_api.run_service_retry_run(UNKNOWN), "Run"),
        (lambda client: client.archive_run(UNKNOWN), "Run"),
        (lambda client: client.unarchive_run(UNKNOWN), "Run"),
        (lambda client: client.delete_run(UNKNOWN), "Run"),
        (lambda client: client.get_recurring_run(UNKNOWN), "Job"),
        (lambda client: client.enable_recurring_run(UNKNOWN), "Job"),
        (lambda client: client.disable_recurring_run(UNKNOWN), "Job"),
        (lambda client: client.delete_recurring_run(UNKNOWN), "Job"),
    ],
)
def test_what_is_unknown_is_not_found_and_named(client, call, kind):
    assert refusal(call, client) == (404, 5, f"{kind} {UNKNOWN} not found")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"page_size": -1}, "The page size should be greater than 0. Got -1"),
        ({"page_token": "no token"}, "Invalid package token"),
        ({"sort_by": "colour"}, 'Invalid sorting field: "colour" on listable type Experiment'),
        ({"filter": where("colour", "EQUALS", "red")}, 'no support for filtering on unrecognized field "colour"'),
    ],
)
def test_a_list_that_cannot_be_made_is_refused(server, client, asked, said):
    status, code, message = refusal(client.list_experiments, namespace=server.namespace, **asked)

    assert (status, code, said in message) == (400, 3, True), message


def test_a_path_that_no_server_has_is_not_found_in_the_gateways_words(server):
    with pytest.raises(HTTPError) as refused:
        server.read("/apis/v2beta1/nothing")

    body = json.loads(refused.value.read())
    assert (refused.value.code, body["code"], body["message"]) == (404, 5, "Not Found")


def test_a_server_that_is_gone_is_told_by_urllib3_and_not_by_an_api_exception():
    with pytest.warns(FutureWarning, match="v2.0.0-beta.2"), pytest.raises(MaxRetryError):
        kfp.Client(host="http://127.0.0.1:1")  # a port that nobody listens to
