"""Experiments, in which runs are kept."""

from __future__ import annotations

import pytest

from tests.contract import graphs
from tests.contract.server import pages, refusal, where


def test_an_experiment_is_made_once_however_often_the_client_is_asked(server, client):
    name = server.name("once")

    first = client.create_experiment(name, "what it is for", namespace=server.namespace)
    second = client.create_experiment(name, "another word", namespace=server.namespace)

    assert second == first
    assert (first.display_name, first.description, first.storage_state) == (name, "what it is for", "AVAILABLE")


def test_an_experiment_that_somebody_else_made_first_is_refused(server, client):
    name = server.name("race")
    client.create_experiment(name, namespace=server.namespace)

    status, code, message = refusal(
        client._experiment_api.experiment_service_create_experiment,
        {"display_name": name, "namespace": server.namespace or ""},
    )

    assert (status, code) == (409, 6)
    assert f"The name {name} already exist" in message


def test_an_experiment_is_found_by_name_and_by_id(server, client):
    name = server.name("found")
    made = client.create_experiment(name, namespace=server.namespace)

    assert client.get_experiment(experiment_name=name, namespace=server.namespace) == made
    assert client.get_experiment(experiment_id=made.experiment_id) == made


def test_an_unknown_name_is_a_value_error_of_the_client(server, client):
    name = server.name("nobody's")

    with pytest.raises(ValueError, match=f"No experiment is found with name {name}."):
        client.get_experiment(experiment_name=name, namespace=server.namespace)


def test_experiments_are_listed_in_order_page_by_page_and_none_twice(server, client):
    word = server.name("paged")
    a, b, c = (client.create_experiment(f"{word}-{n}", namespace=server.namespace).experiment_id for n in range(3))
    asked = {"namespace": server.namespace, "filter": where("display_name", "IS_SUBSTRING", word)}

    def ids(**kwargs):
        found = pages(client.list_experiments, "experiments", **asked, **kwargs)
        return [[experiment.experiment_id for experiment in page] for page in found]

    assert ids(page_size=2, sort_by="created_at desc") == [[c, b], [a]]
    assert ids(page_size=2, sort_by="display_name") == [[a, b], [c]]
    assert ids(page_size=1) == [[a], [b], [c]]


def test_a_name_may_be_taken_once_in_each_namespace(server, client, only_here):
    name = server.name("twice")
    here = client.create_experiment(name, namespace=server.namespace)

    there = client.create_experiment(name, namespace=f"{server.mark}-b")

    assert (there.namespace, there.experiment_id != here.experiment_id) == (f"{server.mark}-b", True)
    assert client.get_experiment(experiment_name=name, namespace=f"{server.mark}-b") == there
    client.delete_experiment(there.experiment_id)


def test_an_archived_experiment_takes_its_runs_and_schedules_with_it(server, client):
    experiment_id = server.experiment("archived")
    run_id = server.start(experiment_id, graphs.one_step)
    recurring_run_id = client.create_recurring_run(
        experiment_id,
        server.name("schedule"),
        cron_expression="0 0 0 1 1 *",
        pipeline_package_path=server.package(graphs.one_step),
    ).recurring_run_id

    client.archive_experiment(experiment_id)

    assert client.get_experiment(experiment_id).storage_state == "ARCHIVED"
    assert client.get_run(run_id).storage_state == "ARCHIVED"
    assert client.get_recurring_run(recurring_run_id).status == "DISABLED"
    status, code, _ = refusal(client.unarchive_run, run_id)
    assert (status, code) == (400, 9)  # its experiment first

    client.unarchive_experiment(experiment_id)

    assert client.get_experiment(experiment_id).storage_state == "AVAILABLE"
    assert client.get_run(run_id).storage_state == "ARCHIVED"
    client.unarchive_run(run_id)
    assert client.get_run(run_id).storage_state == "AVAILABLE"


def test_archived_experiments_can_be_left_out_of_a_list(server, client):
    word = server.name("left-out")
    kept, archived = (client.create_experiment(f"{word}-{n}", namespace=server.namespace) for n in range(2))
    client.archive_experiment(archived.experiment_id)

    found = client.list_experiments(
        namespace=server.namespace, page_size=200, filter=where("storage_state", "NOT_EQUALS", "ARCHIVED")
    ).experiments

    mine = [experiment.experiment_id for experiment in found if experiment.display_name.startswith(word)]
    assert mine == [kept.experiment_id]


def test_a_deleted_experiment_is_gone_and_its_name_is_free(server, client):
    name = server.name("deleted")
    first = client.create_experiment(name, namespace=server.namespace)

    client.delete_experiment(first.experiment_id)

    assert refusal(client.get_experiment, first.experiment_id)[0] == 404
    assert client.create_experiment(name, namespace=server.namespace).experiment_id != first.experiment_id
