"""The server's own log: an event a line, with the request's id, at the levels of its rooms."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from io import StringIO
from typing import Literal
from uuid import UUID

import pytest
from attrs import evolve

from pg_trio.cli.server_log import DEFAULTS, configure_logging
from pg_trio.config import parse_settings
from pg_trio.config.settings import ObserveSettings
from pg_trio.errors import ConfigError
from pg_trio.recorder import Recorders
from pg_trio.recorder.current import current_request
from tests.support.recorded import SilentCall

ROOMS = ("pg_trio.store", "pg_trio.transport", "httpx", "httpcore")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """The root logger as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    for name in ROOMS:
        logging.getLogger(name).setLevel(logging.NOTSET)


class Terminal(StringIO):
    """Standard error, where a person looks."""

    def isatty(self) -> bool:
        return True


def logged(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_json_is_an_event_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(evolve(DEFAULTS, log_format="json"))
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("pg_trio.web").exception("failed\nbadly: %s", "x", extra={"port": 8080})

    (line,) = logged(capsys)
    event = json.loads(line)
    assert ("failed\nbadly: x", "error", "pg_trio.web", 8080) == tuple(
        event[name] for name in ("event", "level", "logger", "port")
    )
    assert "ValueError: two" in event["exception"]
    assert event["timestamp"].endswith("Z")


def test_console_is_a_line_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    logging.getLogger("pg_trio.web").warning("a forged\nline\x1b[2J, Größe")
    logging.getLogger("pg_trio.web").debug("not shown")
    logging.getLogger("httpx").info("nor this")

    (line,) = logged(capsys)
    assert "[warning  ] a forged\\nline\\x1b[2J, Größe [pg_trio.web]" in line
    assert "\x1b" not in line


def test_values_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    given = {"port": 8080, "path": "/v1", "said": "two words", "colour": "\x1b[31m", "none": None}
    logging.getLogger("pg_trio.web").warning("so", extra=given)

    (line,) = logged(capsys)
    assert "so [pg_trio.web] colour='\\x1b[31m' none=None path=/v1 port=8080 process=" in line
    assert line.endswith("said='two words'")


def test_traceback_is_below_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    try:
        raise ValueError("wrong")
    except ValueError:
        logging.getLogger("pg_trio.web").exception("failed")

    said, *traceback = logged(capsys)
    assert "[error    ] failed [pg_trio.web]" in said
    assert ("Traceback (most recent call last):", "ValueError: wrong") == (traceback[0], traceback[-1])


def test_traceback_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    try:
        raise ValueError("wrong\x1b[2J\rnever mind")
    except ValueError:
        logging.getLogger("pg_trio.web").exception("failed")

    assert logged(capsys)[-1] == "ValueError: wrong\\x1b[2J\\rnever mind"


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_further_value_does_not_take_the_place_of_what_happened(
    capsys: pytest.CaptureFixture[str], form: Literal["console", "json"]
) -> None:
    configure_logging(evolve(DEFAULTS, log_format=form))
    logging.getLogger("pg_trio.web").warning("so", extra={"event": 5})

    (line,) = logged(capsys)
    assert line.startswith('{"event": "so", ') if form == "json" else "[warning  ] so [pg_trio.web]" in line


def test_terminals_get_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    for variables in ({}, {"NO_COLOR": "1"}):
        monkeypatch.delenv("NO_COLOR", raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        configure_logging()
        logging.getLogger("pg_trio.web").warning("so")

    coloured, plain = terminal.getvalue().splitlines()
    assert "[\x1b[33m\x1b[1mwarning  \x1b[0m] \x1b[1mso\x1b[0m [" in coloured
    assert "\x1b" not in plain


async def test_lines_of_a_request_have_its_id(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(evolve(DEFAULTS, log_format="json"))
    logger = logging.getLogger("pg_trio.stages")

    with Recorders([]).open(SilentCall()):
        logger.warning("inside")
    logger.warning("outside")

    inside, outside = [json.loads(line) for line in logged(capsys)]
    assert str(UUID(int=1)) == inside["request_id"]
    assert "request_id" not in outside
    assert current_request.get() is None


def test_rooms_have_their_levels(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(evolve(DEFAULTS, log_level="warning", log_levels=["store=debug", "transport=error"]))
    for room in ("store.log", "transport.direct", "web"):
        for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
            logging.getLogger(f"pg_trio.{room}").log(level, "%s %d", room, level)

    said = [line.partition("] ")[2].partition(" [")[0] for line in logged(capsys)]
    stored = [f"store.log {level}" for level in (10, 20, 30, 40)]
    assert [*stored, "transport.direct 40", "web 30", "web 40"] == said


def read(text: str) -> ObserveSettings:
    from pathlib import Path

    return parse_settings(f"[observe]\n{text}\n", "test.toml", Path(), {}).observe


def test_levels_are_settings() -> None:
    assert ["store.log=debug"] == read('log_levels = ["store.log=debug"]').log_levels
    with pytest.raises(ConfigError, match="is not ROOM=LEVEL"):
        read('log_levels = ["store=loud"]')
    with pytest.raises(ConfigError, match='is none of "console", "json"'):
        read('log_format = "xml"')
