"""A training's settings are typed: what is not known or not possible is refused before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T", bound="Hyperparameters")


def ranged(default: Any, low: float, high: float) -> Any:
    """A field with a default and an inclusive range; for a list, the range of its members."""
    return field(default=default, metadata={"low": low, "high": high})


def chosen(default: str, *others: str) -> Any:
    """A field with a default and the other words that it may be."""
    return field(default=default, metadata={"choices": (default, *others)})


@dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """What the training step itself needs; a model adds its own by inheritance. Every field is honoured (a test holds it)."""

    epochs: int = ranged(20, 1, 10_000)
    batch_size: int = ranged(256, 1, 1_048_576)
    learning_rate: float = ranged(1e-3, 0.0, 10.0)
    weight_decay: float = ranged(1e-2, 0.0, 1.0)
    patience: int = ranged(4, 1, 10_000)  # epochs without a better validation loss before training stops
    seed: int = ranged(7, 0, 2**31 - 1)
    # "auto": mixed_float16 on a GPU that is quicker by it, float32 elsewhere
    precision: str = chosen("auto", "float32", "mixed_float16", "mixed_bfloat16")


def parse(kind: type[T], given: Mapping[str, Any]) -> T:
    """Those hyperparameters, checked. A whole number may come as 2.0: KFP hands dictionaries on as JSON numbers.

    Raises:
        ValueError: the sentences of `problems`, joined by "; ".
    """
    if wrong := problems(kind, given):
        raise ValueError("; ".join(wrong))
    hints = get_type_hints(kind)
    return kind(**{name: _typed(value, hints[name]) for name, value in given.items()})


def problems(kind: type[Hyperparameters], given: Mapping[str, Any]) -> list[str]:
    """A sentence for each unknown name, wrong type and value out of range."""
    wrong: list[str] = []
    known, hints = {f.name: f for f in fields(kind)}, get_type_hints(kind)
    for name, value in given.items():
        if name not in known:
            meant = get_close_matches(name, known, n=1)
            hint = f"did you mean `{meant[0]}`?" if meant else f"known: {', '.join(known)}"
            wrong.append(f"there is no hyperparameter `{name}`; {hint}")
            continue
        try:
            _require_allowed(_typed(value, hints[name]), known[name].metadata)
        except (ValueError, OverflowError) as error:  # the second: a whole number beyond every float
            wrong.append(f"hyperparameter `{name}`: {error}")
    return wrong


def _typed(value: Any, hint: Any) -> Any:
    if get_origin(hint) is tuple:
        if not isinstance(value, (list, tuple)) or not value:
            raise ValueError(f"a list is wanted, with at least one member, not {value!r}")
        return tuple(_typed(item, get_args(hint)[0]) for item in value)
    if hint is str or hint is bool:
        if not isinstance(value, hint):
            raise ValueError(f"{'a word' if hint is str else 'true or false'} is wanted, not {value!r}")
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"a number is wanted, not {value!r}")
    if hint is float:
        return float(value)
    if not float(value).is_integer():
        raise ValueError(f"a whole number is wanted, not {value!r}")
    return int(value)


def _require_allowed(value: Any, limits: Mapping[str, Any]) -> None:
    if "choices" in limits and value not in limits["choices"]:
        raise ValueError(f"one of {', '.join(limits['choices'])} is wanted, not `{value}`")
    if "low" not in limits:
        return
    for number in value if isinstance(value, tuple) else (value,):
        if not limits["low"] <= number <= limits["high"]:  # so, and not by two refusals: NaN must be refused too
            raise ValueError(f"{number} is not between {limits['low']} and {limits['high']}")
