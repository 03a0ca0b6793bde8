"""The relay before a token: the early head, comments, reasoning, and who is told of a failure how."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import trio
from attrs import evolve
from trio.testing import MockClock

from pg_trio.domain.events import Event, Finished, Opened, ReasoningDelta
from pg_trio.domain.project import Candidate, Credential
from pg_trio.errors import ClientLeft, DeadlineExceeded, ProviderCallFailed
from pg_trio.stages.provider_call.stream import Listener
from tests.unit.stages.test_relay import (
    CUT,
    OPENED,
    FakeClient,
    FakeRescue,
    FakeSource,
    StuckClient,
    as_stream,
    relay,
    text,
)


def thinking(*reasons: tuple[float, FakeSource, str], first_after_s: float = 0.0, **settings: Any) -> FakeRescue:
    """A carrier whose candidates reason before the first token."""
    return FakeRescue([], **{"mode": None, **settings}, reasons=list(reasons), first_after_s=first_after_s)


def answering(*pieces: float | str) -> FakeSource:
    """A source that gives these texts, seconds of silence between them, and ends well."""
    script: list[float | list[Event]] = [
        piece if isinstance(piece, float) else [OPENED, text(piece)] for piece in pieces
    ]
    return FakeSource([*script, [Finished("stop")]])


async def test_head_goes_out_while_nobody_has_a_token(autojump_clock: MockClock) -> None:
    client = FakeClient()

    await relay(answering("a"), client, rescue=thinking(first_after_s=30), head_after_s=15).run()

    assert [(15, ": keep-alive"), (25, ": keep-alive"), (30, "a"), (30, "finish stop 1")] == client.taken


async def test_no_head_goes_out_unasked(autojump_clock: MockClock) -> None:
    client = FakeClient()

    await relay(answering("a"), client, rescue=thinking(first_after_s=100)).run()

    assert [(100, "a"), (100, "finish stop 1")] == client.taken


async def test_failure_before_the_head_is_raised(autojump_clock: MockClock) -> None:
    client = FakeClient()
    running = relay(ProviderCallFailed("HTTP 503"), client, rescue=thinking(first_after_s=14), head_after_s=15)

    with pytest.raises(ProviderCallFailed, match="HTTP 503"):
        await running.run()

    assert ([], None, False) == (client.taken, running.failure, running.has_begun)


async def test_failure_after_the_head_is_told(autojump_clock: MockClock) -> None:
    client = FakeClient()
    running = relay(ProviderCallFailed("HTTP 503"), client, rescue=thinking(first_after_s=16), head_after_s=15)

    await running.run()

    assert ["fail Provider call failed: HTTP 503"] == [what for at, what in client.taken if at == 16]
    assert (502, False) == (running.failure and running.failure.status, running.has_begun)


async def test_deadline_after_the_head_is_told(autojump_clock: MockClock) -> None:
    client = FakeClient()
    rescue = thinking(first_after_s=math.inf)
    running = relay(answering("a"), client, rescue=rescue, head_after_s=15, ends_in_s=17)

    await running.run()

    assert [(15, ": keep-alive"), (17, "fail Deadline exceeded: no answer within 17000 ms.")] == client.taken
    assert "cancelled: deadline" == running.outcome


async def test_deadline_before_the_head_is_the_requests(autojump_clock: MockClock) -> None:
    client = FakeClient()
    running = relay(answering("a"), client, rescue=thinking(first_after_s=100), head_after_s=15, ends_in_s=10)

    # As the request's own deadline does, at the same time.
    with trio.move_on_at(running.ends_at) as request:
        await running.run()

    assert (True, [], running.ends_at) == (request.cancelled_caught, client.taken, trio.current_time())


async def test_no_head_goes_out_when_the_deadline_has_come(autojump_clock: MockClock) -> None:
    client = FakeClient()

    def refuse() -> int:
        raise DeadlineExceeded(5000)

    rescue = thinking(first_after_s=100)
    with trio.move_on_after(6) as request:
        await relay(answering("a"), client, rescue=rescue, head_after_s=5, take_deadline=refuse).run()

    assert (True, []) == (request.cancelled_caught, client.taken)


async def test_first_token_with_the_deadline_is_too_late(autojump_clock: MockClock) -> None:
    client = FakeClient()

    def refuse() -> int:
        raise DeadlineExceeded(5000)

    running = relay(answering("a"), client, take_deadline=refuse)
    with pytest.raises(DeadlineExceeded):
        await running.run()

    assert ("cancelled: deadline", False, []) == (running.outcome, running.has_begun, client.taken)


async def test_idle_clock_starts_with_the_first_token(autojump_clock: MockClock) -> None:
    client = FakeClient()
    source = FakeSource([[OPENED, text("a")]])

    await relay(source, client, rescue=thinking(first_after_s=12), idle_s=5, head_after_s=8).run()

    assert [(8, ": keep-alive"), (12, "a"), (17, "fail Provider call failed: no token within 5 s")] == client.taken


async def test_reasoning_sends_the_head(autojump_clock: MockClock) -> None:
    client, source = FakeClient(), answering("a")

    await relay(source, client, rescue=thinking((2, source, "Hm. "), (12, source, "So.")), head_after_s=15).run()

    assert [(2, "Hm. "), (12, ": keep-alive"), (14, "So."), (14, "a")] == client.taken[:-1]


async def test_reasoning_is_counted_and_no_text(autojump_clock: MockClock) -> None:
    client, source = FakeClient(), answering("abcd")
    running = relay(source, client, rescue=thinking((1, source, "x" * 40)), head_after_s=15, keeps_text=True)

    await running.run()

    assert ("abcd", 11, 0) == (running.reply_so_far().content, running.usage.completion_tokens, running.lost_chars)


@pytest.mark.parametrize(("head_after_s", "takes"), [(15.0, True), (math.inf, False)])
async def test_reasoning_waits_where_only_a_token_sends_the_head(
    autojump_clock: MockClock, head_after_s: float, takes: bool
) -> None:
    source = answering("a")
    rescue = thinking((1, source, "Hm."))

    await relay(source, FakeClient(), rescue=rescue, head_after_s=head_after_s).run()

    assert [takes] == rescue.listens


async def test_hidden_reasoning_is_not_taken(autojump_clock: MockClock) -> None:
    source = answering("a")
    rescue = thinking((1, source, "Hm."))

    await relay(source, FakeClient(), rescue=rescue, head_after_s=15, relays_reasoning=False).run()

    assert [False] == rescue.listens


class HoldingClient(FakeClient):
    """A client whose surface keeps reasoning until the answer begins."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    async def send_events(self, events: Sequence[Event]) -> bool:
        self.heard += [event.text for event in events if isinstance(event, ReasoningDelta)]
        rest = [event for event in events if not isinstance(event, ReasoningDelta | Opened)]
        return bool(rest) and await super().send_events(rest)


@pytest.mark.parametrize("head_after_s", [15.0, math.inf])
async def test_held_reasoning_sends_no_head(autojump_clock: MockClock, head_after_s: float) -> None:
    client, source = HoldingClient(), answering("a")
    rescue = thinking((2, source, "Hm. "), (9, source, "So."))

    await relay(source, client, rescue=rescue, head_after_s=head_after_s, holds_reasoning=True).run()

    assert ([(11, "a")], ["Hm. ", "So."]) == (client.taken[:-1], client.heard)


async def test_comments_go_out_while_reasoning_is_held(autojump_clock: MockClock) -> None:
    client, source = HoldingClient(), answering("a")
    rescue = thinking(*[(4, source, "Hm. ")] * 8)

    await relay(source, client, rescue=rescue, head_after_s=15, holds_reasoning=True).run()

    assert [(15, ": keep-alive"), (25, ": keep-alive"), (32, "a")] == client.taken[:-1]


async def test_failure_after_held_reasoning_is_raised(autojump_clock: MockClock) -> None:
    client = HoldingClient()
    rescue = thinking((2, answering("a"), "Hm. "))
    running = relay(ProviderCallFailed("HTTP 503"), client, rescue=rescue, head_after_s=15, holds_reasoning=True)

    with pytest.raises(ProviderCallFailed):
        await running.run()

    assert [] == client.taken


async def test_comments_go_out_while_hidden_reasoning_comes(autojump_clock: MockClock) -> None:
    class Hiding(FakeClient):
        async def send_events(self, events: Sequence[Event]) -> bool:
            return await FakeClient.send_events(
                self, [e for e in events if not isinstance(e, ReasoningDelta)] or [OPENED]
            )

    script: list[float | list[Event]] = [[OPENED, text("a")]]
    for _ in range(6):
        script += [4.0, [ReasoningDelta("Hm. ")]]
    client = Hiding()

    await relay(FakeSource([*script, [Finished("stop")]]), client, idle_s=5).run()

    assert [10, 20] == [at for at, what in client.taken if what == ": keep-alive"]


async def test_client_is_told_that_another_answers_than_it_heard(autojump_clock: MockClock) -> None:
    client, lost = FakeClient(), FakeSource([])
    source = evolve(answering("a"), candidate=Candidate(Credential("main", "openai", "http://127.0.0.1"), "gpt"))
    running = relay(source, client, rescue=thinking((1, lost, "Hm. ")), head_after_s=15)

    await running.run()

    assert ["Hm. ", "restart after 0 by openai: hedge lost", "a"] == [what for _, what in client.taken[:-1]]
    assert (4, 1, ("openai", "gpt")) == (running.lost_chars, running.usage.completion_tokens, client.named)


async def test_each_voice_is_told_apart(autojump_clock: MockClock) -> None:
    client, lost, source = FakeClient(), FakeSource([]), answering("a")

    await relay(source, client, rescue=thinking((1, lost, "Hm. "), (1, source, "Ah. ")), head_after_s=15).run()

    assert ["Hm. ", "restart after 0 by groq: hedge lost", "Ah. ", "a"] == [what for _, what in client.taken[:-1]]


async def test_first_token_waits_for_a_comment_on_its_way(autojump_clock: MockClock) -> None:
    # The comment's write takes from 15 to 17; the token comes at 16.
    client = FakeClient(write_s=2)

    await relay(answering("a"), client, rescue=thinking(first_after_s=16), head_after_s=15).run()

    assert [(17, ": keep-alive"), (19, "a"), (21, "finish stop 1")] == client.taken


async def test_reasoning_waits_for_the_client(autojump_clock: MockClock) -> None:
    client, source = FakeClient(write_s=3), answering("a")

    await relay(source, client, rescue=thinking((1, source, "x"), (0, source, "y")), head_after_s=15).run()

    assert [(4, "x"), (7, "y"), (10, "a")] == client.taken[:-1]


async def test_what_a_cancelled_candidate_reasons_is_not_sent(autojump_clock: MockClock) -> None:
    client, lost, source = FakeClient(write_s=2), FakeSource([]), answering("a")

    class Limited(FakeRescue):
        async def open_first(self, listener: Listener) -> FakeSource:
            # The comment holds the writing task from 1 to 3, so this is not out when its candidate's time is up.
            await trio.sleep(1.5)
            with trio.move_on_after(1):
                await listener.hear(as_stream(lost), [OPENED, ReasoningDelta("too late")])
            return source

    await relay(source, client, rescue=Limited([], mode=None), head_after_s=1).run()

    assert [(3, ": keep-alive"), (5, "a")] == client.taken[:-1]


@pytest.mark.parametrize("leave_at_s", [0.5, 2.5, 15.5])
async def test_leaving_before_a_token_ends_the_opening(autojump_clock: MockClock, leave_at_s: float) -> None:
    """Before the head, in the middle of a write of reasoning, after it."""
    client, source = FakeClient(write_s=1), answering("a")
    running = relay(source, client, rescue=thinking((2, source, "Hm. "), first_after_s=100), head_after_s=15)

    with trio.move_on_after(leave_at_s) as scope:
        await running.run()

    assert (True, False, "cancelled") == (scope.cancelled_caught, running.has_begun, running.outcome)
    assert (0 if leave_at_s < 2 else 4) == running.lost_chars


async def test_client_that_takes_no_head_is_left(autojump_clock: MockClock) -> None:
    client = StuckClient(stuck_at=": keep-alive")
    running = relay(answering("a"), client, rescue=thinking(first_after_s=100), head_after_s=15, ends_in_s=20)

    with trio.fail_after(100), pytest.raises(ClientLeft):
        await running.run()

    assert running.ends_at + 1 == trio.current_time()


async def test_rescuer_that_reasons_and_fails_is_told_of(autojump_clock: MockClock) -> None:
    client, lost = FakeClient(), FakeSource([])

    class Reasoning(FakeRescue):
        async def open_next(self, failure: str, text: str, listener: Listener) -> FakeSource | None:
            following = await FakeRescue.open_next(self, failure, text, listener)
            await listener.hear(as_stream(lost), [OPENED, ReasoningDelta("Hm. ")])
            return following

    rescue = Reasoning([FakeSource([[OPENED, text("b")], [Finished("stop")]])])

    await relay(FakeSource([[OPENED, text("Hello ")], [CUT]]), client, rescue=rescue).run()

    join = "continue after 6 by groq: the stream was cut"
    assert ["Hello ", join, "Hm. ", join, "b"] == [what for _, what in client.taken[:-1]]
