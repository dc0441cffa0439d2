"""A condition as KFP's compiler writes it, with values bound to its names: no value is ever pasted into its text."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

CHANNEL = r"inputs\.parameter_values\['([^']+)'\]"
OPERAND = rf"(?:(?:int|double)\()*(?:{CHANNEL}|'[^'\\\n]*'|true|false|-?\d[\d.]*(?:e[+-]?\d+)?)\)*"
TERM = rf"(!\()?({OPERAND}) (==|!=|<=|>=|<|>) ({OPERAND})"
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}


def is_readable(condition: str) -> bool:
    """Is this a comparison, or several joined by `&&`? A text with a quote in it makes KFP's compiler write neither."""
    return re.fullmatch(rf"{TERM}(?: && {TERM})*", condition) is not None


def holds(condition: str, values: Mapping[str, Any]) -> bool:
    """Raises ValueError where the condition has no answer: it is then neither true nor false."""
    if not is_readable(condition):
        raise ValueError(f"the condition {condition} cannot be read")
    try:
        return all(
            COMPARE[compared](_value(left, values), _value(right, values)) != bool(negated)
            for negated, left, _, compared, right, _ in re.findall(TERM, condition)
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"the condition {condition} has no answer: {error}") from error


def _value(operand: str, values: Mapping[str, Any]) -> Any:
    casts, text = re.findall(r"^((?:(?:int|double)\()*)(.*?)\)*$", operand)[0]
    if channel := re.fullmatch(CHANNEL, text):
        value = values.get(channel[1])
        if value is None:
            raise ValueError(f"{channel[1]} has no value")
    elif text.startswith("'"):
        value = text[1:-1]
    elif text in ("true", "false"):
        value = text == "true"
    else:
        value = float(text)
    for cast in reversed(casts.split("(")[:-1]):
        value = int(value) if cast == "int" else float(value)
    return value
