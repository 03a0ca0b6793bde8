"""The server's own log as text: an event a line, as JSON or for people.

A library for this loaded asyncio and took 2.4 MB in every process.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from pg_trio.recorder.current import current_request

# What every record has. All else was given by `extra`.
_OWN = logging.LogRecord("", 0, "", 0, "", (), None).__dict__.keys()
# The longest name of a level, and a space.
_LEVEL_WIDTH = 9
_SPACES_AND_QUOTES = frozenset(" =\"'")

# ECMA-48's SGR.
_RESET, _BOLD, _DIM, _BLUE, _CYAN, _MAGENTA = (f"\x1b[{number}m" for number in (0, 1, 2, 34, 36, 35))
_OF_LEVEL = {
    "critical": "\x1b[31m",
    "error": "\x1b[31m",
    "warning": "\x1b[33m",
    "info": "\x1b[32m",
    "debug": "\x1b[32m",
}


class LineFormatter(logging.Formatter):
    """Writes a record: what happened, its time (UTC), level, room and process, and the id of the request in which it
    happened.

    `render` makes the line of these, and of what `extra` has; an exception is its text then.
    """

    def __init__(self, render: Callable[[dict[str, Any]], str]) -> None:
        super().__init__()
        self._render = render

    def format(self, record: logging.LogRecord) -> str:
        """The line; several for people, if there is a traceback."""
        event: dict[str, Any] = {"event": ""}
        if record.stack_info:
            event["stack_info"] = record.stack_info
        event.update({name: value for name, value in record.__dict__.items() if name not in _OWN})
        # In the first place, and no name in `extra` takes it.
        event["event"] = record.getMessage()
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds")
        event["timestamp"] = at.replace("+00:00", "Z")
        event["level"] = record.levelname.lower()
        event["logger"] = record.name
        event["process"] = os.getpid()
        request_id = current_request.get()
        if request_id is not None:
            event["request_id"] = str(request_id)
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        return self._render(event)


def render_json(event: dict[str, Any]) -> str:
    """One object on a line; what JSON does not have is text."""
    return json.dumps(event, default=repr)


def render_plain(event: dict[str, Any]) -> str:
    """For people: `TIME [level] what happened [room] name=value …`, and a traceback below."""
    at, level, said, room, values, traceback = _parts_of(event)
    given = "".join(f" {name}={value}" for name, value in values)
    return f"{at} [{level}] {said} [{room}]{given}{traceback}"


def render_coloured(event: dict[str, Any]) -> str:
    """The same for a terminal."""
    at, level, said, room, values, traceback = _parts_of(event)
    given = "".join(f" {_CYAN}{name}{_RESET}={_MAGENTA}{value}{_RESET}" for name, value in values)
    colour = _OF_LEVEL.get(level.rstrip(), "")
    what = f"[{colour}{_BOLD}{level}{_RESET}] {_BOLD}{said}{_RESET} [{_BOLD}{_BLUE}{room}{_RESET}]"
    return f"{_DIM}{at}{_RESET} {what}{given}{traceback}"


def _parts_of(event: dict[str, Any]) -> tuple[str, str, str, str, list[tuple[str, str]], str]:
    """Time, level, what happened, room, the other names with their values, and the traceback with a line's end before
    it."""
    rest = dict(event)
    traceback = rest.pop("exception", None)
    # A text of others must not look like another line.
    said = _escape(rest.pop("event"))
    at, level, room = (rest.pop(name) for name in ("timestamp", "level", "logger"))
    values = [(name, _show(value)) for name, value in sorted(rest.items())]
    below = "" if traceback is None else "".join([f"\n{_escape(line)}" for line in str(traceback).split("\n")])
    return at, level.ljust(_LEVEL_WIDTH), said, room, values, below


def _escape(text: str) -> str:
    """The text with its control characters shown: none moves the terminal's cursor."""
    if text.isprintable():
        return text
    return "".join([sign if sign.isprintable() else repr(sign)[1:-1] for sign in text])


def _show(value: object) -> str:
    """A value on the same line, so that it can be told from the next one."""
    if isinstance(value, str) and value.isprintable() and _SPACES_AND_QUOTES.isdisjoint(value):
        return value
    return repr(value)
