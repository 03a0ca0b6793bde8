"""Time zones by their IANA name, from the system's data or from the `tzdata` package."""

from __future__ import annotations

from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from attrs import frozen

from pg_trio.config.bounds import show


def find_zone(name: str) -> tzinfo:
    """The zone of that name. UTC needs no data. Raises: ValueError, which says what is missing."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    # An OSError: the name is a folder of the data (`America`), or too long for a file's name.
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        if available_timezones():
            raise ValueError(f"{show(name)} is not the IANA name of a time zone, as Europe/Berlin is") from exc
        raise ValueError(
            f"{show(name)} cannot be looked up: there is no time zone data; install the system's tzdata package,"
            " or `pip install tzdata`"
        ) from exc


@frozen(slots=True)
class TimeZone:
    """The IANA name of a time zone that can be found here."""

    def check(self, value: object) -> None:
        assert isinstance(value, str)
        find_zone(value)

    def __str__(self) -> str:
        return "IANA name"
