"""A program at a terminal of its own: what it shows, and what a person types."""

from __future__ import annotations

import os
import pty
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import trio
from attrs import define, field

from tests.support.processes import PROCESS_LIMIT_S

CTRL_C, CTRL_D = "\x03", "\x04"


@define(eq=False)
class Terminal:
    """The terminal and the program on it. `shown` is everything that was written to it, what was typed included."""

    process: trio.Process
    _master: trio.lowlevel.FdStream
    shown: str = ""
    _grown: trio.Event = field(factory=trio.Event)

    async def type(self, text: str) -> None:
        """Type a text; a line ends with `\\n`."""
        await self._master.send_all(text.encode())

    async def wait_shown(self, text: str, times: int = 1) -> None:
        """Wait until the text is shown so often."""
        with trio.move_on_after(PROCESS_LIMIT_S):
            while self.shown.count(text) < times:
                await self._grown.wait()
            return
        raise AssertionError(f"no {text!r} ({times} times) in:\n{self.shown}")

    async def wait_end(self) -> int:
        """The exit status; everything it wrote is in `shown` by then."""
        with trio.fail_after(PROCESS_LIMIT_S):
            return await self.process.wait()

    async def read(self) -> None:
        """Collect what is shown until the program's end."""
        try:
            async for data in self._master:
                self.shown += data.decode("utf-8", "replace").replace("\r\n", "\n")
                grown, self._grown = self._grown, trio.Event()
                grown.set()
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            # Linux says EIO once no process has the terminal any more.
            return


@asynccontextmanager
async def open_terminal(command: Sequence[str], environ: Mapping[str, str]) -> AsyncIterator[Terminal]:
    """Run a command on a new terminal, which is the controlling one: Ctrl-C interrupts it."""
    master, slave = pty.openpty()
    process = await trio.lowlevel.open_process(
        list(command),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**os.environ, "TERM": "dumb", "PYTHONPATH": os.pathsep.join(sys.path), **environ},
        preexec_fn=lambda: os.login_tty(slave),
    )
    os.close(slave)
    async with trio.open_nursery() as nursery, trio.lowlevel.FdStream(master) as stream:
        terminal = Terminal(process, stream)
        nursery.start_soon(terminal.read)
        try:
            yield terminal
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)
            with trio.CancelScope(shield=True):
                await process.wait()
            nursery.cancel_scope.cancel()
