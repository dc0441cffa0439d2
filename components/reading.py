"""What steps read of one another: prepared rows in batches, and an ONNX file only if it is the right one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow.parquet as pq

from components.errors import GateRefused
from models.contract import Feature
from storage import objects

if TYPE_CHECKING:
    import onnxruntime

Raw = dict[str, npt.NDArray[Any]]  # feature -> values of shape (rows, 1), of the feature's own type
PROBABILITIES, CLASSES = "probabilities", "classes"  # the two outputs of every exported graph
WINDOW = 8  # row groups that are mixed with one another
_NUMPY = {"bool": np.bool_, "int64": np.int64, "float32": np.float32}


def read_json(folder: Path, name: str) -> Any:
    """A file that prepare_data wrote beside the parts: classes, profile or prior."""
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


def raw_inputs(rows: pl.DataFrame, features: Sequence[Feature]) -> Raw:
    """The network's inputs: each feature by its name, shape (rows, 1)."""
    return {f.name: rows[f.name].to_numpy().astype(_NUMPY[f.dtype]).reshape(-1, 1) for f in features}


def batches(
    path: Path, features: Sequence[Feature], label: str, size: int, rng: np.random.Generator | None = None
) -> Iterator[tuple[Raw, npt.NDArray[np.int32]]]:
    """Inputs and labels of `size` rows at a time (the last: fewer); `rng` mixes row groups, and rows in a window of them."""
    file = pq.ParquetFile(path)
    columns = [*(f.name for f in features), label]
    order = np.arange(file.num_row_groups) if rng is None else rng.permutation(file.num_row_groups)
    left = (
        pl.DataFrame()
    )  # fewer rows than a batch: they begin the next window, so that only the very last batch is short
    for start in range(0, len(order), WINDOW):
        rows = pl.DataFrame(
            pl.from_arrow(file.read_row_groups(order[start : start + WINDOW].tolist(), columns=columns))
        )
        mixed = rows if rng is None else rows[rng.permutation(len(rows))]
        window = pl.concat([left, mixed]) if len(left) else mixed
        whole = len(window) if start + WINDOW >= len(order) else len(window) // size * size
        inputs, labels = raw_inputs(window, features), window[label].to_numpy().astype(np.int32)
        for first in range(0, whole, size):
            some = slice(first, min(first + size, whole))
            yield {name: values[some] for name, values in inputs.items()}, labels[some]
        left = window[whole:]


def row_count(path: Path) -> int:
    """Rows of that file, from its footer alone."""
    return int(pq.ParquetFile(path).metadata.num_rows)


def require_hash(onnx_model: Path, expected: str) -> None:
    """Refuse a file that is not the one which was converted."""
    found = objects.sha256_of(onnx_model)
    if found != expected:
        raise GateRefused(
            f"the ONNX file is not the one that was converted: SHA-256 {found[:12]}…, expected {expected[:12]}…",
            gate="onnx-hash",
            where=onnx_model.name,
            do="run the pipeline again; nothing may touch the file between its conversion and its publication",
        )


def open_session(content: bytes) -> onnxruntime.InferenceSession:
    """On the CPU, so that numbers are the same on every machine that has one."""
    import onnxruntime  # here, as the training reads rows and opens no graph

    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
