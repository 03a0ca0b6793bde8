"""The event stream format: the standard's own examples, every split, and bytes that are none."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pg_trio.errors import UpstreamNonsense
from pg_trio.providers.sse import MAX_EVENT_BYTES, EventStreamParser, ServerSentEvent
from tests.support.recordings import load_recording


def parse(*pieces: bytes, max_event_bytes: int = MAX_EVENT_BYTES) -> list[ServerSentEvent]:
    parser = EventStreamParser(max_event_bytes)
    return [event for piece in pieces for event in parser.feed(piece)]


def data_of(*pieces: bytes) -> list[bytes]:
    return [event.data for event in parse(*pieces)]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: one\n\n", [b"one"]),
        (b"data:one\n\n", [b"one"]),
        (b"data:  one\n\n", [b" one"]),
        (b"data: one\n\ndata: two\n\n", [b"one", b"two"]),
        (b"data: one\r\n\r\ndata: two\r\rdata: three\n\n", [b"one", b"two", b"three"]),
        (b"data: one\r\n\ndata: two\n\rdata: three\r\r\n", [b"one", b"two", b"three"]),
        (b"data: YHOO\ndata: +2\ndata: 10\n\n", [b"YHOO\n+2\n10"]),
        (b"data: YHOO\r\ndata: +2\r\n\r\n", [b"YHOO\n+2"]),
        (b"data\n\ndata\ndata\n\ndata:", [b"", b"\n"]),
        (b"data:test\n\ndata: test\n\n", [b"test", b"test"]),
        (b"id: 7\nretry: 10\nunheard: of\ndata: one\n\n", [b"one"]),
        (b": a comment\n\ndata: one\n\n", [b"one"]),
        (b"Data: no\n data: no\n\n", []),
        (b"\n\n\n\ndata: one\n\n\n\n\ndata: two\n\n", [b"one", b"two"]),
        (b"\xef\xbb\xbfdata: one\n\n", [b"one"]),
        (b"\xef\xbb\xbf\xef\xbb\xbfdata: one\n\n", []),
        (b"data: \xef\xbb\xbf\n\n", [b"\xef\xbb\xbf"]),
        (b"data: a\xe2\x80\xa8b\x0b\x0c\xc2\x85\n\n", [b"a\xe2\x80\xa8b\x0b\x0c\xc2\x85"]),
        (b"data: one", []),
        (b"data: one\n", []),
        (b"", []),
    ],
)
def test_events_of_a_stream(stream: bytes, expected: list[bytes]) -> None:
    assert expected == data_of(stream)
    assert expected == data_of(*[bytes([byte]) for byte in stream])


LINES = [b'{"a":1}', b'{"b":{"c":2}}', b'{"d":NaN}', b"[DONE]"]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_whole_line_is_an_event_without_a_blank_line(line_end: bytes) -> None:
    """Each is told as soon as its line is there, but for the first, which might still have another line."""
    stream = b"".join([b"data: " + line + line_end for line in LINES])
    parser = EventStreamParser()

    events = parser.feed(stream)

    assert LINES == [event.data for event in events]
    assert [] == parser.finish()
    assert LINES == data_of(*[bytes([byte]) for byte in stream])


def test_lines_of_one_event_stay_together() -> None:
    assert [b'{\n"a":1\n}', b'{"a":\n{"b":1}\n}'] == data_of(
        b'data: {\ndata: "a":1\ndata: }\n\ndata: {"a":\ndata: {"b":1}\ndata: }\n\n'
    )


def test_name_belongs_to_the_line_after_it() -> None:
    stream = b'event: a\ndata: {"n":1}\nevent: b\ndata: {"n":2}\nevent: c\ndata: {"n":3}\n\n'

    assert ["a", "b", "c"] == [event.event for event in parse(stream)]


def test_error_field_is_an_event() -> None:
    expected = [ServerSentEvent(b"{}"), ServerSentEvent(b'{"code":400}', "error"), ServerSentEvent(b"[DONE]")]

    assert expected == parse(b'data: {}\n\nerror: {"code":400}\n\nerror\nerror:\n\ndata: [DONE]\n\n')


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b'data: {"a":1}', [ServerSentEvent(b'{"a":1}')]),
        (b'data: {"a":1}\n', [ServerSentEvent(b'{"a":1}')]),
        (b'event: x\ndata: {\ndata: "a":1}', [ServerSentEvent(b'{\n"a":1}', "x")]),
        (b"data: [DONE]", [ServerSentEvent(b"[DONE]")]),
        (b'error: {"a":1}', [ServerSentEvent(b'{"a":1}', "error")]),
        (b'data: {"a":1}\n\n', []),
        (b'data: {"a":1', []),
        (b"data: words", []),
        (b'dat: {"a":1}', []),
        (b"", []),
    ],
)
def test_last_event_needs_no_end_if_it_is_whole(stream: bytes, expected: list[ServerSentEvent]) -> None:
    parser = EventStreamParser()
    parser.feed(stream)

    assert expected == parser.finish()
    assert [] == parser.finish()


def test_event_is_named() -> None:
    stream = b"event: error\r\ndata: one\n\nevent: lost\n\ndata: two\n\nevent:\ndata: three\n\n"
    expected = [ServerSentEvent(b"one", "error"), ServerSentEvent(b"two"), ServerSentEvent(b"three")]

    assert expected == parse(stream)
    assert expected == parse(*[bytes([byte]) for byte in stream])


def test_lone_cr_sends_the_event_off_at_once() -> None:
    parser = EventStreamParser()

    at_once = parser.feed(b"data: one\r\r")
    after = parser.feed(b"\ndata: two\r")

    assert ([ServerSentEvent(b"one")], []) == (at_once, after)
    assert [ServerSentEvent(b"two")] == parser.feed(b"\n\r\n")


def test_comments_are_counted_only() -> None:
    parser = EventStreamParser()

    assert [] == parser.feed(b": ping\n\n:\n: ping\n\n")
    assert 3 == parser.comments


@pytest.mark.parametrize(
    ("stream", "left_bytes"),
    [
        (b"data: one\n\n", 0),
        (b": ping\n\n", 0),
        (b"data: one\n\ndata: tw", 8),
        (b"data: one\n", 5),
        (b"event: error\n", 5),
        (b"\xef\xbb", 2),
        (b"", 0),
    ],
)
def test_close_drops_what_is_left(stream: bytes, left_bytes: int) -> None:
    parser = EventStreamParser()
    parser.feed(stream)

    assert left_bytes == parser.close()
    assert 0 == parser.close()


# ── every split ──────────────────────────────────────────────────────────────────────────────────────────────────────

RECORDED = ["openai/stream", "openai/stream_tool_calls", "mistral/stream_thinking"]


@pytest.mark.parametrize("name", RECORDED)
def test_recording_split_anywhere(name: str) -> None:
    stream = load_recording(name).body + b"\n\n"
    whole = parse(stream)

    for place in range(len(stream) + 1):
        assert whole == parse(stream[:place], stream[place:]), place


@pytest.mark.parametrize("name", RECORDED)
def test_recording_byte_by_byte(name: str) -> None:
    stream = load_recording(name).body + b"\n\n"

    assert parse(stream) == parse(*[bytes([byte]) for byte in stream])


FIELDS = [b"data: ", b"data:", b"data", b"event: e", b": ping", b"id: 1"]
LINE_ENDS = [b"\n", b"\n\n", b"\r", b"\r\n", b"\r\n\r\n"]
VALUES = [b"x", b"{}", b"{", b"}", b'{"a":1}', b"error: {}", b"\xef\xbb\xbf", b"\xc3", b"\xa9", b"\x00", b" ", b":"]
STREAMS = st.lists(st.sampled_from([*FIELDS, *LINE_ENDS, *VALUES]), max_size=40).map(b"".join)


def outcome(pieces: list[bytes], limit: int) -> tuple[list[ServerSentEvent], bool, int, int]:
    parser = EventStreamParser(limit)
    events = [event for piece in pieces for event in parser.feed(piece)]
    return events + parser.finish(), parser.failure is not None, parser.comments, parser.close()


@given(STREAMS, st.data(), st.integers(1, 40))
@example(b"data: 1\n\ndata: 123456789\n\ndata: 2\n\n", None, 12)
def test_any_split_is_the_same(stream: bytes, data: st.DataObject | None, limit: int) -> None:
    places = data.draw(st.sets(st.integers(0, len(stream)))) if data is not None else set(range(len(stream)))
    bounds = [0, *sorted(places), len(stream)]
    pieces = [stream[start:end] for start, end in itertools.pairwise(bounds)]

    assert outcome([stream], limit) == outcome(pieces, limit)


@given(st.lists(st.binary()))
def test_garbage_raises_nothing(pieces: list[bytes]) -> None:
    parser = EventStreamParser(64)

    for piece in pieces:
        parser.feed(piece)

    assert parser.failure is None or isinstance(parser.failure, UpstreamNonsense)


# ── limits ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "stream",
    [
        b"data: " + b"x" * 100,
        b": " + b"x" * 100 + b"\n",
        b"x" * 101,
        b"data: " + b"x" * 50 + b"\ndata: " + b"x" * 50 + b"\n\n",
        b"data\n" * 101,
    ],
)
def test_event_over_the_limit_fails(stream: bytes) -> None:
    parser = EventStreamParser(100)

    events = parser.feed(b"data: before\n\n" + stream)

    assert [ServerSentEvent(b"before")] == events
    assert "an event of the stream is larger than 100 bytes" == str(parser.failure)
    assert [] == parser.feed(b"\n\ndata: after\n\n")


def test_many_events_are_no_large_one() -> None:
    events = parse(b"data: 12345\n\n" * 1000, max_event_bytes=20)

    assert 1000 == len(events)


def test_large_event_costs_its_length() -> None:
    stream = b"data: " + b"x" * 200_000

    # 200,000 pieces: were they joined each time, that would be 20 GB of copies, and a test that never ends.
    assert [b"x" * 200_000] == data_of(*[bytes([byte]) for byte in stream], b"\n\n")
