"""Event times: when what a record tells of happened, as its sender writes it."""

from datetime import UTC, date, datetime
from typing import Any

from clozekit.tokenizers.common.errors import InputError

# A wrong clock would move the watermark, and everything after it would be late.
_MAX_AHEAD_SECONDS = 86_400
# A number below it is one of seconds (until the year 5138), from it on one of milliseconds (since 1973).
_FIRST_MILLISECONDS = 10**11


def event_time(value: Any, key: str) -> int | None:
    """Milliseconds since 1970 of ISO 8601 (without a zone: UTC), of a number of seconds or milliseconds since 1970, or of a date
    or time as Parquet has it; None for None and an empty text.

    Raises InputError naming the key for anything else.
    """
    if value is None or value == "" or value == b"":
        return None
    try:
        if isinstance(value, bytes):
            value = value.decode("utf-8")
        if isinstance(value, str) and not _is_number(value):
            value = datetime.fromisoformat(value.strip())
        if isinstance(value, date):
            moment = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)
            moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
            return round(moment.timestamp() * 1000)
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            number = float(value)
            time = round(number if abs(number) >= _FIRST_MILLISECONDS else number * 1000)
            _told(time)
            return time
        raise ValueError(f"a {type(value).__name__}")
    except (ValueError, OverflowError, OSError) as error:
        raise InputError(
            f"an event time must be ISO 8601, or seconds or milliseconds since 1970, {key!r} is {value!r:.60} ({error});"
            " correct it, or set source.time_key"
        ) from error


def check_not_ahead(time: int, now: float) -> None:
    """Raises InputError for an event time, in milliseconds, that is more than a day after now, in seconds since 1970."""
    if time > (now + _MAX_AHEAD_SECONDS) * 1000:
        raise InputError(
            f"an event time may be a day ahead of the clock, it is {_told(time)}; correct the clock of its sender"
        )


def _is_number(text: str) -> bool:
    """Eight digits are the date of a day."""
    digits = text.strip().removeprefix("-").replace(".", "", 1)
    return digits.isascii() and digits.isdigit() and len(digits) != 8


def _told(time: int) -> str:
    """Raises ValueError or OverflowError for a time in no year from 1 to 9999."""
    return datetime.fromtimestamp(time / 1000, UTC).isoformat()
