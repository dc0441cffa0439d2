"""GitHub and Tekton ask the same of a change, in the same order."""

import pytest
import yaml

from tests.ci import test_github, test_tekton
from tests.ci.conftest import ROOT

OF_GITHUB_ALONE = {"template.yaml"}  # it tests the template, and goes into no project
BOTH = sorted({path.name for path in test_github.WORKFLOWS} - OF_GITHUB_ALONE)


def words_of_github(text: str) -> list[str]:
    return [word for said in test_github.spoken(text).values() for word in said]


def words_of_tekton(text: str) -> list[str]:
    return [word for said in test_tekton.spoken(text).values() for word in said]


def test_what_one_side_asks_the_other_asks_too() -> None:
    assert BOTH == [path.name for path in test_tekton.RUNS] != []


@pytest.mark.parametrize("name", BOTH)
def test_both_speak_the_same_words_in_the_same_order(name: str) -> None:
    github = (ROOT / ".github/workflows" / name).read_text(encoding="utf-8")
    tekton = (ROOT / ".tekton" / name).read_text(encoding="utf-8")

    assert words_of_github(github) == words_of_tekton(tekton) != []
    assert yaml.safe_load(github)["name"] == yaml.safe_load(tekton)["metadata"]["name"]
