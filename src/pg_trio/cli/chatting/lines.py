"""Lines of standard input, read without a thread, so that a wait for one can be cancelled."""

from __future__ import annotations

import os

import trio
from attrs import define

# 1 MiB: the gateway's default limit of a body.
MOST_LINE_BYTES = 1024 * 1024
READ_BYTES = 65_536


@define(eq=False)
class LineReader:
    """Reads a descriptor: a terminal, a pipe or a file. The terminal itself lets people edit the line."""

    descriptor: int
    _rest: bytes = b""
    _is_ended: bool = False

    async def read_line(self) -> str | None:
        """The next line, without its break; None after the end. A line over the limit is cut."""
        while b"\n" not in self._rest and not self._is_ended and len(self._rest) < MOST_LINE_BYTES:
            data = await self._read()
            self._rest += data
            self._is_ended = not data
        if not self._rest:
            return None
        line, _, self._rest = self._rest.partition(b"\n")
        return line[:MOST_LINE_BYTES].decode("utf-8", "replace").removesuffix("\r")

    async def _read(self) -> bytes:
        try:
            await trio.lowlevel.wait_readable(self.descriptor)
        except OSError:
            # A file is always readable, and epoll refuses to watch it.
            await trio.lowlevel.checkpoint()
        try:
            return os.read(self.descriptor, READ_BYTES)
        except OSError:
            # A terminal that has hung up.
            return b""
