"""The main flow: what its package says, whichever model goes through it. (What every pipeline must have: test_every_pipeline.)"""

from __future__ import annotations

import pytest

import models
from delivery.environments import Environment
from delivery.errors import WrongUse
from delivery.running import plan
from pipelines.training import checks, training
from tests.pipelines.conftest import TOY, TOY_PIPELINES, Package


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    return Package.compiled("toy", tmp_path_factory.mktemp("package"), TOY_PIPELINES).documents


@pytest.fixture(scope="module")
def tasks(compiled):
    spec, _ = compiled
    [body] = [component["dag"]["tasks"] for component in spec["components"].values() if "dag" in component]
    return body


def test_validation_and_preparation_are_independent_siblings(tasks):
    assert tasks["validate-data"]["dependentTasks"] == tasks["prepare-data"]["dependentTasks"] == ["fetch-data"]
    assert set(tasks["train-model"]["dependentTasks"]) >= {"validate-data", "prepare-data"}
    assert "convert-to-onnx" not in tasks["evaluate-model"]["dependentTasks"]


def test_the_data_version_is_a_parameter_of_every_later_step(tasks):
    for name, task in tasks.items():
        if name != "fetch-data":
            given = task["inputs"]["parameters"]["data_version"]["taskOutputParameter"]
            assert given == {"outputParameterKey": "data_version", "producerTask": "fetch-data"}


def test_what_looks_at_the_world_is_never_cached(tasks):
    uncached = {name for name, task in tasks.items() if not task.get("cachingOptions", {}).get("enableCache")}

    assert uncached == {"fetch-data", "decide", "publish-model"}


def test_whatever_judges_gets_the_gates_of_the_model(tasks):
    given = {
        name: task["inputs"]["parameters"]["gates"]
        for name, task in tasks.items()
        if "gates" in task["inputs"]["parameters"]
    }

    constant = {"runtimeValue": {"constant": models.load(TOY).GATES.constants()}}
    assert given == dict.fromkeys(["validate-onnx", "decide", "publish-model"], constant)


def test_every_step_gets_the_model_by_its_whole_name_and_the_pipeline_has_the_last_part_of_it(compiled, tasks):
    spec, _ = compiled
    given = {task["inputs"]["parameters"]["model"]["runtimeValue"]["constant"] for task in tasks.values()}

    assert given == {"tests.toy"}
    assert spec["pipelineInfo"]["name"] == "toy"


def test_freshness_is_judged_by_the_day_that_the_fetch_resolved(tasks):
    given = tasks["validate-data"]["inputs"]["parameters"]["as_of"]["taskOutputParameter"]

    assert given == {"outputParameterKey": "as_of", "producerTask": "fetch-data"}  # `today` must not be a cache key


def test_storage_is_tried_again_and_a_gate_is_not(tasks):
    retried = {name for name, task in tasks.items() if "retryPolicy" in task}

    assert retried == {"fetch-data", "publish-model"}
    assert all(tasks[name]["retryPolicy"]["backoffFactor"] == 2.0 for name in retried)


def test_every_step_may_have_the_stores_secret_and_an_hour_and_training_a_day(compiled):
    spec, platform = compiled
    for name in spec["deploymentSpec"]["executors"]:
        settings = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"][name]
        assert settings["secretAsEnv"][0]["optional"] is True
        assert settings["activeDeadlineSeconds"] == str((24 if name == "exec-train-model" else 1) * 3600)


def test_where_training_runs_is_a_parameter_of_the_run(compiled):
    spec, platform = compiled
    accelerator = spec["deploymentSpec"]["executors"]["exec-train-model"]["container"]["resources"]["accelerator"]
    settings = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-train-model"]

    assert accelerator["resourceType"] == "nvidia.com/gpu"
    assert (
        spec["root"]["inputDefinitions"]["parameters"]["gpus"]["parameterType"] == "STRING"
    )  # KFP's driver reads no other
    assert accelerator["resourceCount"] == "{{$.inputs.parameters['pipelinechannel--gpus']}}"
    assert settings["nodeSelector"]["nodeSelectorJson"]["componentInputParameter"] == "pipelinechannel--node_selector"
    assert settings["tolerations"][0]["tolerationJson"]["componentInputParameter"] == "pipelinechannel--tolerations"


def test_a_source_must_be_given_unless_the_pipeline_has_one_of_its_own():
    def parameter(pipeline):
        return pipeline.pipeline_spec.root.input_definitions.parameters["source"]

    without, own = training(TOY, description=""), training(TOY, description="", source="synthetic:?seed=2")

    assert not parameter(without).is_optional
    assert not parameter(without).HasField("default_value")
    assert parameter(own).is_optional
    assert parameter(own).default_value.string_value == "synthetic:?seed=2"


def test_a_run_without_a_source_is_refused_before_anything_is_written(tmp_path):
    environment = Environment(
        name="test", endpoint="local", store="file:store", registry="sqlite:///r.db", root=tmp_path
    )

    with pytest.raises(WrongUse) as refused:
        plan(environment, "toy", [], TOY_PIPELINES)
    with pytest.raises(WrongUse) as empty:
        plan(environment, "toy", ["source="], TOY_PIPELINES)

    assert (refused.value.what, refused.value.do) == ("toy needs a value for source", "add -p source=...")
    assert empty.value.what == "`source` is empty"
    assert refused.value.exit_code == empty.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, []),
        ({"gpus": "2", "as_of": "today", "source": "synthetic:", "hyperparameters": {"epochs": 3}}, []),
        ({"gpus": "two"}, ["`gpus` is `two`, and must be a whole number"]),
        ({"source": " ", "as_of": "gestern"}, ["`source` is empty", "`as_of` is no date: `gestern`"]),
        ({"hyperparameters": {"epoch": 3}}, ["there is no hyperparameter `epoch`; did you mean `epochs`?"]),
        ({"hyperparameters": {"width": 0}}, ["hyperparameter `width`: 0 is not between 1 and 1024"]),
    ],
)
def test_what_the_training_would_refuse_is_refused_before_anything_runs(given, said):
    assert checks(TOY, "synthetic:")(given) == said


def test_a_source_that_neither_the_run_nor_the_pipeline_has_is_refused():
    assert checks(TOY)({}) == ["`source` is empty"]
