from __future__ import annotations

import json
import sqlite3
import traceback
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # its types are no part of the lock

from components import IMAGE
from delivery.environments import (
    Environment,
    absolute,
    environment_names,
    folders_of,
    project_root,
    read_environment,
    schema,
    served,
)
from delivery.errors import Failed, WrongUse
from delivery.secrets import Secret

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
        (
            GOOD.replace("store: file", "stor: file"),
            "`stor` is no setting of an environment",
            "",
            "did you mean `store`?",
        ),
        (GOOD + "zzz: x\n", "`zzz` is no setting of an environment", "", "there is `default_pipeline`, `endpoint`"),
        (GOOD + "name: x\n", "`name` is no setting of an environment", "", "delete it"),
        ("endpoint: local\nstore: x\n", "`registry` is missing, and has no default", "", "add `registry: ...`"),
        (GOOD + "gpus: two\n", "`gpus` is `two`, and must be a whole number", "", "write a whole number after `gpus:`"),
        (GOOD + "gpus: true\n", "`gpus` is `True`, and must be a whole number", "", "write a whole number"),
        (GOOD + "gpus: -1\n", "`gpus` is `-1`, and must be 0 or more", "", "write 0 or more after `gpus:`"),
        (GOOD + "stall_minutes: 0\n", "`stall_minutes` is `0`, and must be 0.1 or more", "", "write 0.1 or more"),
        (
            GOOD + "require_signature: 'yes'\n",
            "`require_signature` is `yes`, and must be true or false",
            "",
            "write true",
        ),
        (GOOD + "node_selector: {gpu: 1}\n", "`node_selector.gpu` is `1`, and must be text", "", "write text"),
        (GOOD + "parameters: {1: {}}\n", "`parameters.1` is `1`, and must be text", "", "write text"),
        (
            GOOD + "schedules: {greet: '0 3 * * *'}\n",
            "`schedules.greet` is `0 3 * * *`, and must be cron as Kubeflow reads it, six fields",
            "",
            'write it as in "0 30 3 * * 0", seconds first',
        ),
        (GOOD + "schedules: {greet: '0 0 3 * * 7'}\n", "must be cron as Kubeflow reads it", "", "3:30 on Sundays"),
        (GOOD + "schedules: {greet: '61 0 3 * * *'}\n", "must be cron as Kubeflow reads it", "", "3:30 on Sundays"),
        (
            GOOD.replace("sqlite:///", "kubeflow:"),
            "`registry` is `kubeflow:registry.db`, and must be a SQLite file, or the URL of an MLflow server",
            "",
            "write sqlite:///FILE, https://... or kubeflow+https://...",
        ),
        (GOOD + "token: word\n", "`token` must be the one place where the secret is", "", "write exactly one of"),
        (
            GOOD + "gpus: 1\nendpoint: local\n",
            "the file is no YAML: `endpoint` is there twice",
            ", line 5",
            "mend that",
        ),
        (GOOD + "parameters: {greet: {a: 1, 'a': 2}}\n", "`a` is there twice", ", line 4", "mend that line"),
        (
            GOOD + "require_signature: true\n",
            "`require_signature` is true without `trusted_keys`",
            "",
            "name the files",
        ),
        *(
            (GOOD.replace("file:store", url), f"`store` is `{url}`, and must be a folder, or", "", "write file:FOLDER")
            for url in ("s3//x", "s3:/x", "s3:x", "gs:/x", "file://host/x")
        ),
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


def test_a_local_endpoint_knows_further_images_by_the_folders_of_their_code(project: Path) -> None:
    environment = read_environment("local-dev")

    with (
        served(environment, {"local@sha256:1": project / "code"}),
        sqlite3.connect(environment.kfp / "localkfp.db") as db,
    ):
        known = dict(db.execute("select image, folder from images"))

    assert known == {IMAGE: str(project), "local@sha256:1": str(project / "code")}


def test_what_delivery_needs_is_read_and_its_files_are_not_asked_for(project: Path) -> None:
    write(
        project,
        GOOD.replace("sqlite:///registry.db", "kubeflow+https://registry.example")
        + "token: {env: KFP_TOKEN}\nsigning_key: {file: key.pem}\nrequire_signature: true\nstall_minutes: 5\n"
        + "trusted_keys: [keys/a.pem, /b.pem]\nschedules: {greet: 0 0 3 * * 1}\nstore_secret: bucket\n",
    )

    environment = read_environment("other")

    assert environment.registry == "kubeflow+https://registry.example"
    assert (environment.token, environment.signing_key) == (Secret(env="KFP_TOKEN"), Secret(file="key.pem"))
    assert (environment.require_signature, environment.stall_minutes) == (True, 5)
    assert environment.trusted_keys == [f"{project}/keys/a.pem", "/b.pem"]
    assert (environment.schedules, environment.store_secret) == ({"greet": "0 0 3 * * 1"}, "bucket")


@pytest.mark.parametrize(
    "text",
    [
        *(
            "token: {evn: hush!}",
            "token: {}",
            "token: {env: A, file: b}",
            "token: {value: hush!}",
            "token: {env: hush!}",
        ),
        *("signing_key: [hush!]", "store_secret: hush!"),
    ],
)
def test_a_secret_is_named_by_one_place_and_what_stood_there_instead_is_not_repeated(project: Path, text: str) -> None:
    write(project, f"{GOOD}{text}\n")

    with pytest.raises(
        WrongUse, match=r"must be the (one place where the secret is|name of a Kubernetes secret)"
    ) as refused:
        read_environment("other")

    assert ("secret: " in text) or refused.value.do == "write exactly one of {env: NAME} or {file: PATH}"
    assert "hush!" not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize("store", ["x", "a/b", "/a//b", "../a:b", "file:x", "file:///x", "s3://b/x", "memory://x"])
def test_what_is_a_folder_or_a_url_may_be_a_store(project: Path, store: str) -> None:
    write(project, GOOD.replace("file:store", store))

    assert read_environment("other").store == absolute(store, project)
    assert Draft202012Validator(schema()).is_valid({"endpoint": "local", "store": store, "registry": "sqlite:///r"})


def test_a_key_that_yaml_merges_from_another_mapping_is_not_there_twice(project: Path) -> None:
    write(project, GOOD + "parameters:\n  b: {x: &deep {<<: &base {k: 1}, k: 2}}\n  a: {<<: *deep, k: 3}\n  c: *base\n")

    assert read_environment("other").parameters == {"b": {"x": {"k": 2}}, "a": {"k": 3}, "c": {"k": 1}}


def test_the_environments_of_this_project_are_good() -> None:
    names = environment_names(REPOSITORY)

    assert names == ["dev", "kind", "local-dev", "local-prod", "prod"]
    for name in names:
        assert read_environment(name, REPOSITORY).name == name
    assert read_environment("prod", REPOSITORY).require_signature


def test_the_environments_of_this_project_share_no_store_and_no_registry() -> None:
    environments = [read_environment(name, REPOSITORY) for name in environment_names(REPOSITORY)]

    for places in ([each.store for each in environments], [each.registry for each in environments]):
        assert sorted(set(places)) == sorted(places)


def test_the_schema_that_editors_read_is_the_one_that_is_checked() -> None:
    assert (REPOSITORY / "environments/schema.json").read_text() == json.dumps(schema(), indent=1) + "\n", (
        "write it anew: mlops schema > environments/schema.json"
    )
    assert all(of.get("description") for of in schema()["properties"].values())


@pytest.mark.parametrize("name", ["dev", "kind", "local-dev", "local-prod", "prod"])
def test_an_editor_accepts_what_is_shipped_and_underlines_what_is_refused(name: str) -> None:
    text = (REPOSITORY / f"environments/{name}.yaml").read_text()
    settings, validator = yaml.safe_load(text), Draft202012Validator(schema())

    assert text.startswith("# yaml-language-server: $schema=schema.json\n")
    assert list(validator.iter_errors(settings)) == []
    for wrong in (
        {"stor": "x"},
        {"token": "word"},
        {"token": {"env": "A", "file": "b"}},
        {"gpus": True},
        {"schedules": {"a": "0 3 * * *"}},
        {"endpoint": "kfp.example:8888"},
        {"store": "s3//x"},
        {"store": "s3:/x"},
        {"require_signature": True, "trusted_keys": []},
    ):
        assert len(list(validator.iter_errors({**settings, **wrong}))) == 1


@pytest.mark.parametrize(
    ("store", "registry", "outside"),
    [
        ("file:.mlops/store", "sqlite:///.mlops/registry.db", []),
        ("file:/data/store", "sqlite:////data/registry/one.db", ["/data/store", "/data/registry"]),
        ("s3://bucket/store", "https://mlflow.example", []),
    ],
)
def test_a_step_in_a_container_sees_the_project_and_where_store_and_registry_are(
    tmp_path: Path, store: str, registry: str, outside: list[str]
) -> None:
    environment = Environment(name="any", endpoint="local", store=store, registry=registry, root=tmp_path)

    assert list(folders_of(environment)) == [tmp_path, *map(Path, outside)]
