"""Streams that wait for a verdict: at their beginning (HeldSource), and at their end (EndCheckedSource)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import trio
from attrs import define, field
from trio.testing import MockClock, wait_all_tasks_blocked

from pg_trio.domain.chat import Usage
from pg_trio.domain.event_source import LifeClock, SourceListener, SpokenEvents
from pg_trio.domain.events import (
    ContentDelta,
    Event,
    Finished,
    Joined,
    NativeBlock,
    NativeNote,
    Opened,
    ReasoningDelta,
    ToolCallDelta,
)
from pg_trio.domain.project import Candidate, Credential
from pg_trio.errors import AttemptFailed, GuardrailFailed, InternalError, ProviderCallFailed, WebhookBlocked
from pg_trio.stages.guardrails.remote.answer_check import EndCheckedSource
from pg_trio.stages.guardrails.remote.beside import HeldSource
from pg_trio.stages.relay import StreamClock

OPENED = Opened("r1", "m")
END = Finished("stop", Usage(1, 1))
BLOCKED = WebhookBlocked("no", phase="output")


@define(eq=False)
class Scripted:
    """A source with this script; it opens after so many seconds, or fails then. It reasons meanwhile."""

    script: list[list[Event]] = field(factory=list)
    after_s: float = 0.0
    failure: Exception | None = None
    reasons: Sequence[Event] = ()
    opened: int = 0
    closed_at: float | None = None
    given_up: AttemptFailed | None = None
    heard: list[bool] = field(factory=list)
    candidate: Candidate = field(factory=lambda: Candidate(Credential("main", "openai", "http://x"), "m"))

    async def open(self, listener: SourceListener) -> None:
        try:
            await trio.sleep(self.after_s)
        except trio.Cancelled:
            self.closed_at = trio.current_time()
            raise
        self.heard.append(listener.takes_reasoning)
        if self.reasons and listener.takes_reasoning:
            await listener.hear(lambda: self.reasons)
        if self.failure is not None:
            raise self.failure
        self.opened += 1

    async def receive_events(self) -> Sequence[Event]:
        return self.script.pop(0)

    def give_up(self, failure: AttemptFailed) -> None:
        self.given_up = failure

    async def end_now(self) -> Sequence[Event]:
        return [END]


@define(eq=False)
class Listener:
    """What a relay is to its source."""

    takes_reasoning: bool = True
    clock: LifeClock = field(factory=lambda: StreamClock(1.0, 9.0))
    events: list[Event] = field(factory=list)

    async def hear(self, spoken: SpokenEvents) -> None:
        self.events += spoken()


def passing(after_s: float, error: Exception | None = None) -> Callable[[], Any]:
    async def check() -> None:
        await trio.sleep(after_s)
        if error is not None:
            raise error

    return check


# ── at the beginning ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("check_s", "open_s"), [(1, 2), (2, 1)])
async def test_stream_opens_when_both_are_done(autojump_clock: MockClock, check_s: float, open_s: float) -> None:
    passed_at: list[float] = []
    source = HeldSource(Scripted([[OPENED]], open_s), passing(check_s), "webhook")
    source.note_passed = lambda: passed_at.append(trio.current_time())

    await source.open(Listener())

    assert (2, [check_s]) == (trio.current_time(), passed_at)
    assert [OPENED] == await source.receive_events()


async def test_reasoning_waits_for_the_verdict(autojump_clock: MockClock) -> None:
    thought = [ReasoningDelta("hm")]
    early, late = Scripted(after_s=1, reasons=thought), Scripted(after_s=3, reasons=thought)
    listener = Listener()

    await HeldSource(early, passing(2), "webhook").open(listener)
    assert ([False], []) == (early.heard, listener.events)
    await HeldSource(late, passing(2), "webhook").open(listener)
    assert ([True], thought) == (late.heard, listener.events)


@pytest.mark.parametrize("open_s", [1, 9])
async def test_refused_stream_raises(autojump_clock: MockClock, open_s: float) -> None:
    inner = Scripted(after_s=open_s)
    source = HeldSource(inner, passing(2, BLOCKED), "webhook")

    with pytest.raises(WebhookBlocked):
        await source.open(Listener())

    assert 2 == trio.current_time()
    assert (None if open_s == 1 else 2) == inner.closed_at


async def test_stream_that_fails_does_so_after_the_verdict(autojump_clock: MockClock) -> None:
    source = HeldSource(Scripted(after_s=1, failure=ProviderCallFailed("down")), passing(2), "webhook")

    with pytest.raises(ProviderCallFailed):
        await source.open(Listener())

    assert 2 == trio.current_time()


async def test_next_candidate_opens_without_a_check(autojump_clock: MockClock) -> None:
    inner = Scripted()
    source = HeldSource(inner, passing(2), "webhook")

    await source.open(Listener())
    await source.open(Listener())

    assert (2, 2) == (inner.opened, trio.current_time())


@pytest.mark.parametrize("at_s", [0.5, 1.5, 2.5])
async def test_cancelled_opening_leaves_nothing(autojump_clock: MockClock, at_s: float) -> None:
    inner = Scripted(after_s=2)
    source = HeldSource(inner, passing(1 if at_s < 2 else 3), "webhook")

    with trio.move_on_after(at_s) as scope:
        await source.open(Listener())

    assert scope.cancelled_caught
    assert (None if at_s > 2 else at_s) == inner.closed_at
    await wait_all_tasks_blocked()


async def test_stop_before_the_verdict_fails(autojump_clock: MockClock) -> None:
    source = HeldSource(Scripted(after_s=1), passing(2), "webhook")
    with trio.move_on_after(0.5):
        await source.open(Listener())

    with pytest.raises(GuardrailFailed) as failed:
        await source.end_now()

    assert ("webhook", "input") == (failed.value.guardrail, failed.value.phase)


async def test_stop_after_the_verdict_is_the_end(autojump_clock: MockClock) -> None:
    source = HeldSource(Scripted(), passing(0), "webhook")
    await source.open(Listener())

    assert [END] == await source.end_now()


# ── at the end ───────────────────────────────────────────────────────────────────────────────────────────────────────


@define(eq=False)
class Checker:
    """Notes what it is asked."""

    error: Exception | None = None
    after_s: float = 0.0
    asked: list[Sequence[str]] = field(factory=list)

    async def check(self, texts: Sequence[str]) -> None:
        self.asked.append(texts)
        await trio.sleep(self.after_s)
        if self.error is not None:
            raise self.error


def ending(checker: Checker, *script: list[Event], reasons: Sequence[Event] = ()) -> EndCheckedSource:
    return EndCheckedSource(Scripted(list(script), reasons=reasons), checker.check)


async def read(source: EndCheckedSource, times: int) -> list[Event]:
    events: list[Event] = []
    await source.open(Listener())
    for _ in range(times):
        events += await source.receive_events()
    return events


async def test_whole_answer_is_checked_once_at_its_end() -> None:
    checker = Checker()
    call = ToolCallDelta(0, "c1", "f", '{"a":')
    script: list[list[Event]] = [
        [OPENED, ReasoningDelta("hm"), ContentDelta("on")],
        [ContentDelta("e"), call],
        [ToolCallDelta(0, None, None, "1}")],
        [NativeBlock({"type": "search", "q": "it"}), NativeNote({"cited_text": "of it"}), NativeNote()],
        [END],
    ]

    events = await read(ending(checker, *script), 4)
    assert [] == checker.asked
    assert [event for each in script[:4] for event in each] == events

    await read(source := ending(checker, *script), 5)
    [texts] = checker.asked
    assert ["one", '{"a":1}', "hm"] == list(texts[:3])
    assert {"it", "of it"} <= set(texts[3:])
    assert source.candidate.model == "m"


async def test_refused_end_is_not_given() -> None:
    source = ending(Checker(BLOCKED), [OPENED, ContentDelta("one")], [ContentDelta("two"), END])

    await read(source, 1)
    with pytest.raises(WebhookBlocked):
        await source.receive_events()


async def test_check_that_fails_by_a_bug_fails_the_answer(caplog: pytest.LogCaptureFixture) -> None:
    source = ending(Checker(ValueError("a bug")), [OPENED, ContentDelta("one")], [END])

    await read(source, 1)
    with pytest.raises(InternalError):
        await source.receive_events()

    assert "ValueError: a bug" in caplog.text


async def test_answer_that_goes_on_is_one_answer() -> None:
    checker = Checker()
    joined = Joined("continue", 3, "groq", "n", "cut")

    await read(ending(checker, [OPENED, ContentDelta("one")], [joined, ContentDelta("two")], [END]), 3)

    assert [["onetwo"]] == checker.asked


async def test_answer_that_begins_anew_replaces_the_first() -> None:
    checker = Checker()
    joined = Joined("restart", 3, "groq", "n", "cut")

    await read(ending(checker, [OPENED, ContentDelta("one")], [joined, OPENED, ContentDelta("two")], [END]), 3)

    assert [["two"]] == checker.asked


async def test_reasoning_that_was_heard_is_part_of_it() -> None:
    checker, listener = Checker(), Listener()
    source = ending(checker, [OPENED, ContentDelta("one"), END], reasons=[OPENED, ReasoningDelta("hm")])

    await source.open(listener)
    await source.receive_events()

    assert [["one", "hm"]] == checker.asked
    assert [OPENED, ReasoningDelta("hm")] == listener.events


async def test_answer_without_text_is_checked_too() -> None:
    checker = Checker()

    await read(ending(checker, [OPENED, END]), 1)

    assert [[]] == checker.asked


async def test_cancelled_check_gives_no_end(autojump_clock: MockClock) -> None:
    checker = Checker(after_s=2)
    source = ending(checker, [OPENED, ContentDelta("one"), END])

    with trio.move_on_after(1) as scope:
        await read(source, 1)

    assert scope.cancelled_caught
    # A client that stops it then: nothing of the last events goes out, and the answer is checked once more.
    assert [END] == await source.end_now()
    assert [["one"], ["one"]] == checker.asked


async def test_stopped_answer_is_checked_as_far_as_it_came() -> None:
    checker = Checker()
    source = ending(checker, [OPENED, ContentDelta("one")], [ContentDelta("two"), END])
    await read(source, 1)

    assert [END] == await source.end_now()
    assert [["one"]] == checker.asked


async def test_stopped_answer_that_is_refused_has_no_end() -> None:
    source = ending(Checker(BLOCKED), [OPENED, ContentDelta("one")], [ContentDelta("two"), END])
    await read(source, 1)

    with pytest.raises(WebhookBlocked):
        await source.end_now()
