"""What fills the slots of the guardrail corpora: seeded, so that each run measures the same lines; all is invented."""

from __future__ import annotations

import re
import string
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from random import Random

Fill = Callable[[Random], str]
# fmt: off
WORDS = (
    "widget", "parser", "relay", "ledger", "garden", "copper", "harbour", "lantern", "matrix",
    "pepper", "planet", "rocket", "silver", "timber", "velvet", "window", "yellow", "zephyr",
    "backend", "worker", "scheduler", "cache", "queue", "router", "mailer",
)
_USERS = ("anna", "max.mustermann", "j.doe", "maria", "lee", "info", "support", "petra", "k-walker", "tom")
# Area codes and exchanges in use; what a plan does not give out is no telephone.
_AREAS = ("212", "310", "415", "503", "617", "702", "786", "805", "917", "972", "416", "604")
_MOBILE = ("151", "152", "157", "160", "162", "163", "170", "171", "172", "173", "175", "176", "178", "179")
# Prefix and length, by network.
_ISSUERS = {
    "visa": (("4",), 16), "mc": (("51", "52", "53", "54", "55", "2221", "2700"), 16), "amex": (("34", "37"), 15),
    "discover": (("6011", "65"), 16), "diners": (("300", "36", "38"), 14), "jcb": (("3528", "3550", "3589"), 16),
    "maestro": (("6759", "5018", "6304"), 16), "unionpay": (("62",), 16),
}
# How a card's number is cut, and what joins the parts.
_STYLES = {
    "": ((), ""), "4sp": ((4, 4, 4, 4), " "), "4hy": ((4, 4, 4, 4), "-"), "4dsp": ((4, 4, 4, 4), "  "),
    "4sphy": ((4, 4, 4, 4), " - "), "4dot": ((4, 4, 4, 4), "."), "4nbsp": ((4, 4, 4, 4), "\u00a0"),
    "4tab": ((4, 4, 4, 4), "\t"), "4us": ((4, 4, 4, 4), "_"), "4en": ((4, 4, 4, 4), "\u2013"),
    "465": ((4, 6, 5), " "), "465hy": ((4, 6, 5), "-"), "464": ((4, 6, 4), " "),
}
# Country, digits of the account, digits of the bank.
_IBANS = (("DE", 18), ("FR", 23), ("ES", 20), ("AT", 16), ("BE", 12), ("DK", 14), ("CH", 17), ("PL", 24))
# fmt: on
_SLOT = re.compile(r"\{([a-z0-9-]+)\}")
_START, _DAYS = datetime(2019, 1, 1, tzinfo=UTC), 2600


def fill(template: str, rng: Random, values: Mapping[str, Fill]) -> str:
    """The template with every slot filled that has a value; `\\n` in it is a line's end."""

    def value(found: re.Match[str]) -> str:
        name, count = found[1], found[1].lstrip(string.ascii_lowercase)
        if name in values:
            return values[name](rng)
        if count and name == f"d{count}":
            return _digits(int(count), rng)
        if count and name == f"hex{count}":
            return "".join(rng.choices("0123456789abcdef", k=int(count)))
        return found[0]

    return _SLOT.sub(value, template.replace("\\n", "\n"))


def _digits(count: int, rng: Random) -> str:
    """So many digits; the first is no 0."""
    return str(rng.randint(1, 9)) + "".join(rng.choices(string.digits, k=count - 1))


def _with_luhn(body: str) -> str:
    """The digits with their check digit by Luhn's formula."""
    total = 0
    for index, digit in enumerate(reversed(body)):
        doubled = int(digit) * (2 - index % 2)
        total += doubled - 9 if doubled > 9 else doubled
    return body + str(-total % 10)


def _with_ean(body: str) -> str:
    total = sum(int(digit) * (3 - 2 * (index % 2)) for index, digit in enumerate(reversed(body)))
    return body + str(-total % 10)


def _isbn10(rng: Random) -> str:
    body = str(rng.randint(0, 3)) + "".join(rng.choices(string.digits, k=8))
    check = sum((10 - index) * int(digit) for index, digit in enumerate(body)) % 11
    return body + "0X987654321"[check]


def _isbn13h(rng: Random) -> str:
    isbn = _with_ean("978" + _digits(9, rng))
    return f"{isbn[:3]}-{isbn[3]}-{isbn[4:6]}-{isbn[6:12]}-{isbn[12]}"


def _moment(rng: Random) -> datetime:
    return _START + timedelta(days=rng.randint(0, _DAYS), seconds=rng.randint(0, 86399))


def _format(pattern: str) -> Fill:
    return lambda rng: _moment(rng).strftime(pattern)


def _one_of(*texts: str) -> Fill:
    return lambda rng: rng.choice(texts)


# Values in harmless texts.
VALUES: dict[str, Fill] = {
    "word": _one_of(*WORDS),
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
    "imei": lambda rng: _with_luhn(rng.choice(("35", "86", "01", "99")) + _digits(12, rng)),
    "ean13": lambda rng: _with_ean(rng.choice(("40", "50", "54", "59", "87", "97", "30", "76")) + _digits(10, rng)),
    "upc": lambda rng: _with_ean(rng.choice("01678") + _digits(10, rng)),
    "isbn10": _isbn10,
    "isbn13": lambda rng: _with_ean("978" + _digits(9, rng)),
    "isbn13h": _isbn13h,
    "ver4": lambda rng: ".".join(str(rng.randint(0, top)) for top in (12, 40, 250, 99)),
}


def _card(issuer: str, style: str) -> Fill:
    (prefixes, length), (widths, joint) = _ISSUERS[issuer], _STYLES[style]

    def make(rng: Random) -> str:
        prefix = rng.choice(prefixes)
        number = _with_luhn(prefix + "".join(rng.choices("0123456789", k=length - len(prefix) - 1)))
        parts = (number[sum(widths[:index]) : sum(widths[: index + 1])] for index in range(len(widths)))
        return joint.join(part for part in parts if part) if widths else number

    return make


def _iban(rng: Random) -> str:
    country, length = rng.choice(_IBANS)
    account = "".join(rng.choices("0123456789", k=length))
    moved = account + "".join(str(ord(letter) - 55) for letter in country) + "00"
    return f"{country}{98 - int(moved) % 97:02}{account}"


def _ibansp(rng: Random) -> str:
    iban = _iban(rng)
    return " ".join(iban[start : start + 4] for start in range(0, len(iban), 4))


def _ssn(joint: str) -> Fill:
    return lambda rng: f"{rng.randint(100, 665)}{joint}{rng.randint(1, 99):02}{joint}{rng.randint(1, 9999):04}"


# The same with personal data: tests/recordings/guardrails/personal.txt.
PERSONAL: dict[str, Fill] = {
    **VALUES,
    "user": _one_of(*_USERS),
    "oct": lambda rng: str(rng.randint(1, 254)),
    "iban": _iban,
    "ibansp": _ibansp,
    "ssn": _ssn("-"),
    "ssnsp": _ssn(" "),
    "ssn-nbhy": _ssn("\u2011"),
    "npa": _one_of(*_AREAS),
    "nxx": lambda rng: f"{rng.randint(2, 9)}{rng.choice('023456789')}{rng.randint(0, 9)}",
    "mob": _one_of(*_MOBILE),
    **{f"{issuer}-{style}".rstrip("-"): _card(issuer, style) for issuer in _ISSUERS for style in _STYLES},
}
