"""RFC 6455's frames as a test's client writes and reads them, right and wrong; apart from what the server uses."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import trio
from attrs import define

from tests.support.autobahn_cases import Frame

MASK = b"\x37\xfa\x21\x3d"


def write_frame(frame: Frame) -> bytes:
    """A client's frame: masked."""
    size = len(frame.payload)
    first = (0x80 if frame.fin else 0) | frame.rsv << 4 | frame.opcode
    if size < 126:
        length = bytes((0x80 | size,))
    elif size <= 0xFFFF:
        length = b"\xfe" + size.to_bytes(2, "big")
    else:
        length = b"\xff" + size.to_bytes(8, "big")
    masked = bytes(byte ^ MASK[at % 4] for at, byte in enumerate(frame.payload[: frame.sends]))
    return bytes((first,)) + length + MASK + masked


def chop(data: Sequence[bytes], size: int | None) -> list[bytes]:
    """The writes for these frames: one for all (None), one each (0), or of so many bytes."""
    if size is None:
        return [b"".join(data)]
    if size == 0:
        return list(data)
    joined = b"".join(data)
    return [joined[at : at + size] for at in range(0, len(joined), size)]


@define
class FrameClient:
    """A client that reads a server's frames from a stream."""

    stream: trio.SocketStream | trio.SSLStream[trio.SocketStream]
    unread: bytes = b""
    head: bytes = b""

    async def open(self, path: str = "/", *fields: str, host: str = "x") -> int:
        """Shake hands; the answer's status."""
        key = base64.b64encode(b"0123456789abcdef").decode()
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {host}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
            *fields,
            "",
            "",
        ]
        await self.stream.send_all("\r\n".join(lines).encode())
        while b"\r\n\r\n" not in self.unread:
            data = await self.stream.receive_some()
            assert data, "the server closed in the handshake"
            self.unread += data
        self.head, _, self.unread = self.unread.partition(b"\r\n\r\n")
        return int(self.head.split(b" ")[1])

    async def read(self) -> tuple[int, bytes] | None:
        """The next frame's opcode and payload; None at the end, also where it is a reset."""
        head = await self._take(2)
        if head is None:
            return None
        assert head[0] & 0x70 == 0, "a reserved bit is set"
        assert head[1] < 0x80, "a server's frame is masked"
        size = head[1]
        if size >= 126:
            longer = await self._take(2 if size == 126 else 8)
            assert longer is not None
            size = int.from_bytes(longer, "big")
        payload = await self._take(size)
        assert payload is not None, "cut inside a frame"
        assert head[0] & 0x80, "a fragment"
        return head[0] & 0x0F, payload

    async def _take(self, size: int) -> bytes | None:
        while len(self.unread) < size:
            try:
                data = await self.stream.receive_some()
            except trio.BrokenResourceError:
                data = b""
            if not data:
                return None
            self.unread += data
        taken, self.unread = self.unread[:size], self.unread[size:]
        return taken
