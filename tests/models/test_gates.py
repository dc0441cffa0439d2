"""A gate is the condition that passes; what is no number, or is not there, does not."""

import ast
import json
import math
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

import models
from models.gates import Check, Gates

GATES = Gates(
    max_difference=1e-5,
    min_agreement=1.0,
    tie=2e-5,
    floors={"time.top_1": 0.35},
    ceilings={"time.calibration_error": 0.15},
    metric="top_1",
    confidence=0.95,
    superiority=0.0,
    non_inferiority=0.02,
    new_contract="refuse",
)
NAMES = [field.name for field in fields(Gates)]


def yaml_of(folder: Path, constants: object) -> Path:
    path = folder / "gates.yaml"
    path.write_text(yaml.safe_dump(constants), encoding="utf-8")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ValueError, match=r"^gates\.yaml: ") as refused:
        Gates.read(path)
    return str(refused.value)


@pytest.mark.parametrize(
    ("value", "condition", "passed"),
    [
        (0.5, "<=", True),
        (0.4999, "<=", True),
        (0.5001, "<=", False),
        (0.5, ">=", True),
        (0.5001, ">=", True),
        (0.4999, ">=", False),
        (math.inf, "<=", False),
        (-math.inf, ">=", False),
        (math.nan, "<=", False),
        (math.nan, ">=", False),
        (None, "<=", False),
        (None, ">=", False),
    ],
)
def test_a_check_passes_only_where_its_condition_holds(value, condition, passed):
    assert Check(name="x", value=value, condition=condition, limit=0.5).passed is passed


@pytest.mark.parametrize("condition", ["<=", ">="])
def test_a_limit_that_is_no_number_lets_nothing_pass(condition):
    assert not Check(name="x", value=0.5, condition=condition, limit=math.nan).passed


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (0.31234, "time.top_1 is 0.31234; wanted >= 0.35"),
        (math.nan, "time.top_1 is nan; wanted >= 0.35"),
        (None, "time.top_1 is missing; wanted >= 0.35"),
    ],
)
def test_a_check_says_what_it_found_and_what_it_wanted(value, sentence):
    check = Check(name="time.top_1", value=value, condition=">=", limit=0.35)

    assert check.sentence == sentence


def test_a_row_of_the_record_holds_numbers_verdict_and_sentence():
    check = Check(name="parity.max_difference", value=3e-7, condition="<=", limit=1e-5)

    assert check.row() == {
        "name": "parity.max_difference",
        "value": 3e-7,
        "condition": "<=",
        "limit": 1e-5,
        "passed": True,
        "sentence": "parity.max_difference is 3e-07; wanted <= 1e-05",
    }


def test_gates_are_read_from_yaml_and_come_back_from_a_package(tmp_path):
    read = Gates.read(yaml_of(tmp_path, asdict(GATES)))

    assert read == GATES
    assert Gates.of(json.loads(json.dumps(read.constants()))) == GATES


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_key_is_named_with_its_file(tmp_path, name):
    path = yaml_of(tmp_path, {key: value for key, value in asdict(GATES).items() if key != name})

    assert refusal(path) == f"gates.yaml: `{name}` is missing"


def test_an_unknown_key_is_named_with_its_file_and_those_that_are_known(tmp_path):
    path = yaml_of(tmp_path, {**asdict(GATES), "max_diference": 1.0})

    assert refusal(path) == f"gates.yaml: there is no gate `max_diference`; known: {', '.join(NAMES)}"


def test_all_wrong_keys_are_named_at_once(tmp_path):
    constants = {**asdict(GATES), "best": 1}
    del constants["tie"], constants["metric"]

    said = refusal(yaml_of(tmp_path, constants))

    assert said.startswith("gates.yaml: `tie` is missing; `metric` is missing; there is no gate `best`; known: ")


@pytest.mark.parametrize("content", ["", "a: [1", "- 1\n- 2\n", "word"])
def test_a_file_without_keys_is_a_sentence_with_its_name(tmp_path, content):
    path = tmp_path / "gates.yaml"
    path.write_text(content, encoding="utf-8")

    assert refusal(path)


def test_a_number_that_yaml_reads_as_a_word_is_refused(tmp_path):
    path = yaml_of(tmp_path, asdict(GATES))
    path.write_text(path.read_text().replace("1.0e-05", "1e-5"), encoding="utf-8")

    assert refusal(path) == "gates.yaml: `max_difference` is a number, not '1e-5'"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"floors": {"time.top_1": None}}, "`time.top_1` is a number, not None"),
        ({"ceilings": {"time.log_loss": "2"}}, "`time.log_loss` is a number, not '2'"),
        ({"superiority": True}, "`superiority` is a number, not True"),
        ({"new_contract": "accept"}, "`new_contract` is `refuse` or `judge_alone`, not `accept`"),
        ({"metric": "top_3"}, "`metric` is `top_1` or `top_5`, not `top_3`"),
        ({"confidence": 95}, "`confidence` is a share from 0.5 to below 1, not 95"),
        ({"confidence": 1.0}, "`confidence` is a share from 0.5 to below 1, not 1.0"),
        ({"confidence": 0.05}, "`confidence` is a share from 0.5 to below 1, not 0.05"),
        ({"confidence": math.nan}, "`confidence` is a share from 0.5 to below 1, not nan"),
    ],
)
def test_a_gate_that_cannot_be_meant_is_refused(change, said):
    with pytest.raises(ValueError, match=r"^`") as refused:
        replace(GATES, **change)

    assert str(refused.value) == said


@pytest.mark.parametrize("name", NAMES)
def test_the_hash_changes_with_every_gate(name):
    other: dict[str, Any] = {
        **dict.fromkeys(NAMES, 0.75),
        "floors": {"time.top_1": 0.36},
        "ceilings": {},
        "metric": "top_5",
        "new_contract": "judge_alone",
    }

    assert replace(GATES, **{name: other[name]}).sha256() != GATES.sha256()
    assert replace(GATES).sha256() == GATES.sha256()


@pytest.mark.parametrize("name", NAMES)
def test_every_gate_is_read_by_a_step(name):
    root = Path(models.__file__).parent.parent / "components"
    read = {
        node.attr
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("gates", "limits")
    }

    assert name in read


def test_one_and_one_point_nought_are_one_set_of_gates():
    constants = GATES.constants()

    assert (
        Gates.of({**constants, "min_agreement": 1}).sha256() == Gates.of({**constants, "min_agreement": 1.0}).sha256()
    )
    assert Gates.of({**constants, "min_agreement": 0.5}).sha256() != Gates.of(constants).sha256()
