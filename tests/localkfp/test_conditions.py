from __future__ import annotations

from typing import Any

import pytest

from localkfp import conditions


def of(name: str) -> str:
    return f"inputs.parameter_values['pipelinechannel--{name}']"


@pytest.mark.parametrize(
    ("condition", "value", "holds"),
    [
        (f"{of('x')} == 'a'", "a", True),
        (f"{of('x')} == 'a) && b'", "a) && b", True),
        (f"{of('x')} != 'it'", "it's", True),
        (f"!({of('x')} == 'a')", "a", False),
        (f"!({of('x')} == 'a') && {of('x')} == 'b'", "b", True),
        (f"{of('x')} == 'a' && !({of('x')} == 'a')", "a", False),
        (f"int({of('x')}) > 4", 4.0, False),
        (f"int({of('x')}) >= 4", "4", True),
        (f"double(int({of('x')})) <= 4.5", 4, True),
        (f"{of('x')} < 1e-05", 0.0, True),
        (f"{of('x')} == -1", -1, True),
        (f"{of('x')} == true", True, True),
        (f"{of('x')} == false", True, False),
    ],
)
def test_a_condition_holds_or_does_not(condition, value, holds):
    assert conditions.is_readable(condition)
    assert conditions.holds(condition, {"pipelinechannel--x": value}) is holds


@pytest.mark.parametrize("value", ["a", None, {}])
def test_a_condition_may_have_no_answer(value: Any):
    values = {"pipelinechannel--x": value} if value != {} else {}

    with pytest.raises(ValueError, match="has no answer"):
        conditions.holds(f"int({of('x')}) > 4", values)


@pytest.mark.parametrize(
    "condition", ["", "x", f"{of('x')} == 'it's'", f"{of('x')} == 'a\\n'", "__import__('os')", f"{of('x')} == a || b"]
)
def test_what_the_compiler_does_not_write_is_not_read(condition):
    assert not conditions.is_readable(condition)
    with pytest.raises(ValueError, match="cannot be read"):
        conditions.holds(condition, {"pipelinechannel--x": "a"})
