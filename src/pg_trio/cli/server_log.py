"""How commands that serve write their own log: an event a line on standard error, for people or as JSON.

Every event has its time, level, room (`pg_trio.store.log`), process, and the id of the request in which it happened.
Events come from the standard library's loggers, so those of Hypercorn and of other libraries look the same.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable

from pg_trio.cli.log_lines import LineFormatter, render_coloured, render_json, render_plain
from pg_trio.config.settings import ObserveSettings

# httpx logs every call's URL at INFO, and Trio's and Hypercorn's parts have nothing to say below WARNING.
_QUIET = ("httpx", "httpcore")
DEFAULTS = ObserveSettings()


def configure_logging(settings: ObserveSettings = DEFAULTS) -> None:
    """Log to standard error as the settings say. Calling it again changes the settings."""
    handler = logging.StreamHandler()
    handler.setFormatter(_make_formatter(settings))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    for room, level in read_levels(settings.log_levels):
        logging.getLogger(f"pg_trio.{room}").setLevel(level.upper())


def read_levels(levels: Iterable[str | None]) -> list[tuple[str, str]]:
    """Rooms and their levels, from `ROOM=LEVEL`."""
    parted = [each.partition("=") for each in levels if each is not None]
    return [(room, level) for room, _, level in parted]


def _make_formatter(settings: ObserveSettings) -> LineFormatter:
    if settings.log_format == "json":
        return LineFormatter(render_json)
    has_colours = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    return LineFormatter(render_coloured if has_colours else render_plain)
