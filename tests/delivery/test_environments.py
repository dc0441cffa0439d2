from __future__ import annotations

import os
from pathlib import Path

import pytest

from delivery.environments import absolute, child_environment, project_root, read_environment
from delivery.errors import WrongUse

GOOD = "endpoint: local\nstore: file:store\nregistry: sqlite:///registry.db\n"
REPOSITORY = Path(__file__).parents[2]


def write(root: Path, text: str) -> Path:
    path = root / "environments/other.yaml"
    path.write_text(text)
    return path


def test_a_file_with_the_needed_keys_is_read_and_its_paths_become_absolute(project: Path) -> None:
    write(project, GOOD)

    environment = read_environment("other")

    assert environment.name == "other"
    assert environment.store == f"file:{project}/store"
    assert environment.registry == f"sqlite:///{project}/registry.db"
    assert (environment.default_pipeline, environment.parameters, environment.gpus) == ("", {}, 0)
    assert environment.work == project / ".mlops/other/work"


@pytest.mark.parametrize(
    ("text", "what", "where", "do"),
    [
        (GOOD + "stor: x\n", "`stor` is no setting of an environment", "", "did you mean `store`?"),
        (GOOD + "zzz: x\n", "`zzz` is no setting of an environment", "", "there is `default_pipeline`, `endpoint`"),
        (GOOD + "name: x\n", "`name` is no setting of an environment", "", "delete it"),
        ("endpoint: local\nstore: x\n", "`registry` is missing, and has no default", "", "add `registry: ...`"),
        (GOOD + "gpus: two\n", "`gpus` is `two`, and must be a whole number", "", "write a whole number after `gpus:`"),
        (GOOD + "gpus: true\n", "`gpus` is `True`, and must be a whole number", "", "write a whole number"),
        (GOOD + "gpus: -1\n", "`gpus` is below zero: -1", "", "write 0 or more"),
        (GOOD + "tolerations: {}\n", "`tolerations` is `{}`, and must be a list", "", "write a list"),
        (GOOD + "parameters:\n", "`parameters` is nothing, and must be a mapping", "", "write a mapping"),
        (GOOD + "parameters: {greet: 1}\n", "`parameters.greet` is `1`, and must be a mapping", "", "write a mapping"),
        (GOOD + "a: [1\nb: 2\n", "the file is no YAML", ", line 5", "mend that line"),
        ("- local\n", "the file holds no settings", "", "write `key: value` lines"),
        ("", "the file holds no settings", "", "write `key: value` lines"),
        (
            GOOD.replace("local", "https://kfp.example"),
            "no pipeline can run at `https://kfp.example`: this version runs them on this machine only",
            ", endpoint",
            "write `endpoint: local`",
        ),
    ],
)
def test_a_wrong_file_is_told_what_is_wrong_where_and_what_to_do(
    project: Path, text: str, what: str, where: str, do: str
) -> None:
    path = write(project, text)

    with pytest.raises(WrongUse) as refused:
        read_environment("other")

    assert what in refused.value.what
    assert refused.value.where == f"{path}{where}"
    assert do in refused.value.do


def test_an_unknown_environment_is_told_the_near_name(project: Path) -> None:
    with pytest.raises(WrongUse, match="there is no environment `local-dve`") as refused:
        read_environment("local-dve")

    assert refused.value.do == "did you mean `local-dev`?"


def test_a_path_is_no_name_of_an_environment(project: Path) -> None:
    with pytest.raises(WrongUse, match="there is no environment"):
        read_environment("../environments/local-dev")


def test_the_root_is_found_from_any_folder_inside(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "a/b").mkdir(parents=True)
    monkeypatch.chdir(project / "a/b")

    assert project_root() == project


def test_outside_a_project_a_sentence_says_so(tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match="this folder is in no project"):
        project_root(tmp_path)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("file:data", "file:/root/data"),
        ("file:/data", "file:/data"),
        ("file:///data", "file:///data"),
        ("data/x", "file:/root/data/x"),
        ("/data", "file:/data"),
        ("s3://bucket/x", "s3://bucket/x"),
        ("sqlite:///x.db", "sqlite:////root/x.db"),
        ("sqlite:////x.db", "sqlite:////x.db"),
        ("https://mlflow.example", "https://mlflow.example"),
    ],
)
def test_only_relative_paths_change(url: str, expected: str) -> None:
    assert absolute(url, Path("/root")) == expected


def test_a_run_inherits_the_variables_and_finds_the_project_before_anything_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["/mine", str(REPOSITORY)]))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")

    given = child_environment(Path("/project"), "greet-1", Path("/scratch"))

    assert given["PYTHONPATH"].split(os.pathsep) == ["/project", str(REPOSITORY), "/mine"]
    assert given["AWS_ENDPOINT_URL"] == "http://127.0.0.1:1"
    assert (given["PIPELINE_RUN_ID"], given["TMPDIR"]) == ("greet-1", "/scratch")
    assert "PIPELINE_RUN_ID" not in os.environ


def test_the_environments_of_this_project_are_good() -> None:
    for path in sorted((REPOSITORY / "environments").glob("*.yaml")):
        assert read_environment(path.stem, REPOSITORY).name == path.stem
