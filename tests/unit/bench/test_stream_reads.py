"""scripts/bench/relay: what its client takes for a good stream, and what it must not."""

from __future__ import annotations

import socket

import pytest

from scripts.bench.harness.streams import Read

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
TOKEN = b'data: {"choices":[{"delta":{"content":" %d.%d.%d"}}]}\n\n'
LAST = b"0\r\n\r\n"


def lags_us(read: Read) -> list[float]:
    return [(arrived_ns - sent_ns) / 1000 for sent_ns, arrived_ns in read.tokens()]


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


END = chunk(b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n') + LAST


def read_of(*pieces: bytes) -> Read:
    with socket.socket() as sock:
        times = [1_000_000 * (number + 1) for number in range(len(pieces))]
        return Read(7, sock, [HEAD + pieces[0], *pieces[1:]] if pieces else [], times)


def test_lag_counts_to_the_piece_that_ends_a_token() -> None:
    first, second = (chunk(TOKEN % (7, number, 500_000)) for number in (0, 1))

    lags = lags_us(read_of(first + second[:9], second[9:], END))

    assert [500.0, 1500.0] == lags


def test_token_cut_by_a_chunk_is_whole() -> None:
    token = TOKEN % (7, 0, 500_000)
    inside = token.index(b"500") + 1

    lags = lags_us(read_of(chunk(token[:inside]), chunk(token[inside:]), END))

    assert [1500.0] == lags


@pytest.mark.parametrize(
    "pieces",
    [
        (chunk(TOKEN % (8, 0, 1)), END),
        (chunk(TOKEN % (7, 1, 1)), END),
        (chunk(TOKEN % (7, 0, 1)), chunk(TOKEN % (7, 0, 1)), END),
        (chunk(TOKEN % (7, 0, 1)),),
    ],
    ids=["another stream's", "one lost", "one twice", "cut"],
)
def test_stream_that_is_not_as_sent_is_refused(pieces: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match="stream 7"):
        read_of(*pieces).tokens()


def test_last_chunk_may_be_cut() -> None:
    read = read_of()

    taken = [read.take(piece) for piece in (HEAD, chunk(b"x") + LAST[:2], LAST[2:])]

    assert [False, False, True] == taken


def test_other_answers_are_named() -> None:
    with pytest.raises(ConnectionError, match=r"stream 7 was answered: .* 500 Oh no"):
        read_of().take(b"HTTP/1.1 500 Oh no\r\n\r\n")
