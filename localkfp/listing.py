"""Every list is paged, sorted and filtered alike: a page ends at a row, so that a row which comes shifts none."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from pydantic import ConfigDict, TypeAdapter, with_config
from pydantic.alias_generators import to_camel
from typing_extensions import TypedDict

from localkfp.errors import ApiError, invalid
from localkfp.gateway import Int64, Timestamp, read

DEFAULT_PAGE, LARGEST_PAGE = 20, 200
# By number and by name: kfp.Client writes the one, people the other
OPERATIONS: dict[str | int, str] = {1: "=", 2: "<>", 3: ">", 5: ">=", 6: "<", 7: "<=", 8: "in", 9: "instr"}
OPERATIONS |= {"EQUALS": "=", "NOT_EQUALS": "<>", "IN": "in", "IS_SUBSTRING": "instr"}
OPERATIONS |= {"GREATER_THAN": ">", "GREATER_THAN_EQUALS": ">=", "LESS_THAN": "<", "LESS_THAN_EQUALS": "<="}
MISMATCH = "page token does not match the supplied sort by and/or filtering criteria"
COUNT = "select count(*) from ({sql}) where {where}"
PAGE = """
select *
  from ({sql})
 where {where}
   and (:after_key is null or ({sort}, {key}) {beyond} (:after, :after_key))
 order by {sort} {direction}, {key} {direction}
 limit :page_size + 1
"""


class Token(TypedDict):
    sort_by: str
    filter: str
    after: str | Int64
    after_key: str


class Several(TypedDict, total=False):
    values: list[str | Int64]


@with_config(ConfigDict(alias_generator=to_camel, validate_by_name=True))  # kfp.Client writes stringValue
class Predicate(TypedDict, total=False):
    operation: str | int
    key: str
    int_value: Int64
    int_values: Several
    long_value: Int64
    long_values: Several
    string_value: str
    string_values: Several
    timestamp_value: Timestamp


class Filter(TypedDict, total=False):
    predicates: list[Predicate]


TOKEN, FILTER = TypeAdapter(Token), TypeAdapter(Filter)


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One page of rows, of how many on all pages together, and where the next page begins ("" after the last)."""

    rows: list[sqlite3.Row]
    total_size: int
    next_page_token: str


def select(
    db: sqlite3.Connection,
    sql: str,
    *,
    key: str,
    fields: Mapping[str, str],
    query: Mapping[str, str],
    values: Mapping[str, Any],
) -> Listed:
    """A page of what `sql` selects, as the query's page_size, page_token, sort_by and filter ask for it."""
    token = _token(query.get("page_token", ""))
    unsaid = token or {"sort_by": "created_at", "filter": ""}
    asked = {name: query.get(name) or unsaid[name] for name in ("sort_by", "filter")}
    if any(token and asked[name] != token[name] for name in asked):
        raise invalid(MISMATCH)
    column, direction = _sort(asked["sort_by"], fields, key)

    page_size = _page_size(query.get("page_size") or "0")
    bound = {**values, "page_size": page_size, "after": token.get("after"), "after_key": token.get("after_key")}
    where = " and ".join(["true", *_conditions(asked["filter"], fields, bound)])
    sort, beyond = f"coalesce({column}, '')", "<" if direction == "desc" else ">"
    page = PAGE.format(sql=sql, where=where, sort=sort, key=key, beyond=beyond, direction=direction)
    rows = db.execute(page, bound).fetchall()
    [total] = db.execute(COUNT.format(sql=sql, where=where), bound).fetchone()

    next_page_token = ""
    if len(rows) > page_size:
        last = rows[page_size - 1]
        said = {**asked, "after": "" if last[column] is None else last[column], "after_key": last[key]}
        next_page_token = base64.b64encode(json.dumps(said).encode()).decode()
    return Listed(rows=rows[:page_size], total_size=total, next_page_token=next_page_token)


def listed(name: str, items: list[dict[str, Any]], found: Listed) -> dict[str, Any]:
    return populated({name: items, "total_size": found.total_size, "next_page_token": found.next_page_token})


def populated(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is empty: the server says nothing of a field that is not set."""
    return {name: value for name, value in fields.items() if value not in (None, "", 0, [], {})}


def _token(text: str) -> dict[str, Any]:
    try:
        return dict(read(base64.b64decode(text, validate=True), TOKEN)) if text else {}
    except (ValueError, ApiError):
        raise invalid("Invalid package token") from None


def _page_size(text: str) -> int:
    size = int(text) if text.isdecimal() and len(text) < 10 else -1
    if size < 0:
        raise invalid(f"The page size should be greater than 0. Got {text}")
    return min(size, LARGEST_PAGE) or DEFAULT_PAGE


def _sort(sort_by: str, fields: Mapping[str, str], key: str) -> tuple[str, str]:
    """The column to sort by, and which way."""
    match sort_by.lower().split():
        case [name] | [name, "asc"]:
            direction = "asc"
        case [name, "desc"]:
            direction = "desc"
        case _:
            raise invalid(f'Received invalid sort by format "{sort_by}"')
    if name not in fields:
        kind = key.removesuffix("_id").title().replace("_", "")
        raise invalid(f'Invalid sorting field: "{name}" on listable type {kind}')
    return fields[name], direction


def _conditions(filter_: str, fields: Mapping[str, str], bound: dict[str, Any]) -> Iterator[str]:
    """SQL of each predicate; its values are bound, and only names of our own stand in the text."""
    unquoted = unquote_plus(filter_)  # once more than HTTP does, as on the server
    try:
        predicates = read(unquoted, FILTER).get("predicates", [])
    except ApiError as error:
        raise invalid(f"failed to parse valid filter from {json.dumps(filter_)}: {error.message}") from None
    for number, predicate in enumerate(predicates):
        name, key = f"filter_{number}", predicate.get("key", "")
        operator = OPERATIONS.get(predicate.get("operation", ""))
        [value, *more] = [value for field, value in predicate.items() if "value" in field] or [None]
        if not operator or value is None or more or (operator == "in") != isinstance(value, dict):
            raise invalid(f'a predicate on "{key}" needs an operation, and one value that fits it')
        if key.startswith("tags.") and "tags." in fields:
            column, bound[f"{name}_key"] = f"(select value from json_each(tags) where key = :{name}_key)", key[5:]
        elif key in fields:
            column = fields[key]
        else:
            raise invalid(f'no support for filtering on unrecognized field "{key}"')
        column = f"coalesce({column}, '') collate nocase"  # without regard to case, as the server compares
        bound[name] = json.dumps(value.get("values", [])) if operator == "in" else value
        match operator:
            case "in":
                yield f"{column} in (select value from json_each(:{name}))"
            case "instr":
                yield f"instr(lower({column}), lower(:{name})) > 0"
            case _:
                yield f"{column} {operator} :{name}"
