from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import TypeAdapter
from typing_extensions import TypedDict

from localkfp.errors import ApiError
from localkfp.gateway import Int64, Timestamp, read


class Url(TypedDict, total=False):
    pipeline_url: str


class Message(TypedDict, total=False):
    display_name: str
    max_concurrency: Int64
    start_time: Timestamp
    names: list[str]
    parameters: dict[str, Any]
    package_url: Url


MESSAGE = TypeAdapter(Message)


def test_fields_are_read_and_those_that_nobody_knows_left():
    given = {"display_name": "a", "package_url": {"pipeline_url": "u"}, "parameters": {"x": None}, "colour": "red"}

    assert read(json.dumps(given), MESSAGE) == {
        "display_name": "a",
        "package_url": {"pipeline_url": "u"},
        "parameters": {"x": None},
    }


@pytest.mark.parametrize("nothing", ["", " \n", "{}", '{"display_name": null, "package_url": null}'])
def test_null_and_an_empty_body_set_nothing(nothing):
    assert read(nothing, MESSAGE) == {}


def test_a_large_number_may_be_written_as_text():
    assert read('{"max_concurrency": "9007199254740993"}', MESSAGE) == {"max_concurrency": 9007199254740993}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("{", "this is no JSON"),
        (b"\xff", "this is no JSON"),
        ("[" * 100_000, "this is no JSON"),
        ('{"parameters": {"x": NaN}}', "this is no JSON"),
        ('{"parameters": {"x": 1e999}}', "this is no JSON"),
        ('{"display_name": "\\ud800"}', "this is no JSON"),
        ("[]", "should be a valid dictionary"),
        ('{"package_url": "u"}', "package_url: Input should be a valid dictionary"),
        ('{"display_name": 1}', "display_name: Input should be a valid string"),
        ('{"max_concurrency": "1.5"}', "max_concurrency: Input should be a valid integer"),
        ('{"max_concurrency": 9223372036854775808}', "max_concurrency: Input should be less than"),
        ('{"names": ["a", 1]}', "names.1: Input should be a valid string"),
        ('{"start_time": "noon"}', "start_time: Input should be a valid datetime"),
        ('{"start_time": "2026-01-02T03:04:05"}', "start_time: Input should have timezone info"),
        ('{"start_time": "0001-01-01T00:00:00+10:00"}', "start_time: "),
    ],
)
def test_what_has_another_type_is_refused_in_one_sentence_and_makes_no_mistake_of_ours(given, said):
    with pytest.raises(ApiError) as refused:
        read(given, MESSAGE)

    assert (refused.value.code.http, said in str(refused.value)) == (400, True), str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-02T03:04:05Z",
        "2026-01-02t03:04:05.000z",
        "2026-01-02T03:04:05.000000999Z",
        "2026-01-02T05:34:05+02:30",
        "2026-01-01T23:04:05.0-04:00",
    ],
)
def test_one_moment_is_written_one_way(text):
    assert read(json.dumps({"start_time": text}), MESSAGE) == {"start_time": "2026-01-02T03:04:05.000000Z"}
