"""When a recurring run is due: at times of a cron expression, or at intervals."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from croniter import croniter

from localkfp.database import moment
from localkfp.gateway import as_text

# Seconds first, and less than croniter reads: the server's parser knows no L, W, #, H or R, and no 7 for Sunday
NAMES = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|sun|mon|tue|wed|thu|fri|sat"
FIELD = rf"(?:[\d*?,/-]|{NAMES})+"
CRON = re.compile(
    rf"(?:{FIELD} +){{5}}(?!\S*7){FIELD}|@(?:yearly|annually|monthly|weekly|daily|midnight|hourly)",
    re.ASCII | re.IGNORECASE,
)
EVERY = re.compile(r"@every (?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?", re.ASCII)
SEARCHED_YEARS = 5  # as far ahead as the server looks: 30 February is never
LONGEST = 10**12  # seconds; what is longer never comes anyway, and Python could not count it
NO_END = "9999-12-31T23:59:59.999999Z"


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Ticks after `start` and until `end`; a time is a text as the database has it, so that it sorts by time."""

    start: str
    end: str
    interval: timedelta | None = None
    cron: str = ""

    @classmethod
    def of(cls, trigger: Mapping[str, Mapping[str, Any]]) -> Schedule:
        """Of a trigger as the API has it; ValueError says what is wrong with it."""
        if len(trigger) != 1:
            raise ValueError("a trigger is either a cron_schedule or a periodic_schedule")
        [(kind, given)] = trigger.items()
        start, end, cron = given.get("start_time", ""), given.get("end_time", NO_END), given.get("cron", "")
        if kind == "periodic_schedule":
            return cls(start=start, end=end, interval=_interval(int(given.get("interval_second", 0))))
        if every := EVERY.fullmatch(cron):
            hours, minutes, seconds = map(int, every.groups("0"))
            return cls(start=start, end=end, interval=_interval(hours * 3600 + minutes * 60 + seconds))
        cron = cron.replace("?", "*")
        if not (CRON.fullmatch(cron) and croniter.is_valid(cron, second_at_beginning=True)):
            supported = "(https://godoc.org/github.com/robfig/cron)"
            told = f"{given.get('cron')} is neither 6 fields, seconds first, nor one of @daily, @every 1h30m"
            raise ValueError(f"Schedule cron is not a supported format{supported}. Error: {told}")
        return cls(start=start, end=end, cron=cron)

    def after(self, tick: str) -> str | None:
        """The tick that follows; None where none does."""
        since = moment(max(tick, self.start))
        try:
            following = since + self.interval if self.interval else self._search(since).get_next(datetime)
        except (ValueError, OverflowError):  # no such day, or it is past the year 9999
            return None
        return as_text(following) if as_text(following) <= self.end else None

    def latest(self, tick: str, now: str) -> str:
        """The last tick until now, from the given one on: all that is left to do where none is caught up."""
        first, until = moment(tick), moment(min(now, self.end))
        if self.interval:
            return as_text(first + max(0, (until - first) // self.interval) * self.interval)
        try:
            return max(tick, as_text(self._search(until + timedelta(microseconds=1)).get_prev(datetime)))
        except (ValueError, OverflowError):
            return tick

    def _search(self, since: datetime) -> croniter:
        return croniter(self.cron, since, second_at_beginning=True, max_years_between_matches=SEARCHED_YEARS)


def seconds_until(tick: str, now: str) -> float:
    return (moment(tick) - moment(now)).total_seconds()


def _interval(seconds: int) -> timedelta:
    if seconds < 1:
        raise ValueError(f"Found invalid period schedule interval {seconds}. Set at interval to least 1 second")
    return timedelta(seconds=min(seconds, LONGEST))
