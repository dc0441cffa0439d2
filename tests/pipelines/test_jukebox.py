"""The graph: what the compiled package says, held against the drawing and against what every task must have."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import models
from components.decide.step import floors_and_ceilings
from pipelines import jukebox as module
from tests.pipelines.conftest import ROOT, Package

COMPILE = """
import sys
from pathlib import Path
from delivery.compile import compile_pipeline
compile_pipeline("jukebox", Path(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    return Package.compiled("jukebox", tmp_path_factory.mktemp("package")).documents


@pytest.fixture(scope="module")
def tasks(compiled):
    spec, _ = compiled
    [body] = [component["dag"]["tasks"] for component in spec["components"].values() if "dag" in component]
    return body


def test_the_drawing_is_the_graph(tasks):
    steps = {
        name: {task.replace("-", "_") for task in given.get("dependentTasks", [])} for name, given in tasks.items()
    }

    drawn = {step: set(upstream) for step, upstream in module.GRAPH.items()}

    # the drawing leaves out what is implied: who waits for training also waits for preparing
    def reached(graph, step):
        return set(graph[step]).union(*(reached(graph, upstream) for upstream in graph[step]))

    compiled_graph = {name.replace("-", "_"): upstream for name, upstream in steps.items()}
    assert {step: reached(drawn, step) for step in drawn} == {
        step: reached(compiled_graph, step) for step in compiled_graph
    }


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


def test_gates_are_constants_of_the_package(compiled, tasks):
    spec, _ = compiled
    for name in ("validate-onnx", "decide", "publish-model"):
        assert (
            tasks[name]["inputs"]["parameters"]["gates"]["runtimeValue"]["constant"]
            == models.load("jukebox").GATES.constants()
        )
    assert "gates" not in spec["root"]["inputDefinitions"]["parameters"]


def test_a_handful_of_test_rows_proves_nothing():
    gates = models.load("jukebox").GATES
    numbers = {"top_1": 1.0, "top_5": 1.0, "calibration_error": 0.0}

    def refused(rows):
        sets = {part: {**numbers, "rows": rows} for part in ("time", "unseen")}
        return [check.name for check in floors_and_ceilings(sets, gates) if not check.passed]

    assert refused(3.0) == ["time.rows", "unseen.rows"]
    assert refused(500.0) == []


def test_freshness_is_judged_by_the_day_that_the_fetch_resolved(tasks):
    given = tasks["validate-data"]["inputs"]["parameters"]["as_of"]["taskOutputParameter"]

    assert given == {"outputParameterKey": "as_of", "producerTask": "fetch-data"}  # `today` must not be a cache key


def test_storage_is_tried_again_and_a_gate_is_not(tasks):
    retried = {name for name, task in tasks.items() if "retryPolicy" in task}

    assert retried == {"fetch-data", "publish-model"}
    assert all(tasks[name]["retryPolicy"]["backoffFactor"] == 2.0 for name in retried)


def test_every_task_has_resources_a_name_and_its_run_id(compiled):
    spec, platform = compiled
    for name, executor in spec["deploymentSpec"]["executors"].items():
        resources = executor["container"]["resources"]
        assert resources["resourceCpuLimit"], name
        assert resources["resourceCpuRequest"], name
        assert resources["resourceMemoryLimit"], name
        assert resources["resourceMemoryRequest"], name
        settings = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"][name]
        assert {"name": "PIPELINE_RUN_ID", "fieldPath": "metadata.labels['pipeline/runid']"} in settings[
            "fieldPathAsEnv"
        ]
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


@pytest.mark.parametrize("seed", ["0", "1"])
def test_compiles_to_the_same_bytes_anywhere(tmp_path, seed):
    here = tmp_path / f"somewhere-{seed}"
    here.mkdir()
    expected = hashlib.sha256(_compile_here(tmp_path)).hexdigest()

    subprocess.run(
        [sys.executable, "-c", COMPILE, str(here)],
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed},
        check=True,
    )

    assert hashlib.sha256((here / "jukebox.yaml").read_bytes()).hexdigest() == expected


def test_a_wrong_hyperparameter_is_refused_before_anything_runs():
    assert module.check_parameters({"hyperparameters": {"epoch": 3}}) == [
        "there is no hyperparameter `epoch`; did you mean `epochs`?"
    ]
    assert module.check_parameters({"hyperparameters": {"epochs": 3}}) == []
    assert module.check_parameters({"gpus": "two"}) == ["`gpus` is `two`, and must be a whole number"]
    assert module.check_parameters({"gpus": "2", "as_of": "today", "source": "synthetic:"}) == []
    assert module.check_parameters({"source": " ", "as_of": "gestern"}) == [
        "`source` is empty",
        "`as_of` is no date: `gestern`",
    ]


def _compile_here(folder: Path) -> bytes:
    from delivery.compile import compile_pipeline

    content = compile_pipeline("jukebox", folder).read_bytes()
    assert list(yaml.safe_load_all(content))
    return content
