"""scripts/bench/relay: what its client takes for a good stream, and what it must not."""

from __future__ import annotations

import socket

import pytest

from scripts.bench._streams.client import Read

TOKEN = b'data: {"choices":[{"delta":{"content":" %d.%d.%d"}}]}\n\n'
END = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n\r\n0\r\n\r\n'


def read_of(*pieces: bytes) -> Read:
    with socket.socket() as sock:
        return Read(7, sock, list(pieces), [1_000_000 * (number + 1) for number in range(len(pieces))])


def test_lag_counts_to_the_piece_that_ends_a_token() -> None:
    first, second = TOKEN % (7, 0, 500_000), TOKEN % (7, 1, 500_000)

    lags = read_of(first + second[:9], second[9:], END).lags_us()

    assert [500.0, 1500.0] == lags


@pytest.mark.parametrize(
    "pieces",
    [
        (TOKEN % (8, 0, 1), END),
        (TOKEN % (7, 1, 1), END),
        (TOKEN % (7, 0, 1), TOKEN % (7, 0, 1), END),
        (TOKEN % (7, 0, 1),),
    ],
    ids=["another stream's", "one lost", "one twice", "cut"],
)
def test_stream_that_is_not_as_sent_is_refused(pieces: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match="stream 7"):
        read_of(*pieces).lags_us()
