"""The framing of WebSockets in the lane, without sockets: any bytes, split anywhere."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.server.websocket.frames import (
    LARGE_MESSAGE_BYTES,
    FrameEvent,
    FrameReader,
    GrewLarge,
    PeerClosed,
    Pinged,
    TooBig,
    WholeMessage,
    frame_message,
)
from tests.support.autobahn_cases import BINARY, CLOSE, CONTINUATION, PING, TEXT, Frame, closing
from tests.support.websocket_frames import write_frame

LIMIT = 200


def read(pieces: list[bytes], limit: int = LIMIT) -> list[FrameEvent]:
    """All events of these pieces, fed one by one."""
    reader = FrameReader(limit)
    events: list[FrameEvent] = []
    for piece in pieces:
        reader.feed(piece)
        events += list(reader.events())
    return events


frames = st.builds(
    Frame,
    opcode=st.sampled_from([TEXT, BINARY, CONTINUATION, PING, CLOSE, 10, 3, 11]),
    payload=st.one_of(st.binary(max_size=140), st.text(max_size=40).map(str.encode)),
    fin=st.booleans(),
    rsv=st.sampled_from([0, 0, 0, 1, 7]),
)


def cut(data: bytes, at: list[int]) -> list[bytes]:
    """The data in pieces."""
    places = sorted({0, len(data), *[place % (len(data) + 1) for place in at]})
    return [data[start:stop] for start, stop in pairwise(places)]


@given(st.lists(frames, max_size=8), st.lists(st.integers(0, 5000), max_size=12))
def test_pieces_do_not_change_what_is_read(sent: list[Frame], places: list[int]) -> None:
    data = b"".join(map(write_frame, sent))

    whole, pieces = read([data]), read(cut(data, places))

    assert whole == pieces


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=8))
def test_any_bytes_are_read_or_end_it(data: bytes, places: list[int]) -> None:
    events = read(cut(data, places))

    ends = [event for event in events if isinstance(event, PeerClosed | TooBig)]
    assert len(ends) <= 1
    assert not ends or events[-1] is ends[0]
    for event in events:
        if isinstance(event, WholeMessage):
            size = len(event.data.encode() if isinstance(event.data, str) else event.data)
            assert size <= LIMIT


@given(st.lists(st.text(max_size=60), min_size=1, max_size=5), st.lists(st.integers(0, 5000), max_size=12))
def test_texts_come_whole_and_in_order(texts: list[str], places: list[int]) -> None:
    data = b"".join(write_frame(Frame(TEXT, text.encode())) for text in texts)

    events = read(cut(data, places), 1000)

    assert [WholeMessage(text) for text in texts] == events


@pytest.mark.parametrize("text", ["x" * LIMIT, "ä" * (LIMIT // 2)])
def test_limit_counts_bytes(text: str) -> None:
    exact = read([write_frame(Frame(TEXT, text.encode()))])
    over = read([write_frame(Frame(TEXT, (text + "x").encode())), write_frame(Frame(PING))])

    assert [WholeMessage(text)] == exact
    assert [TooBig()] == over


def test_limit_holds_for_fragments_together() -> None:
    half = b"x" * (LIMIT // 2)
    fragments = [Frame(TEXT, half, fin=False), Frame(CONTINUATION, half, fin=False), Frame(CONTINUATION, b"x")]

    assert [TooBig()] == read([b"".join(map(write_frame, fragments))])


def test_limit_holds_before_the_frame_is_whole() -> None:
    announced = write_frame(Frame(BINARY, b"x" * 5000, sends=LIMIT + 1))

    assert [TooBig()] == read([announced])


def test_large_message_is_told_of_once() -> None:
    part = b"x" * 30_000
    fragments = [Frame(BINARY, part, fin=False), *[Frame(CONTINUATION, part, fin=False)] * 4, Frame(CONTINUATION)]

    events = read([write_frame(fragment) for fragment in fragments], 10**6)

    assert [GrewLarge(), WholeMessage(part * 5)] == events
    assert LARGE_MESSAGE_BYTES < len(part) * 3


def test_ping_is_answered_with_its_payload() -> None:
    [event] = read([write_frame(Frame(PING, b"how are you"))])

    assert Pinged(b"\x8a\x0bhow are you") == event


@pytest.mark.parametrize(
    ("frame", "code", "answer"),
    [
        (closing(1000, b"bye"), 1000, b"\x88\x05\x03\xe8bye"),
        (Frame(CLOSE), 1005, b"\x88\x00"),
        (closing(4321), 4321, b"\x88\x02\x10\xe1"),
        (Frame(TEXT, b"\xff"), 1007, b"\x88\x02\x03\xef"),
        (Frame(3), 1002, b"\x88\x02\x03\xea"),
    ],
)
def test_end_is_answered(frame: Frame, code: int, answer: bytes) -> None:
    assert [PeerClosed(code, answer)] == read([write_frame(frame) + write_frame(Frame(PING))])


def test_close_is_sent_once() -> None:
    reader = FrameReader(LIMIT)

    first, second = reader.close(1001), reader.close(1000)
    reader.feed(write_frame(closing(1001)))

    assert (b"\x88\x02\x03\xe9", b"", b"") == (first, second, reader.ping())
    assert [PeerClosed(1001, b"")] == list(reader.events())


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
def test_message_is_one_unmasked_frame(size: int) -> None:
    framed = frame_message(b"x" * size)

    header = {True: 2, size > 125: 4, size > 65535: 10}[True]
    assert (0x81, size + header) == (framed[0], len(framed))
    assert framed[1] < 0x80
