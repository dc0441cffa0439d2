"""What `storage.registry.Registry` promises, of every registry there is."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from storage.objects import StorageError
from storage.registry import ModelVersion, open_registry
from tests.storage.registry.conftest import register

ONE, TWO = "1" * 64, "2" * 64


def test_a_registered_model_is_found_with_all_that_was_said_of_it(registry, model):
    lineage = {"run": "r1", "git_commit": "0a1b", "environment": "local-dev: 2 cores", "url": "s3://of-another/thing"}
    metrics = {"time.top_1": 0.5, "unseen.log_loss": 12.25, "rows": 3, "none": 0.0, "sha256": -1e-30}
    wanted = ModelVersion(
        name=model,
        version="1",
        url="s3://store/models/1",
        sha256=ONE,
        metrics={**metrics, "rows": 3.0},
        lineage=lineage,
        aliases=(),
    )

    answer = registry.register(model, url="s3://store/models/1", sha256=ONE, metrics=metrics, lineage=lineage)

    assert answer == (wanted, True)
    assert registry.find(model, ONE) == wanted
    assert registry.versions(model) == [wanted]


def test_the_same_file_again_changes_nothing(registry, model):
    first, _ = register(registry, model, ONE)

    again = register(registry, model, ONE, url="s3://other", metrics={"time.top_1": 0.9}, lineage={"run": "r2"})

    assert again == (first, False)
    assert registry.versions(model) == [first]


def test_versions_are_oldest_first_and_numbers_not_words(registry, model):
    files = [f"{number:064x}" for number in range(11)]

    for sha256 in files:
        register(registry, model, sha256)

    assert [(v.version, v.sha256) for v in registry.versions(model)] == [
        (str(number), sha256) for number, sha256 in enumerate(files, start=1)
    ]


def test_the_same_file_under_another_name_is_another_model(registry, model):
    register(registry, model, ONE)

    version, created = register(registry, f"{model}.other", ONE)

    assert (version.name, version.version, created) == (f"{model}.other", "1", True)


def test_an_alias_names_one_version_and_can_be_moved(registry, model):
    register(registry, model, ONE)
    register(registry, model, TWO)

    registry.set_alias(model, "candidate", "1")
    registry.set_alias(model, "champion", "1")
    registry.set_alias(model, "champion", "2")

    candidate, champion = registry.alias(model, "candidate"), registry.alias(model, "champion")
    assert candidate
    assert champion
    assert (candidate.version, candidate.aliases) == ("1", ("candidate",))
    assert (champion.version, champion.aliases) == ("2", ("champion",))
    assert registry.versions(model) == [candidate, champion]
    assert registry.find(model, TWO) == champion


def test_what_is_not_there_is_none_or_empty(registry, model):
    assert registry.find(model, ONE) is None
    assert registry.versions(model) == []
    assert registry.alias(model, "champion") is None

    register(registry, model, ONE)

    assert registry.find(model, TWO) is None
    assert registry.alias(model, "champion") is None


def test_an_alias_for_a_version_that_is_not_there_is_refused(registry, model):
    register(registry, model, ONE)

    with pytest.raises(StorageError) as refused:
        registry.set_alias(model, "champion", "9")

    assert refused.value.do == "correct what is named there, and run it again"
    assert registry.alias(model, "champion") is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), None, "0.5", True])
def test_a_metric_that_is_no_finite_number_is_refused(registry, model, url, value):
    with pytest.raises(StorageError) as refused:
        register(registry, model, ONE, metrics={"time.top_1": value})

    assert refused.value.what == (f"the metric time.top_1 is {value!r}, not a finite number, so nothing was registered")
    assert refused.value.where == f"{model} in {url}"
    assert refused.value.do == "find out why the step that measured it gave no number"
    assert registry.versions(model) == []


def test_of_two_who_register_the_same_file_at_once_both_have_the_same_version(url, model):
    with ThreadPoolExecutor(2) as pool:
        answers = list(
            pool.map(lambda registry: register(registry, model, ONE), [open_registry(url), open_registry(url)])
        )

    [there] = open_registry(url).versions(model)
    assert [version.version for version, _ in answers] == [there.version] * 2
    assert sorted(made for _, made in answers) == [False, True]


def test_a_repeat_does_not_take_the_alias_from_the_newer_version(registry, model):
    for sha256 in (ONE, TWO):
        register(registry, model, sha256)
    registry.set_alias(model, "champion", "2")

    register(registry, model, ONE)

    champion = registry.alias(model, "champion")
    assert champion
    assert (champion.version, champion.sha256) == ("2", TWO)


def test_an_alias_of_a_model_that_is_not_there_is_refused(registry, model):
    with pytest.raises(StorageError):
        registry.set_alias(model, "champion", "1")

    assert registry.versions(model) == []


@pytest.mark.parametrize("alias", ["", "a/b", "the best"])
def test_an_alias_that_is_no_word_is_refused(registry, model, alias):
    version, _ = register(registry, model, ONE)

    with pytest.raises(StorageError):
        registry.set_alias(model, alias, "1")

    assert registry.versions(model) == [version]


@pytest.mark.parametrize("name", ["", "a/b", "it's", "a' or name like '%"])
@pytest.mark.parametrize(
    "act",
    [lambda there, name: register(there, name, ONE), lambda there, name: there.versions(name)],
    ids=["register", "versions"],
)
def test_a_name_that_would_break_a_query_is_refused(registry, name, act):
    with pytest.raises(StorageError) as refused:
        act(registry, name)

    assert refused.value.what == f"{name!r} cannot be a name in the registry"
    assert refused.value.do == "use letters, digits, dots, dashes and underscores"


@pytest.mark.parametrize("act", [register, lambda there, *what: there.find(*what)], ids=["register", "find"])
def test_a_hash_that_would_break_a_query_is_refused(registry, model, act):
    with pytest.raises(StorageError) as refused:
        act(registry, model, "it's")

    assert refused.value.what == '"it\'s" cannot be a name in the registry'
    assert registry.versions(model) == []


@pytest.mark.parametrize(
    "url", ["", "kubeflow+ftp://x", "registry.db", "sqlite://", "sqlite:/x.db", "postgresql://x", "kubeflow://x"]
)
def test_an_unknown_registry_says_which_are_known(url):
    with pytest.raises(StorageError) as refused:
        open_registry(url)

    assert str(refused.value) == (
        f"no registry is known for {url!r}\n"
        "  where: the registry's URL\n"
        "  to do: write sqlite:////folder/registry.db, the http:// or https:// URL of an MLflow server, "
        "or kubeflow+http:// or kubeflow+https:// before the host of a Kubeflow Model Registry"
    )
