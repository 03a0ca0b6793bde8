"""One connection to Redis, shared by all tasks of a worker.

Rules:
1. Commands go out in the order of `send`, and replies come in that order. A caller that goes away leaves its place in
   the line, so a cancellation never leaves a reply half read, and nothing has to be replaced.
2. What several tasks send in one pass of the event loop leaves in one write.
3. A command without a reply within the limit means that the server is frozen, or the network is cut. Then `is_prompt`
   is false until the next reply, so that no further request waits. After SILENT_LIMIT_S the link ends. Time in which
   this process does not run is not the server's: a command's time begins when it is written, and a check that comes
   late counts as if it had come in time.
4. Time limits are checked by one task for all commands, not by a cancel scope for each (docs/decisions/028-clients.md).
5. A server that refuses a command for a reason of its own (no memory, a replica, a full disk, missing rights:
   refusals.py) ends the link, as if it were away: then no limit, permit or answer goes by a part of its state. It is
   asked again with a new connection. Missing rights count once the link `is_greeted`: not all that is asked in a
   greeting must be allowed.
6. A link that subscribes to channels has `on_message`. It gets what is published there; that is no reply to a command.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence

import trio

from pg_trio.cluster.engine_away import EngineAway
from pg_trio.cluster.redis.pending import Pending
from pg_trio.cluster.redis.refusals import refusal_of, rights_refusal_of
from pg_trio.cluster.redis.resp import GarbledReply, RedisError, Reply, RespReader

# One read. 64 KiB: a thousand replies of ours.
READ_BYTES = 64 * 1024
# A server that was stopped for less goes on where it was. A new connection after 1 s finds another route, or the
# server that a load balancer or a sentinel has chosen meanwhile.
SILENT_LIMIT_S = 1.0
# The limit of a command is checked ten times within it, and is that much shorter.
CHECKS = 10
# Commands without a reply. A link with more is not prompt by far; each takes some 200 bytes.
MOST_PENDING = 100_000
# The first items of what a server sends to a subscriber (Redis's documentation: Pub/sub, wire protocol).
PUSHES = (b"message", b"subscribe", b"unsubscribe")


class RedisLink:
    """See the rules. `run` ends with EngineAway when the connection is lost; then every pending command has ended."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.is_prompt = True
        self.is_greeted = False
        # For each command. A handshake may take all of SILENT_LIMIT_S; its maker then sets the real limit.
        self.limit_s = SILENT_LIMIT_S
        self.on_message: Callable[[list[Reply]], None] | None = None
        # Called when the server answers again after it was late, before any caller knows of it.
        self.on_prompt: Sequence[Callable[[], None]] = ()
        self._stream = stream
        self._replies = RespReader()
        self._pending: deque[Pending] = deque()
        self._out: list[bytes] = []
        # Set while the writer, or the task that checks limits, has something to do.
        self._to_write = trio.Event()
        self._to_check = trio.Event()
        self._is_over = False

    def send(self, command: bytes) -> Pending:
        """Send a command. Raises EngineAway if the link has ended."""
        if self._is_over or len(self._pending) >= MOST_PENDING:
            raise EngineAway("Redis: the connection is lost")
        pending = Pending(trio.current_time())
        if not self._pending:
            self._to_check.set()
        self._pending.append(pending)
        self._out.append(command)
        self._to_write.set()
        return pending

    def post(self, command: bytes) -> None:
        """Send a command that has no reply: SUBSCRIBE and UNSUBSCRIBE. Without a connection it is dropped."""
        if not self._is_over:
            self._out.append(command)
            self._to_write.set()

    async def run(self) -> None:
        """Write, read and check limits until the connection is lost. Raises EngineAway."""
        said = "Redis: the connection is lost"
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                nursery.start_soon(self._read)
                nursery.start_soon(self._check_limits)
        except* (trio.BrokenResourceError, trio.ClosedResourceError, GarbledReply, EngineAway) as lost:
            said = "; ".join(str(each) for each in lost.exceptions if str(each)) or said
        finally:
            self._end(said)
            await trio.aclose_forcefully(self._stream)
        raise EngineAway(said)

    def _end(self, said: str) -> None:
        self._is_over, self.is_prompt = True, False
        away = EngineAway(said)
        for pending in self._pending:
            pending.give_up(away)
        self._pending.clear()

    async def _write(self) -> None:
        began_at = -math.inf
        while True:
            await self._to_write.wait()
            self._to_write = trio.Event()
            data, self._out = b"".join(self._out), []
            earlier_at, began_at = began_at, trio.current_time()
            for pending in reversed(self._pending):
                if pending.sent_at <= earlier_at:
                    break
                pending.sent_at = began_at
            await self._stream.send_all(data)

    async def _read(self) -> None:
        while True:
            data = await self._stream.receive_some(READ_BYTES)
            if not data:
                raise EngineAway("Redis has closed the connection")
            # Before the replies: what came too late is undone by a command.
            was_late, self.is_prompt = not self.is_prompt, True
            for reply in self._replies.feed(data):
                if self.on_message is not None and isinstance(reply, list) and reply and reply[0] in PUSHES:
                    self.on_message(reply)
                    continue
                if isinstance(reply, RedisError):
                    self._check_refusal(reply)
                if not self._pending:
                    raise GarbledReply("Redis sent a reply to no command")
                self._pending.popleft().settle(reply)
            if was_late:
                for hear in self.on_prompt:
                    hear()

    def _check_refusal(self, reply: RedisError) -> None:
        """Raises EngineAway, and all that is pending ends."""
        refusal = refusal_of(reply)
        if refusal is not None and (self.is_greeted or rights_refusal_of(reply) is None):
            raise EngineAway(f"Redis {refusal}")

    async def _check_limits(self) -> None:
        while True:
            if not self._pending:
                self._to_check = trio.Event()
                await self._to_check.wait()
            looks_at = trio.current_time() + self.limit_s / CHECKS
            await trio.sleep_until(looks_at)
            if self._is_late(looks_at):
                # It may be this process that did not run. In two passes of the event loop what has come is read.
                await trio.lowlevel.checkpoint()
                await trio.lowlevel.checkpoint()
                self._give_up_late(looks_at)

    def _is_late(self, now: float) -> bool:
        return bool(self._pending) and self._pending[0].sent_at <= now - self.limit_s * (1 - 1 / CHECKS)

    def _give_up_late(self, now: float) -> None:
        away = EngineAway("Redis does not answer in time")
        late_from = now - self.limit_s * (1 - 1 / CHECKS)
        for pending in self._pending:
            if pending.sent_at > late_from:
                break
            self.is_prompt = False
            pending.give_up(away)
        if self._pending and now - self._pending[0].sent_at > SILENT_LIMIT_S:
            raise EngineAway(f"Redis has been silent for {SILENT_LIMIT_S:g} s")
