"""A guard whose last check is long does it away from the event loop; who leaves meanwhile waits for it."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
import trio
import trio.testing
from attrs import Factory, define

from pg_trio.domain.event_source import EventSource
from pg_trio.domain.events import ContentDelta, Event, Finished
from pg_trio.domain.project import Candidate
from pg_trio.errors import AttemptFailed, KeywordBlocked
from pg_trio.racing.large_work import LARGE_BYTES, LargeWork
from pg_trio.sources import GuardedSource
from tests.unit.stages.test_relay import text

LONG = "a" * (LARGE_BYTES + 1)
END = Finished("stop")


@define
class EndGuard:
    """Reads all of the text again at its end, and waits there for `may_end`. `threads`: where it read."""

    word: str = "never"
    may_end: threading.Event = Factory(threading.Event)
    has_begun: trio.Event = Factory(trio.Event)
    threads: list[int] = Factory(list)
    _text: str = ""

    def work_chars(self, events: Sequence[Event]) -> int:
        return len(self._text) if isinstance(events[-1], Finished) else 1

    def take(self, events: Sequence[Event]) -> Sequence[Event]:
        self.threads.append(threading.get_ident())
        self._text += "".join(event.text for event in events if isinstance(event, ContentDelta))
        if isinstance(events[-1], Finished):
            trio.from_thread.run_sync(self.has_begun.set)
            assert self.may_end.wait(20)
            if self.word in self._text:
                raise KeywordBlocked(self.word)
        return events


@define
class Listed:
    """A source of these events."""

    events: list[Sequence[Event]]

    @property
    def candidate(self) -> Candidate:
        raise NotImplementedError

    async def open(self, listener: object) -> None:
        raise NotImplementedError

    async def receive_events(self) -> Sequence[Event]:
        await trio.lowlevel.checkpoint()
        return self.events.pop(0)

    def give_up(self, failure: AttemptFailed) -> None:
        raise NotImplementedError

    async def end_now(self) -> Sequence[Event]:
        return [END]


def guarded(guard: EndGuard, *events: Sequence[Event]) -> GuardedSource:
    source: EventSource = Listed(list(events))
    return GuardedSource(source, guard, LargeWork().finish)


async def read_all(source: GuardedSource) -> list[Event]:
    passed: list[Event] = []
    with trio.fail_after(20):
        while not passed or not isinstance(passed[-1], Finished):
            passed += await source.receive_events()
    return passed


async def test_long_check_leaves_the_event_loop(nursery: trio.Nursery) -> None:
    guard = EndGuard()

    async def live() -> None:
        await guard.has_begun.wait()
        guard.may_end.set()

    nursery.start_soon(live)

    assert [text(LONG), END] == await read_all(guarded(guard, [text(LONG)], [END]))
    here = threading.get_ident()
    assert [True, False] == [thread == here for thread in guard.threads]


async def test_long_check_refuses() -> None:
    guard = EndGuard("aaa")
    guard.may_end.set()

    with pytest.raises(KeywordBlocked):
        await read_all(guarded(guard, [text(LONG)], [END]))


async def test_cancelled_reader_waits_for_a_check_that_has_begun(nursery: trio.Nursery) -> None:
    guard, left = EndGuard(), trio.Event()
    source = guarded(guard, [text(LONG)], [END])
    scope = trio.CancelScope()

    async def read() -> None:
        with scope:
            await read_all(source)
        left.set()

    nursery.start_soon(read)
    with trio.fail_after(20):
        await guard.has_begun.wait()
    scope.cancel()
    await trio.testing.wait_all_tasks_blocked()
    assert not left.is_set()

    guard.may_end.set()
    with trio.fail_after(20):
        await left.wait()


async def test_stop_while_the_check_waits_for_its_turn_gets_it_whole() -> None:
    guard = EndGuard()
    guard.may_end.set()
    work, turns = LargeWork(), trio.Semaphore(0)

    async def finish(size: int, take: object, events: Sequence[Event]) -> Sequence[Event]:
        if size > LARGE_BYTES:
            await turns.acquire()
        return await work.finish(size, take, events)  # type: ignore[arg-type]

    source = GuardedSource(Listed([[text(LONG)], [text("b"), END]]), guard, finish)
    with trio.move_on_after(0.01) as scope:
        await read_all(source)
    turns.release()

    assert scope.cancelled_caught
    assert [text("b"), END] == await source.end_now()


async def test_bug_in_a_long_check_is_an_internal_error() -> None:
    guard = EndGuard()
    guard.may_end.set()
    guard.word = 1  # type: ignore[assignment]

    with pytest.raises(Exception, match="Internal error"):
        await read_all(guarded(guard, [text(LONG)], [END]))
