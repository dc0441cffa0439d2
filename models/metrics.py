"""The numbers of a classification with many classes, on probabilities of shape (rows, classes) and true indices (rows,).

scikit-learn takes a second to import, so only the functions that need it do; `decide` needs none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.floating[Any]]
Labels = npt.NDArray[np.integer[Any]]


def hits(scores: Scores, truth: Labels, k: int) -> npt.NDArray[np.bool_]:
    """Row by row: is the true class among the k most probable? A tie counts against the model, and so does NaN."""
    k = min(k, scores.shape[1])
    own = scores[np.arange(len(truth)), truth]
    not_worse = (~(scores < own[:, None])).sum(axis=1)  # with the true class itself, and with what is NaN
    return (not_worse <= k) & ~np.isnan(own)


def summary(scores: Scores, truth: Labels, prior: Scores) -> dict[str, float]:
    """Quality on one test set, beside that of the class prior of the training rows (shape (classes,)) on the same rows."""
    from sklearn.metrics import log_loss, precision_recall_fscore_support

    classes = np.arange(scores.shape[1])
    always = np.broadcast_to(prior, scores.shape)
    _, _, f1, _ = precision_recall_fscore_support(truth, scores.argmax(axis=1), labels=classes, zero_division=0.0)
    present = np.isin(classes, truth)
    return {
        "rows": float(len(truth)),
        "top_1": float(hits(scores, truth, 1).mean()),
        "top_5": float(hits(scores, truth, 5).mean()),
        "macro_f1": float(f1[present].mean()),
        "log_loss": float(log_loss(truth, np.clip(scores, 1e-12, 1), labels=classes)),
        "calibration_error": calibration_error(calibration(scores, truth)),
        "prior_top_1": float((truth == prior.argmax()).mean()),
        "prior_top_5": float(np.isin(truth, np.argsort(-prior, kind="stable")[:5]).mean()),
        "prior_log_loss": float(log_loss(truth, np.clip(always, 1e-12, 1), labels=classes)),
    }


def calibration(scores: Scores, truth: Labels, bins: int = 10) -> list[dict[str, float]]:
    """Reliability by equal-width bins of the first class's probability; empty bins are left out."""
    confidence, right = scores.max(axis=1), scores.argmax(axis=1) == truth
    at = np.clip((confidence * bins).astype(int), 0, bins - 1)
    return [
        {
            "low": b / bins,
            "high": (b + 1) / bins,
            "rows": int((at == b).sum()),
            "confidence": float(confidence[at == b].mean()),
            "accuracy": float(right[at == b].mean()),
        }
        for b in np.unique(at).tolist()
    ]


def calibration_error(bins: Sequence[dict[str, float]]) -> float:
    """Expected calibration error (Naeini et al., 2015): mean |confidence - accuracy| over rows."""
    rows = sum(b["rows"] for b in bins)
    return sum(b["rows"] * abs(b["confidence"] - b["accuracy"]) for b in bins) / rows


def per_class(scores: Scores, truth: Labels, names: Sequence[str]) -> list[dict[str, Any]]:
    """Recall, precision and F1 of each class, with its number of true rows."""
    from sklearn.metrics import precision_recall_fscore_support

    precision, recall, f1, rows = precision_recall_fscore_support(
        truth, scores.argmax(axis=1), labels=range(len(names)), zero_division=0.0
    )
    columns = zip(names, rows.tolist(), recall.tolist(), precision.tolist(), f1.tolist(), strict=True)
    return [dict(zip(("class", "rows", "recall", "precision", "f1"), column, strict=True)) for column in columns]


def confusion(scores: Scores, truth: Labels) -> list[list[int]]:
    """Counts: a row for each true class, a column for each predicted one."""
    from sklearn.metrics import confusion_matrix

    matrix: list[list[int]] = confusion_matrix(truth, scores.argmax(axis=1), labels=range(scores.shape[1])).tolist()
    return matrix


def paired_difference(
    candidate: npt.NDArray[np.bool_],
    champion: npt.NDArray[np.bool_],
    entities: npt.NDArray[Any],
    confidence: float,
    resamples: int = 2000,
) -> tuple[float, float, float]:
    """Difference of two hit rates on the same rows, with the ends of its percentile interval by the cluster bootstrap.

    Whole entities are drawn, not rows: rows of one entity stand or fall together, and drawing them one by one would make the
    interval too narrow (Cameron, Gelbach and Miller, 2008).
    """
    _, at = np.unique(entities, return_inverse=True)
    gain = np.bincount(at, weights=candidate.astype(float) - champion.astype(float))
    rows = np.bincount(at).astype(float)
    rng = np.random.default_rng(0)
    share = np.full(len(rows), 1 / len(rows))
    draws = (rng.multinomial(len(rows), share) for _ in range(resamples))  # one at a time: all at once are gigabytes
    differences = [(draw @ gain) / (draw @ rows) for draw in draws]
    low, high = np.quantile(differences, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(gain.sum() / rows.sum()), float(low), float(high)
