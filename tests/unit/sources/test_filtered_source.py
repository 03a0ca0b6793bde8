"""Wrapped sources: a guardrail of streams in one class, and the record that session and log are made from."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
from attrs import define
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from pg_trio.domain.chat import Reply, Usage
from pg_trio.domain.events import Broken, ContentDelta, Event, Finished, Joined, Opened, ReasoningDelta
from pg_trio.errors import GatewayError, InternalError, KeywordBlocked
from pg_trio.sources import AnswerRecord, EventFilter, FilteredSource
from pg_trio.stages.provider_call.stream import Listener
from tests.unit.stages.test_relay import (
    CUT,
    OPENED,
    FakeClient,
    FakeRescue,
    FakeSource,
    Running,
    as_stream,
    relay,
    text,
)

BLOCKED = f"fail {KeywordBlocked('bomb').text}"


@define
class ToyGuard:
    """Masks a word, also one that comes in pieces: it holds back what could be the word's beginning."""

    word: str
    _held: str = ""

    def take(self, events: Sequence[Event]) -> Sequence[Event]:
        passed: list[Event] = []
        for event in events:
            if isinstance(event, ContentDelta):
                passed += self._mask(event.text)
            elif isinstance(event, Opened | ReasoningDelta):
                passed.append(event)
            else:
                passed += self._release()
                passed.append(event)
        return passed

    def _mask(self, piece: str) -> list[Event]:
        held = (self._held + piece).replace(self.word, "#" * len(self.word))
        kept = max((n for n in range(len(self.word)) if held.endswith(self.word[:n])), default=0)
        self._held = held[len(held) - kept :]
        return [ContentDelta(out)] if (out := held[: len(held) - kept]) else []

    def _release(self) -> list[Event]:
        held, self._held = self._held, ""
        return [ContentDelta(held)] if held else []


@define
class ToyBlocker:
    """Ends the answer at a word, wherever it is."""

    word: str

    def take(self, events: Sequence[Event]) -> Sequence[Event]:
        if any(isinstance(event, ContentDelta | ReasoningDelta) and self.word in event.text for event in events):
            raise KeywordBlocked(self.word)
        return events


@define
class BrokenGuard:
    """Has a bug, which the word shows."""

    word: str

    def take(self, events: Sequence[Event]) -> Sequence[Event]:
        assert not any(isinstance(event, ContentDelta) and self.word in event.text for event in events)
        return events


def guarded(guard: EventFilter, running: Running) -> Running:
    """The same relay behind a guard."""
    running.relay.source = FilteredSource(running.relay.source, guard)
    return running


def said_to(client: FakeClient) -> list[str]:
    return [what for _, what in client.taken]


async def test_guard_masks_what_comes_in_pieces(autojump_clock: MockClock) -> None:
    client = FakeClient()
    source = FakeSource(
        [[OPENED, text("a se")], 1.0, [text("cr")], 1.0, [text("et b")], [Finished("stop", Usage(9, 3))]]
    )

    await guarded(ToyGuard("secret"), relay(source, client)).run()

    assert [(0, "a "), (2, "###### b"), (2, "finish stop 3")] == client.taken


async def test_provider_whose_tokens_are_held_back_is_not_silent(autojump_clock: MockClock) -> None:
    script: list[float | list[Event]] = [[OPENED, text("s")]]
    for letter in "ecre":
        script += [4.0, [text(letter)]]
    client = FakeClient()
    running = guarded(ToyGuard("secret"), relay(FakeSource([*script, 4.5, [Finished("stop")]]), client, idle_s=5))

    await running.run()

    # Comments fill the silence, which is the guard's.
    assert (None, ["secre", "finish stop 2"]) == (running.failure, said_to(client)[-2:])
    assert [10, 20] == [at for at, what in client.taken if what == ": keep-alive"]


async def test_guard_with_a_bug_ends_the_stream_as_a_failed_one(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    client, source = FakeClient(), FakeSource([[OPENED, text("a")], [text("bomb")], [text("never")]])
    running = guarded(BrokenGuard("bomb"), relay(source, client))

    await running.run()

    assert ["a", f"fail {InternalError.text}"] == said_to(client)
    assert "AssertionError" in caplog.text


async def test_blocked_answer_ends_with_the_guards_error(autojump_clock: MockClock) -> None:
    client, source = FakeClient(), FakeSource([[OPENED, text("a")], [text("bomb")], [text("never")]])
    rescue = FakeRescue([FakeSource([[OPENED, text("anew")]])])
    running = guarded(ToyBlocker("bomb"), relay(source, client, rescue=rescue))

    await running.run()

    # Another candidate is not asked: the answer was not broken, but refused.
    assert ["a", BLOCKED] == said_to(client)
    assert ([], "cancelled") == (rescue.told, running.outcome)


async def test_blocked_first_token_is_an_ordinary_failure(autojump_clock: MockClock) -> None:
    client = FakeClient()
    running = guarded(ToyBlocker("bomb"), relay(FakeSource([[OPENED, text("bomb")]]), client))

    with pytest.raises(KeywordBlocked):
        await running.run()

    assert ([], False, "cancelled") == (client.taken, running.has_begun, running.relay.outcome)


@pytest.mark.parametrize(("after_s", "told"), [(1.0, []), (20.0, [": keep-alive", BLOCKED])])
async def test_reasoning_before_a_token_is_guarded(autojump_clock: MockClock, after_s: float, told: list[str]) -> None:
    """Before the head it is an ordinary answer, after it the end of the stream."""
    client, source = FakeClient(), FakeSource([[OPENED, text("a")], [Finished("stop")]])
    rescue = FakeRescue([], mode=None, reasons=[(after_s, source, "a bomb")], first_after_s=9)
    running = guarded(ToyBlocker("bomb"), relay(source, client, rescue=rescue, head_after_s=15))

    failure = await failure_of(running)

    assert (KeywordBlocked, told) == (type(failure), said_to(client))


async def failure_of(running: Running) -> GatewayError | None:
    try:
        await running.run()
    except GatewayError as error:
        return error
    return running.failure


async def test_record_behind_a_guard_has_what_the_client_has(autojump_clock: MockClock) -> None:
    client, record = FakeClient(), AnswerRecord()
    running = guarded(ToyGuard("secret"), relay(FakeSource([[OPENED, text("a secret b")], [Finished("stop")]]), client))

    await guarded(record, running).run()

    assert "a ###### b" == record.reply_so_far().content
    # The meter is the provider's side: ten characters of the model's.
    assert 3 == running.usage.completion_tokens


@pytest.mark.parametrize(("mode", "kept"), [("continue", "Hello world"), ("restart", "world")])
async def test_record_follows_a_change_of_candidates(autojump_clock: MockClock, mode: str, kept: str) -> None:
    record = AnswerRecord()

    record.take([OPENED, text("Hello ")])
    record.take([CUT])
    record.take([Joined(mode, 6, "groq", "llama", "cut"), Opened("other", "llama"), text("world"), Finished("stop")])

    reply = record.reply_so_far()
    assert (kept, "chatcmpl-1", "llama", "stop") == (reply.content, reply.id, reply.model, reply.finish_reason)


async def test_record_is_kept_with_the_usage_of_all_streams(autojump_clock: MockClock) -> None:
    kept: list[tuple[Reply, Usage]] = []

    async def keep(reply: Reply, usage: Usage) -> None:
        kept.append((reply, usage))

    rescue = FakeRescue([FakeSource([[OPENED, text("world")], [Finished("stop", Usage(15, 2))]])])
    client = FakeClient()
    running = relay(FakeSource([[OPENED, text("Hello ")], [CUT]]), client, rescue=rescue, keeps_text=True)
    assert running.record is not None
    record = running.record
    running.relay.keep = lambda usage: record.keep_with(keep, usage)

    await running.run()

    assert [("Hello world", Usage(25, 4, estimated=True))] == [(reply.content, usage) for reply, usage in kept]


@given(st.text("secrt ", max_size=60), st.lists(st.integers(1, 7), max_size=60))
def test_any_cut_is_masked_alike(answer: str, sizes: list[int]) -> None:
    guard, passed, place = ToyGuard("secret"), list[Event](), 0
    for size in [*sizes, len(answer)]:
        if piece := answer[place : place + size]:
            passed += guard.take([ContentDelta(piece)])
        place += size
    passed += guard.take([Finished("stop")])

    assert answer.replace("secret", "######") == "".join(e.text for e in passed if isinstance(e, ContentDelta))


async def test_wrapped_source_is_opened_again_after_a_break(autojump_clock: MockClock) -> None:
    """A wrapper sees `Broken`, then `Joined`; both of its sides go on with the next candidate."""
    seen: list[type[Event]] = []

    class Watcher:
        def take(self, events: Sequence[Event]) -> Sequence[Event]:
            seen.extend(type(event) for event in events)
            return events

    client, lost = FakeClient(), FakeSource([])

    class Reasoning(FakeRescue):
        async def open_next(self, failure: str, text: str, listener: Listener) -> FakeSource | None:
            following = await FakeRescue.open_next(self, failure, text, listener)
            await listener.hear(as_stream(lost), [OPENED, ReasoningDelta("Hm.")])
            return following

    rescue = Reasoning([FakeSource([[OPENED, text("b")], [Finished("stop")]])])

    await guarded(Watcher(), relay(FakeSource([[OPENED, text("a")], [CUT]]), client, rescue=rescue)).run()

    ends = [Opened, ContentDelta, Broken, Joined, Opened, ReasoningDelta, Joined, Opened, ContentDelta, Finished]
    assert ends == seen


async def test_head_waits_for_what_passes(autojump_clock: MockClock) -> None:
    """Until a guard lets something pass, its refusal is an ordinary answer."""

    class Late:
        def take(self, events: Sequence[Event]) -> Sequence[Event]:
            if any(isinstance(event, ContentDelta) and "bomb" in event.text for event in events):
                raise KeywordBlocked("bomb")
            return ()

    client = FakeClient()
    script: list[float | list[Event]] = [[OPENED, text("a")], 1.0, [text("b")], 1.0, [text("bomb")]]
    running = guarded(Late(), relay(FakeSource(script), client))

    with pytest.raises(KeywordBlocked):
        await running.run()

    assert ([], True) == (client.taken, running.has_begun)


async def test_silence_counts_while_the_first_tokens_are_held(autojump_clock: MockClock) -> None:
    client, rescue = FakeClient(), FakeRescue([FakeSource([[OPENED, text("cond")], [Finished("stop")]])])
    source = FakeSource([[OPENED, text("se")], 60.0])

    await guarded(ToyGuard("secret"), relay(source, client, rescue=rescue, idle_s=5)).run()

    # Another candidate went on when the first one had been silent for so long.
    [(at, said), _] = client.taken
    assert ("second", True) == (said, 5 <= at < 6)


async def test_held_text_is_not_sent_when_the_stream_is_cut(autojump_clock: MockClock) -> None:
    client = FakeClient()
    running = guarded(ToyGuard("secret"), relay(FakeSource([[OPENED, text("a secr")], 60.0]), client, idle_s=100))

    with trio.move_on_after(30) as limit:
        await running.run()

    assert limit.cancelled_caught
    assert ["a ", *[": keep-alive"] * 2] == said_to(client)
