"""What is published in Redis for one worker: that an answer has grown, and messages of other workers.

Rules:
1. One connection of its own for all readers of a worker: a server sends nothing but news to one that subscribes.
2. News may get lost (a connection that breaks). So those who wait look for themselves, too, and are all woken by a new
   connection.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import trio
from attrs import define, field

from pg_trio.cluster.engine_away import EngineAway
from pg_trio.cluster.redis.client import Connect, Greet, RedisClient
from pg_trio.cluster.redis.redis_link import RedisLink
from pg_trio.cluster.redis.resp import Reply, encode_command

# A connection without news is asked so often whether it is there.
PING_EVERY_S = 1.0
# For the answer to a subscription. Without it, readers look for themselves.
SUBSCRIBED_LIMIT_S = 1.0


@define(eq=False)
class AnswerNews:
    """Subscribes. `on_message` gets a channel and what was published there; `on_link` is called by a new connection."""

    connect: Connect
    greet: Greet
    limit_s: float
    # The channel that is always subscribed to.
    own_channel: str
    on_message: Callable[[bytes, bytes], None]
    on_link: Callable[[], None]
    _client: RedisClient = field(init=False)
    _link: RedisLink | None = field(default=None, init=False)
    # How many want a channel; set once the server has confirmed it.
    _wanted: dict[str, int] = field(factory=dict, init=False)
    _confirmed: dict[str, trio.Event] = field(factory=dict, init=False)

    @_client.default
    def _make_client(self) -> RedisClient:
        return RedisClient(self.connect, self.limit_s, (), [self.greet, self._subscribe_all], is_quiet=True)

    @property
    def is_up(self) -> bool:
        """Whether news come."""
        return self._client.is_up

    def want(self, channel: str) -> None:
        """Hear of a channel, until `forget` has been called as often."""
        count = self._wanted[channel] = self._wanted.get(channel, 0) + 1
        if count == 1:
            self._confirmed[channel] = trio.Event()
            if self._link is not None:
                self._link.post(encode_command("SUBSCRIBE", channel))

    def forget(self, channel: str) -> None:
        """See `want`."""
        self._wanted[channel] -= 1
        if not self._wanted[channel]:
            del self._wanted[channel], self._confirmed[channel]
            if self._link is not None:
                self._link.post(encode_command("UNSUBSCRIBE", channel))

    async def wait_confirmed(self, channel: str) -> None:
        """Until everything that is published there comes, or a limit."""
        with trio.move_on_after(SUBSCRIBED_LIMIT_S if self.is_up else 0):
            await self._confirmed[channel].wait()

    async def run(self) -> None:
        """Keep the connection until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._client.run)
            while True:
                await trio.sleep(PING_EVERY_S)
                # A connection that is lost notices it by this.
                with suppress(EngineAway):
                    await self._client.call(encode_command("PING"))

    async def _subscribe_all(self, link: RedisLink) -> None:
        """The last greeting of a new connection."""
        link.on_message = self._take
        self._link = link
        link.post(encode_command("SUBSCRIBE", self.own_channel, *self._wanted))
        await link.send(encode_command("PING")).wait()
        self.on_link()

    def _take(self, said: list[Reply]) -> None:
        kind, channel, data = said
        if not isinstance(channel, bytes):
            return
        if kind == b"subscribe":
            confirmed = self._confirmed.get(channel.decode("utf-8", "replace"))
            if confirmed is not None:
                confirmed.set()
        elif kind == b"message" and isinstance(data, bytes):
            self.on_message(channel, data)
