"""Works whose output is kept elsewhere: what this worker's memory holds, who counts as a client, how they stop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import trio
from attrs import define, field
from trio.testing import MockClock, wait_all_tasks_blocked

from pg_trio.attachment import Outlives, OwnedAttachment, OwnedWorks
from pg_trio.attachment.answer_store import AnswerKeeper
from pg_trio.attachment.owned_works import STOP_LIMIT_S, Work, WorkPort
from pg_trio.domain.kept_answer import AnswerEnd, AnswerStart


@define
class FakeKept:
    """A place where output is kept; it notes who is told of its readers."""

    is_kept: bool = True
    is_shared: bool = True
    keeper: AnswerKeeper | None = None

    def watch(self, keeper: AnswerKeeper) -> None:
        self.keeper = keeper

    def begin(self, start: AnswerStart) -> None: ...

    def add(self, parts: object) -> bool:
        return self.is_kept

    def end(self, how: AnswerEnd, keep_s: float) -> None: ...

    def discard(self) -> None: ...


@define
class Flow:
    """A work that sends a part each second until it is stopped, and notes how it ended."""

    kept: FakeKept = field(factory=FakeKept)
    grace_s: float = 10.0
    stops_softly: bool = True
    sent: int = 0
    ended: str = ""
    stopped: trio.Event = field(factory=trio.Event)

    async def __call__(self, port: WorkPort[bytes]) -> None:
        assert port.outlive(Outlives(self.grace_s, 0, 4, self.kept))
        port.stop_with(self.stop)
        try:
            while not self.stopped.is_set():
                with trio.move_on_after(1):
                    await (self.stopped if self.stops_softly else trio.Event()).wait()
                await port.send(b"x")
                self.sent += 1
            await port.send(b"last")
            self.ended = "stopped"
        except trio.Cancelled:
            self.ended = f"cancelled: {port.cut}"
            raise

    def stop(self) -> bool:
        self.stopped.set()
        return True


@define
class Client:
    """Takes parts; each takes so many seconds."""

    takes_s: float = 0.0
    got: list[bytes] = field(factory=list)
    scope: trio.CancelScope = field(factory=trio.CancelScope)

    async def take(self, part: bytes) -> None:
        await trio.sleep(self.takes_s)
        self.got.append(part)

    async def read(self, attachment: OwnedAttachment[bytes], work: Work[bytes]) -> None:
        with self.scope:
            await attachment.serve(work)


@asynccontextmanager
async def running() -> AsyncIterator[tuple[OwnedWorks[bytes], trio.Nursery]]:
    works = OwnedWorks[bytes](len)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(works.run)
        await wait_all_tasks_blocked()
        yield works, nursery
        nursery.cancel_scope.cancel()


async def test_memory_holds_what_the_client_has_not(autojump_clock: MockClock) -> None:
    flow, client = Flow(), Client(takes_s=100)

    async with running() as (works, nursery):
        nursery.start_soon(client.read, OwnedAttachment(works, 1, client.take), flow)
        await trio.sleep(50)

        # The client is behind by more than `keep_bytes`, so the work waits.
        assert 5 >= works.kept_bytes
        assert 6 >= flow.sent


async def test_left_work_ends_after_its_grace(autojump_clock: MockClock) -> None:
    flow, client = Flow(), Client()

    async with running() as (works, nursery):
        nursery.start_soon(client.read, OwnedAttachment(works, 1, client.take), flow)
        await trio.sleep(3.5)
        client.scope.cancel()
        await trio.sleep(9.9)
        assert "" == flow.ended
        await trio.sleep(0.2)

        assert "cancelled: client left" == flow.ended
        assert 0 == works.kept_bytes


async def test_readers_elsewhere_are_clients(autojump_clock: MockClock) -> None:
    flow, client = Flow(), Client()

    async with running() as (works, nursery):
        nursery.start_soon(client.read, OwnedAttachment(works, 1, client.take), flow)
        await trio.sleep(3.5)
        assert flow.kept.keeper is not None
        flow.kept.keeper.note_readers(1)
        client.scope.cancel()
        await trio.sleep(100)
        assert "" == flow.ended
        flow.kept.keeper.note_readers(0)
        await trio.sleep(10.1)

        assert "cancelled: client left" == flow.ended


async def test_client_that_came_back_waits_for_no_dead_one(autojump_clock: MockClock) -> None:
    flow, client = Flow(), Client(takes_s=1_000)

    async with running() as (works, nursery):
        nursery.start_soon(client.read, OwnedAttachment(works, 1, client.take), flow)
        await trio.sleep(20)
        assert 6 >= flow.sent
        assert flow.kept.keeper is not None
        flow.kept.keeper.note_readers(1)
        await trio.sleep(20)

        assert 20 <= flow.sent


async def test_work_that_is_not_kept_any_more_ends_with_its_client(autojump_clock: MockClock) -> None:
    flow, client = Flow(), Client()

    async with running() as (works, nursery):
        nursery.start_soon(client.read, OwnedAttachment(works, 1, client.take), flow)
        await trio.sleep(3.5)
        flow.kept.is_kept = False
        client.scope.cancel()
        await wait_all_tasks_blocked()

        assert "cancelled: client left" == flow.ended


async def test_stop_lets_the_work_say_its_last(autojump_clock: MockClock) -> None:
    flow, client = Flow(), Client()

    async with running() as (works, nursery):
        nursery.start_soon(client.read, OwnedAttachment(works, 1, client.take), flow)
        await trio.sleep(2.5)
        assert flow.kept.keeper is not None
        flow.kept.keeper.stop()
        await wait_all_tasks_blocked()

        assert ("stopped", b"last") == (flow.ended, client.got[-1])


async def test_work_that_does_not_stop_is_cancelled(autojump_clock: MockClock) -> None:
    flow, client = Flow(stops_softly=False), Client(takes_s=1_000)

    async with running() as (works, nursery):
        nursery.start_soon(client.read, OwnedAttachment(works, 1, client.take), flow)
        await trio.sleep(20)
        assert flow.kept.keeper is not None
        flow.kept.keeper.stop()
        await trio.sleep(STOP_LIMIT_S + 0.1)

        # It waited for a slow client: its last words do not.
        assert flow.ended in ("stopped", "cancelled: stopped")


async def test_waiting_client_gets_a_part_at_once(autojump_clock: MockClock) -> None:
    now: list[bytes] = []

    async def give(part: bytes) -> bytes | None:
        now.append(part)
        return None

    flow, client = Flow(), Client()
    async with running() as (works, nursery):
        nursery.start_soon(client.read, OwnedAttachment(works, 1, client.take, give), flow)
        await trio.sleep(3.5)

        assert ([b"x"] * 3, []) == (now, client.got)


async def test_rest_of_a_part_comes_before_the_next(autojump_clock: MockClock) -> None:
    """A client that takes half a part at once, and the rest of it slowly."""
    got: list[bytes] = []

    async def give(part: bytes) -> bytes | None:
        got.append(part[:1])
        return part[1:]

    async def take(part: bytes) -> None:
        await trio.sleep(2.5)
        got.append(part)

    async def work(port: WorkPort[bytes]) -> None:
        port.outlive(Outlives(10, 0, 100, FakeKept()))
        for part in (b"ab", b"cd", b"ef", b"gh"):
            await trio.sleep(1)
            await port.send(part)

    async with running() as (works, nursery):
        nursery.start_soon(partial(OwnedAttachment(works, 1, take, give).serve, work))
        await trio.sleep(30)

    assert b"abcdefgh" == b"".join(got)
