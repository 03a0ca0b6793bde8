"""Redis for one worker: a link at all times, or the knowledge that there is none.

Rules:
1. A call never waits for a connection: without one, or while the server does not answer, it raises EngineAway at once.
   So an engine that is stopped costs the calls under way at that moment their limit, and later ones nothing. This is
   the breaker; the probe is what is still under way, and after SILENT_LIMIT_S a new connection (redis_link.py).
2. A call waits `limit_s` at most. The request's own deadline and its cancellation end it earlier.
3. A call that takes something names how to give it back (`undo`). If the caller is cancelled, it waits for the reply,
   shielded and within the limit, so that it is given back before the cancellation passes. If the reply comes later, it
   is given back then. If it never comes, what was taken ends by itself: a bucket refills, a permit expires.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Sequence

import trio
from attrs import define, field

from pg_trio.cluster.engine_away import EngineAway
from pg_trio.cluster.redis.pending import Pending, Undo
from pg_trio.cluster.redis.redis_data import LOST, DataLost, RedisData
from pg_trio.cluster.redis.redis_link import RedisLink
from pg_trio.cluster.redis.resp import Argument, RedisError, Reply
from pg_trio.cluster.redis.scripts import Script
from pg_trio.errors import StoreError

logger = logging.getLogger("pg_trio.cluster")

# Between two tries to connect. A server that starts again is found within this time.
RECONNECT_S = 0.25
# For connecting and the handshake: a SYN is sent again after 1 s.
CONNECT_LIMIT_S = 2.0

Connect = Callable[[], Awaitable[trio.abc.Stream]]
# Called with a fresh link when it is greeted. What it returns is called when the link is in use, before any other call.
Opening = Callable[[RedisLink], Awaitable[Callable[[], None]]]
# Called with a fresh link before any other call may use it. It raises EngineAway if the server is not usable.
Greet = Callable[[RedisLink], Awaitable[None]]


@define(eq=False)
class RedisClient:
    """See the rules. `run` keeps the link. `greetings` are awaited in order for each new link."""

    connect: Connect
    limit_s: float
    scripts: Sequence[Script] = ()
    greetings: list[Greet] = field(factory=list)
    # Whether it leaves the log to another client of the same server.
    is_quiet: bool = False
    # Trio's clock at which the link was made; before the first one, none was.
    linked_at: float = field(default=math.inf, init=False)
    # How long there had been no link before this one; 0 for the first one.
    away_s: float = field(default=0.0, init=False)
    opening: Opening | None = None
    data: RedisData = field(factory=RedisData)
    # Called when the link in use answers again after it was late.
    on_prompt: list[Callable[[], None]] = field(factory=list)
    _link: RedisLink | None = field(default=None, init=False)
    _lost_at: float | None = field(default=None, init=False)
    _is_told_away: bool = field(default=False, init=False)
    _is_starting: bool = field(default=False, init=False)
    _started: trio.Event = field(factory=trio.Event, init=False)

    @property
    def is_up(self) -> bool:
        """Whether a call is worth a try. So it is between `check` and the first link of `run`."""
        return self._link.is_prompt if self._link is not None else self._is_starting

    async def call(self, command: bytes, undo: Undo | None = None) -> Reply:
        """The reply to one command, also if it is an error. Raises EngineAway."""
        link = self._link or await self._wait_for_first()
        if link is None or not link.is_prompt:
            raise EngineAway("Redis is away")
        pending = link.send(command)
        try:
            return await pending.wait()
        except trio.Cancelled:
            if undo is not None:
                pending.undo = undo
                with trio.move_on_after(self.limit_s, shield=True):
                    await pending.wait_until_settled()
            raise
        except EngineAway:
            # It may have been carried out, and the reply may still come.
            pending.undo = undo
            raise

    def send(self, command: bytes) -> Pending:
        """Send a command whose reply is awaited later. Raises EngineAway."""
        if self._link is None or not self._link.is_prompt:
            raise EngineAway("Redis is away")
        return self._link.send(command)

    async def _wait_for_first(self) -> RedisLink | None:
        """The first link, if `run` is just making it."""
        if self._is_starting:
            with trio.move_on_after(self.limit_s):
                await self._started.wait()
        return self._link

    async def run_script(
        self, script: Script, keys: Sequence[Argument], arguments: Sequence[Argument], undo: Undo | None = None
    ) -> list[Reply]:
        """The reply of a script that returns an array. Raises EngineAway, also if the script failed; DataLost."""
        command = script.call(keys, arguments)
        reply = await self.call(command, undo)
        if isinstance(reply, RedisError) and reply.code == "NOSCRIPT":
            # SCRIPT FLUSH; a restarted server gets the scripts with its new link.
            await self.call(script.load())
            reply = await self.call(command, undo)
        if isinstance(reply, RedisError) and reply.code == LOST:
            self.data.suspect()
            raise DataLost("Redis has lost its data")
        return script.read(reply)

    def tell(self, command: bytes) -> None:
        """Send a command whose reply does not matter. Without a link it is dropped."""
        if self._link is not None and self._link.is_prompt:
            try:
                self._link.send(command)
            except EngineAway:
                return

    def expect_link(self) -> None:
        """`run` is about to make the first link: until then, calls wait for it within their limit."""
        self._is_starting = True

    async def check(self, *steps: Callable[[], Awaitable[None]]) -> None:
        """Connect once, await the steps, and close. Raises EngineAway if Redis is away, StoreError if it is none that
        we can use, and what the steps raise."""
        failure: BaseException | None = None
        try:
            async with trio.open_nursery() as nursery:
                await self._open(nursery)
                for step in steps:
                    await step()
                self._is_starting = True
                nursery.cancel_scope.cancel()
        except* EngineAway as lost:
            failure = EngineAway(_say_all(lost))
        except* StoreError as unusable:
            failure = unusable.exceptions[0]
        finally:
            self._link = None
        if failure is not None:
            raise failure

    async def run(self) -> None:
        """Keep a link until cancelled."""
        while True:
            try:
                async with trio.open_nursery() as nursery:
                    await self._open(nursery)
                    self._note(None)
            except* (EngineAway, StoreError) as lost:
                self._note(_say_all(lost))
            finally:
                if self._link is not None:
                    self._link, self._lost_at = None, trio.current_time()
            await trio.sleep(RECONNECT_S)

    async def _open(self, nursery: trio.Nursery) -> None:
        """Make a link that was greeted, and use it; it runs in the nursery, and its end ends the nursery."""
        link = await self._connect(nursery)
        begin = None if self.opening is None else await self.opening(link)
        link.limit_s = self.limit_s
        self._link, self.linked_at = link, trio.current_time()
        self.away_s = 0.0 if self._lost_at is None else self.linked_at - self._lost_at
        link.on_prompt = self.on_prompt
        if begin is not None:
            begin()

    async def _connect(self, nursery: trio.Nursery) -> RedisLink:
        try:
            with trio.fail_after(CONNECT_LIMIT_S):
                stream = await self.connect()
        except trio.TooSlowError:
            raise EngineAway("Redis does not accept a connection in time") from None
        link = RedisLink(stream)
        nursery.start_soon(link.run)
        for greet in self.greetings:
            await greet(link)
        link.is_greeted = True
        for script in self.scripts:
            await link.send(script.load()).wait()
        return link

    def _note(self, away: str | None) -> None:
        """Log the first of several failures, and the first success after it."""
        if self.is_quiet:
            pass
        elif away is None:
            if self._is_told_away:
                logger.warning("Redis works again")
        elif not self._is_told_away:
            logger.error("%s. Trying again until it works", away)
        self._is_told_away = away is not None
        self._is_starting = False
        self._started.set()


def _say_all(lost: BaseExceptionGroup[Exception]) -> str:
    """The reasons, each once: a link that ends tells it to those who wait for replies, too."""
    return "; ".join(dict.fromkeys(str(each) for each in lost.exceptions))
