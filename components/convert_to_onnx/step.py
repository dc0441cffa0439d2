"""One ONNX graph takes raw features by name and returns probabilities and the names of the classes. Float32, opset pinned."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import onnx
import tensorflow as tf
import tf2onnx

from components.reading import CLASSES, PROBABILITIES, read_json
from models import Model

OPSET = 18  # the newest that tf2onnx 1.17 writes
ROWS = "rows"  # the one dimension that a caller chooses


@dataclass(frozen=True, kw_only=True)
class Converted:
    """The graph's hash and its two faces."""

    onnx_sha256: str
    bytes: int
    opset: int
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]

    def facts(self) -> dict[str, Any]:
        return asdict(self)


def convert(prepared: Path, trained: Path, target: Path, model: Model, metadata: dict[str, str]) -> Converted:
    """Write the checked ONNX file `target`, with `metadata` in its metadata_props.

    `from_function`, as tf2onnx's `from_keras` knows no Keras 3; the class names are a constant made inside the function, as
    a captured one would be lost.
    """
    network = keras.models.load_model(trained / "model.keras", compile=False)
    classes = read_json(trained, "classes")
    signature = [tf.TensorSpec((None, 1), f.dtype, name=f.name) for f in model.CONTRACT.features]

    @tf.function(input_signature=signature)
    def serve(*raw: tf.Tensor) -> dict[str, tf.Tensor]:
        inputs = {f.name: value for f, value in zip(model.CONTRACT.features, raw, strict=True)}
        return {PROBABILITIES: tf.identity(network(inputs, training=False)), CLASSES: tf.constant(classes)}

    graph, _ = tf2onnx.convert.from_function(serve, input_signature=signature, opset=OPSET)
    _name_by_place(graph.graph)
    for value in (*graph.graph.input, *graph.graph.value_info, *graph.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if not dim.HasField("dim_value"):
                dim.dim_param = ROWS  # tf2onnx names it by a counter of the process, and the bytes would differ
    graph.producer_name, graph.producer_version = "tf2onnx", tf2onnx.__version__
    onnx.helper.set_model_props(graph, metadata)
    onnx.checker.check_model(graph, full_check=True)
    content = graph.SerializeToString(deterministic=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return Converted(
        onnx_sha256=hashlib.sha256(content).hexdigest(),
        bytes=len(content),
        opset=OPSET,
        inputs=[_face(value) for value in graph.graph.input],
        outputs=[_face(value) for value in graph.graph.output],
    )


def _name_by_place(graph: onnx.GraphProto) -> None:
    """Order and name everything inside by its place in the graph, seen from the outputs; inputs and outputs keep their names.

    Own code, as tf2onnx keeps one of several equal constants by the order of a set of objects, so by memory addresses: the same
    weights gave another file, and another hash, in each process (1.17.0). A graph with subgraphs is left as it is.
    """
    if any(attribute.type == onnx.AttributeProto.GRAPH for node in graph.node for attribute in node.attribute):
        return
    maker = {output: node for node in graph.node for output in node.output}
    constants = {constant.name: constant for constant in graph.initializer}
    names = {value.name: value.name for value in [*graph.input, *graph.output]}
    ordered: list[onnx.NodeProto] = []
    used: list[onnx.TensorProto] = []
    done: set[int] = set()
    waiting = [(maker[output.name], False) for output in reversed(graph.output) if output.name in maker]
    while waiting:  # depth first, by a list: a deep network must not meet Python's recursion limit
        node, ready = waiting.pop()
        if id(node) in done:
            continue
        if not ready:
            waiting.append((node, True))
            waiting += [(maker[name], False) for name in reversed(node.input) if name in maker]
            continue
        done.add(id(node))
        for name in node.input:
            if name in constants and name not in names:
                names[name] = f"constant_{len(used)}"
                used.append(constants[name])
        node.name = f"{node.op_type}_{len(ordered)}"
        for number, name in enumerate(node.output):
            names.setdefault(name, f"{node.name}.{number}" if name else "")
        ordered.append(node)
    direct = [constants[output.name] for output in graph.output if output.name in constants]
    nodes, tensors = [onnx.NodeProto.FromString(n.SerializeToString()) for n in ordered], [*used, *direct]
    copies = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in tensors]
    for node in nodes:
        node.input[:] = [names[name] if name else "" for name in node.input]
        node.output[:] = [names[name] for name in node.output]
        node.doc_string = ""
    for tensor in copies:
        tensor.name = names[tensor.name]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(copies)
    graph.name, graph.doc_string = "model", ""


def _face(value: onnx.ValueInfoProto) -> dict[str, Any]:
    kind = value.type.tensor_type
    shape = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in kind.shape.dim]
    return {"name": value.name, "type": onnx.TensorProto.DataType.Name(kind.elem_type).lower(), "shape": shape}
