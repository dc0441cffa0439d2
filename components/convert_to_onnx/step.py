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
    classes = read_json(prepared, "classes")
    signature = [tf.TensorSpec((None, 1), f.dtype, name=f.name) for f in model.CONTRACT.features]

    @tf.function(input_signature=signature)
    def serve(*raw: tf.Tensor) -> dict[str, tf.Tensor]:
        inputs = {f.name: value for f, value in zip(model.CONTRACT.features, raw, strict=True)}
        return {PROBABILITIES: tf.identity(network(inputs, training=False)), CLASSES: tf.constant(classes)}

    graph, _ = tf2onnx.convert.from_function(serve, input_signature=signature, opset=OPSET)
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


def _face(value: onnx.ValueInfoProto) -> dict[str, Any]:
    kind = value.type.tensor_type
    shape = [dim.dim_value if dim.HasField("dim_value") else "rows" for dim in kind.shape.dim]
    return {"name": value.name, "type": onnx.TensorProto.DataType.Name(kind.elem_type).lower(), "shape": shape}
