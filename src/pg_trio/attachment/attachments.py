"""The two ways in which a client is attached to the work of its request, and how its leaving is noticed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, Protocol, TypeAlias, TypeVar

import trio

from pg_trio.attachment.kept_output import DeliverNow
from pg_trio.attachment.owned_works import SETTLE_S, Outlives, OwnedWork, OwnedWorks, Work, WorkCut

P = TypeVar("P")
P_contra = TypeVar("P_contra", contravariant=True)
R = TypeVar("R")

# Sends a part of the answer to the client. Waits while the client takes nothing.
Deliver: TypeAlias = Callable[[P], Awaitable[None]]


class Attachment(Protocol[P_contra]):
    """Ties a client to the work of its request."""

    async def serve(self, work: Work[P_contra]) -> None:
        """Do the work, or let it be done, and send its output to the client. Returns when the client has all of it.

        The client's leaving cancels this. Raises OutputCut if the output ended before it was complete.
        """


class DirectAttachment(Generic[P]):
    """The client's own task does the work, which ends with the client."""

    __slots__ = ("send",)

    # The server says why it cancels a request: see ServerLink.cut.
    cut: WorkCut | None = None

    def __init__(self, deliver: Deliver[P]) -> None:
        self.send = deliver

    def outlive(self, policy: Outlives) -> bool:
        """It cannot: see WorkPort."""
        return False

    def note_waiters(self, count: int) -> None:
        """It ends with its client all the same: see WorkPort."""

    def stop_with(self, stop: Callable[[], bool]) -> None:
        """Its client stops it by leaving."""

    async def serve(self, work: Work[P]) -> None:
        """See Attachment."""
        await work(self)


class OwnedAttachment(Generic[P]):
    """The gateway does the work, and the client reads its output: see OwnedWorks."""

    __slots__ = ("_deliver", "_deliver_now", "_key", "_works")

    def __init__(
        self, works: OwnedWorks[P], key: Hashable, deliver: Deliver[P], deliver_now: DeliverNow[P] | None = None
    ) -> None:
        self._deliver_now = deliver_now
        self._works = works
        self._key = key
        self._deliver = deliver

    async def serve(self, work: Work[P]) -> None:
        """See Attachment.

        A work that may not outlive its client may use what belongs to the client's connection, such as its body. So
        this returns only after such a work has ended, unless others wait for its output: they are there since its body
        is.
        """
        owned = self._works.start(self._key, work)
        try:
            with owned.attach(0, self._deliver_now) as reader:
                while (part := await reader.receive()) is not None:
                    await self._deliver(part)
        finally:
            if not owned.may_outlive and owned.state != "attached":
                with trio.move_on_after(SETTLE_S, shield=True):
                    await owned.ended.wait()


async def follow(owned: OwnedWork[P], deliver: Deliver[P], first_part: int = 0) -> None:
    """Attach another client to a work, from this part of its output on, and send it all that comes.

    Raises OutputDropped if that part is not kept, and OutputCut if the output ended before it was complete.
    """
    with owned.attach(first_part) as reader:
        while (part := await reader.receive()) is not None:
            await deliver(part)


async def while_connected(wait_left: Callable[[], Awaitable[None]], serve: Callable[[], Awaitable[R]]) -> R | None:
    """The result of `serve`, which is cancelled when `wait_left` returns: None then.

    For servers that do not cancel a request's task when its client leaves.
    """
    results: list[R] = []

    async def watch() -> None:
        await wait_left()
        nursery.cancel_scope.cancel(reason="the client left")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        results.append(await serve())
        nursery.cancel_scope.cancel(reason="answered")
    return results[0] if results else None
