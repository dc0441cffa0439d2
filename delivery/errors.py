"""What a user is told when it did not work: three strings and an exit code. A test holds docs/errors.md to these classes."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import ClassVar


class MlopsError(Exception):
    """A sentence for the user in place of a traceback; only `delivery.cli.main` turns it into an exit."""

    exit_code: ClassVar[int]

    def __init__(self, what: str, *, where: object, do: str) -> None:
        super().__init__(what)
        self.what, self.where, self.do = what, str(where), do

    def __str__(self) -> str:
        return f"error: {self.what}\n  where: {self.where}\n  to do: {self.do}"


class Failed(MlopsError):
    """It was asked rightly, and it did not work."""

    exit_code = 1


class WrongUse(MlopsError):
    """The command, a parameter or a setting is wrong; nothing was started."""

    exit_code = 2


class GateRefused(MlopsError):
    """Everything worked, and a gate said no."""

    exit_code = 3


class Interrupted(MlopsError):
    """Someone stopped it, by Ctrl-C or SIGTERM; shells know the number."""

    exit_code = 130


class NoAnswer(Failed):
    """The endpoint said nothing that can be used; it may the next time."""


class AccessDenied(Failed):
    """The endpoint knows the caller not at all, no longer, or not in this namespace."""


class RunFailed(Failed):
    """A run ended otherwise than well, by a step's error."""


class RunCanceled(Failed):
    """Someone ended a run at the endpoint."""


class RunStalled(Failed):
    """A run made no progress for as long as the environment allows, and was ended."""


class Conflict(Failed):
    """Someone else changes, or has changed, the same environment."""


class NothingToRollBackTo(Failed):
    """No earlier state of the environment is known, or not the one that was named."""


class DirtyTree(GateRefused):
    """What is to be released, or promoted, is not what a commit says."""


class NotValidated(GateRefused):
    """There is no evidence that this was proved where it comes from."""


class WrongCommit(GateRefused):
    """The tag names another commit than the release was built from."""


class BytesDiffer(GateRefused):
    """A file is not the one that was released or validated."""


class GatesDiffer(GateRefused):
    """The gates are not those that the evidence was given under."""


class CriticalFindings(GateRefused):
    """An image, or a model's file, holds what is known to be dangerous."""


class NotSigned(GateRefused):
    """The environment wants signed evidence, and this is unsigned, or signed by a key that it does not trust."""


def in_our_words(error: BaseException) -> MlopsError | None:
    """An error of the steps or of the storage as one of ours; None when it is a bug, which keeps its traceback."""
    what, where, do = (getattr(error, part, None) for part in ("what", "where", "do"))
    if not what or not do:
        return None
    return (GateRefused if getattr(error, "gate", None) else Failed)(what, where=where or "-", do=do)


def meant(word: str, known: Iterable[str]) -> str:
    """What would have been right: the near words, or all of them when none is near."""
    choices = sorted(known)
    near = get_close_matches(word, choices, n=2) or [name for name in choices if word and word in name][:2]
    if near:
        return "did you mean " + " or ".join(f"`{name}`" for name in near) + "?"
    return "there is " + ", ".join(f"`{name}`" for name in choices) if choices else "there is none"
