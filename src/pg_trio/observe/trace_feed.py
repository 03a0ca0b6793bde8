"""Feeds traces to a process of its own, which builds, encodes and exports their spans.

Rules:
1. The process costs the worker a pipe: the SDK's spans and their encoding take the interpreter's lock for 70 µs a span.
2. At most QUEUED_TRACES wait. A collector that hangs or is gone fills the pipe and then the queue; further traces are
   dropped and counted. No request waits.
3. A process that ends is started again, after a pause. If the worker is gone, its pipe ends, and so does it.
4. A trace's line is made when it is written, not while its request waits.
5. At the worker's end, what waits is handed over within CLOSE_LIMIT_S; the rest is dropped.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence

import trio
from attrs import define, field

from pg_trio.observe.trace_facts import EndedRequest, write_line

logger = logging.getLogger("pg_trio.observe")

# Some 2 KiB of memory each. The SDK's own queue has 2,048 spans; a trace has three or more.
QUEUED_TRACES = 4096
# One write to the pipe: Linux' pipes hold 64 KiB.
WRITTEN_BYTES = 65_536
# Traces that end within this time are written together, as rows of the log are.
TOGETHER_S = 0.05
CLOSE_LIMIT_S = 3.0
RESTART_PAUSE_S = 1.0
TOLD_EVERY_S = 60.0


@define(eq=False)
class TraceFeed:
    """The queue of one worker and the process behind it. `arguments` are the process's own (trace_exporter.py).

    `preface` is the first line that each process gets. `dropped` counts traces that were not exported: that found the
    queue full, or that the collector did not take.
    """

    _arguments: Sequence[str]
    _preface: bytes = b"{}"
    _write_line: Callable[[EndedRequest], bytes] = write_line
    dropped: int = 0
    # Of the process; None before its start.
    pid: int | None = None
    _waiting: deque[EndedRequest] = field(factory=deque[EndedRequest])
    _wake: trio.Event = field(factory=trio.Event)
    _told_at: float = -TOLD_EVERY_S
    # What comes before the next traces: the preface, or the end of a line that was perhaps written in part.
    _before: bytes = b""

    def send(self, trace: EndedRequest) -> None:
        """See TraceQueue."""
        waiting = self._waiting
        if not waiting:
            self._wake.set()
        if len(waiting) < QUEUED_TRACES:
            waiting.append(trace)
        else:
            self.dropped += 1

    async def run(self) -> None:
        """Keep the process fed until cancelled."""
        try:
            while True:
                try:
                    await self._run_process()
                except* (OSError, trio.BrokenResourceError):
                    self._tell("the process that exports traces has ended, and is started again")
                await trio.sleep(RESTART_PAUSE_S)
        finally:
            self.dropped += len(self._waiting)
            self._waiting.clear()

    async def _run_process(self) -> None:
        command = [sys.executable, "-m", "pg_trio.observe.trace_exporter", *self._arguments]
        process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.pid, self._before = process.pid, self._preface + b"\n"
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen, process)
                await self._feed(process)
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_LIMIT_S):
                await self._finish(process)
            if process.returncode is None:
                process.kill()
                with trio.CancelScope(shield=True):
                    await process.wait()

    async def _feed(self, process: trio.Process) -> None:
        assert process.stdin is not None
        while True:
            await self._wake.wait()
            # A write for each trace would cost as much as making it.
            await trio.sleep(TOGETHER_S)
            self._wake = trio.Event()
            while self._waiting:
                await self._write(process.stdin)

    async def _write(self, pipe: trio.abc.SendStream) -> None:
        lines = self._take_lines()
        try:
            await pipe.send_all(self._before + b"".join([line + b"\n" for line in lines]))
            self._before = b""
        except BaseException:
            # A part of it may be in the pipe: the line break tells the next trace from it.
            self.dropped += len(lines)
            self._before = b"\n"
            raise

    def _take_lines(self) -> list[bytes]:
        """The lines of the traces that waited longest, for one write."""
        taken, size = list[bytes](), 0
        while self._waiting and size < WRITTEN_BYTES:
            try:
                taken.append(self._write_line(self._waiting.popleft()))
            except (TypeError, ValueError):
                # A value that JSON does not have: the trace is lost, and the worker is not.
                self.dropped += 1
                self._tell("a trace could not be written")
                continue
            size += len(taken[-1])
        return taken

    async def _listen(self, process: trio.Process) -> None:
        """Count what the process says it could not export: a line with a number for each batch, 0 if it went well."""
        assert process.stdout is not None
        rest = b""
        async for data in process.stdout:
            *lines, rest = (rest + data).split(b"\n")
            failed = sum(int(line) for line in lines if line.isdigit())
            if failed:
                self.dropped += failed
                self._tell("the collector does not take traces")
        raise OSError("it ended")

    async def _finish(self, process: trio.Process) -> None:
        """Hand over what waits, and let the process export it."""
        assert process.stdin is not None
        try:
            while self._waiting:
                await self._write(process.stdin)
            await process.stdin.aclose()
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            return
        await process.wait()

    def _tell(self, what: str) -> None:
        now = trio.current_time()
        if now - self._told_at >= TOLD_EVERY_S:
            self._told_at = now
            logger.warning("%s: %d traces were dropped so far", what, self.dropped)
