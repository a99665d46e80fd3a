"""The time as the queue writes it: whole microseconds since 1970, UTC."""

from __future__ import annotations

import datetime
import time

SECOND = 1_000_000


def now_micros() -> int:
    """Now, in microseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1_000


def utc_day(at: int) -> str:
    """The UTC date of a time in microseconds, as YYYY-MM-DD."""
    return datetime.datetime.fromtimestamp(at / SECOND, datetime.UTC).date().isoformat()


def iso_time(at: int) -> str:
    """A time in microseconds as ISO 8601, to the second."""
    return datetime.datetime.fromtimestamp(at // SECOND, datetime.UTC).isoformat().replace("+00:00", "Z")


def utc_time(micros: int) -> datetime.datetime:
    """A time in microseconds, exactly."""
    return datetime.datetime.fromtimestamp(0, datetime.UTC) + datetime.timedelta(microseconds=micros)
