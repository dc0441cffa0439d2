"""The tables come from wherever they are, as Parquet, with the hash of what they say.

The hash is of the content, column by column, and not of a file: the same rows as CSV or as Parquet, written by any version of any
library, are the same data version.
"""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import polars as pl

from components.errors import StepError
from models import Model
from models.contract import Contract
from storage import objects

FORMATS = (".parquet", ".csv")
SYNTHETIC = "synthetic:"
TODAY = "today"
_ROWS_A_GROUP = 65_536


@dataclass(frozen=True, kw_only=True)
class FetchedTable:
    """One table as it was found and as it was written; `ignored` are columns that the contract does not name."""

    name: str
    url: str
    rows: int
    columns: list[str]
    ignored: list[str]
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """All tables of one contract; `data_version` is the SHA-256 over the tables' own."""

    source: str
    as_of: str
    data_version: str
    tables: list[FetchedTable]
    dropped_after_as_of: int


def fetch(source: str, folder: Path, model: Model, as_of: str = "") -> Fetched:
    """Write `<table>.parquet` into `folder` for each table of the model's contract.

    `source` is the URL of a folder (any scheme of fsspec) that holds each table as `.parquet` or `.csv`, or `synthetic:?days=30`,
    whose query are options of the model's own generator. Rows after the day `as_of` (ISO, or `today`) are left out;
    "" keeps all, and then nobody asks how old the newest row is.

    Raises:
        StepError: a table is not there, cannot be read, or `as_of` is no date.
    """
    if not source.strip():
        raise StepError(
            "`source` is empty", where="parameter source", do="give it the URL of a folder, or `synthetic:?days=7`"
        )
    last_day = day(as_of)
    as_of = last_day.isoformat() if last_day else ""
    folder.mkdir(parents=True, exist_ok=True)
    contract, tables, dropped = model.CONTRACT, [], 0
    # Beside the target, so on the same disk: all tables appear at the end, or none.
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        if source.startswith(SYNTHETIC):
            _generate(source, Path(scratch) / "synthetic", model)
        origin = str(Path(scratch) / "synthetic") if source.startswith(SYNTHETIC) else source
        urls = {name: _find(origin, name) for name in contract.tables}
        for name, url in urls.items():
            found = _read(url, Path(scratch))
            rows = _typed(found, contract, name)
            if (
                last_day
                and name == contract.rows
                and contract.time in rows.columns
                and rows.schema[contract.time].is_temporal()
            ):
                later = pl.col(contract.time).dt.date() > last_day
                kept = rows.filter(~later.fill_null(False))  # a row without a time is for the validation to show
                dropped += len(rows) - len(kept)
                rows = kept
            path = Path(scratch) / f"{name}.done"
            rows.write_parquet(path, row_group_size=_ROWS_A_GROUP)
            shown = url.replace(origin, source) if source.startswith(SYNTHETIC) else url
            ignored = [column for column in found.columns if column not in rows.columns]
            tables.append(
                FetchedTable(
                    name=name,
                    url=shown,
                    rows=len(rows),
                    columns=rows.columns,
                    ignored=ignored,
                    bytes=path.stat().st_size,
                    sha256=content_sha256(rows),
                )
            )
        for name in urls:
            (Path(scratch) / f"{name}.done").replace(folder / f"{name}.parquet")
    version = hashlib.sha256("\n".join(f"{table.name} {table.sha256}" for table in tables).encode()).hexdigest()
    return Fetched(source=source, as_of=as_of, data_version=version, tables=tables, dropped_after_as_of=dropped)


def day(text: str) -> date | None:
    """That ISO date, or `today`; "" is none."""
    try:
        if text == TODAY:
            return date.today()
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise StepError(
            f"`as_of` is no date: `{text}`", where="parameter as_of", do="write it as 2024-08-26, or `today`"
        ) from None


def content_sha256(rows: pl.DataFrame) -> str:
    """SHA-256 of names, types, nulls and values in their order; the same whatever file they came in."""
    digest = hashlib.sha256()
    for column in rows.iter_columns():
        digest.update(f"{column.name}\x1f{column.dtype.base_type().__name__}\x1f{len(column)}\x1e".encode())
        for start in range(0, len(column), _ROWS_A_GROUP):
            part = column.slice(start, _ROWS_A_GROUP)
            digest.update(part.is_null().to_numpy().tobytes())
            if part.dtype == pl.String:
                texts = part.fill_null("")
                digest.update(texts.str.len_bytes().cast(pl.Int64).to_numpy().tobytes())
                digest.update("".join(texts).encode())
            elif part.dtype.is_nested() or part.dtype in (pl.Binary, pl.Object):
                digest.update(str(part.to_list()).encode())  # no type of a contract; the validation will say so
            else:
                numbers = part.to_physical()
                digest.update(numbers.fill_null(False if numbers.dtype == pl.Boolean else 0).to_numpy().tobytes())
    return digest.hexdigest()


def _generate(source: str, folder: Path, model: Model) -> None:
    options: dict[str, Any] = dict(parse_qsl(source[len(SYNTHETIC) :].lstrip("?"), keep_blank_values=True))
    folder.mkdir(parents=True)
    try:
        model.generate(folder, **options)
    except (TypeError, ValueError) as error:  # an option that the generator does not know, or cannot read
        raise StepError(
            f"the generator refuses: {error}", where=source, do="write options as `synthetic:?days=30&seed=7`"
        ) from error


def _find(source: str, table: str) -> str:
    urls = [objects.join(source, table + suffix) for suffix in FORMATS]
    for url in urls:
        if objects.exists(url):
            return url
    there = ", ".join(objects.names(source)) or "nothing"
    raise StepError(
        f"table `{table}` is not there: neither {' nor '.join(table + suffix for suffix in FORMATS)} (found: {there})",
        where=source,
        do="give `source` the URL of a folder that holds every table of the contract",
    )


def _read(url: str, scratch: Path) -> pl.DataFrame:
    local = scratch / url.rsplit("/", 1)[-1]
    objects.download(url, local)
    try:
        if local.suffix == ".csv":
            return pl.read_csv(
                local, infer_schema=False, null_values=""
            )  # types are the contract's; `""` is empty, too
        return pl.read_parquet(local)
    except (pl.exceptions.PolarsError, OSError) as error:
        line = str(error).strip().splitlines()[0]
        raise StepError(
            f"cannot be read as {local.suffix[1:]}: {line}", where=url, do="write the file anew, whole"
        ) from error


def _typed(rows: pl.DataFrame, contract: Contract, table: str) -> pl.DataFrame:
    """The contract's columns in its order, each of its type where every value can be; a column that cannot is left as found.

    So a wrong value is seen by the validation, with its row, and not by this step's crash.
    """
    columns = []
    for name, column in contract.tables[table].columns.items():
        if name not in rows.columns:
            continue
        found, wanted = rows[name], column.dtype.type
        columns.append(_cast(found, wanted) if found.dtype != wanted else found)
    return pl.DataFrame(columns)


def _cast(found: pl.Series, wanted: Any) -> pl.Series:
    try:
        if found.dtype == pl.String and wanted == pl.Boolean:
            cast = found.str.to_lowercase().replace_strict(
                {"true": True, "false": False, "1": True, "0": False}, default=None
            )
            cast = cast.cast(pl.Boolean)
        elif isinstance(wanted, pl.Datetime):
            cast = _moments(found)
        else:
            cast = found.cast(wanted, strict=False)
        lossless = cast.dtype == wanted and cast.null_count() == found.null_count() and _same(found, cast)
    except pl.exceptions.PolarsError:
        return found
    return cast if lossless else found


def _moments(found: pl.Series) -> pl.Series:
    """Texts that begin with an ISO date, dates, and moments by the clock of their own zone; anything else is left as found.

    08/06/2024 is a day in June or in August, and a plain number a day since nobody knows when: neither is guessed.
    """
    if found.dtype == pl.String and found.str.contains(r"^\d{4}-\d{2}-\d{2}([T ]|$)").all():
        return found.str.to_datetime(time_unit="us", strict=False)
    if isinstance(found.dtype, pl.Datetime):
        return found.dt.replace_time_zone(None).dt.cast_time_unit("us")
    return found.cast(pl.Datetime("us")) if found.dtype == pl.Date else found


def _same(found: pl.Series, cast: pl.Series) -> bool:
    """A fraction cut off on the way to a whole number, or a 2 that became true, is a loss that no null shows."""
    if found.dtype.is_numeric() and (cast.dtype.is_integer() or cast.dtype == pl.Boolean):
        return bool((found.drop_nulls() == cast.drop_nulls().cast(found.dtype)).all())
    return True
