from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from localkfp import experiments
from localkfp.errors import ApiError

EXPERIMENTS = "/apis/v2beta1/experiments"


def made(ask, name: str, **fields: str) -> str:
    status, body = ask("POST", EXPERIMENTS, {"display_name": name, **fields})
    assert status == 200
    return body["experiment_id"]


def test_a_new_server_has_the_default_experiment(client):
    [default] = client.list_experiments().experiments

    assert default.display_name == "Default"
    assert default.description == "All runs created without specifying an experiment will be grouped here."
    assert default.storage_state == "AVAILABLE"
    assert default.last_run_created_at.year == 1970


def test_of_twenty_who_make_the_same_experiment_at_once_one_does(ask):
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: ask("POST", EXPERIMENTS, {"display_name": "race"}), range(20)))

    assert sorted(status for status, _ in answers) == [200] + [409] * 19
    [refused, *others] = [body for status, body in answers if status == 409]
    assert all(other == refused for other in others)
    assert refused["message"] == (
        "Failed to create a experiment: Already exist error: Failed to create a new experiment. "
        "The name race already exists. Please specify a new name"
    )


@pytest.mark.parametrize("body", [{}, {"display_name": ""}, {"display_name": None}])
def test_an_experiment_without_a_name_is_refused(ask, body):
    status, refused = ask("POST", EXPERIMENTS, body)

    assert (status, refused["code"]) == (400, 3)
    assert refused["details"][0]["message"] == "Experiment must have a non-empty name"


@pytest.mark.parametrize(
    "name", ["100 %", "it's", '"quoted"', "Ünïcödé 🎵", "a/b?c#d", "; drop table experiments", " "]
)
def test_a_name_may_hold_anything_and_comes_back_as_it_was(ask, name):
    experiment_id = made(ask, name)

    assert ask("GET", f"{EXPERIMENTS}/{experiment_id}")[1]["display_name"] == name


def test_namespaces_are_kept_apart(client):
    ours, theirs = (client.create_experiment("same", namespace=namespace) for namespace in ("ours", "theirs"))

    assert ours.experiment_id != theirs.experiment_id
    assert [one.namespace for one in client.list_experiments(namespace="ours").experiments] == ["ours"]
    assert [one.display_name for one in client.list_experiments().experiments] == ["Default"]


def test_the_default_experiment_cannot_be_deleted(ask, client):
    [default] = client.list_experiments().experiments

    status, refused = ask("DELETE", f"{EXPERIMENTS}/{default.experiment_id}")

    assert (status, refused["code"]) == (409, 10)
    assert refused["message"].startswith("Failed to delete experiment: BadRequestError: ")
    assert client.list_experiments().total_size == 1


@pytest.mark.parametrize("word", ["archive", "unarchive"])
def test_to_archive_what_is_unknown_is_no_error_as_on_the_server(ask, word):
    assert ask("POST", f"{EXPERIMENTS}/unknown:{word}") == (200, {})


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("GET", "Failed to fetch experiment: ResourceNotFoundError: Experiment x not found"),
        (
            "DELETE",
            "Failed to delete experiment: ResourceNotFoundError: Experiment x not found",
        ),
    ],
)
def test_what_is_unknown_is_not_found_in_the_servers_words(ask, method, said):
    status, refused = ask(method, f"{EXPERIMENTS}/x")

    assert (status, refused["message"]) == (404, said)


def test_a_run_without_an_experiment_gets_the_default_one_of_its_namespace(kfp_server):
    database = kfp_server.kfp.database

    with database.write() as db:
        first, again = (experiments.resolve(db, "", "team") for _ in range(2))

    assert (first["display_name"], first["namespace"]) == ("Default", "team")
    assert again["experiment_id"] == first["experiment_id"]


def test_a_run_gets_the_experiment_that_it_names_if_that_is_in_its_namespace(kfp_server, ask):
    experiment_id = made(ask, "named", namespace="team")

    with kfp_server.kfp.database.write() as db:
        assert experiments.resolve(db, experiment_id, "")["display_name"] == "named"
        assert experiments.resolve(db, experiment_id, "team")["display_name"] == "named"
        with pytest.raises(ApiError, match="belongs to namespace 'team' instead of 'other'"):
            experiments.resolve(db, experiment_id, "other")
        with pytest.raises(ApiError, match="Experiment x not found"):
            experiments.resolve(db, "x", "")
