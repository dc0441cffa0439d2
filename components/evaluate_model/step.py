"""How good is it, where, and how sure: on the newest days, and on entities that training never saw."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import polars as pl

from components.errors import StepError
from components.prepare_data.step import LABEL
from components.reading import raw_inputs, read_json
from models import Model
from models.metrics import calibration, confusion, hits, per_class, summary

SETS = {"time": "test_time", "unseen": "test_unseen"}
_ROWS_AT_ONCE = 8192


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Numbers of both test sets; the parts (classes, slices, confusion, calibration) are of the test by time."""

    sets: dict[str, dict[str, float]]
    classes: list[str]
    confusion: list[list[int]]
    calibration: list[dict[str, float]]
    per_class: list[dict[str, Any]]
    slices: list[dict[str, Any]]
    model_card: str

    def facts(self) -> dict[str, Any]:
        return asdict(self)


def evaluate(prepared: Path, trained: Path, folder: Path, model: Model, about: dict[str, str]) -> Evaluation:
    """Measure `model.keras` on both test sets, and write evaluation.json and model_card.md into `folder`.

    Only numbers are made here; what they must be is asked by `decide`.

    Raises:
        StepError: the network answers some row with no number.
    """
    network = keras.models.load_model(trained / "model.keras", compile=False)
    classes, prior = read_json(prepared, "classes"), np.array(read_json(prepared, "prior"))
    rows = {name: pl.read_parquet(prepared / f"{part}.parquet") for name, part in SETS.items()}
    truth = {name: content[LABEL].to_numpy() for name, content in rows.items()}
    scores = {name: predict(network, content, model) for name, content in rows.items()}
    for name, content in scores.items():
        if lost := int((~np.isfinite(content)).any(axis=1).sum()):
            do = "train again with a lower `learning_rate`, and look for a feature that is not finite"
            raise StepError(
                f"the network answers {lost} of {len(content)} rows with no number", where=SETS[name], do=do
            )
    sets = {name: summary(scores[name], truth[name], prior) for name in SETS}
    slices = _slices(rows["time"], scores["time"], truth["time"], model)
    evaluation = Evaluation(
        sets=sets,
        classes=classes,
        confusion=confusion(scores["time"], truth["time"]),
        calibration=calibration(scores["time"], truth["time"]),
        per_class=per_class(scores["time"], truth["time"], classes),
        slices=slices,
        model_card=model_card(model, sets, slices, classes, read_json(trained, "hyperparameters"), about),
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "evaluation.json").write_text(
        json.dumps(evaluation.facts(), indent=1, ensure_ascii=False), encoding="utf-8"
    )
    (folder / "model_card.md").write_text(evaluation.model_card, encoding="utf-8")
    return evaluation


def predict(network: keras.Model, rows: pl.DataFrame, model: Model) -> np.ndarray:
    """Probabilities of shape (rows, classes), float32, in batches."""
    parts = [
        np.asarray(network.predict_on_batch(raw_inputs(some, model.CONTRACT.features)))
        for some in rows.iter_slices(_ROWS_AT_ONCE)
    ]
    return np.concatenate(parts)


def _slices(rows: pl.DataFrame, scores: np.ndarray, truth: np.ndarray, model: Model) -> list[dict[str, Any]]:
    right = hits(scores, truth, 1)
    masks = {name: mask.fill_null(False).to_numpy() for name, mask in model.slices(rows).items()}
    return [
        {"name": name, "rows": int(at.sum()), "top_1": float(right[at].mean())}
        for name, at in masks.items()
        if at.any()
    ]


def model_card(
    model: Model,
    sets: dict[str, dict[str, float]],
    slices: list[dict[str, Any]],
    classes: list[str],
    hyperparameters: dict[str, Any],
    about: dict[str, str],
) -> str:
    """Markdown: what it is, what it was made of, how good it is, where not to use it. Every figure is of this run."""
    names = {"time": "newest days", "unseen": f"unseen entities ({model.SPLIT.unseen:.0%} held out)"}
    table = [
        f"| {names[name]} | {s['rows']:.0f} | {s['top_1']:.3f} | {s['top_5']:.3f} | {s['macro_f1']:.3f} "
        f"| {s['calibration_error']:.3f} | {s['prior_top_1']:.3f} / {s['prior_top_5']:.3f} |"
        for name, s in sets.items()
    ]
    weakest = min(slices, key=lambda s: s["top_1"]) if slices else None
    lines = [
        f"# Model card: {about.get('model', 'model')}",
        "",
        (model.__doc__ or "").strip().splitlines()[0] if model.__doc__ else "",
        "",
        f"- **Answers** probabilities over {len(classes)} classes of `{model.CONTRACT.target}`",
        f"- **Takes** raw values of {', '.join(f'`{f.name}`' for f in model.CONTRACT.features)}",
        *(f"- **{name.replace('_', ' ').capitalize()}** {value}" for name, value in about.items() if name != "model"),
        f"- **Settings** {', '.join(f'{name} {value}' for name, value in hyperparameters.items())}",
        "",
        "| test | rows | top-1 | top-5 | macro-F1 | calibration error | class prior top-1 / top-5 |",
        "|---|---|---|---|---|---|---|",
        *table,
        "",
        "## Limits",
        "",
        f"- One entity may truly belong to many classes of `{model.CONTRACT.target}`; top-1 then has a ceiling far below 1.",
        "- On unseen entities, expect the second row of the table, not the first.",
        *(
            [f"- Weakest slice: {weakest['name']}, top-1 {weakest['top_1']:.3f} on {weakest['rows']} rows."]
            if weakest
            else []
        ),
    ]
    return "\n".join(lines) + "\n"
