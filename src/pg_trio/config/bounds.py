"""Bounds of settings, declared beside each field as `Annotated[type, bound]`.

A bound checks one value that already has its type, and raises ValueError with the text of the mistake.
docs/configuration.md shows its `str()`; a test compares the two.
"""

from __future__ import annotations

import difflib
import re
from decimal import Decimal
from ipaddress import ip_network
from typing import Annotated, Protocol, TypeAlias

from attrs import frozen

from pg_trio.domain.secret import MASK, mask_secrets

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

# 60 characters: enough to recognise a value in a report line, too few for a pasted document.
SHOWN_CHARS = 60


class Bound(Protocol):
    """The metadata of a type in `Annotated`."""

    def check(self, value: object) -> None:
        """Raise ValueError with the mistake's text if the value is out of bounds."""


@frozen(slots=True)
class Between:
    """A number from `low` to `high`, both included."""

    low: int
    high: int

    def check(self, value: object) -> None:
        assert isinstance(value, int | float | Decimal)
        if value < self.low:
            raise ValueError(f"{show_number(value)} is below {self.low}")
        if value > self.high:
            raise ValueError(f"{show_number(value)} is above {self.high}")

    def __str__(self) -> str:
        return f"{self.low}–{self.high}"


@frozen(slots=True)
class Length:
    """Text of `low` to `high` characters that are not all white space."""

    low: int
    high: int

    def check(self, value: object) -> None:
        assert isinstance(value, str)
        if len(value) > self.high:
            raise ValueError(f"{len(value)} characters are above {self.high}")
        if len(value.strip()) < self.low:
            raise ValueError("is empty")

    def __str__(self) -> str:
        return f"{self.low}–{self.high} characters"


@frozen(slots=True)
class Known:
    """One of many texts, which the mistake does not list. `called` names them there and in the documentation."""

    texts: frozenset[str]
    called: str

    def check(self, value: object) -> None:
        assert isinstance(value, str)
        if value not in self.texts:
            near = difflib.get_close_matches(value, sorted(self.texts), 1)
            meant = f"; did you mean {show(near[0])}?" if near else ""
            raise ValueError(f"{show(value)} is not {self.called}{meant}")

    def __str__(self) -> str:
        return self.called


@frozen(slots=True)
class Shape:
    """Text of a certain shape. `called` names the shape in the mistake and in the documentation."""

    pattern: re.Pattern[str]
    called: str

    def check(self, value: object) -> None:
        assert isinstance(value, str)
        if not self.pattern.fullmatch(value):
            raise ValueError(f"{show(value)} is not {self.called}")

    def __str__(self) -> str:
        return self.called


@frozen(slots=True)
class HostPort:
    """`HOST:PORT`, an IPv6 host in brackets."""

    def check(self, value: object) -> None:
        assert isinstance(value, str)
        host, _, port = value.rpartition(":")
        if not _HOST.fullmatch(host) or not _PORT.fullmatch(port) or int(port) > 65_535:
            raise ValueError(f"{show(value)} is not {self}, such as 127.0.0.1:8080")

    def __str__(self) -> str:
        return "HOST:PORT"


@frozen(slots=True)
class HostPortOrNone:
    """`HOST:PORT`, or an empty text for no address."""

    def check(self, value: object) -> None:
        if value != "":
            HostPort().check(value)

    def __str__(self) -> str:
        return "HOST:PORT or empty"


@frozen(slots=True)
class UrlOrNone:
    """An absolute URL of HTTP without user, query and fragment, or an empty text."""

    def check(self, value: object) -> None:
        assert isinstance(value, str)
        if value and not _HTTP_URL.fullmatch(value):
            raise ValueError(f"{show(value)} is not a URL such as http://127.0.0.1:4318")

    def __str__(self) -> str:
        return "URL or empty"


@frozen(slots=True)
class UrlPrefix:
    """An absolute path without a slash at its end, or an empty text."""

    def check(self, value: object) -> None:
        assert isinstance(value, str)
        if value and not _URL_PREFIX.fullmatch(value):
            raise ValueError(f"{show(value)} is not a path such as /gateway: /, letters, digits, - and _")

    def __str__(self) -> str:
        return "a path or empty"


_HTTP_URL = re.compile(r"https?://(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::[0-9]{1,5})?(?:/[A-Za-z0-9_.~/%-]*)?")
_URL_PREFIX = re.compile(r"(?:/[A-Za-z0-9_-]{1,64}){1,8}")
_HOST = re.compile(r"\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+")
_PORT = re.compile(r"[0-9]{1,5}")


@frozen(slots=True)
class Network:
    """An IP network in CIDR notation, or a single address."""

    def check(self, value: object) -> None:
        assert isinstance(value, str)
        try:
            network = ip_network(value, strict=False)
        except ValueError:
            raise ValueError(f"{show(value)} is not a network (10.0.0.0/8, fd00::/8) or an address") from None
        try:
            ip_network(value)
        except ValueError:
            raise ValueError(
                f"{show(value)} is an address in a network: write {network}, or the address alone"
            ) from None

    def __str__(self) -> str:
        return "CIDR or address"


def show(value: object) -> str:
    """A value for a report line: cut, masked if it looks like a credential, and with invisible characters made visible.

    A space is shown as it is, a line end as `\\n`, because a stray one is often the mistake.
    """
    text = (value if isinstance(value, str) else str(value))[: SHOWN_CHARS * 4]
    masked = mask_secrets(text)
    text = masked if MASK in masked else "".join([_show_character(character) for character in text])
    return f'"{text}"' if len(text) <= SHOWN_CHARS else f'"{text[: SHOWN_CHARS - 1]}…"'


def _show_character(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")


def show_number(number: int | float | Decimal) -> str:
    """A number for a report line. TOML's hexadecimal numbers can be longer than Python prints."""
    try:
        text = str(number)
    except ValueError:
        return "a number of thousands of digits"
    # 3 in the file is 3.0 for a float setting; the report shows 3.
    text = text.removesuffix(".0")
    return text if len(text) <= SHOWN_CHARS else f"{text[: SHOWN_CHARS - 1]}…"


# ── the bounds that several settings share ───────────────────────────────────────────────────────────────────────────

# A day. A longer wait is probably a mistake of units.
DAY_MS = 24 * 3600 * 1000

Milliseconds: TypeAlias = Annotated[int, Between(1, DAY_MS)]
# 1 GiB: a body is kept in memory completely.
BodyBytes: TypeAlias = Annotated[int, Between(KIB, GIB)]
HeadBytes: TypeAlias = Annotated[int, Between(KIB, MIB)]
# A billion: far above any useful limit, far below the overflow of a 64-bit counter.
Count: TypeAlias = Annotated[int, Between(1, 1_000_000_000)]
Money: TypeAlias = Annotated[Decimal, Between(0, 1_000_000_000)]
Name: TypeAlias = Annotated[str, Length(1, 200)]
# 1 MiB of characters: a prompt longer than any model's context is a mistake.
Text: TypeAlias = Annotated[str, Length(0, MIB)]
