"""The supervisor's side of the fork server: asks it for workers, and hears of their ends."""

from __future__ import annotations

import array
import json
import logging
import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from contextlib import suppress

import trio
from attrs import define, field

from pg_trio.server.fork_server import MESSAGE_BYTES, ForkServer
from pg_trio.server.worker_files import WorkerFiles, WorkerProcess

logger = logging.getLogger("pg_trio.supervisor")

# A fork takes milliseconds. A fork server that is stopped must not keep a gateway without workers.
FORK_LIMIT_S = 10.0
# From a worker's end to the message with its status.
STATUS_LIMIT_S = 1.0
# For the fork server's own end, once the supervisor has closed the socket.
END_LIMIT_S = 1.0


class ForkServerLost(Exception):
    """The fork server ended, or does not answer."""


@define(eq=False)
class ForkedProcess:
    """A worker that the fork server forked. Its descriptor makes sure that no signal reaches another process."""

    pid: int
    # None if it had ended before it could be opened.
    watch: int | None
    told: trio.Event = field(factory=trio.Event)
    returncode: int | None = None

    async def wait(self) -> int:
        """Wait for its end. The status is -9 if the fork server cannot tell it any more."""
        if self.watch is not None:
            await trio.lowlevel.wait_readable(self.watch)
            os.close(self.watch)
            self.watch = None
        self._take_orphan()
        if self.returncode is None:
            with trio.move_on_after(STATUS_LIMIT_S):
                await self.told.wait()
        if self.returncode is None:
            self.returncode = -signal.SIGKILL
        return self.returncode

    def _take_orphan(self) -> None:
        """The first process of a container is the parent of workers whose fork server is lost."""
        with suppress(ChildProcessError):
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if self.watch is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.watch, number)


@define(eq=False)
class Forks:
    """Forks workers by a fork server, as long as that is there."""

    _server: ForkServer
    _link: trio.socket.SocketType = field(init=False)
    _turn: trio.Lock = field(factory=trio.Lock, init=False)
    _begun: dict[int, ForkedProcess] = field(factory=dict, init=False)
    # A worker, or why there is none, for the request under way.
    _answers: list[ForkedProcess | str] = field(factory=list, init=False)
    _answered: trio.Event = field(factory=trio.Event, init=False)
    is_lost: bool = field(default=False, init=False)
    # Its status was taken; from then on its number may be another process's.
    _has_ended: bool = field(default=False, init=False)

    @_link.default
    def _open_link(self) -> trio.socket.SocketType:
        return trio.socket.from_stdlib_socket(self._server.link)

    async def run(self) -> None:
        """Hear what the fork server tells, until it is lost."""
        try:
            while message := await self._link.recv(MESSAGE_BYTES):
                told = json.loads(message)
                if "ended" in told:
                    self._note_end(told["ended"], told["status"])
                else:
                    self._note_answer(told)
        except (OSError, trio.ClosedResourceError):
            pass
        self._lose("the fork server ended")
        await self._wait_for_end()

    async def fork(self, files: WorkerFiles) -> WorkerProcess:
        """A new worker with these files. Raises ForkServerLost."""
        descriptors = array.array("i", files.descriptors).tobytes()
        message = json.dumps({"sockets": len(files.sockets), "seat": files.seat}).encode()
        async with self._turn:
            with trio.move_on_after(FORK_LIMIT_S) as limit, suppress(OSError):
                await self._link.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
                while not self._answers and not self.is_lost:
                    self._answered = trio.Event()
                    await self._answered.wait()
            if limit.cancelled_caught:
                self._lose("the fork server does not answer")
            answer = self._answers.pop() if self._answers else "the fork server is gone"
        if isinstance(answer, str):
            raise ForkServerLost(answer)
        return answer

    def _note_answer(self, told: dict[str, int]) -> None:
        if "started" in told:
            # Now, and not in the task that asked: the next message may be that it ended.
            process = self._begun[told["started"]] = _watch(told["started"])
            self._answers.append(process)
        else:
            self._answers.append(os.strerror(told["failed"]))
        self._answered.set()

    def _note_end(self, pid: int, status: int) -> None:
        ended = self._begun.pop(pid, None)
        if ended is not None:
            ended.returncode = status
            ended.told.set()

    def _lose(self, said: str) -> None:
        if self.is_lost:
            return
        logger.error("%s; workers are started as new programs from now on", said)
        self.is_lost = True
        # Else it could still fork the worker that is started in another way.
        if not self._has_ended:
            os.kill(self._server.pid, signal.SIGKILL)
        self._link.close()
        self._answered.set()

    async def aclose(self) -> None:
        """Let the fork server end, and wait for it a moment."""
        self.is_lost = True
        self._link.close()
        with trio.CancelScope(shield=True):
            await self._wait_for_end()

    async def _wait_for_end(self) -> None:
        """Wait for it a moment, so that it does not stay as a zombie."""
        if self._has_ended:
            return
        watch = os.pidfd_open(self._server.pid)
        try:
            with trio.move_on_after(END_LIMIT_S):
                await trio.lowlevel.wait_readable(watch)
                os.waitpid(self._server.pid, 0)  # noqa: ASYNC222  # it has ended
                self._has_ended = True
        finally:
            os.close(watch)


def _watch(pid: int) -> ForkedProcess:
    try:
        return ForkedProcess(pid, os.pidfd_open(pid))
    except ProcessLookupError:
        return ForkedProcess(pid, None)


async def start_process(command: Sequence[str], forks: Forks | None, files: WorkerFiles) -> WorkerProcess:
    """A new worker: forked if that is possible, else `command` with the files as options. Raises OSError."""
    if forks is not None and not forks.is_lost:
        with suppress(ForkServerLost):
            return await forks.fork(files)
    return await trio.lowlevel.open_process(
        [*command, *files.as_options()], stdin=subprocess.DEVNULL, pass_fds=files.descriptors
    )
