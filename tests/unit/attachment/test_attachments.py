"""Clients that leave, come back, stop: what becomes of the work, under both policies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
from attrs import define, field
from trio.testing import MockClock, wait_all_tasks_blocked

from pg_trio.attachment import (
    Attachment,
    DirectAttachment,
    Outlives,
    OutputCut,
    OutputDropped,
    OwnedAttachment,
    OwnedWorks,
    follow,
    while_connected,
)
from pg_trio.attachment.owned_works import BEHIND_BYTES, CROWDED_BYTES, Work, WorkPort

GRACE = Outlives(grace_s=10, keep_s=60, keep_bytes=100)


@define
class Teller:
    """A work that sends a letter each second, and notes how it ended. It says its policy before the first one."""

    letters: str = "abcdef"
    policy: Outlives | None = None
    sent: str = ""
    ended: str = ""
    outlives: bool | None = None

    async def __call__(self, port: WorkPort[bytes]) -> None:
        try:
            if self.policy is not None:
                self.outlives = port.outlive(self.policy)
            for letter in self.letters:
                await trio.sleep(1)
                await port.send(letter.encode())
                self.sent += letter
            self.ended = "done"
        except trio.Cancelled:
            self.ended = f"cancelled: {port.cut}"
            raise


@define
class Reader:
    """A client; takes each part after so many seconds."""

    takes_s: float = 0.0
    got: str = ""
    how: str = ""
    scope: trio.CancelScope = field(factory=trio.CancelScope)

    async def take(self, part: bytes) -> None:
        await trio.sleep(self.takes_s)
        self.got += part.decode()

    async def read(self, serve: Callable[[], Awaitable[None]]) -> None:
        try:
            with self.scope:
                await serve()
            self.how = "left" if self.scope.cancelled_caught else "whole"
        except OutputCut as cut:
            self.how = f"cut: {cut}"


@asynccontextmanager
async def running(limit_bytes: int = 10_000) -> AsyncIterator[OwnedWorks[bytes]]:
    """Works in a nursery, as in the gateway's; what is left is cancelled at the end."""
    works = OwnedWorks[bytes](len, limit_bytes)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(works.run)
        await wait_all_tasks_blocked()
        yield works
        nursery.cancel_scope.cancel()


def begin(nursery: trio.Nursery, works: OwnedWorks[bytes], work: Work[bytes], key: str = "one") -> Reader:
    """A client that asks for a work and reads it."""
    client = Reader()
    attachment = OwnedAttachment(works, key, client.take)
    nursery.start_soon(client.read, partial(attachment.serve, work))
    return client


def come_back(nursery: trio.Nursery, works: OwnedWorks[bytes], first_part: int, key: str = "one") -> Reader:
    """Another client, from this part on."""
    client, work = Reader(), works.find(key)
    assert work is not None
    nursery.start_soon(client.read, partial(follow, work, client.take, first_part))
    return client


# ── both policies, as long as the work does not outlive its client ───────────────────────────────────────────────────


@pytest.fixture(params=["direct", "owned"])
def attach(request: pytest.FixtureRequest) -> Callable[[OwnedWorks[bytes], Reader], Attachment[bytes]]:
    def make(works: OwnedWorks[bytes], client: Reader) -> Attachment[bytes]:
        direct = DirectAttachment(client.take)
        return direct if request.param == "direct" else OwnedAttachment(works, "one", client.take)

    return make


Attach = Callable[[OwnedWorks[bytes], Reader], Attachment[bytes]]


async def test_client_gets_all_of_it(attach: Attach, autojump_clock: MockClock) -> None:
    client, work = Reader(), Teller()
    async with running() as works:
        await client.read(partial(attach(works, client).serve, work))

        assert 0 == works.kept_bytes
    assert ("abcdef", "whole", "done") == (client.got, client.how, work.ended)


async def test_work_ends_with_its_client(attach: Attach, autojump_clock: MockClock) -> None:
    client, work = Reader(), Teller()
    async with running() as works, trio.open_nursery() as nursery:
        nursery.start_soon(client.read, partial(attach(works, client).serve, work))
        await trio.sleep(2.5)
        client.scope.cancel()
        await wait_all_tasks_blocked()

        assert ("ab", "left", "ab") == (client.got, client.how, work.sent)
        assert work.ended.startswith("cancelled")
        assert None is works.find("one")


async def test_client_is_told_that_the_work_failed(attach: Attach, autojump_clock: MockClock) -> None:
    async def fail(port: WorkPort[bytes]) -> None:
        await port.send(b"a")
        raise RuntimeError("bug")

    client = Reader()
    async with running() as works:
        with pytest.raises((RuntimeError, OutputCut)):
            await attach(works, client).serve(fail)

    assert "a" == client.got


async def test_client_returns_after_a_work_that_uses_its_connection(attach: Attach, autojump_clock: MockClock) -> None:
    """As one does that still receives the body: its cleaning up must not read what is another request's by then."""
    cleaned_at = [0.0]

    async def work(port: WorkPort[bytes]) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
            cleaned_at[0] = trio.current_time()

    client = Reader()
    async with running() as works:
        with trio.move_on_after(1):
            await attach(works, client).serve(work)

        assert 0 < cleaned_at[0] <= trio.current_time()


# ── works that outlive their client ──────────────────────────────────────────────────────────────────────────────────


async def test_direct_work_cannot_outlive(autojump_clock: MockClock) -> None:
    client, work = Reader(), Teller(policy=GRACE)

    await client.read(partial(DirectAttachment(client.take).serve, work))

    assert (False, "abcdef") == (work.outlives, client.got)


async def test_work_goes_on_and_another_client_takes_the_rest(autojump_clock: MockClock) -> None:
    work = Teller(policy=GRACE)
    async with running() as works, trio.open_nursery() as nursery:
        first = begin(nursery, works, work)
        await trio.sleep(2.5)
        first.scope.cancel()
        await trio.sleep(2)
        second = come_back(nursery, works, 2)
        await trio.sleep(3)

        assert ("ab", "left") == (first.got, first.how)
        assert ("cdef", "whole", "done") == (second.got, second.how, work.ended)


async def test_several_clients_read_one_work(autojump_clock: MockClock) -> None:
    work = Teller(policy=GRACE)
    async with running() as works, trio.open_nursery() as nursery:
        first = begin(nursery, works, work)
        await trio.sleep(3.5)
        second = come_back(nursery, works, 0)
        await trio.sleep(1)
        first.scope.cancel()

    assert ("abcd", "abcdef", "done") == (first.got, second.got, work.ended)


async def test_work_without_grace_lasts_as_long_as_any_client_waits(autojump_clock: MockClock) -> None:
    work = Teller(policy=Outlives(grace_s=0, keep_s=60, keep_bytes=100))
    async with running() as works, trio.open_nursery() as nursery:
        first = begin(nursery, works, work)
        await trio.sleep(1.5)
        second = come_back(nursery, works, 0)
        await trio.sleep(1)
        first.scope.cancel()
        await trio.sleep(1)
        assert ("abc", "") == (second.got, work.ended)
        second.scope.cancel()
        await wait_all_tasks_blocked()

        assert "cancelled: client left" == work.ended


async def test_grace_ends_the_work(autojump_clock: MockClock) -> None:
    work = Teller("a" * 50, GRACE)
    async with running() as works, trio.open_nursery() as nursery:
        client = begin(nursery, works, work)
        await trio.sleep(2.5)
        client.scope.cancel()
        await trio.sleep(9.9)
        assert "" == work.ended
        await trio.sleep(0.2)

        assert (12, "cancelled: client left") == (len(work.sent), work.ended)
        # What was sent is there, and the cut behind it.
        late = come_back(nursery, works, 10)
        await wait_all_tasks_blocked()
        assert ("aa", "cut: client left") == (late.got, late.how)


async def test_client_that_comes_back_stops_the_grace(autojump_clock: MockClock) -> None:
    work = Teller("a" * 90, GRACE)
    async with running() as works, trio.open_nursery() as nursery:
        client = begin(nursery, works, work)
        for _ in range(3):
            await trio.sleep(9)
            client.scope.cancel()
            await trio.sleep(9)
            client = come_back(nursery, works, len(work.sent))
        await trio.sleep(1)

        assert "" == work.ended
        client.scope.cancel()
        await trio.sleep(10.1)
        assert "cancelled: client left" == work.ended


async def test_stop_cancels_at_once_whoever_is_attached(autojump_clock: MockClock) -> None:
    work = Teller(policy=GRACE)
    async with running() as works, trio.open_nursery() as nursery:
        clients = [begin(nursery, works, work)]
        await trio.sleep(2.5)
        clients.append(come_back(nursery, works, 1))
        await wait_all_tasks_blocked()
        owned = works.find("one")
        assert owned is not None

        stopped = owned.stop()
        await wait_all_tasks_blocked()

        assert (True, "cancelled: stopped", False) == (stopped, work.ended, owned.stop())
        assert [("ab", "cut: stopped"), ("b", "cut: stopped")] == [(client.got, client.how) for client in clients]


async def test_output_is_kept_for_its_time(autojump_clock: MockClock) -> None:
    async with running() as works, trio.open_nursery() as nursery:
        begin(nursery, works, Teller(policy=GRACE))
        await trio.sleep(6 + 59)
        again = come_back(nursery, works, 0)
        await trio.sleep(0.9)
        assert ("abcdef", "whole", 6) == (again.got, again.how, works.kept_bytes)
        await trio.sleep(0.2)

        assert None is works.find("one")
        # Its memory is given back when the next work begins, and its key may be used again.
        begin(nursery, works, Teller("x", GRACE))
        await trio.sleep(2)
        assert 1 == works.kept_bytes


async def test_slow_client_reads_on_after_the_output_is_forgotten(autojump_clock: MockClock) -> None:
    work = Teller(policy=Outlives(grace_s=10, keep_s=0, keep_bytes=100))
    async with running() as works, trio.open_nursery() as nursery:
        client = Reader(takes_s=5)
        nursery.start_soon(client.read, partial(OwnedAttachment(works, "one", client.take).serve, work))
        await trio.sleep(7)
        assert (None, "done") == (works.find("one"), work.ended)
        await trio.sleep(30)

        assert ("abcdef", "whole", 0) == (client.got, client.how, works.kept_bytes)


async def test_outgrown_output_is_for_those_who_are_there(autojump_clock: MockClock) -> None:
    work = Teller(policy=Outlives(grace_s=10, keep_s=60, keep_bytes=3))
    async with running() as works, trio.open_nursery() as nursery:
        client = begin(nursery, works, work)
        await trio.sleep(4.5)
        assert None is works.find("one")
        await trio.sleep(3)

        assert ("abcdef", "whole", 0) == (client.got, client.how, works.kept_bytes)


async def test_outgrown_work_ends_with_its_last_client(autojump_clock: MockClock) -> None:
    work = Teller(policy=Outlives(grace_s=10, keep_s=60, keep_bytes=3))
    async with running() as works, trio.open_nursery() as nursery:
        client = begin(nursery, works, work)
        await trio.sleep(4.5)
        client.scope.cancel()
        await wait_all_tasks_blocked()

        assert ("cancelled: client left", 0) == (work.ended, works.kept_bytes)


async def test_orphan_that_outgrows_its_output_ends(autojump_clock: MockClock) -> None:
    work = Teller(policy=Outlives(grace_s=10, keep_s=60, keep_bytes=3))
    async with running() as works, trio.open_nursery() as nursery:
        client = begin(nursery, works, work)
        await trio.sleep(1.5)
        client.scope.cancel()
        await trio.sleep(3)

        assert ("abc", "cancelled: client left", 0) == (work.sent, work.ended, works.kept_bytes)


async def test_memory_of_all_outputs_is_bounded(autojump_clock: MockClock) -> None:
    """The oldest of those that ended go first; then the one that grows is not kept."""
    async with running(limit_bytes=12) as works, trio.open_nursery() as nursery:
        for key in ("old", "newer"):
            begin(nursery, works, Teller(policy=GRACE), key)
            await trio.sleep(7)
        client = begin(nursery, works, Teller("a" * 8, GRACE), "growing")
        await trio.sleep(1.5)
        assert [False, True] == [works.find(key) is not None for key in ("old", "newer")]
        await trio.sleep(7)
        assert [False, True] == [works.find(key) is not None for key in ("newer", "growing")]

        begin(nursery, works, Teller("b" * 5, GRACE), "alone")
        for _ in range(2):
            await trio.sleep(3)
            assert works.kept_bytes <= 12
        assert "a" * 8 == client.got


async def test_key_of_an_outgrown_work_may_be_used_again(autojump_clock: MockClock) -> None:
    outgrown = Teller("a" * 9, Outlives(grace_s=10, keep_s=60, keep_bytes=3))
    async with running() as works, trio.open_nursery() as nursery:
        first = begin(nursery, works, outgrown)
        await trio.sleep(4.5)
        second = begin(nursery, works, Teller("b" * 9, GRACE))
        await trio.sleep(1)
        third = come_back(nursery, works, 0)
        await trio.sleep(20)

        assert ["a" * 9, "b" * 9, "b" * 9] == [client.got for client in (first, second, third)]
        assert 9 == works.kept_bytes


async def test_clients_behind_keep_little_where_memory_is_short(autojump_clock: MockClock) -> None:
    """Three slow clients of three long answers, and room for one of them."""
    sent = [0, 0, 0]

    async def flood(number: int, port: WorkPort[bytes]) -> None:
        for _ in range(64):
            await port.send(b"x" * 8_192)
            sent[number] += 1

    async with running(limit_bytes=524_288) as works, trio.open_nursery() as nursery:
        for number in range(3):
            client = Reader(takes_s=60)
            attachment = OwnedAttachment(works, number, client.take)
            nursery.start_soon(client.read, partial(attachment.serve, partial(flood, number)))
        await trio.sleep(10)

        assert works.kept_bytes <= 524_288 + 3 * CROWDED_BYTES
        nursery.cancel_scope.cancel()
    assert all(0 < count < 64 for count in sent[1:])


async def test_work_without_policy_waits_for_a_client_far_behind(autojump_clock: MockClock) -> None:
    sent = [0]

    async def flood(port: WorkPort[bytes]) -> None:
        for _ in range(5):
            await port.send(b"x" * (BEHIND_BYTES // 2))
            sent[0] += 1

    client = Reader(takes_s=10)
    async with running(limit_bytes=BEHIND_BYTES * 10) as works, trio.open_nursery() as nursery:
        nursery.start_soon(client.read, partial(OwnedAttachment(works, "one", client.take).serve, flood))
        await trio.sleep(1)
        # The first is with the client, two wait, and the fourth is one too many.
        assert 3 == sent[0]
        await trio.sleep(60)

    assert BEHIND_BYTES * 5 // 2 == len(client.got)


# ── the end of the server ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("bound_s", "letters", "ended"), [(2, 2, "cancelled: drain"), (60, 6, "done")])
async def test_drain_bounds_what_is_attached(
    autojump_clock: MockClock, bound_s: float, letters: int, ended: str
) -> None:
    work = Teller(policy=GRACE)
    async with running() as works, trio.open_nursery() as nursery:
        client, began = begin(nursery, works, work), trio.current_time()
        await wait_all_tasks_blocked()

        await works.drain(bound_s + 0.5)
        drained_s = round(trio.current_time() - began, 3)
        # The last part is on its way to the client still.
        await wait_all_tasks_blocked()

        assert (letters, ended) == (len(client.got), work.ended)
        assert min(bound_s + 0.5, 6) == drained_s


async def test_drain_bounds_an_orphan_by_its_grace_too(autojump_clock: MockClock) -> None:
    tellers = {"short": Teller("a" * 90, GRACE), "long": Teller("a" * 90, Outlives(50, 60, 100))}
    async with running() as works, trio.open_nursery() as nursery:
        clients = [begin(nursery, works, work, key) for key, work in tellers.items()]
        await trio.sleep(0.5)
        for client in clients:
            client.scope.cancel()
        await wait_all_tasks_blocked()

        await works.drain(20)

        assert [("short", "cancelled: client left", 10), ("long", "cancelled: drain", 20)] == [
            (key, work.ended, len(work.sent)) for key, work in tellers.items()
        ]


async def test_drain_without_works_is_over_at_once(autojump_clock: MockClock) -> None:
    async with running() as works:
        began = trio.current_time()
        await works.drain(25)

        assert began == trio.current_time()


async def test_client_that_leaves_a_draining_server_orphans_till_its_end(autojump_clock: MockClock) -> None:
    work = Teller("a" * 90, GRACE)
    async with running() as works, trio.open_nursery() as nursery:
        client = begin(nursery, works, work)
        nursery.start_soon(works.drain, 5.5)
        await trio.sleep(1.5)
        client.scope.cancel()
        await trio.sleep(5)

        assert ("cancelled: drain", 5) == (work.ended, len(work.sent))


async def test_end_of_the_gateway_cancels_every_work(autojump_clock: MockClock) -> None:
    work = Teller(policy=GRACE)
    async with trio.open_nursery() as clients, running() as works:
        client = begin(clients, works, work)
        await trio.sleep(1.5)

    assert ("a", "cut: drain") == (client.got, client.how)
    assert work.ended.startswith("cancelled")


# ── how a client's leaving is noticed ────────────────────────────────────────────────────────────────────────────────


async def test_watched_client_that_leaves_cancels_what_serves_it(autojump_clock: MockClock) -> None:
    began = trio.current_time()

    async def serve() -> str:
        await trio.sleep(99)
        return "too late"

    result = await while_connected(partial(trio.sleep, 2), serve)

    assert (None, 2) == (result, round(trio.current_time() - began, 3))


async def test_watched_client_that_stays_gets_the_result(autojump_clock: MockClock) -> None:
    async def serve() -> str:
        await trio.sleep(1)
        return "answer"

    assert "answer" == await while_connected(trio.sleep_forever, serve)


async def test_part_that_is_not_kept_is_lost(autojump_clock: MockClock) -> None:
    async with running() as works, trio.open_nursery() as nursery:
        begin(nursery, works, Teller(policy=GRACE))
        await trio.sleep(2.5)
        owned = works.find("one")
        assert owned is not None

        with pytest.raises(OutputDropped):
            await follow(owned, Reader().take, 3)
