"""A provider that means harm: the bytes that are parsed, joined and copied stay in proportion to the bytes that came.

Steps (test_native_fuzz) do not show it: the C code that parses a growing text again and again is one step each time.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from pg_trio.domain.events import Broken, Event, ToolCallDelta
from pg_trio.errors import UpstreamNonsense
from pg_trio.providers import adapter_for, json_text, openai_tools, sse
from pg_trio.providers.openai_tools import WHOLE_CHECK_BYTES
from tests.support.simulated import candidate_of

WIRES = pytest.mark.parametrize("wire", ["openai", "anthropic", "google", "cohere"])
# Each byte may be looked at some times: as a line, as an event, and once more by the parser for odd JSON.
TIMES = 6


class CountedJson:
    """A JSON parser that counts the characters it is given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read = 0
        for module in (json_text, openai_tools):
            monkeypatch.setattr(module, "orjson", _Counting(orjson, self))
        monkeypatch.setattr(json_text, "json", _Counting(json, self))


class _Counting:
    """A module whose `loads` counts."""

    def __init__(self, module: Any, counted: CountedJson) -> None:
        self._module, self._counted = module, counted

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def loads(self, text: str | bytes, **options: Any) -> Any:
        self._counted.read += len(text)
        return self._module.loads(text, **options)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> CountedJson:
    return CountedJson(monkeypatch)


def read(wire: str, body: bytes, piece_bytes: int = 4096) -> list[Event]:
    reader = adapter_for(wire).open_stream(candidate_of(wire))
    pieces = [body[at : at + piece_bytes] for at in range(0, len(body), piece_bytes)]
    return [event for piece in pieces for event in reader.feed(piece)] + reader.close()


NOT_WHOLE = b'data: {"a":"' + b"x" * 20_000 + b'"]}\n'


@WIRES
@pytest.mark.parametrize(
    "line", [b"event: x\n", b"event:\n", b"error:\n", b"error: x\n", b"id: 7\n", b":\n", b"x\n", b"data: y\n"]
)
def test_line_is_not_parsed_again_for_each_that_follows(wire: str, line: bytes, counted: CountedJson) -> None:
    body = NOT_WHOLE + line * 2_000

    read(wire, body)

    assert counted.read <= TIMES * len(body)


def piece(arguments: str, *, index: int = 0, name: str | None = "f") -> bytes:
    function = {"name": name, "arguments": arguments} if name else {"arguments": arguments}
    delta = {"tool_calls": [{"index": index, "function": function}]}
    return b"data: " + orjson.dumps({"choices": [{"index": 0, "delta": delta}]}) + b"\n\n"


ARGUMENTS: dict[str, Callable[[int], list[bytes]]] = {
    "objects of a list": lambda times: [piece('{"k":['), *[piece("{},")] * times, *[piece("{}")] * times],
    "objects in a string": lambda times: [piece('{"k":"'), *[piece("{}")] * times],
    "objects that are none": lambda times: [piece("{]}")] * times,
    "nested objects": lambda times: [*[piece('{"k":')] * times, *[piece("{}")] * times],
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments_are_not_parsed_again_with_each_piece(name: str, counted: CountedJson) -> None:
    body = b"".join(ARGUMENTS[name](4_000))

    read("openai", body)

    assert counted.read <= TIMES * len(body) + WHOLE_CHECK_BYTES


def test_repeated_names_are_still_told_apart() -> None:
    """As many calls as an answer may have, each whole, without an id and at the same index."""
    arguments = json.dumps({"text": "x" * 2_000})

    events = read("openai", piece(arguments) * 100 + b'data: {"choices":[{"index":0,"finish_reason":"stop"}]}\n\n')

    assert not isinstance(events[-1], Broken)
    assert [arguments] * 100 == [event.arguments for event in events if isinstance(event, ToolCallDelta)]


def test_line_events_are_still_found() -> None:
    """A first line that is no event, then events without blank lines between them (rule 7 of `sse`)."""
    parser = sse.EventStreamParser()
    lines = [b'data: {"a":1}', b"event: x", b'data: {"b":2}', b"event: y", b'data: {"c":3}', b"", b'data: {"d":4}', b""]

    events = parser.feed(b"\n".join(lines) + b"\n")

    assert [b'{"a":1}', b'{"b":2}', b'{"c":3}', b'{"d":4}'] == [event.data for event in events]


@WIRES
@pytest.mark.parametrize("unit", [b"data: {}\n\n", b"data:{}\n", b"data: {}\r", b": ping\r\n", b"{}\n"])
def test_whole_body_of_countless_lines_is_refused(wire: str, unit: bytes) -> None:
    """Reading it would take seconds, in which no other request gets on."""
    body = unit * (sse.MAX_LINES + 1)

    with pytest.raises(UpstreamNonsense):
        adapter_for(wire).read_reply(200, {}, body, candidate_of(wire), now_s=0.0)


def test_whole_body_of_many_lines_is_read() -> None:
    chunk = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
    end = b'data: {"choices":[{"index":0,"finish_reason":"stop"}]}\n\n'

    reply = adapter_for("openai").read_reply(200, {}, chunk * 20_000 + end, candidate_of("openai"), now_s=0.0)

    assert "a" * 20_000 == reply.content
