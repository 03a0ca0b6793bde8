"""Reasoning before the first token: whose clock it winds, who hears it when, and what waits for a winner."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import trio
from attrs import define, evolve, field
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from pg_trio.domain.adapter import StreamReader
from pg_trio.domain.events import Broken, ContentDelta, Event, Finished, Opened, ReasoningDelta
from pg_trio.domain.log_row import Attempts
from pg_trio.domain.project import Candidate, Endpoint
from pg_trio.errors import AttemptFailed, ProviderCallFailed, UpstreamBroken
from pg_trio.racing.large_work import LargeWork
from pg_trio.stages.provider_call import ProviderCall
from pg_trio.stages.provider_call.exchange import Exchange
from pg_trio.stages.provider_call.stream import HELD_CHARS, OpenStream
from tests.support.stages_now import PlannedCall
from tests.unit.stages.test_provider_call import PROMPT, FakeAdapter, FakeResponse, FakeTransport, endpoint


@define
class PacedResponse(FakeResponse):
    """Its pieces come after so many seconds each; then nothing."""

    script: list[tuple[float, str]] = field(factory=list)

    async def receive_some(self) -> bytes:
        if not self.script:
            await trio.sleep_forever()
        after_s, piece = self.script.pop(0)
        await trio.sleep(after_s)
        return piece.encode()


class WordReader:
    """`~…` is reasoning, `^…` signs it, `!` the cut, `.` the end, everything else a token."""

    is_over = False

    def feed(self, data: bytes) -> list[Event]:
        word = data.decode()
        if word.startswith("~"):
            return [Opened("chatcmpl-1", "m"), ReasoningDelta(word[1:])]
        if word.startswith("^"):
            return [Opened("chatcmpl-1", "m"), ReasoningDelta("", signature=word[1:])]
        if word == "!":
            return [Broken(UpstreamBroken("the stream was cut"))]
        return [Finished("stop")] if word == "." else [ContentDelta(word)]

    def close(self, failure: AttemptFailed | None = None) -> list[Event]:
        return [Broken(failure or UpstreamBroken("closed"))]


class WordAdapter(FakeAdapter):
    def is_stream(self, status: int, headers: Mapping[str, str], start: bytes) -> bool:
        return True

    def open_stream(self, candidate: Candidate) -> StreamReader:
        return WordReader()


@define
class Ear:
    """Records (time, source, text). Takes this many seconds for each."""

    takes_reasoning: bool = True
    takes_s: float = 0.0
    heard: list[tuple[float, str, str]] = field(factory=list)

    async def hear(self, source: OpenStream, events: Sequence[Event]) -> None:
        said = "".join(event.text for event in events if isinstance(event, ReasoningDelta))
        assert isinstance(events[0], Opened), "a client must know whose it is"
        self.heard.append((trio.current_time(), source.candidate.credential.name, said))
        await trio.sleep(self.takes_s)


def asking(*names: str, **settings: Any) -> Endpoint:
    return evolve(
        endpoint(*names, attempt_timeout_ms=3_600_000),
        **{"first_token_timeout_ms": 5_000, "hedge_after_ms": None, **settings},
    )


def call_of(scripts: Mapping[str, Sequence[tuple[float, str]]]) -> PlannedCall:
    adapters: Callable[[str], FakeAdapter] = lambda _: WordAdapter()  # noqa: E731
    transport = FakeTransport({name: PacedResponse([], script=list(script)) for name, script in scripts.items()})
    exchange = Exchange(adapters, {"direct": transport}, lambda: 0.0, LargeWork())
    return PlannedCall(ProviderCall(exchange, frozenset(), 1.0))


async def open_stream(
    scripts: Mapping[str, Sequence[tuple[float, str]]], ear: Ear | None, **settings: Any
) -> tuple[OpenStream, list[Event]]:
    """The stream that won, and the events that it begins with."""
    call = call_of(scripts)
    ends_at = trio.current_time() + 3_600
    opened = await call.open_stream(asking(*scripts, **settings), PROMPT, ends_at, Attempts(0), ear)
    return opened, list(await opened.receive_events())


def reasoning_of(events: Sequence[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, ReasoningDelta))


async def test_reasoning_winds_the_first_token_clock(autojump_clock: MockClock) -> None:
    ear = Ear()

    opened, events = await open_stream({"a": [(4, "~Hm. "), (4, "~So. "), (4, "Hi")]}, ear)

    assert [(4, "a", "Hm. "), (8, "a", "So. ")] == ear.heard
    assert ([Opened("chatcmpl-1", "m")] * 2 + [ContentDelta("Hi")], 8) == (events, opened.reasoned)


@pytest.mark.parametrize("ear", [None, Ear(takes_reasoning=False)])
async def test_reasoning_lives_where_it_is_not_heard(autojump_clock: MockClock, ear: Ear | None) -> None:
    _, events = await open_stream({"a": [(4, "~Hm. "), (4, "~So. "), (4, "Hi")]}, ear)

    assert "Hm. So. " == reasoning_of(events)


async def test_silence_after_reasoning_fails(autojump_clock: MockClock) -> None:
    call, attempts = call_of({"a": [(4, "~Hm. ")]}), Attempts(trio.current_time())

    with pytest.raises(ProviderCallFailed, match="no first token from openai within 5 s"):
        await call.open_stream(asking("a"), PROMPT, trio.current_time() + 60, attempts, Ear())

    assert 9_000 == attempts.rows[0].ended_ms


async def test_reasoning_without_text_is_life_alone(autojump_clock: MockClock) -> None:
    ear = Ear()

    await open_stream({"a": [(4, "~"), (4, "Hi")]}, ear)

    assert [] == ear.heard


async def test_signature_alone_is_heard(autojump_clock: MockClock) -> None:
    ear = Ear()

    await open_stream({"a": [(1, "~Hm. "), (1, "^c2ln"), (1, "Hi")]}, ear)

    assert [(1, "a", "Hm. "), (2, "a", "")] == ear.heard


async def test_what_was_left_out_is_not_signed(autojump_clock: MockClock) -> None:
    script = [(1.0, "~" + "x" * HELD_CHARS), (1.0, "~y"), (1.0, "^c2ln"), (1.0, "^d2hvbGU="), (1.0, "Hi")]

    _, events = await open_stream({"a": script}, None)

    assert ["", "d2hvbGU="] == [
        event.signature for event in events if isinstance(event, ReasoningDelta) and event.signature is not None
    ]


async def test_slow_listener_is_not_the_candidates_silence(autojump_clock: MockClock) -> None:
    _, events = await open_stream({"a": [(1, "~Hm. "), (4, "Hi")]}, Ear(takes_s=60))

    assert (ContentDelta("Hi"), 65) == (events[-1], trio.current_time())


async def test_heard_candidate_fails_over(autojump_clock: MockClock) -> None:
    ear = Ear()

    opened, _ = await open_stream({"a": [(1, "~Hm. "), (1, "!")], "b": [(1, "~Ah. "), (1, "Hi")]}, ear)

    assert ("b", [(1, "a", "Hm. "), (3, "b", "Ah. ")]) == (opened.candidate.credential.name, ear.heard)


async def test_hedge_holds_reasoning_until_one_has_won(autojump_clock: MockClock) -> None:
    ear = Ear()
    slow = [(1, "~one "), (2, "~two "), (1, "~three "), (9, "slow")]

    opened, events = await open_stream({"a": slow, "b": [(0.5, "~b "), (2, "quick")]}, ear, hedge_after_ms=2_000)

    # a: heard before the hedge began at 2 s; from then on only the winner's follows, with its first token.
    assert [(1, "a", "one ")] == ear.heard
    assert ("b", "b ", 4.5) == (opened.candidate.credential.name, reasoning_of(events), trio.current_time())


async def test_held_reasoning_of_a_first_that_wins_follows(autojump_clock: MockClock) -> None:
    ear = Ear()
    first = [(1, "~one "), (2, "~two "), (1, "Hi")]

    opened, events = await open_stream({"a": first, "b": [(0.5, "~b "), (9, "late")]}, ear, hedge_after_ms=2_000)

    assert ([(1, "a", "one ")], "two ") == (ear.heard, reasoning_of(events))
    assert ("a", 4) == (opened.candidate.credential.name, opened.reasoned)


async def test_third_beside_a_first_hears_nothing_of_it(autojump_clock: MockClock) -> None:
    """The hedge fails, and another takes its place while the first still runs."""
    ear = Ear()
    scripts = {"a": [(1, "~one "), (2, "~two "), (2, "~three "), (9, "slow")], "b": [(1, "!")], "c": [(3, "quick")]}

    opened, _ = await open_stream(scripts, ear, hedge_after_ms=2_000)

    assert ("c", [(1, "a", "one ")]) == (opened.candidate.credential.name, ear.heard)


async def test_reasoning_is_heard_again_when_a_hedge_is_over(autojump_clock: MockClock) -> None:
    """Both have failed, and the next runs alone."""
    ear = Ear()
    scripts = {"a": [(3, "!")], "b": [(1, "~held "), (0, "!")], "c": [(1, "~heard "), (1, "Hi")]}

    opened, _ = await open_stream(scripts, ear, hedge_after_ms=2_000)

    assert ("c", [(4, "c", "heard ")]) == (opened.candidate.credential.name, ear.heard)


@given(st.lists(st.integers(1, HELD_CHARS), min_size=1, max_size=8))
def test_held_reasoning_is_bounded(sizes: list[int]) -> None:
    async def run() -> None:
        script = [(1.0, "~" + "x" * size) for size in sizes] + [(1.0, "Hi")]

        opened, events = await open_stream({"a": script}, Ear(takes_reasoning=False))

        held = len(reasoning_of(events))
        assert held <= HELD_CHARS
        # Nothing is left out while there is room, and what is left out is counted.
        assert held >= sizes[0]
        assert sum(sizes) == held + opened.reasoned

    trio.run(run, clock=MockClock(autojump_threshold=0))


async def test_cancelled_opening_closes_a_heard_stream(autojump_clock: MockClock) -> None:
    call = call_of({"a": [(1, "~Hm. ")]})
    attempts = Attempts(0)

    with trio.move_on_after(3):
        await call.open_stream(asking("a"), PROMPT, math.inf, attempts, Ear(takes_s=60))

    response = call.stage._exchange.transports["direct"].script["a"]  # type: ignore[attr-defined]
    assert (True, ["cancelled: deadline"]) == (response.closed, [row.outcome for row in attempts.rows])
