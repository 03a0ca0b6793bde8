"""How often an HTTP/2 client may reset its streams: on bytes, in pieces of any size."""

from __future__ import annotations

import h2.config
import h2.connection
import h2.events
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.server.http2_resets import RESETS_AT_ONCE, RESETS_PER_S, ClientFrames, ResetLimit

HEADERS = [(":method", "POST"), (":path", "/"), (":scheme", "http"), (":authority", "x")]


def client() -> h2.connection.H2Connection:
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    connection.initiate_connection()
    return connection


def conversation(*, resets: int, body: bytes = b"") -> bytes:
    """What a client sends that asks as often and takes each of its requests back."""
    connection = client()
    for number in range(resets):
        connection.send_headers(1 + 2 * number, HEADERS)
        connection.send_data(1 + 2 * number, body)
        connection.reset_stream(1 + 2 * number)
    return connection.data_to_send()


def test_counts_resets_and_streams() -> None:
    frames = ClientFrames()

    assert 20 == frames.count_resets(conversation(resets=20))
    assert 39 == frames.last_stream


@given(st.lists(st.integers(1, 60)))
def test_counts_in_pieces(sizes: list[int]) -> None:
    # A body that looks like a frame is none.
    data = conversation(resets=5, body=b"\0\0\4\3\0\0\0\0\1\0\0\0\0")
    frames, counted = ClientFrames(), 0
    for size in sizes:
        counted += frames.count_resets(data[:size])
        data = data[size:]

    assert 5 == counted + frames.count_resets(data)


def test_upgraded_connection_counts_from_its_preface() -> None:
    before = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\n\r\n"

    assert 3 == ClientFrames().count_resets(before + conversation(resets=3))


def test_plain_connection_counts_nothing() -> None:
    limit = ResetLimit()

    assert all(limit.feed(b"POST / HTTP/1.1\r\n\r\n" + b"\0\0\4\3\0\0\0\0\1\0\0\0\0" * 1000, 0.0) for _ in range(9))


def test_limit_fills_again() -> None:
    limit, one = ResetLimit(), b"\0\0\4\3\0\0\0\0\1\0\0\0\0"
    assert limit.feed(conversation(resets=RESETS_AT_ONCE), 100.0)

    assert limit.feed(one * int(RESETS_PER_S), 101.0)
    assert not limit.feed(one, 101.0)


@pytest.mark.parametrize("streams", [0, 7])
def test_goaway_is_one(streams: int) -> None:
    connection, limit = client(), ResetLimit()
    for number in range(streams):
        connection.send_headers(1 + 2 * number, HEADERS)
    limit.feed(connection.data_to_send(), 0.0)

    [event] = connection.receive_data(limit.goaway())

    assert isinstance(event, h2.events.ConnectionTerminated)
    assert (11, 13 if streams else 0) == (event.error_code, event.last_stream_id)
