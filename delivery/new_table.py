"""One table of a new model, and the Python text that says so in its contract. Nothing but the standard library is wanted here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import indent

WIDE = 120  # columns of a line, as the formatter has it
SLOT = " " * 8  # in front of a column of the contract
FEATURES = ("Boolean", "Int64", "Float64")  # what the graph takes


@dataclass(frozen=True, kw_only=True)
class Column:
    """What the contract promises of one column; `kind` is the name of its polars type."""

    name: str
    kind: str
    feature: bool = False
    nullable: bool = False
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """All that a new model says of its data, and what follows from them."""

    name: str
    columns: tuple[Column, ...]
    target: str
    time: str
    entity: tuple[str, ...]
    classes: tuple[str, ...]
    key: bool = True  # no entity has two rows of one time
    min_rows: int = 500
    max_age_days: int = 3
    days: int = 1  # the newest ones, for judging
    unseen: float = 0.1
    validation: float = 0.3
    least_rows: tuple[int, int] = (300, 300)  # of the test by time, and of the one by unseen entities
    least_top_1: float = 0.45
    source: str = "synthetic:"
    seen: str = ""  # the file that it was read from, and what was seen there
    rows: int = 0
    most_frequent: str = ""
    prior: float = 0.0
    remarks: tuple[str, ...] = ()  # what whoever asked for the model should know of the file

    @property
    def features(self) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if column.feature)

    @property
    def texts(self) -> tuple[str, ...]:
        """Columns that would be features if the graph took text."""
        roles = {self.target, self.time, *self.entity}
        return tuple(column.name for column in self.columns if column.kind == "String" and column.name not in roles)

    @property
    def kind_of_target(self) -> str:
        return next(column.kind for column in self.columns if column.name == self.target)


EXAMPLE = Table(
    name="readings",
    columns=(
        Column(name="machine", kind="String"),
        Column(name="day", kind="Datetime"),
        Column(name="heat", kind="Float64", feature=True, low=-20.0, high=60.0),
        Column(name="pressure", kind="Float64", feature=True, low=900.0, high=1100.0),
        Column(name="turns", kind="Int64", feature=True, low=0, high=5000),
        Column(name="cooled", kind="Boolean", feature=True),
        Column(name="remark", kind="String", nullable=True),
        Column(name="state", kind="String"),
    ),
    target="state",
    time="day",
    entity=("machine",),
    classes=("idle", "strained", "working"),
)


def literal(value: object) -> str:
    """As the formatter would write it, and no character in it that only looks like another."""
    if not isinstance(value, str):
        return repr(value).replace("e+", "e")
    quote = "'" if value.count('"') > value.count("'") else '"'
    return quote + "".join(_escaped(character, quote) for character in value) + quote


def listed(values: Sequence[object]) -> str:
    """A tuple of them, after a name that is not long: on one line, or as many to a line as there is room for."""
    one = f"({', '.join(map(literal, values))}{',' if len(values) == 1 else ''})"
    if len(one) <= WIDE - len("CLASSES = "):
        return one
    lines: list[list[str]] = [[]]
    for text in map(literal, values):
        if len(", ".join([*lines[-1], text])) > WIDE - 24:  # so short that one line never holds all of them
            lines.append([])
        lines[-1].append(text)
    return "\n".join(["(", *(f"    *({', '.join(line)}{',' if len(line) == 1 else ''})," for line in lines), ")"])


def among(before: str, values: Sequence[object], brackets: str = "()") -> str:
    """The same among the arguments of a call, one to a line where all of them do not fit on one."""
    comma = "," if brackets == "()" and len(values) == 1 else ""
    one = f"    {before}{brackets[0]}{', '.join(map(literal, values))}{comma}{brackets[1]},"
    if len(one) <= WIDE:
        return one
    return "\n".join(
        [f"    {before}{brackets[0]}", *(f"        {literal(each)}," for each in values), f"    {brackets[1]},"]
    )


def columns_text(table: Table) -> str:
    """Each column of the schema, on a line where it fits."""
    return indent("\n".join(_column(column, table) for column in table.columns), SLOT)


def _column(column: Column, table: Table) -> str:
    given = [_dtype(column.kind)]
    if column.feature and column.low is not None:
        given += [literal(column.low), literal(column.high)]
    if column.name == table.target and column.kind != "Boolean":
        given.append(f"pa.Check.isin({_values(column.kind)})")
    if column.nullable:
        given.append("nullable=True")
    call = "_feature" if column.feature else "pa.Column"
    line = f"{literal(column.name)}: {call}({', '.join(given)}),"
    if len(SLOT + line) <= WIDE:
        return line
    return "\n".join([f"{literal(column.name)}: {call}(", *(f"    {each}," for each in given), "),"])


def _dtype(kind: str) -> str:
    return 'pl.Datetime("us")' if kind == "Datetime" else f"pl.{kind}"


def _values(kind: str) -> str:
    """The target's allowed values, of the column's own type."""
    python = {"Int64": "int", "Float64": "float"}.get(kind)
    return f"[{python}(name) for name in CLASSES]" if python else "CLASSES"


def _escaped(character: str, quote: str) -> str:
    if character in (quote, "\\"):
        return "\\" + character
    # Letters of Latin-1 look like no others; of the rest, the linter takes some for a typing error
    plain = character.isascii() or (character.isalpha() and ord(character) < 256)
    if character.isprintable() and plain:
        return character
    return character.encode("unicode_escape").decode("ascii")
