"""Pages of the admin API's lists: `{"ok": true, "data": […], "next": CURSOR or null}`, newest first.

A cursor is opaque to clients: the position of the last item of a page, as JSON in base64.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from quart import request

from pg_trio.errors import BadRequest

T = TypeVar("T")

# 100: as of Stripe's and GitHub's lists, whose most is 100, too. 1,000: an export takes a tenth of the calls.
DEFAULT_LIMIT = 100
MOST_ITEMS = 1_000
CURSOR_CHARS = 200
# SQLite's integers.
MOST_ID = 2**63 - 1


def page(items: Iterable[object], following: Sequence[float] | None) -> dict[str, Any]:
    """The answer with these items. `following` is the position of the last one; None at the end."""
    return {"ok": True, "data": list(items), "next": None if following is None else encode_cursor(following)}


def page_of(items: Sequence[T]) -> tuple[Sequence[T], tuple[int] | None]:
    """The items of a list in memory that the query asks for, and where the next page begins. Raises BadRequest."""
    limit, cursor = read_limit(), read_cursor(1)
    start = 0 if cursor is None else int(cursor[0])
    end = start + limit
    return items[start:end], (end,) if end < len(items) else None


def read_limit() -> int:
    """`?limit=`. Raises BadRequest."""
    text = read_one("limit")
    if text is None:
        return DEFAULT_LIMIT
    if not text.isascii() or not text.isdigit() or len(text) > 9 or not 1 <= int(text) <= MOST_ITEMS:
        raise BadRequest(f"limit: must be a whole number from 1 to {MOST_ITEMS}.")
    return int(text)


def read_cursor(length: int) -> tuple[float, ...] | None:
    """The position in `?cursor=`: `length` numbers, the last a whole one. Raises BadRequest."""
    text = read_one("cursor")
    if text is None:
        return None
    try:
        if len(text) > CURSOR_CHARS:
            raise ValueError
        position = json.loads(base64.urlsafe_b64decode(text.encode("ascii") + b"=="))
        if type(position) is not list or len(position) != length:
            raise ValueError
        if not all(type(number) in (int, float) and math.isfinite(number) for number in position):
            raise ValueError
        if type(position[-1]) is not int or not 0 <= position[-1] <= MOST_ID:
            raise ValueError
    except (ValueError, OverflowError, RecursionError, binascii.Error):
        raise BadRequest("cursor: must be the `next` of an earlier answer.") from None
    return (*(float(number) for number in position[:-1]), position[-1])


def encode_cursor(position: Sequence[float]) -> str:
    """A position as a cursor."""
    text = json.dumps(list(position), separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode("ascii")).decode("ascii").rstrip("=")


def read_one(name: str) -> str | None:
    """A parameter of the query; None without one. Raises BadRequest if it is given twice."""
    values = request.args.getlist(name)
    if len(values) > 1:
        raise BadRequest(f"{name}: must be given once.")
    return values[0] if values else None
