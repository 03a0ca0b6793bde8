"""Frames that the kernel has not taken: over a socket pair whose other end does not read."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from pg_trio.server.websocket.unsent import Unsent


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    ours.setblocking(False)
    theirs.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def drain(sock: socket.socket) -> bytes:
    data = b""
    try:
        while piece := sock.recv(65536):
            data += piece
    except BlockingIOError:
        pass
    return data


def test_frames_arrive_once_and_in_order(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    unsent, received, sent = Unsent(), b"", b""
    for number in range(3_000):
        frame = b"%d," % number * 10
        sent += frame
        unsent.add([frame])
        unsent.send(ours)
        if number % 100 == 0:
            received += drain(theirs)
    while unsent.size:
        received += drain(theirs)
        unsent.send(ours)
    received += drain(theirs)

    assert sent == received


def test_only_what_is_half_sent_is_kept(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    unsent = Unsent()
    frames = [bytes([number % 250]) * 3_001 for number in range(40)]
    unsent.add(frames)
    unsent.send(ours)

    unsent.keep_begun()
    unsent.add([b"end"])
    received = b""
    while unsent.size:
        received += drain(theirs)
        unsent.send(ours)
    received += drain(theirs)

    whole = b"".join(frames)
    assert received.endswith(b"end")
    assert len(received.removesuffix(b"end")) % 3_001 == 0
    assert whole.startswith(received.removesuffix(b"end"))


def test_peer_that_is_gone_is_an_error(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.close()
    unsent = Unsent()
    unsent.add([b"x"])

    with pytest.raises(OSError, match="Broken pipe"):
        unsent.send(ours)
