"""KFP's local runner, with these of its parts replaced in the process of a run, each for a reason.

- `execute_task`, `_run_parallel_for_task`: every task, group and iteration is recorded; what succeeded in an earlier
  try of the run is not executed again; an error in KFP's own preparation fails its task, so that exit tasks still run.
- `evaluate_condition`: KFP pastes values into the condition's text, guesses them by name (a named output it does not
  find), and takes what it cannot evaluate for false. `execute_task` evaluates here, on the task's own inputs.
- `ThreadPoolExecutor`: the threads of a loop know the loop that started them.
- `_run_parallel_for_task` again: a loop's inputs become constants before it begins, as KFP otherwise puts the loop's
  item in place of other tasks' outputs and of an outer loop's item; a loop over nothing has empty outputs.
- `build_nested_dag_arguments`: KFP forgets the artifacts of a group that is given no parameter.
- `join_user_inputs_and_defaults`, `make_task_arguments`, `to_protobuf_value`: what is optional and was not given is
  None, or the component's own default; KFP stops there. A null within a list or a dict is one.
- `executor_input_to_dict`: a whole number reaches the step as an int, and the folder of its outputs is there, as on
  the real server.
- `run_local_subprocess`, `run_docker_container`: a step prints into a file of its own; its exit code is its own.
- `replace_python_executable`: done beforehand, in the command alone; KFP replaces "python3" in arguments as well.
- `local_logger_context`, `indented_print`, `color_text`: they patch logger and `print` under all threads, and colour.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import contextvars
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from google.protobuf import json_format, struct_pb2
from kfp import dsl
from kfp.compiler import pipeline_spec_builder
from kfp.dsl import executor as step_executor
from kfp.local import executor_input_utils, logging_utils, subprocess_task_handler, task_dispatcher
from kfp.local.orchestrator import enhanced_dag_orchestrator, orchestrator_utils, task_spec_utils
from kfp.local.status import Status
from kfp.pipeline_spec import pipeline_spec_pb2

from localkfp import conditions
from localkfp.packages import whole
from localkfp.tasks import Record, Task

Values = dict[str, Any]
Done = tuple[str, Values, str | None]  # state, outputs, error
RESOLVE = orchestrator_utils.OrchestratorUtils


@dataclass(frozen=True)
class Seams:
    """What KFP calls instead of its own."""

    record: Record
    step: Callable[..., int]
    container: Callable[..., int]
    error_of: Callable[[Task], str]

    def install(self) -> None:
        graph = enhanced_dag_orchestrator
        graph.execute_task = partial(self.execute_task, graph.execute_task)
        graph._run_parallel_for_task = partial(self.run_loop, graph._run_parallel_for_task)
        graph.ConditionEvaluator.evaluate_condition = staticmethod(lambda *_: True)
        concurrent.futures.ThreadPoolExecutor = ThreadsInContext  # type: ignore[misc]
        task_spec_utils.build_nested_dag_arguments = partial(group_inputs, task_spec_utils.build_nested_dag_arguments)
        RESOLVE.join_user_inputs_and_defaults = partial(dag_inputs, RESOLVE.join_user_inputs_and_defaults)
        RESOLVE.make_task_arguments = partial(task_inputs, RESOLVE.make_task_arguments)
        pipeline_spec_builder.to_protobuf_value = partial(protobuf_value, pipeline_spec_builder.to_protobuf_value)
        executor_input_utils.executor_input_to_dict = step_input
        subprocess_task_handler.run_local_subprocess = self.step
        subprocess_task_handler.replace_python_executable = lambda command, _: command
        if task_dispatcher.docker_task_handler:
            task_dispatcher.docker_task_handler.run_docker_container = self.container
        logging_utils.local_logger_context = contextlib.nullcontext
        logging_utils.indented_print = contextlib.nullcontext
        logging_utils.color_text = lambda text, _: text

    def execute_task(
        self, kfp: Callable[..., Any], *, task_name: str, task_spec: Any, io_store: Any, components: Any, **rest: Any
    ) -> tuple[Values, Status]:
        component = components[task_spec.component_ref.name]

        def do(task: Task, inputs: Values) -> Done:
            condition = task_spec.trigger_policy.condition
            if condition and not conditions.holds(condition, inputs):
                return "SKIPPED", {}, None
            outputs, ended = kfp(
                task_name=task_name, task_spec=task_spec, io_store=io_store, components=components, **rest
            )
            is_group = component.WhichOneof("implementation") == "dag"
            if ended != Status.SUCCESS:
                return "FAILED", {}, None if is_group else self.error_of(task)
            missing = [name for name in component.output_definitions.parameters if name not in outputs]
            if missing and not is_group:
                return "FAILED", {}, f"it ended without an error, and without a value of its output {missing[0]}"
            return "SUCCEEDED", {name: whole(value) for name, value in outputs.items()}, None

        is_exit = enhanced_dag_orchestrator._has_task_final_status_input(task_spec)
        state, outputs = self.recorded(task_name, task_spec, io_store, do, None if is_exit else component)
        return outputs, Status.FAILURE if state == "FAILED" else Status.SUCCESS

    def run_loop(
        self, kfp: Callable[..., bool], *, task_name: str, task_spec: Any, io_store: Any, components: Any, **rest: Any
    ) -> bool:
        declared = components[task_spec.component_ref.name].output_definitions

        def do(_: Task, inputs: Values) -> Done:
            names = [*declared.parameters, *declared.artifacts]
            for name in names:
                io_store.put_task_output(task_name, name, [])
            if kfp(
                task_name=task_name,
                task_spec=with_constants(task_spec, inputs),
                io_store=io_store,
                components=components,
                **rest,
            ):
                return "FAILED", {}, None
            return "SUCCEEDED", {name: io_store.get_task_output(task_name, name) for name in names}, None

        return self.recorded(task_name, task_spec, io_store, do)[0] == "FAILED"

    def recorded(
        self,
        task_name: str,
        task_spec: Any,
        io_store: Any,
        do: Callable[[Task, Values], Done],
        component: Any = None,
    ) -> tuple[str, Values]:
        """`do` it within its row; or, where a component is named, give back what an earlier try of the run gave."""
        task = self.record.task(task_name, task_spec.task_info.name)
        state, outputs, error = "FAILED", Values(), None
        with self.record.within(task):
            try:
                try:
                    inputs = RESOLVE.make_task_arguments(task_spec.inputs, io_store)
                except Exception:
                    self.record.begin(task, as_json({}))
                    raise
                before = self.record.outputs_before(task, as_json(inputs)) if component is not None else None
                if before is not None:
                    logging.info("%s succeeded before, and is not executed again", task.path)
                    return "SUCCEEDED", from_json(before, component)
                self.record.begin(task, as_json(inputs))
                state, outputs, error = do(task, inputs)
            except Exception as raised:
                logging.exception("%s could not be executed", task.path)
                error = str(raised) or repr(raised)
        self.record.end(task, state, as_json(outputs), error)
        return state, outputs


class ThreadsInContext(concurrent.futures.ThreadPoolExecutor):
    """Threads that see the context variables of whoever gives them work."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:
        return super().submit(contextvars.copy_context().run, fn, *args, **kwargs)


def group_inputs(kfp: Callable[..., Values], *, task_spec: Any, io_store: Any, **rest: Any) -> Values:
    artifacts = pipeline_spec_pb2.TaskInputsSpec(artifacts=task_spec.inputs.artifacts)
    given = RESOLVE.make_task_arguments(artifacts, io_store)
    return {**kfp(task_spec=task_spec, io_store=io_store, **rest), **given}


def dag_inputs(kfp: Callable[..., Values], *, dag_arguments: Values, dag_inputs_spec: Any) -> Values:
    absent = {
        name: None
        for specs in (dag_inputs_spec.parameters, dag_inputs_spec.artifacts)
        for name, spec in specs.items()
        if not (name in dag_inputs_spec.parameters and spec.HasField("default_value"))
    }
    return kfp(dag_arguments={**absent, **dag_arguments}, dag_inputs_spec=dag_inputs_spec)


def task_inputs(kfp: Callable[..., Values], task_inputs_spec: Any, io_store: Any) -> Values:
    given = kfp(task_inputs_spec=task_inputs_spec, io_store=io_store)
    return {name: value for name, value in given.items() if value is not None or name in task_inputs_spec.artifacts}


def protobuf_value(kfp: Callable[[Any], struct_pb2.Value], value: Any) -> struct_pb2.Value:
    return struct_pb2.Value(null_value=struct_pb2.NULL_VALUE) if value is None else kfp(value)


def step_input(executor_input: Any, component_spec: Any) -> Values:
    values: Values = whole(json_format.MessageToDict(executor_input))
    parameters = values.get("inputs", {}).get("parameterValues", {})
    for name, spec in component_spec.input_definitions.parameters.items():
        if spec.parameter_type == pipeline_spec_pb2.ParameterType.NUMBER_DOUBLE and parameters.get(name) is not None:
            parameters[name] = float(parameters[name])
    Path(values["outputs"]["outputFile"]).parent.mkdir(parents=True, exist_ok=True)
    return values


def with_constants(task_spec: Any, inputs: Values) -> Any:
    """A loop whose inputs are values, its list of items among them."""
    constant = pipeline_spec_pb2.PipelineTaskSpec()
    constant.CopyFrom(task_spec)
    for name in constant.inputs.parameters:
        if name in inputs:
            value = pipeline_spec_builder.to_protobuf_value(inputs[name])
            constant.inputs.parameters[name].Clear()
            constant.inputs.parameters[name].runtime_value.constant.CopyFrom(value)
    items = constant.parameter_iterator.items
    if items.input_parameter:
        items.raw = json.dumps(inputs[items.input_parameter])
    return constant


def as_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters and artifacts apart, as the database keeps them and a page shows them."""
    artifacts = {name: [*_artifacts(value)] for name, value in values.items()}
    return {
        "parameters": {name: whole(value) for name, value in values.items() if not artifacts[name]},
        "artifacts": {name: found for name, found in artifacts.items() if found},
    }


def from_json(values: Mapping[str, Any], component: Any) -> Values:
    """What `as_json` was given, for the outputs of a component."""
    found = {
        name: [step_executor.create_artifact_instance(one) for one in artifacts]
        for name, artifacts in values["artifacts"].items()
    }
    declared = component.output_definitions.artifacts
    return {
        **values["parameters"],
        **{name: many if declared[name].is_artifact_list else many[0] for name, many in found.items()},
    }


def _artifacts(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dsl.Artifact):
        kind = {"schemaTitle": value.schema_title, "schemaVersion": value.schema_version}
        yield {"name": value.name, "type": kind, "uri": value.uri, "metadata": whole(value.metadata)}
    elif isinstance(value, list):
        for item in value:
            yield from _artifacts(item)
