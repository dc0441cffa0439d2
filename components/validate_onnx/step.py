"""Does the exported graph answer as the trained network does? On raw rows, and on every one of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnxruntime
import polars as pl

from components.errors import GateRefused
from components.reading import CLASSES, PROBABILITIES, Raw, open_session, raw_inputs, read_json
from models import Model
from models.gates import Check, Gates
from storage import objects

GATE = "parity"
_BATCH = 4096
_TIMED_CALLS = 15


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How far two runtimes agree; a near tie is a row whose top two probabilities are closer than the gate's `tie`."""

    rows: int
    onnx_sha256: str
    max_difference: float
    argmax_agreement: float  # share of rows, near ties left out, on which both name the same class
    near_ties: int
    latency: dict[str, float]

    def checks(self, gates: Gates) -> list[Check]:
        return [
            Check(name="parity.max_difference", value=self.max_difference, condition="<=", limit=gates.max_difference),
            Check(
                name="parity.argmax_agreement", value=self.argmax_agreement, condition=">=", limit=gates.min_agreement
            ),
        ]

    def facts(self, gates: Gates) -> dict[str, Any]:
        return {**asdict(self), "gates": [check.row() for check in self.checks(gates)]}

    def require(self, gates: Gates) -> None:
        """Refuse unless every condition holds; NaN holds none."""
        if failed := [check.sentence for check in self.checks(gates) if not check.passed]:
            raise GateRefused(
                f"ONNX does not answer as Keras does: {'; '.join(failed)}",
                gate=GATE,
                where=f"{self.rows} raw test rows",
                do="look for a layer that tf2onnx converts differently; the gate stands in the model's gates.yaml",
            )


def measure(onnx_model: Path, prepared: Path, trained: Path, model: Model, tie: float) -> Parity:
    """Ask both about all rows of both test sets, raw, in batches."""
    network = keras.models.load_model(trained / "model.keras", compile=False)
    session = open_session(onnx_model.read_bytes())
    classes = read_json(prepared, "classes")
    rows = pl.concat([pl.read_parquet(prepared / f"{part}.parquet") for part in ("test_time", "test_unseen")])

    worst, agree, clear = [], 0, 0
    for some in rows.iter_slices(_BATCH):
        inputs = raw_inputs(some, model.CONTRACT.features)
        own = np.asarray(network.predict_on_batch(inputs))
        other, named = session.run([PROBABILITIES, CLASSES], inputs)
        if list(named) != classes:
            raise GateRefused(
                "the ONNX graph names other classes than the network was trained on",
                gate=GATE, where=onnx_model.name, do="run the pipeline again",
            )  # fmt: skip
        top = np.sort(own, axis=1)[:, -2:]
        apart = (top[:, 1] - top[:, 0]) > tie
        worst.append(np.abs(own - other).max())
        agree += int((own.argmax(axis=1) == other.argmax(axis=1))[apart].sum())
        clear += int(apart.sum())
    return Parity(
        rows=len(rows),
        onnx_sha256=objects.sha256_of(onnx_model),
        max_difference=float(np.max(worst)),  # NaN stays NaN, and is refused
        argmax_agreement=agree / clear if clear else float("nan"),
        near_ties=len(rows) - clear,
        latency=_latency(network, session, raw_inputs(rows[:_BATCH], model.CONTRACT.features)),
    )


def _latency(network: keras.Model, session: onnxruntime.InferenceSession, batch: Raw) -> dict[str, float]:
    """Medians in milliseconds; Keras is called directly, which for one row is its quickest way."""
    one = {name: values[:1] for name, values in batch.items()}
    rows = len(next(iter(batch.values())))
    times = {
        "keras_one_row_ms": _median_ms(lambda: network(one, training=False)),
        "onnx_one_row_ms": _median_ms(lambda: session.run([PROBABILITIES], one)),
        "keras_batch_ms": _median_ms(lambda: network(batch, training=False)),
        "onnx_batch_ms": _median_ms(lambda: session.run([PROBABILITIES], batch)),
    }
    return {**times, "batch_rows": rows, "speedup_one_row": times["keras_one_row_ms"] / times["onnx_one_row_ms"]}


def _median_ms(call: Callable[[], object]) -> float:
    call()  # the first call compiles and allocates
    taken = []
    for _ in range(_TIMED_CALLS):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken)) * 1000
