"""What fills the slots of the guardrails' corpora: seeded, so that each run measures the same lines."""

from __future__ import annotations

import random
import re
import string
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

# fmt: off
WORDS = (
    "widget", "parser", "relay", "ledger", "garden", "copper", "harbour", "lantern", "matrix",
    "pepper", "planet", "rocket", "silver", "timber", "velvet", "window", "yellow", "zephyr",
    "backend", "worker", "scheduler", "cache", "queue", "router", "mailer",
)
# fmt: on
_SLOT = re.compile(r"\{([a-z0-9-]+)\}")
_START = datetime(2019, 1, 1, tzinfo=UTC)
_DAYS = 2600


def fill(template: str, rng: random.Random, personal: dict[str, Callable[[random.Random], str]] | None = None) -> str:
    """The template with every slot filled; `\\n` in it is a line's end."""

    def _fill(found: re.Match[str]) -> str:
        name = found[1]
        if personal is not None and name in personal:
            return personal[name](rng)
        return _value(name, rng, found[0])

    return _SLOT.sub(_fill, template.replace("\\n", "\n"))


def digits(count: int, rng: random.Random) -> str:
    """So many digits; the first is no 0."""
    return str(rng.randint(1, 9)) + "".join(rng.choices(string.digits, k=count - 1))


def with_luhn(body: str) -> str:
    """The digits with their check digit by Luhn's formula."""
    total = 0
    for index, digit in enumerate(reversed(body)):
        doubled = int(digit) * (2 - index % 2)
        total += doubled - 9 if doubled > 9 else doubled
    return body + str(-total % 10)


def _with_ean(body: str) -> str:
    total = sum(int(digit) * (3 - 2 * (index % 2)) for index, digit in enumerate(reversed(body)))
    return body + str(-total % 10)


def _isbn10(rng: random.Random) -> str:
    body = str(rng.randint(0, 3)) + "".join(rng.choices(string.digits, k=8))
    check = sum((10 - index) * int(digit) for index, digit in enumerate(body)) % 11
    return body + "0X987654321"[check]


def _isbn13h(rng: random.Random) -> str:
    isbn = _with_ean("978" + digits(9, rng))
    return f"{isbn[:3]}-{isbn[3]}-{isbn[4:6]}-{isbn[6:12]}-{isbn[12]}"


def _moment(rng: random.Random) -> datetime:
    return _START + timedelta(days=rng.randint(0, _DAYS), seconds=rng.randint(0, 86399))


def _format(pattern: str) -> Callable[[random.Random], str]:
    return lambda rng: _moment(rng).strftime(pattern)


_NAMED: dict[str, Callable[[random.Random], str]] = {
    "word": lambda rng: rng.choice(WORDS),
    "date": _format("%Y-%m-%d"),
    "dmy": _format("%d.%m.%Y"),
    "ymd": _format("%Y%m%d"),
    "time": _format("%H:%M:%S"),
    "hhmm": _format("%H:%M"),
    "year": _format("%Y"),
    "mm": _format("%m"),
    "dd": _format("%d"),
    "mon": _format("%b"),
    "unix": lambda rng: str(int(_moment(rng).timestamp())),
    "ms": lambda rng: str(int(_moment(rng).timestamp() * 1000) + rng.randint(0, 999)),
    "uuid": lambda rng: str(uuid.UUID(int=rng.getrandbits(128), version=4)),
    "price": lambda rng: f"{rng.randint(1, 9999)}.{rng.randint(0, 99):02}",
    "lat": lambda rng: f"{rng.uniform(-90, 90):.{rng.choice((4, 6, 8))}f}",
    "lon": lambda rng: f"{rng.uniform(-180, 180):.{rng.choice((4, 6, 8))}f}",
    "imei": lambda rng: with_luhn(rng.choice(("35", "86", "01", "99")) + digits(12, rng)),
    "ean13": lambda rng: _with_ean(rng.choice(("40", "50", "54", "59", "87", "97", "30", "76")) + digits(10, rng)),
    "upc": lambda rng: _with_ean(rng.choice("01678") + digits(10, rng)),
    "isbn10": _isbn10,
    "isbn13": lambda rng: _with_ean("978" + digits(9, rng)),
    "isbn13h": _isbn13h,
    "ver4": lambda rng: ".".join(str(rng.randint(0, top)) for top in (12, 40, 250, 99)),
}


def _value(name: str, rng: random.Random, otherwise: str) -> str:
    if name in _NAMED:
        return _NAMED[name](rng)
    if re.fullmatch(r"d\d+", name):
        return digits(int(name[1:]), rng)
    if re.fullmatch(r"hex\d+", name):
        return "".join(rng.choices("0123456789abcdef", k=int(name[3:])))
    return otherwise
