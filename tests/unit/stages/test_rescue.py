"""A stream that is carried on: what the next candidate is asked, what is let go first, who is blamed."""

from __future__ import annotations

import math
from typing import Any

import pytest
import trio
from attrs import define, evolve, field
from trio.testing import MockClock

from pg_trio.domain.chat import Message, Prompt, Usage
from pg_trio.domain.event_source import SpokenEvents
from pg_trio.domain.events import ContentDelta, Event, Finished
from pg_trio.domain.log_row import Attempts
from pg_trio.domain.native_fields import NativeStop
from pg_trio.domain.options import Options
from pg_trio.errors import UpstreamBroken
from pg_trio.racing.breaker import Fault
from pg_trio.stages.provider_call.call_plan import CallPlan
from pg_trio.stages.provider_call.rescue import RescuedSource, continue_prompt
from pg_trio.stages.provider_call.stream import Listener, OpenStream
from pg_trio.stages.provider_call.stream_meter import StreamMeter
from pg_trio.stages.relay import StreamClock
from tests.unit.stages.test_provider_call import PROMPT, FakeResponse, FakeTransport, endpoint, provider_call

CUT = UpstreamBroken("the stream was cut")


@define
class FakeOpener:
    """Opens a stream by the second candidate; notes what it was asked, and whether the first one was closed then."""

    broken: FakeResponse
    asked: list[tuple[Prompt, bool]] = field(factory=list)

    async def open_stream(
        self, plan: CallPlan, prompt: Prompt, ends_at: float, attempts: Attempts, listener: Listener | None = None
    ) -> OpenStream:
        raise NotImplementedError

    async def open_rescue(
        self, plan: CallPlan, prompt: Prompt, ends_at: float, attempts: Attempts, listener: Listener | None = None
    ) -> OpenStream | None:
        self.asked.append((prompt, self.broken.closed))
        await trio.lowlevel.checkpoint()
        return OpenStream(plan.candidates[1], None, None, [])


@define
class BlamedPermit:
    """Notes what broke off."""

    said: list[str] = field(factory=list)
    is_probe: bool = False

    def succeeded(self, now: float) -> None:
        pass

    def failed(self, fault: Fault, now: float, retry_after_s: float | None = None, said: str = "") -> None:
        pass

    def cancelled(self) -> None:
        pass

    def broke_off(self, now: float, said: str) -> None:
        self.said.append(said)


class Deaf:
    """Takes no reasoning."""

    takes_reasoning = False
    clock = StreamClock(math.inf, math.inf)

    async def hear(self, spoken: SpokenEvents) -> None:
        raise AssertionError("nobody asked")


def carried_by(opener: FakeOpener, **settings: Any) -> RescuedSource:
    """A stream of candidate `a`, its first token come."""
    call = provider_call(FakeTransport({}))
    asked, attempts = call.plan(evolve(endpoint("a", "b"), **settings)), Attempts(0)
    attempts.add(asked.candidates[0], 0, 1, "won")
    opened = OpenStream(asked.candidates[0], opener.broken, None, [])
    return RescuedSource(opener, asked, PROMPT, math.inf, attempts, opened)


@pytest.mark.parametrize(("limit", "left"), [(100, 90), (10, 1), (5, 1), (None, None)])
def test_continued_answer_has_what_is_left_of_its_limit(limit: int | None, left: int | None) -> None:
    prompt = continue_prompt(evolve(PROMPT, options=Options(max_output_tokens=limit)), "x" * 40)

    assert Prompt((*PROMPT.messages, Message("assistant", "x" * 40)), options=Options(max_output_tokens=left)) == prompt


async def test_broken_stream_is_let_go_before_the_next_is_asked(autojump_clock: MockClock) -> None:
    opener = FakeOpener(FakeResponse([]))
    carried = carried_by(opener, on_stream_failure="restart")

    carried.give_up(CUT)
    await carried.open(Deaf())

    assert [(PROMPT, True)] == opener.asked
    assert carried.now is not None
    assert "model-b" == carried.now.candidate.model


@pytest.mark.parametrize(
    ("outcomes", "blamed"),
    [
        (["failed: cut"], ["cut"]),
        (["failed: cut", "failed: again"], ["cut"]),
        (["won", "failed: later"], []),
        (["cancelled: deadline"], []),
        (["cancelled"], []),
    ],
)
async def test_only_a_failure_is_blamed_and_once(
    autojump_clock: MockClock, outcomes: list[str], blamed: list[str]
) -> None:
    permit = BlamedPermit()
    carried = carried_by(FakeOpener(FakeResponse([])))
    assert carried.now is not None
    carried.now.permit = permit

    for outcome in outcomes:
        carried.note_end(outcome)

    assert blamed == permit.said
    assert [outcomes[0]] == [row.outcome for row in carried.attempts.rows]


def test_end_of_an_answer_has_all_but_its_usage_from_the_provider() -> None:
    meter, stop = StreamMeter(prompt_chars=40, continues=False), NativeStop("pause_turn")
    events: list[Event] = [ContentDelta("x" * 8), Finished("stop", None, stop)]
    for event in events:
        meter.assembler.add(event)

    assert [events[0], Finished("stop", Usage(10, 2, estimated=True), stop)] == meter.end(events)
