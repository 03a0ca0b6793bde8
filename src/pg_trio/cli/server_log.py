"""How commands that serve write their own log: an event a line on standard error, for people or as JSON.

Every event has its time, level, room (`pg_trio.store.log`), process, and the id of the request in which it happened.
Events come from the standard library's loggers, so those of Hypercorn and of other libraries look the same.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

from pg_trio.config.settings import ObserveSettings
from pg_trio.recorder.current import current_request


@contextmanager
def _without_rich() -> Iterator[None]:
    """Meanwhile `import rich` fails as if it were not installed."""
    loaded = sys.modules.get("rich")
    sys.modules["rich"] = None  # type: ignore[assignment]  # what the import system documents for this
    try:
        yield
    finally:
        del sys.modules["rich"]
        if loaded is not None:
            sys.modules["rich"] = loaded


# structlog loads `rich` where it is installed, 3 MB in each process, to format tracebacks. Ours are plain.
with _without_rich():
    import structlog
    from structlog.typing import Processor

# httpx logs every call's URL at INFO, and Trio's and Hypercorn's parts have nothing to say below WARNING.
_QUIET = ("httpx", "httpcore")
DEFAULTS = ObserveSettings()


def configure_logging(settings: ObserveSettings = DEFAULTS) -> None:
    """Log to standard error as the settings say. Calling it again changes the settings."""
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.ExtraAdder(),
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                _add_process_and_request,
            ],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_make_renderer(settings)],
        )
    )
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


def _make_renderer(settings: ObserveSettings) -> list[Processor]:
    if settings.log_format == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    colors = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    # Not the default: it might be `rich`, if something else loaded structlog first.
    plain = structlog.dev.plain_traceback
    return [_keep_on_a_line, structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=0, exception_formatter=plain)]


def _add_process_and_request(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["process"] = os.getpid()
    request_id = current_request.get()
    if request_id is not None:
        event["request_id"] = str(request_id)
    return event


def _keep_on_a_line(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A message of several lines stays one event a line. Tracebacks are shown as they are, to people."""
    event["event"] = str(event["event"]).replace("\n", "\\n").replace("\r", "\\r")
    return event
