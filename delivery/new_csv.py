"""A CSV file, read as the contract that a new model has of it: as far as a file can say."""

from __future__ import annotations

import csv
import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import polars as pl

from delivery.errors import WrongUse, meant
from delivery.new_table import FEATURES, Column, Table, literal
from models.split import ENTITY, PARTS, Split, parted, with_entity

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")  # TensorFlow takes no other as the name of an input
FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
RESERVED = {ENTITY, "part", "label", "classes", "probabilities"}  # the steps add columns, or outputs, of these names
LAYERS = re.compile(
    r"(cast|clip|concatenate|dense|dropout|multiply|subtract|true_divide)(_\d+)?"
)  # as Keras numbers them
FOLDER = 90  # characters of the data's folder: its name stands on one line of the pipeline
CLASSES = 1000
LONG = 60  # characters of a class
ISO = r"^\d{4}-\d{2}-\d{2}([T ]|$)"
NUMBER = r"^-?(0|[1-9]\d*)$"  # 007 is a code, and no number
DECIMAL = r"^-?(0|[1-9]\d*)?(\.\d*)?([eE][+-]?\d+)?$"
NOTHING = ("na", "n/a", "nan", "null", "none", "?", "-", "inf", "-inf")  # written where a number is not known
SHARES = (
    0.1,
    0.2,
    0.3,
)  # of the things that are kept out of the training, and of those that stop it: the first that will do
ENOUGH = 30  # rows to stop a training by
RARE = 0.95  # of the rows in one class: the others are rare
FEWEST = 2  # rows of any part: one proves nothing, and the gates say so
EXACT = 2**53  # to which every whole number is one of float64, too
LARGEST = 3e38  # of float32, in which the graph computes
MOST = 1000  # rows that a contract wants at least


def read_table(root: Path, path: Path, target: str, time: str, entity: tuple[str, ...]) -> Table:
    """The table that the file holds.

    Raises:
        WrongUse: no model can be made of it, and why.
    """
    _require_place(root, path)
    rows = _read(path)
    roles = (target, time, *entity)
    for option, column in (("--target", target), ("--time", time), *(("--entity", one) for one in entity)):
        if column not in rows.columns:
            raise WrongUse(f"{path.name} has no column `{column}`", where=option, do=meant(column, rows.columns))
    if doubled := [column for column in roles if roles.count(column) > 1]:
        what = f"`{doubled[0]}` can be only one of target, time and entity, and only once"
        raise WrongUse(what, where="--target, --time, --entity", do="name three columns that are not the same")
    typed = pl.DataFrame([_typed(rows[name], path) for name in rows.columns])
    _require_time(rows[time], typed[time], path)
    classes = _classes(typed[target], path)
    features = [name for name in typed.columns if name not in roles and _kind(typed[name]) in FEATURES]
    if not features:
        what = f"{path.name} has no column of numbers, and none of true and false, beside target, time and entity"
        raise WrongUse(what, where=path, do="add one: the network takes nothing else")
    for name in (*roles, *features):
        if name in RESERVED:
            do = f"rename it in the file, for example to `{name}_`"
            raise WrongUse(f"`{name}` is the name of a column that the steps themselves add", where=path, do=do)
    for name in features:
        if LAYERS.fullmatch(name):
            what = f"`{name}` is a name that Keras gives to a layer itself, and a feature's name is that of an input"
            raise WrongUse(what, where=path, do=f"rename it in the file, for example to `{name}_value`")
        limits = [typed[name].cast(pl.Float64).min(), typed[name].cast(pl.Float64).max()]
        if beyond := [value for value in limits if isinstance(value, float) and abs(value) > LARGEST]:
            what = f"`{name}` holds {beyond[0]:g}, and the graph's numbers end at {LARGEST:g}"
            raise WrongUse(what, where=path, do="write it in a larger unit")
    whole = typed.drop_nulls([target, time, *features])
    gaps = max(((typed[name].null_count(), name) for name in features), default=(0, ""))
    emptiest = f"; or leave out `{gaps[1]}`, which is empty in {gaps[0]} rows" if 2 * gaps[0] > len(typed) else ""
    split, counts = _split(whole, target, time, entity, path, emptiest)
    shares = (
        whole.group_by(pl.col(target).alias("class"))
        .agg(pl.len().alias("rows"))
        .sort(["rows", "class"], descending=[True, False])
    )
    days = whole[time].dt.date().unique().sort().to_list()
    folder = Path(path).parent.resolve().relative_to(root.resolve()).as_posix()
    return Table(
        name=path.stem,
        columns=tuple(_column(typed[name], feature=name in features) for name in typed.columns),
        target=target,
        time=time,
        entity=entity,
        classes=classes,
        key=not typed.select(*entity, time).is_duplicated().any(),
        min_rows=max(2, min(len(typed) // 2, MOST)),
        max_age_days=max(3, 2 * max((later - day).days for day, later in pairwise(days))),
        days=split.days,
        unseen=split.unseen,
        validation=split.validation,
        least_rows=(max(2, counts["test_time"] // 2), max(2, counts["test_unseen"] // 2)),
        least_top_1=math.floor(100 * shares["rows"][0] / len(whole)) / 100,
        source=f"file:{folder}",
        seen=path.name,
        rows=len(typed),
        most_frequent=str(shares["class"].cast(pl.String)[0]),
        prior=shares["rows"][0] / len(whole),
        remarks=tuple(_remarks(rows, typed, features, roles, len(whole), shares["rows"][0] / len(whole))),
    )


def _remarks(
    rows: pl.DataFrame, typed: pl.DataFrame, features: Sequence[str], roles: Sequence[str], complete: int, prior: float
) -> Iterator[str]:
    """What the file says that nobody may have meant."""
    yield f"features: {', '.join(features)}; {complete:,} of {len(typed):,} rows have a value in each"
    for name in (name for name in typed.columns if name not in {*features, *roles}):
        kind = (
            "empty" if typed[name].null_count() == len(typed) else {"String": "text"}.get(_kind(typed[name]), "a date")
        )
        yield f"`{name}` is {kind}, so it is kept and is no feature{_nearly(rows[name]) if kind == 'text' else ''}"
    for name in features:
        values = typed[name].drop_nulls()
        if values.dtype == pl.Int64 and len(values) == len(typed) == values.n_unique():
            yield f"`{name}` is a feature, and another number in every row: take it out of the contract if it only counts them"
        elif values.n_unique() == 1:
            yield f"`{name}` is a feature, and `{values[0]}` in every row: nothing can be learned from it"
    if prior >= RARE:
        yield f"one class is {prior:.1%} of the rows: a first model must be right more often than that (models/gates.py)"


def _nearly(found: pl.Series) -> str:
    """Of text that is mostly numbers, the first value that is none."""
    values = found.drop_nulls()
    numbers = values.str.contains(DECIMAL)
    if 2 * numbers.sum() <= len(values) or numbers.all():
        return ""
    return f": {numbers.sum():,} of its {len(values):,} values are numbers, and `{values.filter(~numbers)[0][:LONG]}` is none"


def _require_place(root: Path, path: Path) -> None:
    try:
        there = path.is_file()
    except OSError:  # its name is longer than a name can be, or a folder on the way is not ours to enter
        there = False
    if not there:
        raise WrongUse(f"there is no file {path}", where="--csv", do="name a CSV file in the project")
    if path.suffix != ".csv" or not FILE.fullmatch(path.stem):
        what = f"`{path.name}` cannot be the name of a table with .csv behind it"
        raise WrongUse(what, where=path, do="call the file by letters, digits, _ and -, as in churn.csv")
    if not path.parent.resolve().is_relative_to(root.resolve()):
        what = f"{path} lies outside of the project, where no one else would find it"
        raise WrongUse(what, where="--csv", do=f"put it into a folder of the project, as data/{path.name}")
    folder = path.parent.resolve().relative_to(root.resolve()).as_posix()
    if len(literal(folder)) > FOLDER:
        what = f"the folder of {path.name} has a name of {len(literal(folder))} characters, and {FOLDER} are the most"
        raise WrongUse(what, where=path, do=f"put it where the way is shorter, as data/{path.name}")
    if path.with_suffix(".parquet").exists():
        what = f"beside {path.name} lies {path.stem}.parquet, and a run would read that one"
        raise WrongUse(what, where=path, do="leave one of them in the folder")


def _read(path: Path) -> pl.DataFrame:
    """As `fetch_data` reads it: all of it text, of which the contract says what it means."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file)
            header = next(lines, [])
            uneven = next(((lines.line_num, len(line)) for line in lines if len(line) != len(header)), None)
    except UnicodeDecodeError as error:
        what, do = (
            f"{path.name} is not UTF-8, by its byte {error.start}",
            "save it as UTF-8 (spreadsheets: `CSV UTF-8`)",
        )
        raise WrongUse(what, where=path, do=do) from error
    except (OSError, csv.Error) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise WrongUse(
            f"{path.name} cannot be read: {why}", where=path, do="let it be read, or write it anew"
        ) from error
    if not any(header):
        raise WrongUse(f"{path.name} is empty", where=path, do="write a header and rows into it")
    for name in header:
        if not NAME.fullmatch(name):
            raise _unnamed(name, header, path)
    if doubled := [name for name in header if header.count(name) > 1]:
        what = f"two columns of {path.name} are called `{doubled[0]}`"
        raise WrongUse(what, where=f"{path}, line 1", do="give each column a name of its own")
    if uneven:
        what = f"a row of {path.name} has {uneven[1]} fields, and the header has {len(header)}"
        raise WrongUse(what, where=f"{path}, line {uneven[0]}", do="complete the row, or take it out")
    try:
        rows = pl.read_csv(path, infer_schema=False, null_values="", glob=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        line = str(error).strip().splitlines()[0]
        raise WrongUse(f"{path.name} cannot be read: {line}", where=path, do="write it anew, whole") from error
    if rows.is_empty():
        raise WrongUse(f"{path.name} has a header and no rows", where=path, do="write rows into it")
    return rows


def _unnamed(name: str, header: Sequence[str], path: Path) -> WrongUse:
    if len(header) == 1 and (found := re.search(r"[;\t|]", name)):
        what = f"the columns of {path.name} are parted by {found[0]!r}"
        return WrongUse(what, where=f"{path}, line 1", do="write it with commas between them")
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    near = re.sub(r"\W+", "_", plain, flags=re.ASCII).strip("_")[:63]
    do = f"call it `{near}`" if NAME.fullmatch(near) else "call it by a-z, A-Z, 0-9 and _, with a letter first"
    return WrongUse(
        f"`{name}` can be no column's name: the graph's inputs are called so", where=f"{path}, line 1", do=do
    )


def _typed(found: pl.Series, path: Path) -> pl.Series:
    """Of the type that every value has which is not empty; `fetch_data` makes the same of the same text."""
    values = found.drop_nulls()
    words = values.str.to_lowercase()
    if values.is_empty():
        return found
    if words.is_in(["true", "false"]).all():
        return found.str.to_lowercase() == "true"
    for pattern, kind in ((NUMBER, pl.Int64), (DECIMAL, pl.Float64)):
        numbers = values.str.contains(pattern)
        if numbers.any() and (numbers | words.is_in(NOTHING)).all() and not numbers.all():
            mark = values.filter(~numbers)[0]
            what = f"`{found.name}` holds numbers, and `{mark}`, which is none"
            raise WrongUse(what, where=path, do="leave the field empty where nothing is known")
        cast = found.cast(kind, strict=False)
        if numbers.all():  # with more digits than a number has, it is a code
            exact = kind != pl.Int64 or cast.is_between(-EXACT, EXACT).all()
            return cast if exact and cast.null_count() == found.null_count() else found
    moments = _moments(found) if values.str.contains(ISO).all() else found
    return moments if moments.dtype == pl.Datetime("us") and moments.null_count() == found.null_count() else found


def _moments(found: pl.Series) -> pl.Series:
    try:
        return found.str.to_datetime(time_unit="us", strict=False)
    except pl.exceptions.PolarsError:  # none of them is a moment
        return found


def _kind(values: pl.Series) -> str:
    return str(values.dtype.base_type())


def _column(values: pl.Series, *, feature: bool) -> Column:
    limits: dict[str, Any] = {}
    if feature and values.dtype != pl.Boolean:
        limits = {"low": values.min(), "high": values.max()}
    nullable = values.null_count() > 0
    return Column(name=values.name, kind=_kind(values), feature=feature, nullable=nullable, **limits)


def _require_time(found: pl.Series, typed: pl.Series, path: Path) -> None:
    if typed.dtype == pl.Datetime("us"):
        return
    known = found.drop_nulls()
    wrong = known.filter(
        ~known.str.contains(ISO) | known.str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False).is_null()
    )
    if known.is_empty():
        shown = "is empty in every row"
    else:
        shown = (
            f"holds `{wrong[0]}`, which is no date" if len(wrong) else "holds dates of several kinds, or with a zone"
        )
    raise WrongUse(f"`{found.name}` {shown}", where=f"{path}, --time", do="write dates as in 2024-01-31")


def _classes(values: pl.Series, path: Path) -> tuple[str, ...]:
    """The target's values as text, in the order in which `prepare_data` numbers them."""
    name, where = values.name, f"{path}, --target"
    known = values.drop_nulls()
    if isinstance(known.dtype, pl.Datetime) or (known.dtype == pl.Float64 and (known % 1 != 0).any()):
        shown = "dates" if isinstance(known.dtype, pl.Datetime) else f"fractions, as {known.filter(known % 1 != 0)[0]}"
        what = f"`{name}` holds {shown}, and a class is text, true or false, or a whole number"
        raise WrongUse(what, where=where, do="add a column that says which class a row belongs to")
    classes = known.cast(pl.String).unique().sort().to_list()
    if len(classes) < 2:
        what = f"`{name}` is {f'`{classes[0]}` in every row' if classes else 'empty in every row'}"
        raise WrongUse(what, where=where, do="there must be two classes or more to be told apart")
    if len(classes) > CLASSES:
        what = f"`{name}` has {len(classes)} different values, and a model tells apart {CLASSES} classes at most"
        raise WrongUse(what, where=where, do="name another column, or put its values into groups")
    if long := [text for text in classes if len(literal(text)) > LONG]:
        what = f"`{name}` holds text that is no name of a class, as `{long[0][:LONG]}…`"
        raise WrongUse(what, where=where, do=f"a class is called by {LONG} characters at most")
    return tuple(classes)


def _split(
    whole: pl.DataFrame, target: str, time: str, entity: Sequence[str], path: Path, emptiest: str
) -> tuple[Split, dict[str, int]]:
    """The first split, from the usual one on, by which every part has rows, and the rows of each part."""
    days = whole.group_by(whole[time].dt.date().alias("day")).len().sort("day", descending=True)
    if len(days) < 2:
        found = f"its rows with a value in every feature are of {len(days)} day(s)"
        do = f"rows of two days or more are needed, as a model is judged by the newest{emptiest}"
        raise WrongUse(f"{path.name} is too little to learn from: {found}", where=f"{path}, --time", do=do)
    newest = int((days["len"].cum_sum() < len(whole) / 10).sum()) + 1
    rows = with_entity(whole.select(*entity, time, target), entity)
    possible: list[tuple[Split, dict[str, int]]] = []
    for unseen, validation in product(SHARES, SHARES):
        split = Split(days=max(1, min(newest, len(days) // 2)), unseen=unseen, validation=validation)
        known = _learnable(parted(rows, time, split), target)
        counts = dict.fromkeys(PARTS, 0) | dict(known["part"].value_counts().iter_rows())
        if min(counts.values()) >= ENOUGH:
            return split, counts
        if min(counts.values()) >= FEWEST:
            possible.append((split, counts))
    if not possible:
        what = f"{path.name} is too little to be parted into rows to learn from and rows to judge by"
        do = f"{len(whole)} rows of {rows[ENTITY].n_unique()} things have a value in every feature: add more of both"
        raise WrongUse(what, where=path, do=f"{do}{emptiest}")
    return max(possible, key=lambda one: min(one[1].values()))


def _learnable(rows: pl.DataFrame, target: str) -> pl.DataFrame:
    """Those whose class is in the training, as `prepare_data` drops the others; none where it has only one."""
    classes = rows.filter(pl.col("part") == "train")[target].unique()
    return rows.filter(pl.col(target).is_in(classes.implode())) if len(classes) > 1 else rows.clear()
