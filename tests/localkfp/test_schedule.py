from __future__ import annotations

import re

import pytest

from localkfp.schedule import Schedule

THURSDAY = "2026-01-01T12:30:15.500000Z"


def at(text: str) -> str:
    day, _, time = text.partition(" ")
    return f"{day}T{time or '00:00:00'}.000000Z"


def ticks(schedule: Schedule, since: str, count: int) -> list[str]:
    found: list[str] = []
    tick = schedule.after(since)
    while tick and len(found) < count:
        found.append(tick[:19].replace("T", " "))
        tick = schedule.after(tick)
    return found


def cron(text: str, **span: str) -> Schedule:
    return Schedule.of({"cron_schedule": {"cron": text, **span}})


def every(seconds: int, **span: str) -> Schedule:
    return Schedule.of({"periodic_schedule": {"interval_second": seconds, **span}})


@pytest.mark.parametrize(
    ("text", "first", "second"),
    [
        ("0 0 9 ? * 2-6", "2026-01-02 09:00:00", "2026-01-03 09:00:00"),
        ("0 0 9 ? * mon-FRI", "2026-01-02 09:00:00", "2026-01-05 09:00:00"),
        ("? 5/15 * * * *", "2026-01-01 12:35:00", "2026-01-01 12:35:01"),
        ("*/20 * * * * *", "2026-01-01 12:30:20", "2026-01-01 12:30:40"),
        ("0,30 59 23 31 dec *", "2026-12-31 23:59:00", "2026-12-31 23:59:30"),
        ("0 0 0 29 2 *", "2028-02-29 00:00:00", "2032-02-29 00:00:00"),
        ("0 0 0 13 * 5", "2026-01-02 00:00:00", "2026-01-09 00:00:00"),  # the 13th, or a Friday
        ("@daily", "2026-01-02 00:00:00", "2026-01-03 00:00:00"),
        ("@weekly", "2026-01-04 00:00:00", "2026-01-11 00:00:00"),
        ("@yearly", "2027-01-01 00:00:00", "2028-01-01 00:00:00"),
        ("@every 1h30m", "2026-01-01 14:00:15", "2026-01-01 15:30:15"),
        ("@every 90s", "2026-01-01 12:31:45", "2026-01-01 12:33:15"),
    ],
)
def test_a_cron_expression_says_when_in_utc_seconds_first(text, first, second):
    assert ticks(cron(text), THURSDAY, 2) == [first, second]


@pytest.mark.parametrize(
    "text",
    [
        *("", "*/5 * * * *", "* * * * * * 2026", "60 * * * * *", "0 0 0 0 * *", "*/0 * * * * *", "*/-1 * * * * *"),
        *("0 0 0 ? * 7", "0 0 0 ? * 1,7", "0 0 0 L * ?", "0 0 0 15W * ?", "0 0 0 ? * 5#3", "0 0 0 ? JANUARY ?"),
        *("1-2-3 * * * * *", "1/2/3 * * * * *", "H * * * * *", "R * * * * *", "0-99999999999 * * * * *", "- * * * * *"),
        *("@reboot", "@every soon", "² * * * * *"),
    ],
)
def test_what_the_servers_parser_does_not_read_is_refused(text):
    refused = re.escape("Schedule cron is not a supported format(https://godoc.org/github.com/robfig/cron). Error: ")

    with pytest.raises(ValueError, match=f"^{refused}{re.escape(text)}"):
        cron(text)


@pytest.mark.parametrize("make", [lambda: every(0), lambda: every(-1), lambda: cron("@every 0s")])
def test_an_interval_is_a_second_at_least(make):
    with pytest.raises(ValueError, match="Set at interval to least 1 second"):
        make()


@pytest.mark.parametrize("trigger", [{}, {"cron_schedule": {"cron": "@daily"}, "periodic_schedule": {}}])
def test_a_trigger_is_of_one_kind(trigger):
    with pytest.raises(ValueError, match="either a cron_schedule or a periodic_schedule"):
        Schedule.of(trigger)


def test_the_first_tick_of_an_interval_is_one_interval_after_its_start():
    schedule = every(60, start_time=at("2026-01-01 10:00:00"))

    assert ticks(schedule, at("2025-12-01"), 2) == ["2026-01-01 10:01:00", "2026-01-01 10:02:00"]


@pytest.mark.parametrize("schedule", [every, lambda seconds, **span: cron(f"*/{seconds} * * * * *", **span)])
def test_the_end_is_the_last_moment_for_a_tick(schedule):
    ending = schedule(30, end_time=at("2026-01-01 00:01:00"))

    assert ticks(ending, at("2026-01-01"), 9) == ["2026-01-01 00:00:30", "2026-01-01 00:01:00"]
    assert ending.latest(at("2026-01-01 00:00:30"), at("2026-01-02")) == at("2026-01-01 00:01:00")


@pytest.mark.parametrize(
    ("schedule", "since"),
    [(every(2**62), "2026-01-01"), (cron("@yearly"), "9999-12-31"), (cron("0 0 0 30 2 *"), "2026-01-01")],
)
def test_a_tick_that_never_comes_is_none(schedule, since):
    assert schedule.after(at(since)) is None


@pytest.mark.parametrize("schedule", [every(60), cron("0 * * * * *")])
def test_time_begins_with_the_year_1(schedule):
    first = schedule.after(at("0001-01-01"))

    assert first == at("0001-01-01 00:01:00")
    assert schedule.latest(first, THURSDAY) == at("2026-01-01 12:30:00")


@pytest.mark.parametrize("schedule", [every(60), cron("0 * * * * *"), cron("@every 1m")])
@pytest.mark.parametrize(
    ("now", "latest"),
    [
        ("2026-01-01 00:00:59", "2026-01-01 00:00:00"),
        ("2026-01-01 00:01:00", "2026-01-01 00:01:00"),
        ("2026-07-01 08:15:59", "2026-07-01 08:15:00"),
    ],
)
def test_the_latest_tick_is_the_last_one_until_now(schedule, now, latest):
    assert schedule.latest(at("2026-01-01"), at(now)) == at(latest)
