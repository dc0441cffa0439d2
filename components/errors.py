"""What a step says when it cannot go on, or may not: three strings, and for a gate its name."""

from __future__ import annotations


class StepError(Exception):
    """The input, a setting or a service is wrong; `what`, `where` and `do` say which, and the cure."""

    def __init__(self, what: str, *, where: str, do: str) -> None:
        super().__init__(f"{what}\n  where: {where}\n  to do: {do}")
        self.what, self.where, self.do = what, where, do


class GateRefused(StepError):
    """Everything worked, and the answer is no."""

    def __init__(self, what: str, *, gate: str, where: str, do: str) -> None:
        super().__init__(what, where=where, do=do)
        self.gate = gate
