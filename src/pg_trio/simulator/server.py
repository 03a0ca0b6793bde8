"""The simulated provider on a real socket: connections in, plans carried out.

Rules:
1. It works on bare non-blocking sockets: faults need the socket itself, and a benchmark's upstream must cost little.
2. Parsing is llhttp's. One task a connection; requests that arrive early wait their turn.
3. While an answer waits or stalls the socket is read, so the client's going away is noticed when it happens. A client
   that half-closes counts as gone.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable

import trio

from pg_trio.simulator.chat_call import RefusedCall
from pg_trio.simulator.plan import Close, Plan, Reset, Send, Stall, Wait, error_answer
from pg_trio.simulator.request_reader import ReaderLimits, RequestReader
from pg_trio.simulator.simulated_provider import Behaviours, Received, Simulator

RECEIVE_BYTES = 64 * 1024
# After a refusal that leaves the request unread, this much of it is read away, for this long: closing a socket with
# unread bytes resets it, and the client would lose the refusal it is to see.
DRAIN_BYTES = 32 * 1024 * 1024
DRAIN_S = 2.0
# 1 MiB of requests that arrive during an answer; past that the client is left to wait in the socket's buffer.
EARLY_BYTES = 1024 * 1024
# 100 ms before accepting again when the process is out of files: what Trio's own serve_listeners waits.
OUT_OF_FILES_PAUSE_S = 0.1
_OUT_OF_FILES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
# struct linger, on for 0 seconds: closing then sends RST and drops what was not sent.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


async def serve_simulator(
    behaviours: Behaviours | str = Behaviours(),  # noqa: B008  frozen
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    on_done: Callable[[Received], None] | None = None,
    task_status: trio.TaskStatus[Simulator] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; `nursery.start` returns the `Simulator`. Cancelling closes every socket at once.

    `host` is an IP address; port 0 takes any free one. A text for `behaviours` is the default behaviour.
    Raises: OSError if the address is taken; ValueError if a behaviour's text is wrong.
    """
    if isinstance(behaviours, str):
        behaviours = Behaviours(default=behaviours)
    with _listen(host, port) as listener:
        at = f"[{host}]" if ":" in host else host
        simulator = Simulator(behaviours, f"http://{at}:{listener.getsockname()[1]}/v1", on_done)
        task_status.started(simulator)
        await _accept_all(listener, simulator, behaviours.limits)


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setblocking(False)
        # Without it a port stays taken for a minute after its last connection.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(1024)
    except BaseException:
        listener.close()
        raise
    return listener


async def _accept_all(listener: socket.socket, simulator: Simulator, limits: ReaderLimits) -> None:
    async with trio.open_nursery() as nursery:
        while True:
            await trio.lowlevel.wait_readable(listener)
            try:
                accepted, _ = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                continue
            except OSError as error:
                if error.errno not in _OUT_OF_FILES:
                    raise
                await trio.sleep(OUT_OF_FILES_PAUSE_S)
                continue
            nursery.start_soon(_Conversation(accepted, simulator, limits).run)


class _Conversation:
    """One connection: requests in, plans carried out."""

    def __init__(self, accepted: socket.socket, simulator: Simulator, limits: ReaderLimits) -> None:
        accepted.setblocking(False)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = accepted
        self._simulator = simulator
        self._limits = limits
        self._connection = simulator.open_connection()
        self._reader = RequestReader(limits)
        # What arrived while an answer was under way.
        self._early = bytearray()
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        """Serve the connection until either side ends it."""
        try:
            # One scope for the connection's life, its deadline moved: a scope a wait costs more than the parsing.
            with self._scope:
                while await self._serve_one():
                    pass
        except OSError:
            # The client is gone; what it did not get is already noted at its request.
            pass
        finally:
            self._socket.close()
            self._simulator.close_connection(self._connection)

    async def _serve_one(self) -> bool:
        """Answer one request; False once the connection is to end."""
        if not await self._wait_message():
            return False
        message = self._reader.messages.popleft()
        request = Received(
            number=0,
            method=message.method,
            path=message.path,
            headers=message.headers,
            raw_body=b"".join(message.body),
            arrived_at=trio.current_time(),
            connection=self._connection,
        )
        self._simulator.receive(request)
        is_open = await self._carry_out(self._simulator.plan(request))
        self._simulator.finish(request, closed_early=is_open is None)
        return bool(is_open) and message.keep_alive

    async def _wait_message(self) -> bool:
        """Read until a whole request is there; False if the client is done, or was refused."""
        reader = self._reader
        while not reader.messages:
            data = bytes(self._early) or await self._receive()
            self._early.clear()
            if not data:
                return False
            reader.feed(data)
            if reader.refusal is not None:
                await self._refuse(reader.refusal)
                return False
            if reader.wants_continue:
                reader.wants_continue = False
                await self._send(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._scope.deadline = float("inf")
        return True

    async def _receive(self) -> bytes:
        self._scope.deadline = trio.current_time() + self._limits.idle_s
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            try:
                return self._socket.recv(RECEIVE_BYTES)
            except BlockingIOError:
                continue

    async def _refuse(self, refusal: RefusedCall) -> None:
        await self._send(error_answer(refusal, "Connection: close\r\n"))
        self._socket.shutdown(socket.SHUT_WR)
        self._scope.deadline = trio.current_time() + DRAIN_S
        drained = 0
        while drained < DRAIN_BYTES:
            await trio.lowlevel.wait_readable(self._socket)
            data = self._socket.recv(RECEIVE_BYTES)
            if not data:
                return
            drained += len(data)

    async def _carry_out(self, plan: Plan) -> bool | None:
        """Do the plan's steps. True: the connection stays open; False: the plan ended it; None: the client left."""
        for step in plan:
            match step:
                case Send():
                    if not await self._send(step.data):
                        return None
                case Wait():
                    if await self._sees_leaving(step.seconds):
                        return None
                case Stall():
                    await self._sees_leaving(float("inf"))
                    return None
                case Close():
                    return False
                case Reset():
                    self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                    return False
        return True

    async def _send(self, data: bytes) -> bool:
        """Write all of it; False if the client left."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._socket.send(rest) :]
            except BlockingIOError:
                self._scope.deadline = trio.current_time() + self._limits.idle_s
                await trio.lowlevel.wait_writable(self._socket)
                self._scope.deadline = float("inf")
            except OSError:
                return False
        return True

    async def _sees_leaving(self, seconds: float) -> bool:
        """Write nothing for this long; True as soon as the client left."""
        with trio.move_on_after(seconds):
            await self._wait_leaving()
            return True
        return False

    async def _wait_leaving(self) -> None:
        while len(self._early) < EARLY_BYTES:
            await trio.lowlevel.wait_readable(self._socket)
            try:
                data = self._socket.recv(RECEIVE_BYTES)
            except BlockingIOError:
                continue
            except OSError:
                return
            if not data:
                return
            self._early += data
        await trio.sleep_forever()
