"""Both answer the same rows, and the verdict follows from the interval; what is no number blocks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx
import polars as pl
import pytest
from onnx import TensorProto, helper, numpy_helper

from components.decide import step
from components.decide.step import Champion, decide
from components.errors import GateRefused

COLOURS = ("blue", "green", "red", "yellow")


def always(probabilities: Sequence[float], classes: Sequence[str] = COLOURS) -> bytes:
    """A model that gives every row these probabilities, as an ONNX file with the two outputs of all of ours."""
    constant = np.array([probabilities], np.float32)
    nodes = [
        helper.make_node("Cast", ["bright"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["number", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "constant"], ["probabilities"]),
        helper.make_node("Identity", ["names"], ["classes"]),
    ]
    raw = [
        helper.make_tensor_value_info(name, kind, ["rows", 1])
        for name, kind in (("bright", TensorProto.BOOL), ("size", TensorProto.INT64), ("warmth", TensorProto.FLOAT))
    ]
    answers = [
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["rows", len(classes)]),
        helper.make_tensor_value_info("classes", TensorProto.STRING, [len(classes)]),
    ]
    constants = [
        numpy_helper.from_array(np.zeros((1, 1), np.float32), "zero"),
        numpy_helper.from_array(constant, "constant"),
        numpy_helper.from_array(np.array(classes, object), "names"),
    ]
    graph = helper.make_graph(nodes, "always", raw, answers, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def reordered(content: bytes, order: Sequence[int]) -> bytes:
    """The same model with its classes in another order: names and probabilities alike."""
    model = onnx.load_from_string(content)
    for node in model.graph.node:
        node.output[:] = [f"first {name}" if name in ("probabilities", "classes") else name for name in node.output]
    for constant in model.graph.initializer:
        constant.name = "first classes" if constant.name == "classes" else constant.name
    model.graph.initializer.append(numpy_helper.from_array(np.array(order, np.int64), "order"))
    model.graph.node.extend(
        helper.make_node("Gather", [f"first {name}", "order"], [name], axis=axis)
        for name, axis in (("probabilities", 1), ("classes", 0))
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


@pytest.fixture
def judge(onnx_model, prepared, evaluation, toy, tmp_path):
    """The decision on a candidate (by default the trained model), with gates of the toy's or changed."""
    numbers = json.loads((evaluation / "evaluation.json").read_text())

    def judge(champion=None, *, candidate=None, evaluated=numbers, folder=prepared, **gates):
        file = onnx_model
        if candidate is not None:
            file = tmp_path / "candidate.onnx"
            file.write_bytes(candidate)
        if isinstance(champion, bytes):
            champion = made(champion, toy.CONTRACT.fingerprint())
        return decide(file, folder, evaluated, toy, replace(toy.GATES, **gates), champion)

    return judge


def made(content: bytes, contract: str) -> Champion:
    sha256 = hashlib.sha256(content).hexdigest()
    return Champion(onnx=content, version="3", url="s3://store/m.onnx", sha256=sha256, contract=contract)


@pytest.fixture
def rows(prepared):
    return pl.read_parquet(prepared / "test_time.parquet")


@pytest.fixture
def no_floors():
    """Gates under which the comparison alone decides."""
    return {"floors": {}, "ceilings": {}}


# Without a champion


def test_a_first_candidate_that_beats_the_prior_is_promoted(judge, rows, prepared, evaluation, onnx_model):
    done = judge()

    top_1 = json.loads((evaluation / "evaluation.json").read_text())["sets"]["time"]["top_1"]
    prior = np.argmax(json.loads((prepared / "prior.json").read_text()))
    assert done.verdict == "promote"
    assert done.champion is None
    assert (done.compared["metric"], done.compared["against"]) == ("top_1", "the class prior")
    assert done.compared["candidate"] == pytest.approx(top_1)
    assert done.compared["champion"] == (rows["label"] == prior).mean()
    assert done.compared["difference"] == pytest.approx(top_1 - done.compared["champion"])
    assert 0 < done.compared["low"] < done.compared["difference"] < done.compared["high"]
    assert (done.compared["rows"], done.compared["confidence"]) == (len(rows), 0.95)
    assert done.compared["entities"] == rows["entity"].n_unique() < len(rows)
    assert done.onnx_sha256 == hashlib.sha256(onnx_model.read_bytes()).hexdigest()
    [reason] = done.reasons
    assert reason.startswith(
        f"top_1 {top_1:.4f} against {done.compared['champion']:.4f} of the class prior on the same 250 rows:"
    )
    done.require()


@pytest.mark.parametrize("favourite", ["the prior's", "another"])
def test_a_first_candidate_that_is_no_better_than_the_prior_is_blocked(judge, prepared, no_floors, favourite):
    prior = np.array(json.loads((prepared / "prior.json").read_text()))
    scores = prior if favourite == "the prior's" else -prior + 1

    done = judge(candidate=always(scores / scores.sum()), **no_floors)

    assert done.verdict == "block"
    assert (done.compared["difference"] == 0) is (favourite == "the prior's")
    [reason] = done.reasons
    assert reason.endswith("; its lower end must be above 0")
    with pytest.raises(GateRefused) as refused:
        done.require()
    assert refused.value.gate == "decision"
    assert refused.value.what == f"the candidate is blocked: {reason}"


def test_among_the_first_five_of_four_classes_nobody_can_be_better(judge, no_floors):
    assert judge(metric="top_5", **no_floors).verdict == "block"


# Against a champion


def test_against_itself_a_candidate_is_kept_and_the_champion_stays(judge, onnx_model):
    done = judge(onnx_model.read_bytes())

    assert done.verdict == "keep"
    assert (done.compared["difference"], done.compared["low"], done.compared["high"]) == (0, 0, 0)
    assert done.compared["against"] == "champion version 3"
    sha256 = hashlib.sha256(onnx_model.read_bytes()).hexdigest()
    assert done.champion == {"version": "3", "sha256": sha256, "url": "s3://store/m.onnx"}
    done.require()


def test_against_a_worse_champion_a_candidate_is_promoted(judge, rows):
    done = judge(always([0.1, 0.2, 0.6, 0.1]))

    assert done.verdict == "promote"
    assert done.compared["champion"] == (rows["label"] == 2).mean()
    assert done.compared["low"] > 0.4
    done.require()


def test_a_worse_candidate_is_blocked_with_both_numbers(judge, onnx_model, no_floors):
    done = judge(onnx_model.read_bytes(), candidate=always([0.1, 0.2, 0.6, 0.1]), **no_floors)

    assert done.verdict == "block"
    assert done.compared["high"] < 0
    with pytest.raises(GateRefused) as refused:
        done.require()
    assert refused.value.what.startswith(f"the candidate is blocked: top_1 {done.compared['candidate']:.4f} against ")
    assert "of champion version 3 on the same 250 rows" in refused.value.what
    assert refused.value.what.endswith("; its lower end must be at least -0.0200")


@pytest.mark.parametrize(
    ("better", "gates", "verdict"),
    [
        (True, {"superiority": 0.5}, "promote"),
        (True, {"superiority": 0.9}, "keep"),
        (False, {"non_inferiority": 0.9}, "keep"),
        (False, {"non_inferiority": 0.5}, "block"),
    ],
)
def test_how_much_better_and_how_much_worse_stand_in_the_gates(judge, onnx_model, no_floors, better, gates, verdict):
    """The difference is about 0.67, to one side or the other."""
    trained, stupid = onnx_model.read_bytes(), always([0.1, 0.2, 0.6, 0.1])
    candidate, champion = (trained, stupid) if better else (stupid, trained)

    assert judge(champion, candidate=candidate, **no_floors, **gates).verdict == verdict


def test_a_wider_confidence_gives_a_wider_interval(judge):
    narrow, wide = (judge(always([0.1, 0.2, 0.6, 0.1]), confidence=share).compared for share in (0.5, 0.99))

    assert wide["low"] < narrow["low"] < narrow["high"] < wide["high"]


def test_a_champion_that_orders_its_classes_otherwise_is_scored_by_their_names(judge, onnx_model):
    done = judge(reordered(onnx_model.read_bytes(), (3, 1, 0, 2)))

    assert (done.verdict, done.compared["difference"]) == ("keep", 0)
    assert done.compared["champion"] == done.compared["candidate"] > 0.8


def test_a_champion_misses_the_classes_that_it_does_not_know(judge, rows):
    done = judge(always([0.9, 0.1], ("red", "violet")))

    assert done.compared["champion"] == (rows["label"] == COLOURS.index("red")).mean()


def test_a_champion_that_knows_none_of_the_classes_is_right_nowhere(judge):
    assert judge(always([0.9, 0.1], ("pink", "violet"))).compared["champion"] == 0


def test_rows_are_judged_in_parts_as_in_one(judge, monkeypatch):
    whole = judge(always([0.1, 0.2, 0.6, 0.1]))
    monkeypatch.setattr(step, "_ROWS_AT_ONCE", 7)

    assert judge(always([0.1, 0.2, 0.6, 0.1])) == whole


# Floors, ceilings, and what is no number


def test_floors_and_ceilings_are_told_with_their_numbers(judge, evaluation):
    sets = json.loads((evaluation / "evaluation.json").read_text())["sets"]

    gates = judge().facts()["gates"]

    assert [(gate["name"], gate["value"], gate["condition"], gate["limit"], gate["passed"]) for gate in gates] == [
        ("time.top_1", sets["time"]["top_1"], ">=", 0.6, True),
        ("unseen.top_1", sets["unseen"]["top_1"], ">=", 0.5, True),
        ("time.calibration_error", sets["time"]["calibration_error"], "<=", 0.25, True),
    ]


@pytest.mark.parametrize(
    ("part", "name", "value", "reason"),
    [
        ("time", "top_1", 0.59, "time.top_1 is 0.59; wanted >= 0.6"),
        ("time", "top_1", float("nan"), "time.top_1 is nan; wanted >= 0.6"),
        ("unseen", "top_1", None, "unseen.top_1 is missing; wanted >= 0.5"),
        ("unseen", "top_1", "0.9", "unseen.top_1 is missing; wanted >= 0.5"),
        ("unseen", "top_1", True, "unseen.top_1 is missing; wanted >= 0.5"),
        ("time", "calibration_error", 0.26, "time.calibration_error is 0.26; wanted <= 0.25"),
        ("time", "calibration_error", float("nan"), "time.calibration_error is nan; wanted <= 0.25"),
    ],
)
@pytest.mark.parametrize("beaten", [None, always([0.1, 0.2, 0.6, 0.1])], ids=["the prior", "a champion"])
def test_a_number_below_its_floor_above_its_ceiling_or_none_blocks_the_better_candidate(
    judge, evaluation, part, name, value, reason, beaten
):
    numbers = json.loads((evaluation / "evaluation.json").read_text())
    assert judge(beaten, evaluated=numbers).verdict == "promote"

    numbers["sets"][part][name] = value
    done = judge(beaten, evaluated=numbers)

    assert (done.verdict, done.reasons) == ("block", [reason])
    assert [check.passed for check in done.checks].count(False) == 1


@pytest.mark.parametrize("lacking", [{}, {"sets": {}}, {"sets": {"unseen": {"top_1": 0.9}}}])
def test_an_evaluation_without_the_numbers_blocks(judge, lacking):
    done = judge(evaluated=lacking)

    assert done.verdict == "block"
    assert "time.top_1 is missing; wanted >= 0.6" in done.reasons
    assert "time.calibration_error is missing; wanted <= 0.25" in done.reasons


def test_a_candidate_that_answers_nan_is_right_nowhere(judge, no_floors):
    done = judge(candidate=always([float("nan")] * 4), **no_floors)

    assert (done.verdict, done.compared["candidate"]) == ("block", 0)


# A champion of another contract


def test_a_champion_of_another_contract_is_not_compared(judge, toy):
    other = made(b"its file is not even opened", "0" * 64)

    done = judge(other)

    assert (done.verdict, done.compared) == ("block", None)
    assert done.champion == {"version": "3", "sha256": other.sha256, "url": other.url}
    assert done.reasons == [
        "champion version 3 was made under another contract (000000000000…, here "
        f"{toy.CONTRACT.fingerprint()[:12]}…), so no row can be put to both; "
        "`new_contract: judge_alone` in gates.yaml accepts that"
    ]


def test_judged_alone_the_candidate_need_only_beat_the_prior(judge, prepared, no_floors):
    other = made(b"its file is not even opened", "0" * 64)
    prior = json.loads((prepared / "prior.json").read_text())

    done = judge(other, new_contract="judge_alone")
    stupid = judge(other, candidate=always(prior), new_contract="judge_alone", **no_floors)

    assert (done.verdict, done.compared["against"], done.champion["version"]) == ("promote", "the class prior", "3")
    assert stupid.verdict == "block"


def test_a_champion_of_the_same_contract_is_compared_whatever_a_new_one_may_do(judge, onnx_model):
    assert judge(onnx_model.read_bytes(), new_contract="judge_alone").compared["against"] == "champion version 3"
