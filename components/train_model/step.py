"""The same rows, settings and seed give the same weights, bit for bit; on a GPU, too, and in mixed precision."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import keras
import numpy as np
import polars as pl
import tensorflow as tf

from components.errors import GateRefused, StepError
from components.prepare_data.step import LABEL
from components.reading import batches, read_json, row_count
from models import Model
from models.hyperparameters import Hyperparameters, parse
from models.split import ENTITY, PARTS, leaks

GATE = "split"


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What was trained, how, on what machine, and how it went epoch by epoch."""

    model: str
    hyperparameters: dict[str, Any]
    history: dict[str, list[float]]
    epochs: int
    best_epoch: int
    stopped_early: bool
    weights: int
    weights_sha256: str
    device: str
    precision: str
    environment: dict[str, Any]

    def facts(self) -> dict[str, Any]:
        return asdict(self)


def require_clean_split(prepared: Path, time: str) -> None:
    """Refuse to learn from rows by which the model will be judged. Reads the rows, and believes no summary of them."""
    train, validation, test_time, unseen = (
        pl.read_parquet(prepared / f"{part}.parquet", columns=[ENTITY, time]) for part in PARTS
    )
    if found := leaks(pl.concat([train, validation]), test_time, unseen, time):
        raise GateRefused(
            f"the split leaks: {'; '.join(found)}",
            gate=GATE,
            where="the parts that prepare_data wrote",
            do="mend the model's join or split; its test must be newer than, or unknown to, what it learns from",
        )


def train(
    prepared: Path, folder: Path, name: str, model: Model, hyperparameters: dict[str, Any], gpus: int = 0
) -> Trained:
    """Fit the model's network to `train.parquet`, read in batches, and write `model.keras` (always float32) into `folder`.

    A GPU is used where there is one; `gpus` says how many there must be.

    Raises:
        StepError: a hyperparameter is unknown, of the wrong type or out of range; fewer GPUs than `gpus`; the loss is no number.
        GateRefused: the split leaks.
    """
    try:
        settings = parse(model.Hyperparameters, hyperparameters)
    except ValueError as error:
        raise StepError(
            str(error), where="parameter hyperparameters", do="see the model's hyperparameters.py"
        ) from error
    require_clean_split(prepared, model.CONTRACT.time)
    classes, profile = read_json(prepared, "classes"), read_json(prepared, "profile")
    device, precision = _device(settings.precision, gpus)
    keras.utils.set_random_seed(settings.seed)
    tf.config.experimental.enable_op_determinism()

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        network = model.build_network(settings, profile, classes)
        history = _fit(network, prepared, model, settings)
    finally:
        keras.config.set_dtype_policy(before)
    for curve, values in history.items():
        if not np.isfinite(values).all():
            at = int(np.argmin(np.isfinite(values))) + 1
            raise StepError(f"`{curve}` is no number in epoch {at}", where="the training", do="lower `learning_rate`")
    exported = network
    # What is judged, converted and served computes in float32, whatever computed the weights.
    if precision != "float32":
        exported = model.build_network(settings, profile, classes)
        exported.set_weights(network.get_weights())
    folder.mkdir(parents=True, exist_ok=True)
    exported.save(folder / "model.keras")

    epochs, best = len(history["loss"]), int(np.argmin(history["val_loss"])) + 1
    trained = Trained(
        model=name,
        hyperparameters=asdict(settings),
        history=history,
        epochs=epochs,
        best_epoch=best,
        stopped_early=epochs < settings.epochs,
        weights=int(exported.count_params()),
        weights_sha256=weights_sha256(exported),
        device=device,
        precision=precision,
        environment=environment(),
    )
    (folder / "classes.json").write_text(
        json.dumps(classes, ensure_ascii=False), encoding="utf-8"
    )  # what its outputs mean
    for part in ("history", "hyperparameters", "environment"):
        (folder / f"{part}.json").write_text(json.dumps(getattr(trained, part), indent=1), encoding="utf-8")
    return trained


def weights_sha256(network: keras.Model) -> str:
    """SHA-256 over all weights in their order, with shapes and types."""
    digest = hashlib.sha256()
    for weight in network.get_weights():
        digest.update(f"{weight.dtype}{weight.shape}".encode() + np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()


def environment() -> dict[str, Any]:
    """Python, platform and every installed package with its version."""
    packages = sorted(
        {(d.metadata["Name"], d.version) for d in distributions() if d.metadata["Name"]}, key=lambda p: p[0].lower()
    )
    return {"python": sys.version.split()[0], "platform": platform.platform(), "packages": dict(packages)}


def _device(precision: str, wanted: int) -> tuple[str, str]:
    gpus = tf.config.list_physical_devices("GPU")
    if len(gpus) < wanted:
        raise StepError(
            f"{wanted} GPU(s) asked for, TensorFlow sees {len(gpus)}",
            where="parameter gpus",
            do="run where a GPU and TensorFlow's CUDA build are, or set `gpus` to 0",
        )
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    details = tf.config.experimental.get_device_details(gpus[0]) if gpus else {}
    name = (
        f"GPU: {details.get('device_name', 'unknown')}"
        if gpus
        else f"CPU: {platform.processor() or platform.machine()}"
    )
    if precision != "auto":
        return name, precision
    tensor_cores = details.get("compute_capability", (0, 0)) >= (7, 0)  # below it, half precision is no faster
    return name, "mixed_float16" if gpus and tensor_cores else "float32"


def _fit(network: keras.Model, prepared: Path, model: Model, settings: Hyperparameters) -> dict[str, list[float]]:
    steps = -(-row_count(prepared / "train.parquet") // settings.batch_size) * settings.epochs
    rate = keras.optimizers.schedules.CosineDecay(settings.learning_rate, max(1, steps))
    network.compile(
        optimizer=keras.optimizers.AdamW(rate, weight_decay=settings.weight_decay),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    rng = np.random.default_rng(settings.seed)
    stop = keras.callbacks.EarlyStopping("val_loss", patience=settings.patience, restore_best_weights=True)
    fitted = network.fit(
        _dataset(prepared / "train.parquet", model, settings.batch_size, rng),
        validation_data=_dataset(prepared / "validation.parquet", model, max(settings.batch_size, 1024)),
        epochs=settings.epochs,
        callbacks=[stop, keras.callbacks.TerminateOnNaN(), _Progress(settings.epochs)],
        shuffle=False,  # `batches` mixes
        verbose=0,
    )
    history = {name: [float(value) for value in values] for name, values in fitted.history.items()}
    history.setdefault(
        "val_loss", [float("nan")] * len(history["loss"])
    )  # TerminateOnNaN ends an epoch before its validation
    return history


def _dataset(path: Path, model: Model, size: int, rng: np.random.Generator | None = None) -> tf.data.Dataset:
    features = model.CONTRACT.features

    def rows() -> Iterator[Any]:
        return batches(path, features, LABEL, size, rng)

    signature = (
        {f.name: tf.TensorSpec((None, 1), f.dtype, name=f.name) for f in features},
        tf.TensorSpec((None,), tf.int32),
    )
    count = -(-row_count(path) // size)
    return (
        tf.data.Dataset.from_generator(rows, output_signature=signature)
        .apply(tf.data.experimental.assert_cardinality(count))
        .prefetch(2)
    )


class _Progress(keras.callbacks.Callback):
    """A line an epoch, for the step's log."""

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self.epochs = epochs

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        numbers = ", ".join(f"{name} {value:.4f}" for name, value in (logs or {}).items())
        print(f"epoch {epoch + 1}/{self.epochs}: {numbers}", flush=True)
