"""One file from raw features by name to named probabilities; the same weights give the same bytes."""

from __future__ import annotations

import hashlib
import json
import random

import keras
import numpy as np
import onnx
import onnxruntime
import polars as pl
import pytest
import tf2onnx

from components.convert_to_onnx.step import OPSET, convert

METADATA = {"model": "tests.toy", "data_version": "d4ta", "contract": "c0de"}


@pytest.fixture(scope="module")
def converted(prepared, trained, toy, tmp_path_factory):
    """What the conversion says, and the file."""
    target = tmp_path_factory.mktemp("onnx") / "new" / "model.onnx"
    return convert(prepared, trained, target, toy, METADATA), target


def ask(file, **rows):
    session = onnxruntime.InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])
    return session.run(["probabilities", "classes"], {name: np.array(values) for name, values in rows.items()})


def test_the_graph_takes_the_contracts_features_raw_and_answers_two_things(converted, toy):
    done, file = converted
    session = onnxruntime.InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])

    assert done.inputs == [
        {"name": "bright", "type": "bool", "shape": ["rows", 1]},
        {"name": "size", "type": "int64", "shape": ["rows", 1]},
        {"name": "warmth", "type": "float", "shape": ["rows", 1]},
    ]
    assert sorted(done.outputs, key=lambda face: face["name"]) == [
        {"name": "classes", "type": "string", "shape": [4]},
        {"name": "probabilities", "type": "float", "shape": ["rows", 4]},
    ]
    assert [(i.name, i.type) for i in session.get_inputs()] == [
        ("bright", "tensor(bool)"), ("size", "tensor(int64)"), ("warmth", "tensor(float)"),
    ]  # fmt: skip
    assert [feature.name for feature in toy.CONTRACT.features] == [face["name"] for face in done.inputs]


def test_the_file_is_valid_and_says_opset_model_and_data(converted):
    done, file = converted
    graph = onnx.load(file)

    onnx.checker.check_model(graph, full_check=True)
    assert [imported.version for imported in graph.opset_import if imported.domain == ""] == [OPSET] == [done.opset]
    assert {prop.key: prop.value for prop in graph.metadata_props} == METADATA
    assert graph.producer_name == "tf2onnx"
    assert done.bytes == file.stat().st_size
    assert done.onnx_sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_every_number_of_the_graph_is_float32(converted):
    graph = onnx.load(converted[1])

    kinds = {onnx.TensorProto.DataType.Name(tensor.data_type) for tensor in graph.graph.initializer}
    assert kinds == {"FLOAT", "STRING"}


def test_the_same_weights_give_the_same_bytes_and_other_weights_others(converted, prepared, trained, toy, tmp_path):
    again = convert(prepared, trained, tmp_path / "again.onnx", toy, METADATA)
    network = keras.models.load_model(trained / "model.keras")
    network.set_weights([weight + np.float32(1e-6) for weight in network.get_weights()])
    (tmp_path / "other").mkdir()
    network.save(tmp_path / "other" / "model.keras")
    (tmp_path / "other" / "classes.json").write_bytes((trained / "classes.json").read_bytes())
    other = convert(prepared, tmp_path / "other", tmp_path / "other.onnx", toy, METADATA)

    assert (tmp_path / "again.onnx").read_bytes() == converted[1].read_bytes()
    assert again == converted[0]
    assert other.onnx_sha256 != again.onnx_sha256


def test_names_and_order_inside_which_change_from_process_to_process_do_not_change_the_bytes(
    converted, prepared, trained, toy, tmp_path, monkeypatch
):
    """tf2onnx chooses them by memory addresses; here they are chosen by a random generator, after it."""
    whole, rng = tf2onnx.convert.from_function, random.Random(3)

    def scrambled(*args, **kwargs):
        model, rest = whole(*args, **kwargs)
        graph = model.graph
        kept = {value.name for value in (*graph.input, *graph.output)}
        names: dict[str, str] = {}

        def other(name):
            return name if name in kept or not name else names.setdefault(name, f"x{rng.random()}")

        nodes, tensors, ready = (
            list(graph.node),
            list(graph.initializer),
            set(kept) | {t.name for t in graph.initializer},
        )
        ready -= {value.name for value in graph.output}
        del graph.node[:], graph.initializer[:]
        while nodes:
            node = rng.choice([node for node in nodes if ready.issuperset(node.input)])
            nodes.remove(node)
            ready.update(node.output)
            node.name, node.input[:], node.output[:] = (
                f"n{rng.random()}",
                map(other, node.input),
                map(other, node.output),
            )
            graph.node.append(node)
        for tensor in rng.sample(tensors, len(tensors)):
            tensor.name = other(tensor.name)
            graph.initializer.append(tensor)
        return model, rest

    monkeypatch.setattr(tf2onnx.convert, "from_function", scrambled)

    again = convert(prepared, trained, tmp_path / "again.onnx", toy, METADATA)

    assert again == converted[0]


def test_raw_rows_go_in_and_probabilities_come_out(converted, trained):
    rows = {
        "bright": [[True], [False], [True]],
        "size": np.array([[3], [100], [-7]]),  # beyond the contract, too
        "warmth": np.array([[0.25], [1], [9]], np.float32),
    }

    probabilities, classes = ask(converted[1], **rows)

    network = keras.models.load_model(trained / "model.keras")
    np.testing.assert_allclose(
        probabilities, network.predict_on_batch({k: np.array(v) for k, v in rows.items()}), atol=1e-6
    )
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert classes.tolist() == ["blue", "green", "red", "yellow"]


def test_one_row_and_many_are_answered_by_the_same_graph(converted, prepared):
    rows = pl.read_parquet(prepared / "test_time.parquet")
    raw = {
        "bright": rows["bright"].to_numpy(),
        "size": rows["size"].to_numpy(),
        "warmth": rows["warmth"].to_numpy().astype(np.float32),
    }

    many, _ = ask(converted[1], **{name: values.reshape(-1, 1) for name, values in raw.items()})
    one, _ = ask(converted[1], **{name: values[:1].reshape(1, 1) for name, values in raw.items()})

    assert many.shape == (len(rows), 4)
    np.testing.assert_allclose(one, many[:1], atol=1e-6)


def test_the_names_that_come_out_are_those_that_were_trained_on(prepared, trained, toy, copied, tmp_path):
    folder = copied(trained)
    (folder / "classes.json").write_text(
        json.dumps(["blau", "grün", "röt", "黄"], ensure_ascii=False), encoding="utf-8"
    )

    convert(prepared, folder, tmp_path / "model.onnx", toy, METADATA)

    one = {"bright": [[True]], "size": [[3]], "warmth": np.array([[0.25]], np.float32)}
    assert ask(tmp_path / "model.onnx", **one)[1].tolist() == ["blau", "grün", "röt", "黄"]
