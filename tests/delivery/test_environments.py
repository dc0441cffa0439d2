from __future__ import annotations

from pathlib import Path

import pytest

from delivery.environments import absolute, project_root, read_environment, served
from delivery.errors import Failed, WrongUse

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
    assert environment.logs == project / ".mlops/other/logs"


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
        (GOOD + "namespace: 1\n", "`namespace` is `1`, and must be text", "", "write text after `namespace:`"),
        (
            GOOD.replace("local", "kfp.example:8888"),
            "`endpoint` is `kfp.example:8888`, and must be `local` or the URL of a KFP API",
            "",
            "write `endpoint: local`, or `endpoint: https://...`",
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


def test_an_endpoint_with_an_address_and_a_namespace_is_read_and_nothing_is_started_for_it(project: Path) -> None:
    write(project, GOOD.replace("local", "https://kfp.example/pipeline") + "namespace: team\n")

    environment = read_environment("other")

    assert (environment.endpoint, environment.namespace) == ("https://kfp.example/pipeline", "team")
    with served(environment) as url:
        assert url == "https://kfp.example/pipeline"
    assert not (project / ".mlops").exists()


def test_a_local_endpoint_that_cannot_be_started_says_where_and_what_to_do(project: Path) -> None:
    (project / ".mlops").write_text("no folder")

    with pytest.raises(Failed, match="no KFP API can be started here") as failed, served(read_environment("local-dev")):
        pass

    assert failed.value.where == str(project / ".mlops/local-dev/kfp")


def test_the_environments_of_this_project_are_good() -> None:
    for path in sorted((REPOSITORY / "environments").glob("*.yaml")):
        assert read_environment(path.stem, REPOSITORY).name == path.stem
