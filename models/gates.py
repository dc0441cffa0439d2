"""Thresholds live in the model's gates.yaml, apart from hyperparameters, and are compiled into the package as constants."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True, kw_only=True)
class Check:
    """A number held against a limit; written as the condition that passes, so that NaN is refused."""

    name: str
    value: float | None
    condition: str  # "<=" or ">="
    limit: float

    @property
    def passed(self) -> bool:
        if self.value is None:
            return False
        return self.value <= self.limit if self.condition == "<=" else self.value >= self.limit

    @property
    def sentence(self) -> str:
        if self.value is None:
            return f"{self.name} is missing; wanted {self.condition} {self.limit:g}"
        return f"{self.name} is {self.value:.6g}; wanted {self.condition} {self.limit:g}"

    def row(self) -> dict[str, Any]:
        """As it stands in a step's record and on the page of the run."""
        return {**asdict(self), "passed": self.passed, "sentence": self.sentence}


class WrongGates(ValueError):
    """A gates.yaml that cannot be read as such; `path` is the file."""

    def __init__(self, what: str, path: Path) -> None:
        super().__init__(what)
        self.path = path


@dataclass(frozen=True, kw_only=True)
class Gates:
    """What a candidate must meet. Every number of gates.yaml is here, and every field is judged somewhere (a test holds it)."""

    max_difference: float
    """Parity: largest |ONNX - Keras| of any probability of any test row."""
    min_agreement: float
    """Parity: share of rows with the same first class, among those whose top two differ by more than `tie`."""
    tie: float
    floors: dict[str, float]
    """Name of a number of the evaluation (`time.top_1`) -> least value."""
    ceilings: dict[str, float]
    """Name of a number of the evaluation (`time.calibration_error`) -> largest value."""
    metric: str
    """What candidate and champion are compared by, on the same rows: `top_1` or `top_5`."""
    confidence: float
    """Of the interval around the difference, between 0 and 1."""
    superiority: float
    """Promote when the lower end of the interval is above this."""
    non_inferiority: float
    """Block when the lower end of the interval is below minus this."""
    new_contract: str
    """A champion with other inputs: `refuse`, or `judge_alone` (then prior and floors decide)."""

    def __post_init__(self) -> None:
        for name, value in {**vars(self), **self.floors, **self.ceilings}.items():
            if name in ("floors", "ceilings", "metric", "new_contract"):
                continue
            # YAML reads 1e-5, without a point, as a word
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ValueError(f"`{name}` is a number, not {value!r}")
        if self.new_contract not in ("refuse", "judge_alone"):
            raise ValueError(f"`new_contract` is `refuse` or `judge_alone`, not `{self.new_contract}`")
        if self.metric not in ("top_1", "top_5"):
            raise ValueError(f"`metric` is `top_1` or `top_5`, not `{self.metric}`")
        if not 0.5 <= self.confidence < 1:
            raise ValueError(f"`confidence` is a share from 0.5 to below 1, not {self.confidence}")

    @classmethod
    def read(cls, path: Path) -> Gates:
        """The thresholds of that YAML file; a missing or an unknown key is a WrongGates with the file's name."""
        try:
            given = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
            known = [gate.name for gate in fields(cls)]
            wrong = [f"`{name}` is missing" for name in known if name not in given]
            wrong += [f"there is no gate `{name}`; known: {', '.join(known)}" for name in given if name not in known]
            if wrong:
                raise ValueError("; ".join(wrong))
            return cls(**given)
        except (TypeError, ValueError, yaml.YAMLError) as error:
            raise WrongGates(f"{path.name}: {error}", path) from error

    @classmethod
    def of(cls, constants: dict[str, Any]) -> Gates:
        """As a step gets them from its package."""
        return cls(**constants)

    def constants(self) -> dict[str, Any]:
        """As the package carries them."""
        return asdict(self)

    def sha256(self) -> str:
        """The same for 1 and 1.0: KFP hands a package's numbers on either way."""
        return hashlib.sha256(json.dumps(_as_floats(asdict(self)), sort_keys=True).encode()).hexdigest()


def _as_floats(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _as_floats(item) for name, item in value.items()}
    return float(value) if isinstance(value, int) else value
