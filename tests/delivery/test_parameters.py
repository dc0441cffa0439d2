from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from delivery.environments import Environment
from delivery.errors import WrongUse
from delivery.parameters import arguments, git_commit

SPEC: dict[str, Any] = {
    "root": {
        "inputDefinitions": {
            "parameters": {
                "source": {"parameterType": "STRING"},
                "times": {"parameterType": "NUMBER_INTEGER", "isOptional": True, "defaultValue": 1.0},
                "rate": {"parameterType": "NUMBER_DOUBLE", "isOptional": True, "defaultValue": 0.5},
                "loud": {"parameterType": "BOOLEAN", "isOptional": True, "defaultValue": False},
                "options": {"parameterType": "STRUCT", "isOptional": True, "defaultValue": {"a": {"b": 1}}},
                "names": {"parameterType": "LIST", "isOptional": True, "defaultValue": []},
                "store": {"parameterType": "STRING", "isOptional": True},
                "environment": {"parameterType": "STRING", "isOptional": True},
            }
        }
    }
}


def environment(**settings: Any) -> Environment:
    given = {"name": "test", "endpoint": "local", "store": "file:/store", "registry": "sqlite:////r.db", **settings}
    return Environment(root=Path("/root"), **given)


def given(*assignments: str, **settings: Any) -> dict[str, Any]:
    return arguments(SPEC, environment(**settings), "greet", ["source=x", *assignments])


def test_the_environment_gives_what_the_pipeline_declares_and_nothing_else() -> None:
    assert given() == {"source": "x", "store": "file:/store", "environment": "test"}


@pytest.mark.parametrize(
    ("assignment", "name", "value"),
    [
        ("source=a=b", "source", "a=b"),
        ("source=", "source", ""),
        ("times=3", "times", 3),
        ("rate=3", "rate", 3.0),
        ("rate=1e-3", "rate", 0.001),
        ("loud=True", "loud", True),
        ("loud=false", "loud", False),
        ('names=["a", 1]', "names", ["a", 1]),
        ('options={"x": 1}', "options", {"x": 1}),
        ("options.epochs=3", "options", {"a": {"b": 1}, "epochs": 3}),
        ("options.word=long one", "options", {"a": {"b": 1}, "word": "long one"}),
        ("options.a.c=null", "options", {"a": {"b": 1, "c": None}}),
        ("store=other", "store", "file:/root/other"),
        ("source=file:data", "source", "file:/root/data"),
        ("source=file:/data", "source", "file:/data"),
        ("source=s3://bucket/data", "source", "s3://bucket/data"),
    ],
)
def test_a_value_gets_the_type_that_the_pipeline_declares(assignment: str, name: str, value: object) -> None:
    found = given(assignment)[name]

    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(("default", "value"), [("file:data", "file:/root/data"), ("synthetic:", None)])
def test_a_folder_by_default_starts_at_the_project_too(default: str, value: str | None) -> None:
    source = {"parameterType": "STRING", "isOptional": True, "defaultValue": default}
    spec = {"root": {"inputDefinitions": {"parameters": {"source": source}}}}

    assert arguments(spec, environment(), "greet", []).get("source") == value


def test_a_folder_of_this_machine_is_no_source_where_steps_run_elsewhere() -> None:
    elsewhere = {"endpoint": "https://kfp.example", "store": "s3://bucket/dev"}

    with pytest.raises(WrongUse) as refused:
        given("source=file:data", **elsewhere)

    assert refused.value.what == "the steps of test run elsewhere, and file:/root/data is a folder of this machine"
    assert refused.value.where == "environments/test.yaml, parameters.greet"
    assert given("source=s3://bucket/data", **elsewhere)["source"] == "s3://bucket/data"
    assert given("source=file:data", endpoint="http://127.0.0.1:8888")["source"] == "file:/root/data"
    assert given("source=file:data", store="s3://bucket/dev")["source"] == "file:/root/data"


def test_the_defaults_of_the_package_are_not_touched_by_a_dotted_key() -> None:
    given("options.a.b=2")

    assert SPEC["root"]["inputDefinitions"]["parameters"]["options"]["defaultValue"] == {"a": {"b": 1}}


def test_the_command_line_goes_before_the_environment_and_a_dotted_key_adds_to_it() -> None:
    found = given("times=3", "options.c=4", parameters={"greet": {"times": 2, "options": {"b": 1}, "rate": 2}})

    assert (found["times"], found["options"], found["rate"]) == (3, {"b": 1, "c": 4}, 2.0)


@pytest.mark.parametrize(
    ("assignment", "what", "do"),
    [
        ("tims=3", "the pipeline has no parameter `tims`", "did you mean `times`?"),
        ("times", "`times` is no assignment", "write -p name=value, or -p name.key=value"),
        ("=3", "`=3` is no assignment", "write -p name=value"),
        ("options.=3", "`options.=3` is no assignment", "write -p name=value"),
        ("times=3.5", "`times` is `3.5`, and must be a whole number", "write digits only, as in 3"),
        ("rate=fast", "`rate` is `fast`, and must be a number", "write a number"),
        ("rate=nan", "`rate` is `nan`, and must be a number", "write a number"),
        ("loud=1", "`loud` is `1`, and must be true or false", "write true or false"),
        ("names={}", "`names` is `{}`, and must be a list in JSON", "write a list"),
        ("options=[", "`options` is `[`, and must be a mapping in JSON", "write a mapping"),
        ('options={"a": NaN}', '`options` is `{"a": NaN}`, and must be a mapping in JSON', "write a mapping"),
        ("times.x=3", "`times` is a whole number, and has no keys", "write -p times=value"),
        ("options.a.b.c=3", "`b` is no mapping, and has no keys", "leave out what follows it"),
    ],
)
def test_a_wrong_assignment_is_told_what_is_right(assignment: str, what: str, do: str) -> None:
    with pytest.raises(WrongUse) as refused:
        given(assignment)

    assert refused.value.what == what
    assert refused.value.where == f"-p {assignment}"
    assert do in refused.value.do


@pytest.mark.parametrize(
    ("parameters", "what"),
    [
        ({"tims": 3}, "the pipeline has no parameter `tims`"),
        ({"times": "3"}, "`times` is `3`, and must be a whole number"),
        ({"times": True}, "`times` is `True`, and must be a whole number"),
        ({"loud": 1}, "`loud` is `1`, and must be true or false"),
    ],
)
def test_a_wrong_parameter_of_the_environment_names_its_file(parameters: dict[str, Any], what: str) -> None:
    with pytest.raises(WrongUse) as refused:
        given(parameters={"greet": parameters})

    assert (refused.value.what, refused.value.where) == (what, "environments/test.yaml, parameters.greet")


def test_a_missing_parameter_is_named() -> None:
    with pytest.raises(WrongUse, match="greet needs a value for source") as refused:
        arguments(SPEC, environment(), "greet", [])

    assert refused.value.do == "add -p source=..."


def test_the_commit_says_whether_the_tree_differs_from_it(tmp_path: Path) -> None:
    assert git_commit(tmp_path) == "unknown"

    for words in ("init -q", "-c user.name=a -c user.email=a@b.c commit -q --allow-empty -m one"):
        subprocess.run(["git", "-C", str(tmp_path), *words.split()], check=True)
    clean = git_commit(tmp_path)
    (tmp_path / "new").touch()

    assert len(clean) == 40
    assert git_commit(tmp_path) == f"{clean}-dirty"
