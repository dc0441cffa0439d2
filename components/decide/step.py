"""Promote, keep or block: candidate and champion answer the same rows, and the interval of the difference decides."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from components.errors import GateRefused
from components.prepare_data.step import LABEL
from components.reading import CLASSES, PROBABILITIES, open_session, raw_inputs, read_json
from models import Model
from models.contract import Feature
from models.gates import Check, Gates
from models.metrics import hits, paired_difference
from models.split import ENTITY

GATE = "decision"
_ROWS_AT_ONCE = 8192


@dataclass(frozen=True, kw_only=True)
class Champion:
    """What serves now: its file, and what the registry says of it."""

    onnx: bytes
    version: str
    url: str
    sha256: str
    contract: str  # fingerprint of the contract that it was made under


@dataclass(frozen=True, kw_only=True)
class Decision:
    """`promote`: it becomes the champion · `keep`: it is registered, and the champion stays · `block`: it goes no further."""

    verdict: str
    reasons: list[str]
    champion: dict[str, str] | None
    compared: dict[str, Any] | None
    checks: list[Check]
    onnx_sha256: str

    def facts(self) -> dict[str, Any]:
        rows = [check.row() for check in self.checks]
        return {**{k: v for k, v in asdict(self).items() if k != "checks"}, "gates": rows}

    def require(self) -> None:
        """Refuse a blocked candidate."""
        if self.verdict == "block":
            raise GateRefused(
                f"the candidate is blocked: {'; '.join(self.reasons)}",
                gate=GATE,
                where="decide",
                do="train a better one; thresholds stand in the model's gates.yaml, and changing them is a commit",
            )


def decide(
    onnx_model: Path,
    prepared: Path,
    evaluation: Mapping[str, Any],
    model: Model,
    gates: Gates,
    champion: Champion | None,
) -> Decision:
    """Judge the ONNX file, as that is what will serve. `evaluation` holds the numbers of evaluate_model.

    Floors and ceilings come first. Then, on the test by time: against the champion, or, where there is none, against the
    class prior of the training rows, which the candidate must beat.
    """
    content = onnx_model.read_bytes()
    checks = floors_and_ceilings(evaluation.get("sets", {}), gates)
    reasons = [check.sentence for check in checks if not check.passed]
    rows, classes = pl.read_parquet(prepared / "test_time.parquet"), read_json(prepared, "classes")
    own = _right(content, rows, classes, model.CONTRACT.features, gates)
    fingerprint = model.CONTRACT.fingerprint()
    alone = champion is None
    if champion and champion.contract != fingerprint:
        if gates.new_contract != "judge_alone":
            return Decision(
                verdict="block",
                reasons=[
                    *reasons,
                    f"champion version {champion.version} was made under another contract ({champion.contract[:12]}…, here "
                    f"{fingerprint[:12]}…), so no row can be put to both; `new_contract: judge_alone` in gates.yaml accepts that",
                ],
                champion=_about(champion), compared=None, checks=checks, onnx_sha256=_sha256(content),
            )  # fmt: skip
        alone = True

    if alone or champion is None:
        prior = np.array(read_json(prepared, "prior"))
        k = int(gates.metric.removeprefix("top_"))
        other, against = np.isin(rows[LABEL].to_numpy(), np.argsort(-prior, kind="stable")[:k]), "the class prior"
    else:
        other, against = (
            _right(champion.onnx, rows, classes, model.CONTRACT.features, gates),
            f"champion version {champion.version}",
        )
    difference, low, high = paired_difference(own, other, rows[ENTITY].to_numpy(), gates.confidence)
    said = (
        f"{gates.metric} {own.mean():.4f} against {other.mean():.4f} of {against} on the same {len(rows)} rows: "
        f"difference {difference:+.4f}, {gates.confidence:.0%} interval {low:+.4f} to {high:+.4f}"
    )
    enough = low > 0 if alone else low >= -gates.non_inferiority  # so, and not by refusals: NaN blocks
    if not enough or not math.isfinite(high):
        wanted = "above 0" if alone else f"at least {-gates.non_inferiority:+.4f}"
        reasons.append(f"{said}; its lower end must be {wanted}")
    verdict = "block" if reasons else "promote" if alone or low > gates.superiority else "keep"
    return Decision(
        verdict=verdict,
        reasons=reasons or [said],
        champion=_about(champion) if champion else None,
        compared={
            "metric": gates.metric, "against": against, "candidate": float(own.mean()), "champion": float(other.mean()),
            "difference": difference, "low": low, "high": high, "rows": len(rows),
            "entities": rows[ENTITY].n_unique(), "confidence": gates.confidence,
        },
        checks=checks,
        onnx_sha256=_sha256(content),
    )  # fmt: skip


def floors_and_ceilings(sets: Mapping[str, Mapping[str, Any]], gates: Gates) -> list[Check]:
    """A check for each named number, in the order of the names; one that is missing or is no number does not pass."""

    def value(name: str) -> float | None:
        part, _, number = name.partition(".")
        found = sets.get(part, {}).get(number)
        return float(found) if isinstance(found, (int, float)) and not isinstance(found, bool) else None

    return [
        *(
            Check(name=name, value=value(name), condition=">=", limit=limit)
            for name, limit in sorted(gates.floors.items())
        ),
        *(
            Check(name=name, value=value(name), condition="<=", limit=limit)
            for name, limit in sorted(gates.ceilings.items())
        ),
    ]


def _right(
    content: bytes, rows: pl.DataFrame, classes: Sequence[str], features: Sequence[Feature], gates: Gates
) -> Any:
    """Row by row: does this model name the true class among its first k? A class that it does not know is a miss."""
    session = open_session(content)
    k, right = int(gates.metric.removeprefix("top_")), []
    for some in rows.iter_slices(_ROWS_AT_ONCE):
        scores, named = session.run([PROBABILITIES, CLASSES], raw_inputs(some, features))
        at = {name: number for number, name in enumerate(named)}
        truth = np.array([at.get(classes[label], -1) for label in some[LABEL]])
        right.append(hits(scores, np.maximum(truth, 0), k) & (truth >= 0))
    return np.concatenate(right)


def _about(champion: Champion) -> dict[str, str]:
    return {"version": champion.version, "sha256": champion.sha256, "url": champion.url}


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
