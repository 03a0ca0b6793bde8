"""Sends a whole answer as a stream, to a client that asked for a stream of an endpoint that does not stream."""

from __future__ import annotations

import trio

from pg_trio.domain.call import StreamClient, WholeAnswer
from pg_trio.domain.events import events_of
from pg_trio.errors import ClientLeft

# As long as a relayed stream's last write may take (see relay.watch), for everything at once: it is one write, or two.
SEND_LIMIT_S = 5.0


async def send_whole(client: StreamClient, answer: WholeAnswer) -> None:
    """The events of the answer, then its end. Raises ClientLeft if the client does not take them in time."""
    reply = answer.reply
    client.name_source(answer.provider, reply.model)
    with trio.move_on_after(SEND_LIMIT_S) as limit:
        await client.send_events(events_of(reply))
        await client.finish(reply.finish_reason, answer.usage)
    if limit.cancelled_caught:
        raise ClientLeft
