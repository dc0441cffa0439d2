from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Iterator

import pytest

from localkfp.errors import ApiError
from localkfp.listing import listed, populated, select

FIELDS = {"id": "thing_id", "name": "name", "created_at": "created_at", "finished_at": "finished_at", "tags.": "tags"}
UNFIT: list[dict[str, object]] = [
    {"operation": "LIKE", "key": "name", "string_value": "a"},
    {"operation": 4, "key": "name", "string_value": "a"},
    {"key": "name", "string_value": "a"},
    {"operation": "EQUALS", "key": "name"},
    {"operation": "EQUALS", "key": "name", "string_value": "a", "int_value": 1},
    {"operation": "EQUALS", "key": "name", "string_values": {"values": ["a"]}},
    {"operation": "IN", "key": "name", "string_value": "a"},
]
NAMES = ["Anna", "bert", "100% Cäsar", "it's", 'say "D"', "+"]


class Things:
    """A table of things: the n-th came into being at second n."""

    def __init__(self) -> None:
        self.db = sqlite3.connect(":memory:")
        self.db.row_factory = sqlite3.Row
        self.db.execute("create table things (thing_id, name, created_at, finished_at, tags, shelf)")

    def add(self, name: str, second: int, *, shelf: str = "a", finished_at: str | None = None, **tags: str) -> None:
        row = (f"id-{name}", name, at(second), finished_at, json.dumps(tags), shelf)
        self.db.execute("insert into things values (?, ?, ?, ?, ?, ?)", row)

    def page(self, shelf: str = "a", **query: str) -> tuple[list[str], int, str]:
        sql = "select thing_id, name, created_at, finished_at, tags from things where shelf = :shelf"
        found = select(self.db, sql, key="thing_id", fields=FIELDS, query=query, values={"shelf": shelf})
        return [row["name"] for row in found.rows], found.total_size, found.next_page_token

    def names(self, *predicates: dict[str, object]) -> list[str]:
        return self.page(filter=where(*predicates))[0]

    def refusal(self, **query: str) -> str:
        with pytest.raises(ApiError) as refused:
            self.page(**query)
        assert refused.value.code.http == 400
        return refused.value.chain


def at(second: int) -> str:
    return f"2026-01-01T00:00:{second:02}.000000Z"


def where(*predicates: dict[str, object]) -> str:
    return json.dumps({"predicates": predicates})


def is_(operation: str | int, key: str, **value: object) -> dict[str, object]:
    return {"operation": operation, "key": key, **value}


@pytest.fixture
def things() -> Iterator[Things]:
    made = Things()
    yield made
    made.db.close()


@pytest.fixture
def named(things: Things) -> Things:
    for second, name in enumerate(NAMES):
        things.add(name, second)
    return things


# Pages


def test_pages_follow_one_another_to_the_end_and_each_counts_all(things):
    for second in range(5):
        things.add(str(second), second)
    things.add("elsewhere", 9, shelf="b")

    first, total, token = things.page(page_size="2")
    second, _, last_token = things.page(page_size="2", page_token=token)
    third, _, end = things.page(page_size="2", page_token=last_token)

    assert (first, second, third) == (["0", "1"], ["2", "3"], ["4"])
    assert (total, end) == (5, "")


@pytest.mark.parametrize("sort_by", ["created_at", "created_at desc", "name", "name desc", "finished_at", "id desc"])
def test_rows_that_come_and_go_between_pages_neither_repeat_nor_hide_others(things, sort_by):
    for second in range(10, 20):
        things.add(str(second), second)
    seen, _, token = things.page(page_size="3", sort_by=sort_by)

    things.db.execute("delete from things where name = ?", (seen[-1],))
    for name in ("00", "99"):
        things.add(name, int(name) % 60)
    rest, _, _ = things.page(page_size="200", sort_by=sort_by, page_token=token)

    assert sorted({*seen, *rest} - {"00", "99"}) == [str(second) for second in range(10, 20)]
    assert set(seen) & set(rest) == set()


def test_rows_of_the_same_moment_are_each_on_one_page(things):
    for name in "cadbe":
        things.add(name, 0)

    seen, token = [], "start"
    while token:
        names, _, token = things.page(page_size="1", page_token="" if token == "start" else token)
        seen += names

    assert seen == list("abcde")


def test_the_usual_order_may_be_said_with_a_token_or_not(things):
    for name in "abc":
        things.add(name, 1)

    _, _, token = things.page(page_size="1")

    assert things.page(page_token=token, sort_by="created_at") == things.page(page_token=token)


def test_a_token_alone_keeps_order_and_filter(named):
    asked = {"sort_by": "NAME desc", "filter": where(is_("NOT_EQUALS", "name", string_value="bert"))}
    first, total, token = named.page(page_size="2", **asked)

    alone = named.page(page_size="9", page_token=token)

    assert first == ['say "D"', "it's"]
    assert alone == (["Anna", "100% Cäsar", "+"], 5, "")
    assert total == 5
    assert named.page(page_size="9", page_token=token, **asked) == alone


@pytest.mark.parametrize("other", [{"sort_by": "name"}, {"filter": where(is_("EQUALS", "name", string_value="a"))}])
def test_a_token_of_another_order_or_filter_is_refused(named, other):
    _, _, token = named.page(page_size="1")

    assert "page token does not match" in named.refusal(page_token=token, **other)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"sort_by": "name", "filter": "", "after": {}, "after_key": ""}',
        b'{"sort_by": 1, "filter": "", "after": "", "after_key": ""}',
    ],
)
def test_a_token_that_is_none_is_refused(things, content):
    token = base64.b64encode(content).decode() or "not base64"

    assert things.refusal(page_token=token) == "Invalid input error: Invalid package token"


def test_no_token_brings_sql_of_its_own(named):
    forged = {"sort_by": "name; drop table things", "filter": "", "after": "", "after_key": ""}

    said = named.refusal(page_token=base64.b64encode(json.dumps(forged).encode()).decode())

    assert "Received invalid sort by format" in said
    assert named.page()[1] == len(NAMES)


@pytest.mark.parametrize(("asked", "rows"), [("", 20), ("0", 20), ("1", 1), ("200", 200), ("201", 200)])
def test_a_page_has_20_rows_or_as_many_as_asked_up_to_200(things, asked, rows):
    for second in range(205):
        things.add(f"{second:03}", second % 60)

    assert len(things.page(page_size=asked)[0]) == rows


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"page_size": "-1"}, "The page size should be greater than 0. Got -1"),
        ({"page_size": "x"}, "The page size should be greater than 0. Got x"),
        ({"page_size": "²"}, "The page size should be greater than 0"),
        ({"page_size": "9" * 5000}, "The page size should be greater than 0"),
        ({"sort_by": "colour"}, 'Invalid sorting field: "colour" on listable type Thing'),
        ({"sort_by": "name up"}, 'Received invalid sort by format "name up"'),
        ({"sort_by": "name desc, id"}, "Received invalid sort by format"),
    ],
)
def test_a_page_that_cannot_be_made_is_refused(things, query, said):
    assert said in things.refusal(**query)


# Filters


@pytest.mark.parametrize("name", [name for name in NAMES if not set("%+") & set(name)])
def test_a_name_is_found_whatever_stands_in_it(named, name):
    assert named.names(is_("EQUALS", "name", string_value=name)) == [name]


@pytest.mark.parametrize(("written", "name"), [("100%25 Cäsar", "100% Cäsar"), ("%2B", "+"), ("it's", "it's")])
def test_a_filter_is_unquoted_once_more_than_http_does_as_on_the_server(named, written, name):
    assert named.names(is_("EQUALS", "name", string_value=written)) == [name]


@pytest.mark.parametrize(
    ("predicate", "found"),
    [
        (is_("EQUALS", "name", stringValue="BERT"), ["bert"]),
        (is_(1, "name", string_value="ANNA"), ["Anna"]),
        (is_("IS_SUBSTRING", "name", string_value="T"), ["bert", "it's"]),
        (is_("IS_SUBSTRING", "name", string_value="n_a"), []),
        (is_("IN", "name", stringValues={"values": ["ANNA", "it's", "nobody"]}), ["Anna", "it's"]),
        (is_("IN", "name", string_values={}), []),
        (is_("GREATER_THAN", "created_at", timestamp_value="2026-01-01T00:00:04Z"), ["+"]),
        (is_("LESS_THAN_EQUALS", "created_at", timestampValue="2025-12-31T22:00:01-02:00"), ["Anna", "bert"]),
        (is_("EQUALS", "finished_at", string_value=""), NAMES),
    ],
)
def test_a_predicate_finds_what_the_server_would(named, predicate, found):
    assert named.names(predicate) == found


def test_all_predicates_must_hold(named):
    later = is_("GREATER_THAN_EQUALS", "created_at", timestamp_value=at(2))

    assert named.names(later, is_("IS_SUBSTRING", "name", string_value="it")) == ["it's"]
    assert named.names(later, is_("EQUALS", "name", string_value="Anna")) == []


def test_a_row_is_found_by_a_tag(things):
    things.add("a", 0, team="red", **{'quo"te': "1"})
    things.add("b", 1, team="Red")
    things.add("c", 2)

    assert things.names(is_("EQUALS", "tags.team", string_value="red")) == ["a", "b"]
    assert things.names(is_("EQUALS", 'tags.quo"te', string_value="1")) == ["a"]


@pytest.mark.parametrize(
    ("filter_", "said"),
    [
        ("{", 'failed to parse valid filter from "{": this is no JSON'),
        ("[]", "failed to parse valid filter"),
        ('{"predicates": {}}', "failed to parse valid filter"),
        ('{"predicates": [1]}', "failed to parse valid filter"),
        (where(is_("EQUALS", "colour", string_value="red")), 'no support for filtering on unrecognized field "colour"'),
        (where(is_("EQUALS", "", string_value="a")), 'no support for filtering on unrecognized field ""'),
        (where(is_("EQUALS", "name", long_value=10**19)), "failed to parse valid filter"),
        *(
            (where(predicate), 'a predicate on "name" needs an operation, and one value that fits it')
            for predicate in UNFIT
        ),
    ],
)
def test_a_filter_that_cannot_be_read_is_refused(named, filter_, said):
    assert said in named.refusal(filter=filter_)


# Answers


def test_what_is_empty_is_left_out_of_an_answer():
    assert populated({"a": "", "b": 0, "c": [], "d": {}, "e": None, "f": False, "g": "x", "h": [0]}) == {
        "g": "x",
        "h": [0],
    }


def test_an_empty_list_is_an_empty_answer(things):
    found = select(things.db, "select * from things", key="thing_id", fields=FIELDS, query={}, values={})

    assert listed("things", [], found) == {}
