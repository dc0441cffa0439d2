"""project.yaml: what it says is read, and what it says wrongly is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from delivery.errors import WrongUse
from delivery.project import Project, image_of, read_project
from tests.delivery.delivered import Project as Site

ROOT = Path(__file__).parents[2]
GOOD = 'name: "Song charts"\nowner: "Ada"\nimage: "registry.example:5000/team/song-charts"\n'
DIGEST = "sha256:" + "0a" * 32


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "project.yaml").write_text(GOOD, encoding="utf-8")
    return tmp_path


def test_it_says_the_name_the_owner_and_the_image(root: Path) -> None:
    assert read_project(root) == Project(
        name="Song charts", owner="Ada", image="registry.example:5000/team/song-charts"
    )


def test_the_projects_own_is_good() -> None:
    assert read_project(ROOT).image


@pytest.mark.parametrize(
    ("text", "what", "do"),
    [
        (GOOD + "imag: x\n", "`imag` is no setting of a project", "did you mean `image`?"),
        (GOOD.replace('owner: "Ada"\n', ""), "`owner` is missing, or no text", 'write `owner: "..."`'),
        (GOOD.replace('"Ada"', "7"), "`owner` is missing, or no text", 'write `owner: "..."`'),
        (GOOD.replace('"Ada"', '" "'), "`owner` is missing, or no text", 'write `owner: "..."`'),
        (GOOD + "name: again\n", "`name` is there twice", "mend that line"),
        (GOOD.replace("song-charts\"", "song-charts:latest\""), "no image repository", "without tag and digest"),
        (GOOD.replace("song-charts\"", f"song-charts@{DIGEST}\""), "no image repository", "without tag and digest"),
        (GOOD.replace("registry.example:5000/team/song-charts", "song-charts"), "no image repository", "team/name"),
        ("- name\n", "the file holds no settings", "write"),
    ],
)  # fmt: skip
def test_what_it_says_wrongly_is_told(root: Path, text: str, what: str, do: str) -> None:
    (root / "project.yaml").write_text(text, encoding="utf-8")

    with pytest.raises(WrongUse) as told:
        read_project(root)

    assert what in told.value.what
    assert do in told.value.do
    assert str(root / "project.yaml") in told.value.where


def test_a_project_without_the_file_is_told_which(tmp_path: Path) -> None:
    with pytest.raises(WrongUse) as told:
        read_project(tmp_path)

    assert told.value.where == str(tmp_path / "project.yaml")


def test_a_digest_alone_is_one_of_the_projects_own_image(root: Path) -> None:
    assert image_of(root, DIGEST) == f"registry.example:5000/team/song-charts@{DIGEST}"


@pytest.mark.parametrize("said", [f"elsewhere.example/x@{DIGEST}", "sha256:0a", "latest"])
def test_any_other_image_is_as_it_was_said(root: Path, said: str) -> None:
    assert image_of(root, said) == said


def test_a_release_takes_the_projects_image_by_its_digest_alone(delivery: Site) -> None:
    delivery.write("project.yaml", GOOD)
    delivery.commit("say whose it is")

    manifest = json.loads(delivery.mlops("release", "--image", DIGEST, "--json").ok)

    assert manifest["image"] == f"registry.example:5000/team/song-charts@{DIGEST}"


def test_without_the_file_a_digest_alone_is_refused(delivery: Site) -> None:
    refused = delivery.mlops("release", "--image", DIGEST)

    assert refused.exit_code == 2
    assert "project.yaml" in refused.err
