"""How one thing is that running or delivering may need."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Health(Enum):
    """How one thing is."""

    OK = "ok"
    MISSING = "missing"  # it is not here
    BROKEN = "broken"  # it is here, and does not work or does not suffice


@dataclass(frozen=True, kw_only=True)
class Thing:
    """One thing that a rung may need."""

    name: str
    health: Health
    found: str
    needed_for: str
    get_it: str = ""


def thing(name: str, good: bool, found: str, needed_for: str, get_it: str, *, here: bool = True) -> Thing:
    health = Health.OK if good else Health.BROKEN if here else Health.MISSING
    return Thing(name=name, health=health, found=found, needed_for=needed_for, get_it=get_it)
