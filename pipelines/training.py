"""The main flow: from tables to a published model, whichever model it is. Wiring only: a step is in components/."""

import inspect
from collections.abc import Callable
from typing import Any

from kfp import dsl, kubernetes

from components.convert_to_onnx.component import convert_to_onnx
from components.decide.component import decide
from components.errors import StepError
from components.evaluate_model.component import evaluate_model
from components.fetch_data.component import fetch_data
from components.fetch_data.step import day
from components.prepare_data.component import prepare_data
from components.publish_model.component import publish_model
from components.report.component import report
from components.train_model.component import train_model
from components.validate_data.component import validate_data
from components.validate_onnx.component import validate_onnx
from models import load
from models.hyperparameters import problems
from pipelines.on_kubernetes import place

REQUIRED: Any = inspect.Parameter.empty  # what Python says of a parameter without default; KFP reads the signature
GRAPH: dict[str, list[str]] = {  # the drawing, for the page of a run; a test holds it against the compiled package
    "fetch_data": [],
    "validate_data": ["fetch_data"],
    "prepare_data": ["fetch_data"],
    "train_model": ["validate_data", "prepare_data"],
    "evaluate_model": ["train_model"],
    "convert_to_onnx": ["train_model"],
    "validate_onnx": ["convert_to_onnx"],
    "decide": ["evaluate_model", "validate_onnx"],
    "publish_model": ["decide"],
}


def training(model: str, *, description: str, source: str = "") -> Any:  # Any: kfp has no public type for a pipeline
    """The main flow for a model, as a pipeline of its name; `source` is the default of its parameter ("": it must be given)."""
    name = model.rsplit(".", 1)[-1]
    gates = load(model).GATES.constants()  # constants of the package: no run can loosen them

    @dsl.pipeline(name=name, description=description)
    def flow(
        store: str,
        registry: str,
        source: str = source or REQUIRED,
        environment: str = "unknown",
        git_commit: str = "unknown",
        as_of: str = "",  # an ISO date or `today`: then stale data are refused
        hyperparameters: dict = {},  # noqa: B006  # KFP reads the default, and nothing writes to it
        gpus: str = "0",  # a string: KFP 2.17's driver reads a number of accelerators from nothing else
        node_selector: dict = {},  # noqa: B006
        tolerations: list = [],  # noqa: B006
        store_secret: str = "store",
    ):
        common = {"model": model, "store": store}
        exit_task = report(title=name, graph=GRAPH, store=store)
        place(exit_task, "Report", store_secret, retries=2)
        with dsl.ExitHandler(exit_task, name="run"):
            fetched = place(fetch_data(source=source, as_of=as_of, **common), "Fetch data", store_secret, retries=2)
            fetched.set_caching_options(False)
            tables, common["data_version"] = fetched.outputs["tables"], fetched.outputs["data_version"]

            valid = place(
                validate_data(tables=tables, as_of=fetched.outputs["as_of"], **common),
                "Validate data",
                store_secret,
                memory="4Gi",
            )
            rows = place(prepare_data(tables=tables, **common), "Prepare data", store_secret, memory="4Gi").outputs[
                "prepared"
            ]

            task = train_model(prepared=rows, hyperparameters=hyperparameters, gpus=gpus, **common).after(valid)
            place(task, "Train model", store_secret, cpu="2", memory="8Gi", hours=24).set_accelerator_type(
                "nvidia.com/gpu"
            )
            task.set_accelerator_limit(gpus)
            kubernetes.add_node_selector_json(task, node_selector)
            kubernetes.add_toleration_json(task, tolerations)
            trained = task.outputs["trained"]

            measured = evaluate_model(prepared=rows, trained=trained, git_commit=git_commit, **common)
            evaluation = place(measured, "Evaluate model", store_secret, memory="4Gi").outputs["evaluation"]
            onnx = place(
                convert_to_onnx(prepared=rows, trained=trained, **common), "Convert to ONNX", store_secret, memory="4Gi"
            )
            exported = {"onnx_model": onnx.outputs["onnx_model"]}
            hashed = {**exported, "onnx_sha256": onnx.outputs["Output"]}
            parity = validate_onnx(**hashed, prepared=rows, trained=trained, gates=gates, **common)
            place(parity, "Validate ONNX", store_secret, memory="4Gi")

            judged = decide(
                **hashed, prepared=rows, evaluation=evaluation, gates=gates, registry=registry, **common
            ).after(parity)
            place(judged, "Decide", store_secret).set_caching_options(False)  # not tried again: a gate's no is final
            published = publish_model(
                **exported, prepared=rows, trained=trained, evaluation=evaluation, decision=judged.outputs["decision"],
                verdict=judged.outputs["Output"], gates=gates, git_commit=git_commit, environment=environment,
                registry=registry, **common,
            )  # fmt: skip
            place(published, "Publish model", store_secret, retries=2).set_caching_options(False)

    return flow


def checks(model: str, source: str = "") -> Callable[[dict], list[str]]:
    """The `check_parameters` of such a pipeline: it refuses before anything runs; `source` as given to `training`."""
    kind = load(model).Hyperparameters

    def check_parameters(parameters: dict) -> list[str]:
        gpus = parameters.get("gpus", "0")
        wrong = [] if gpus.isdecimal() else [f"`gpus` is `{gpus}`, and must be a whole number"]
        wrong += [] if parameters.get("source", source).strip() else ["`source` is empty"]
        try:
            day(parameters.get("as_of", ""))
        except StepError as error:
            wrong.append(error.what)
        return wrong + problems(kind, parameters.get("hyperparameters", {}))

    return check_parameters
