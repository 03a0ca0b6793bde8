"""The relay: every token once and in order, exact clocks, an honest end."""

from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, cast

import pytest
import trio
from attrs import define, evolve, field
from trio.testing import MockClock

from pg_trio.domain.chat import FinishReason, Message, Prompt, Reply, Usage
from pg_trio.domain.events import (
    Broken,
    ContentDelta,
    Event,
    Finished,
    Joined,
    Opened,
    ReasoningDelta,
    ToolCallDelta,
)
from pg_trio.domain.log_row import Attempts
from pg_trio.domain.project import Candidate, Credential
from pg_trio.errors import (
    ClientLeft,
    GatewayError,
    ProviderCallFailed,
    SessionsUnavailable,
    UpstreamBroken,
)
from pg_trio.racing.deadline_keeper import DeadlineKeeper
from pg_trio.sources import AnswerRecord, FilteredSource
from pg_trio.stages.provider_call import CallPlan, OpenStream
from pg_trio.stages.provider_call.rescue import RescuedSource
from pg_trio.stages.provider_call.stream import Listener
from pg_trio.stages.relay import Relay, StreamClock
from tests.unit.stages.test_provider_call import FakeTransport, endpoint, provider_call

OPENED = Opened("chatcmpl-1", "gpt-4o-mini")


SPARE = Candidate(Credential("spare", "groq", "http://127.0.0.1"), "llama")


def text(piece: str) -> ContentDelta:
    return ContentDelta(piece)


@define
class FakeSource:
    """Gives what its script says: seconds of silence, or events that come together."""

    script: list[float | list[Event]]
    candidate: Candidate = SPARE
    reasoned: int = 0
    # Why it was given up, for its breaker.
    broke_off: str | None = None
    is_closed: bool = False

    async def receive_events(self) -> Sequence[Event]:
        if not self.script:
            await trio.sleep_forever()
        events = self.script.pop(0)
        if isinstance(events, float):
            await trio.sleep(events)
            return await self.receive_events()
        await trio.lowlevel.checkpoint()
        return events

    def note_broken(self, now: float, said: str) -> None:
        self.broke_off = said

    async def aclose(self) -> None:
        self.is_closed = True


@define
class FakeClient:
    """Takes what it is sent, each write after so many seconds; remembers what came and when."""

    write_s: float = 0.0
    taken: list[tuple[float, str]] = field(factory=list)
    is_writing: bool = False
    named: tuple[str, str] | None = None

    def name_speaker(self, provider: str, model: str) -> None:
        """Not asked here."""

    def name_source(self, provider: str, model: str) -> None:
        self.named = provider, model

    async def send_events(self, events: Sequence[Event]) -> bool:
        if isinstance(events[0], Joined):
            await self._take(f"{events[0].mode} after {events[0].characters} by {events[0].provider}: {events[0].why}")
            events = events[1:]
        said = "".join(event.text for event in events if isinstance(event, ContentDelta | ReasoningDelta))
        if said:
            await self._take(said)
        return bool(said)

    async def send_keep_alive(self) -> None:
        await self._take(": keep-alive")

    async def finish(self, finish_reason: FinishReason, usage: Usage) -> None:
        await self._take(f"finish {finish_reason} {usage.completion_tokens}")

    async def finish_stopped(self, usage: Usage) -> None:
        await self._take(f"stopped {usage.completion_tokens}")

    async def fail(self, error: GatewayError) -> None:
        await self._take(f"fail {error.text}")

    async def _take(self, what: str) -> None:
        assert not self.is_writing, "two writes at once"
        self.is_writing = True
        await trio.sleep(self.write_s)
        self.is_writing = False
        self.taken.append((round(trio.current_time() - START, 3), what))


@define
class FakeRescue:
    """Gives these streams, each after so many seconds; None where no more are left. Remembers what it was told."""

    streams: list[FakeSource | GatewayError]
    mode: Literal["restart", "continue"] | None = "continue"
    after_s: float = 0.5
    told: list[tuple[str, str]] = field(factory=list)
    first: FakeSource | GatewayError | None = None
    first_after_s: float = 0.0
    # Reasoning before the first token: (after seconds, candidate, text).
    reasons: list[tuple[float, FakeSource, str]] = field(factory=list)
    listens: list[bool] = field(factory=list)

    async def open_first(self, listener: Listener) -> FakeSource:
        assert self.first is not None
        for after_s, source, said in self.reasons:
            await trio.sleep(after_s)
            self.listens.append(listener.takes_reasoning)
            source.reasoned += len(said)
            await listener.hear(as_stream(source), [OPENED, ReasoningDelta(said)])
        await trio.sleep(self.first_after_s)
        if isinstance(self.first, GatewayError):
            raise self.first
        return self.first

    async def open_next(self, failure: str, text: str, listener: Listener) -> FakeSource | None:
        self.told.append((failure, text))
        await trio.sleep(self.after_s)
        if not self.streams:
            return None
        stream = self.streams.pop(0)
        if isinstance(stream, GatewayError):
            raise stream
        return stream

    # ── as the stage: see rescue.StreamOpener ────────────────────────────────────────────────────────────────────────

    async def open_stream(
        self, plan: CallPlan, prompt: Prompt, ends_at: float, attempts: Attempts, listener: Listener | None = None
    ) -> OpenStream:
        assert listener is not None
        for _, source, _ in self.reasons:
            if source is not self.first:
                attempts.add(source.candidate, 0, 0, "cancelled: hedge lost")
        opened = await self.open_first(listener)
        attempts.add(opened.candidate, 0, 0, "won")
        return as_stream(opened)

    async def open_rescue(
        self, plan: CallPlan, prompt: Prompt, ends_at: float, attempts: Attempts, listener: Listener | None = None
    ) -> OpenStream | None:
        assert listener is not None
        last = prompt.messages[-1]
        text = last.content if last.role == "assistant" else ""
        assert isinstance(text, str)
        failure = [row.outcome for row in attempts.rows if row.kind == "failed"][-1].removeprefix("failed: ")
        opened = await self.open_next(failure, text, listener)
        if opened is None:
            return None
        attempts.add(opened.candidate, 0, 0, "won")
        return as_stream(opened)


def as_stream(source: FakeSource) -> OpenStream:
    """To the type checker: it has what a rescued source uses of a stream."""
    return cast(OpenStream, source)


@define
class Running:
    """A relay, its source, and what they say of the answer."""

    relay: Relay
    source: RescuedSource
    record: AnswerRecord | None

    async def run(self) -> None:
        failure: GatewayError | ClientLeft | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.relay.keeper.run)
            try:
                await self.relay.run()
            except (GatewayError, ClientLeft) as error:
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            try:
                raise failure
            finally:
                del failure

    @property
    def failure(self) -> GatewayError | None:
        return self.relay.failure

    @property
    def outcome(self) -> str:
        """As its row has it: what the source noted, or else what the relay says."""
        self.source.note_end(self.relay.outcome)
        return [row.outcome for row in self.source.attempts.rows][-1] if self.relay.has_begun else self.relay.outcome

    @property
    def has_begun(self) -> bool:
        return self.relay.has_begun

    @property
    def usage(self) -> Usage:
        return self.source.meter.usage

    @property
    def model(self) -> str | None:
        return self.source.meter.assembler.model

    @property
    def lost_chars(self) -> int:
        return self.source.meter.lost_chars

    @property
    def ends_at(self) -> float:
        return self.relay.clock.ends_at

    def reply_so_far(self) -> Reply:
        assert self.record is not None
        return self.record.reply_so_far()


START = 0.0


def relay(
    source: FakeSource | GatewayError,
    client: FakeClient,
    *,
    idle_s: float = 30.0,
    ends_in_s: float = 600.0,
    rescue: FakeRescue | None = None,
    keeps_text: bool = False,
    head_after_s: float = math.inf,
    **settings: Any,
) -> Running:
    global START  # noqa: PLW0603  # the mock clock starts anywhere
    now = START = trio.current_time()
    opener = rescue or FakeRescue([], mode=None)
    opener.first = source
    plan = provider_call(FakeTransport({})).plan(evolve(endpoint("a", "b"), on_stream_failure=opener.mode or "error"))
    rescued = RescuedSource(opener, plan, Prompt((Message("user", "x" * 40),)), now + ends_in_s, Attempts(now))
    record = AnswerRecord() if keeps_text else None
    running = Relay(
        source=rescued if record is None else FilteredSource(rescued, record),
        client=client,
        clock=StreamClock(idle_s, now + ends_in_s, now + head_after_s),
        keeper=DeadlineKeeper(),
        **{"take_deadline": lambda: int(ends_in_s * 1000), **settings},
    )
    return Running(running, rescued, record)


async def test_tokens_arrive_in_order(autojump_clock: MockClock) -> None:
    source = FakeSource([[OPENED, text("a")], 1.0, [text("b"), text("c")], [Finished("stop", Usage(10, 3))]])
    client = FakeClient()
    running = relay(source, client)

    await running.run()

    assert [(0, "a"), (1, "bc"), (1, "finish stop 3")] == client.taken
    assert (None, 13, "gpt-4o-mini") == (running.failure, running.usage.total_tokens, running.model)


async def test_silence_is_filled_with_comments(autojump_clock: MockClock) -> None:
    source = FakeSource([[OPENED, text("a")], 25.0, [text("b"), Finished("stop")]])
    client = FakeClient()

    await relay(source, client, idle_s=30).run()

    assert [0, 10, 20, 25, 25] == [at for at, _ in client.taken]
    assert [": keep-alive"] * 2 == [what for _, what in client.taken if what.startswith(":")]


async def test_comments_reset_no_clock(autojump_clock: MockClock) -> None:
    source, client = FakeSource([[OPENED, text("a")]]), FakeClient()
    running = relay(source, client, idle_s=25)

    await running.run()

    assert ("no token within 25 s", (25, "fail Provider call failed: no token within 25 s")) == (
        source.broke_off,
        client.taken[-1],
    )


async def test_idle_clock_runs_from_the_first_tokens(autojump_clock: MockClock) -> None:
    # As an open stream does, whose first token has come already: the first events are there without waiting.
    class Ready(FakeSource):
        async def receive_events(self) -> Sequence[Event]:
            return [OPENED, self.script.pop()] if self.script else await super().receive_events()  # type: ignore[list-item]

    client = FakeClient(write_s=0.1)

    await relay(Ready([text("a")]), client, idle_s=5).run()  # type: ignore[list-item]

    # The client had them at 0.1, and the error is another write.
    assert (5.2, "fail Provider call failed: no token within 5 s") == client.taken[-1]


async def test_slow_client_is_not_the_providers_silence(autojump_clock: MockClock) -> None:
    # Each write takes longer than the idle limit; the provider's own silences are shorter.
    source = FakeSource([[OPENED, text("a")], 4.0, [text("b")], 4.0, [Finished("stop")]])
    client = FakeClient(write_s=17)
    running = relay(source, client, idle_s=5)

    await running.run()

    assert (None, None) == (source.broke_off, running.failure)


async def test_silence_after_a_slow_write_is_the_providers(autojump_clock: MockClock) -> None:
    client = FakeClient(write_s=17)

    with trio.fail_after(17 + 5 + 17 + 0.1):
        await relay(FakeSource([[OPENED, text("a")]]), client, idle_s=5).run()

    assert "fail Provider call failed: no token within 5 s" == client.taken[-1][1]


async def test_reasoning_resets_idle_clock(autojump_clock: MockClock) -> None:
    script: list[float | list[Event]] = [
        [OPENED, text("a")],
        4.0,
        [ReasoningDelta("123456789")],
        4.0,
        [Finished("stop")],
    ]
    client = FakeClient()
    running = relay(FakeSource(script), client, idle_s=5)

    await running.run()

    assert running.failure is None


async def test_what_is_no_sign_of_life_resets_no_clock(autojump_clock: MockClock) -> None:
    source, client = FakeSource([[OPENED, text("a")], 4.0, [OPENED], 4.0, [text("b"), Finished("stop")]]), FakeClient()

    await relay(source, client, idle_s=5.0).run()

    assert (5, "fail Provider call failed: no token within 5 s") == client.taken[-1]


async def test_deadline_ends_a_lively_stream(autojump_clock: MockClock) -> None:
    script: list[float | list[Event]] = [[OPENED, text("a")]]
    for _ in range(20):
        script += [1.0, [text("b")]]
    client = FakeClient()

    await relay(FakeSource(script), client, ends_in_s=7.5).run()

    assert (7.5, "fail Deadline exceeded: no answer within 7500 ms.") == client.taken[-1]


async def test_break_is_passed_on(autojump_clock: MockClock) -> None:
    client = FakeClient()
    running = relay(FakeSource([[OPENED, text("a")], [Broken(UpstreamBroken("connection reset"))]]), client)

    await running.run()

    assert "fail Provider call failed: connection reset" == client.taken[-1][1]
    assert running.failure is not None
    assert 502 == running.failure.status


async def test_part_of_a_cut_stream_is_counted(autojump_clock: MockClock) -> None:
    running = relay(FakeSource([[OPENED, text("x" * 40)]]), FakeClient(), idle_s=1)

    await running.run()

    assert (10, 10, True) == (running.usage.prompt_tokens, running.usage.completion_tokens, running.usage.estimated)


@pytest.mark.parametrize("keeps_text", [False, True])
@pytest.mark.parametrize("end", [Finished("stop"), Broken(UpstreamBroken("cut"))])
async def test_ended_relay_is_no_garbage(autojump_clock: MockClock, keeps_text: bool, end: Event) -> None:
    """Collecting cycles would take longer than relaying: the last reference is to free everything."""
    gc.disable()
    try:
        running = relay(FakeSource([[OPENED, text("a")], [end]]), FakeClient(), keeps_text=keeps_text)
        await running.run()
        relay_left, source_left = weakref.ref(running.relay), weakref.ref(running.source)

        del running

        assert (None, None) == (relay_left(), source_left())
    finally:
        gc.enable()


async def test_next_tokens_wait_for_the_client(autojump_clock: MockClock) -> None:
    source = FakeSource([[OPENED, text("a")], [text("b")], [text("c")], [Finished("stop")]])
    client = FakeClient(write_s=3)
    running = relay(source, client)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(running.run)
        await trio.sleep(4)
        left = len(source.script)

    assert 2 == left
    assert [3, 6, 9, 12] == [at for at, _ in client.taken]


async def test_client_that_takes_nothing_is_left(autojump_clock: MockClock) -> None:
    client = FakeClient(write_s=1000)

    with pytest.raises(ClientLeft):
        await relay(FakeSource([[OPENED, text("a")]]), client, ends_in_s=5).run()

    assert [] == client.taken


@define
class StuckClient(FakeClient):
    """Takes nothing any more from its first write of that kind on."""

    stuck_at: str = "fail"

    async def _take(self, what: str) -> None:
        if what.startswith(self.stuck_at):
            await trio.sleep_forever()
        await FakeClient._take(self, what)


@pytest.mark.parametrize(
    ("stuck_at", "last"),
    [(": keep-alive", []), ("finish", [[Finished("stop")]]), ("fail", [[Broken(UpstreamBroken("cut off"))]])],
)
async def test_no_write_outlasts_the_deadline(
    autojump_clock: MockClock, stuck_at: str, last: list[float | list[Event]]
) -> None:
    source = FakeSource([[OPENED, text("a")], *last])
    running = relay(source, StuckClient(stuck_at=stuck_at), ends_in_s=20)

    with trio.fail_after(100), pytest.raises(ClientLeft):
        await running.run()

    assert START + 20 <= trio.current_time() <= START + 21


async def test_deadline_is_told_when_it_has_passed(autojump_clock: MockClock) -> None:
    client = FakeClient()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(relay(FakeSource([[OPENED, text("a")]]), client, ends_in_s=5).run)
        await trio.sleep(1)
        client.write_s = 0.5

    at, said = client.taken[-1]
    assert (5.5, "fail ") == (at, said[:5])


async def test_deadline_in_the_middle_of_a_write_is_told(autojump_clock: MockClock) -> None:
    # The second write takes from 4.8 to 5.2.
    source = FakeSource([[OPENED, text("a")], 4.4, [text("b")], 0.1, [text("c")]])
    client = FakeClient(write_s=0.4)
    running = relay(source, client, ends_in_s=5)

    await running.run()

    assert [(0.4, "a"), (5.2, "b"), (5.6, "fail Deadline exceeded: no answer within 5000 ms.")] == client.taken
    assert "cancelled: deadline" == running.outcome


async def test_tokens_that_come_with_the_deadline_do_not_hide_it(autojump_clock: MockClock) -> None:
    client = FakeClient(write_s=0.1)

    class Punctual(FakeSource):
        async def receive_events(self) -> Sequence[Event]:
            if not self.script:
                # The cut is decided while these are on their way.
                with trio.CancelScope(shield=True):
                    await trio.sleep_until(START + 5.1)
                return [text("late")]
            return await FakeSource.receive_events(self)

    await relay(Punctual([[OPENED, text("a")]]), client, ends_in_s=5).run()

    assert [(0.1, "a"), (5.2, "fail Deadline exceeded: no answer within 5000 ms.")] == client.taken


async def test_tokens_that_come_with_the_idle_limit_are_relayed(autojump_clock: MockClock) -> None:
    client = FakeClient(write_s=0.1)
    rescue = FakeRescue([FakeSource([[OPENED, text("anew"), Finished("stop")]])])

    class Punctual(FakeSource):
        async def receive_events(self) -> Sequence[Event]:
            # The cut is decided while the second ones are on their way.
            with trio.CancelScope(shield=len(self.script) == 2) as arriving:
                if arriving.shield:
                    await trio.sleep_until(START + 5.2)
                events = await FakeSource.receive_events(self)
            return events  # noqa: RET504  # to mypy, the block may swallow an error

    source = Punctual([[OPENED, text("a")], [text("late")], [Finished("stop")]])
    running = relay(source, client, idle_s=5, rescue=rescue)

    await running.run()

    # The provider was not silent, so no other candidate is asked, and no text is lost.
    assert [(0.1, "a"), (5.3, "late"), (5.4, "finish stop 2")] == client.taken
    assert ([], None) == (rescue.told, source.broke_off)


async def test_comment_never_mixes_with_a_token(autojump_clock: MockClock) -> None:
    # The comment's write takes from 10 to 12; tokens come at 11 and wait for it.
    source = FakeSource([[OPENED, text("a")], 11.0, [text("b"), Finished("stop")]])
    client = FakeClient(write_s=0)
    running = relay(source, client)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(running.run)
        await trio.sleep(5)
        client.write_s = 2

    assert [(0, "a"), (12, ": keep-alive"), (14, "b"), (16, "finish stop 1")] == client.taken


@pytest.mark.parametrize("cancel_at_s", [0.5, 10.5])
async def test_cancelled_relay_counts_what_was_relayed(autojump_clock: MockClock, cancel_at_s: float) -> None:
    running = relay(FakeSource([[OPENED, text("x" * 8)]]), FakeClient())

    with trio.move_on_after(cancel_at_s) as scope:
        await running.run()

    assert scope.cancelled_caught
    assert 2 == running.usage.completion_tokens


@define
class FakeKeeper:
    """Keeps an answer after so many seconds, or refuses to."""

    client: FakeClient
    takes_s: float = 1.0
    refusal: GatewayError | None = None
    kept: list[tuple[str | None, int]] = field(factory=list)

    async def keep(self, reply: Reply, usage: Usage) -> None:
        assert not any(what.startswith("finish") for _, what in self.client.taken), "told before it was kept"
        await trio.sleep(self.takes_s)
        if self.refusal is not None:
            raise self.refusal
        self.kept.append((reply.content, usage.total_tokens))


async def test_answer_is_kept_before_its_end(autojump_clock: MockClock) -> None:
    client = FakeClient()
    keeper = FakeKeeper(client)
    source = FakeSource([[OPENED, text("a")], [text("b"), Finished("stop", Usage(10, 3))]])

    await evolve_keep(relay(source, client, keeps_text=True), keeper).run()

    assert [("ab", 13)] == keeper.kept
    assert (1, "finish stop 3") == client.taken[-1]


@pytest.mark.parametrize(
    ("keeper", "failure"),
    [
        ({"refusal": SessionsUnavailable()}, (1, "fail Session storage is unavailable.")),
        ({"takes_s": 99.0}, (5, "fail Deadline exceeded: no answer within 5000 ms.")),
    ],
    ids=["refused", "too late"],
)
async def test_answer_that_cannot_be_kept_has_failed(
    autojump_clock: MockClock, keeper: dict[str, Any], failure: tuple[int, str]
) -> None:
    client = FakeClient()
    running = relay(FakeSource([[OPENED, text("a"), Finished("stop")]]), client, ends_in_s=5.0, keeps_text=True)

    await evolve_keep(running, FakeKeeper(client, **keeper)).run()

    assert failure == client.taken[-1]


async def test_broken_stream_is_not_kept(autojump_clock: MockClock) -> None:
    client = FakeClient()
    keeper = FakeKeeper(client)
    source = FakeSource([[OPENED, text("a")], [Broken(UpstreamBroken("cut"))]])

    await evolve_keep(relay(source, client, keeps_text=True), keeper).run()

    assert [] == keeper.kept


def evolve_keep(running: Running, keeper: FakeKeeper) -> Running:
    """The same relay for an answer that is kept."""
    assert running.record is not None
    running.relay.keep = partial(running.record.keep_with, keeper.keep)
    return running


# ── carried on by another candidate ──────────────────────────────────────────────────────────────────────────────────

CUT = Broken(UpstreamBroken("the stream was cut"))


async def test_broken_stream_goes_on_elsewhere(autojump_clock: MockClock) -> None:
    source, client = FakeSource([[OPENED, text("Hello ")], [CUT]]), FakeClient()
    rescue = FakeRescue([FakeSource([[Opened("other", "llama"), text("world")], [Finished("stop", Usage(15, 2))]])])
    running = relay(source, client, rescue=rescue)

    await running.run()

    assert [("the stream was cut", "Hello ")] == rescue.told
    assert ["Hello ", "continue after 6 by groq: the stream was cut", "world"] == [
        what for _, what in client.taken[:-1]
    ]
    # 10 of the prompt and 2 that were relayed, estimated; then what the second reports.
    assert ("finish stop 4", Usage(25, 4, estimated=True)) == (client.taken[-1][1], running.usage)
    assert (None, "won", "llama") == (running.failure, running.outcome, running.model)


async def test_restart_takes_the_place_of_what_came(autojump_clock: MockClock) -> None:
    client = FakeClient()
    rescue = FakeRescue([FakeSource([[OPENED, text("Anew")], [Finished("stop")]])], mode="restart")
    running = relay(FakeSource([[OPENED, text("Hello ")], [CUT]]), client, rescue=rescue, keeps_text=True)

    await running.run()

    assert [("the stream was cut", "")] == rescue.told
    assert "Anew" == running.reply_so_far().content
    assert "restart after 6 by groq: the stream was cut" in [what for _, what in client.taken]


async def test_text_of_all_streams_is_carried(autojump_clock: MockClock) -> None:
    rescue = FakeRescue(
        [FakeSource([[OPENED, text("b")], [CUT]]), FakeSource([[OPENED, text("c")], [Finished("stop", Usage(1, 1))]])]
    )
    client = FakeClient()
    running = relay(FakeSource([[OPENED, text("a")], [CUT]]), client, rescue=rescue, keeps_text=True)

    await running.run()

    assert ["a", "ab"] == [said for _, said in rescue.told]
    assert "abc" == running.reply_so_far().content
    assert "continue after 2 by groq: the stream was cut" in [what for _, what in client.taken]


async def test_join_counts_no_reasoning(autojump_clock: MockClock) -> None:
    """A client cuts its text at `characters`, and it has none of the reasoning."""
    client, rescue = FakeClient(), FakeRescue([FakeSource([[OPENED, text("b")], [Finished("stop")]])])

    await relay(FakeSource([[OPENED, ReasoningDelta("." * 100), text("Hello ")], [CUT]]), client, rescue=rescue).run()

    assert "continue after 6 by groq: the stream was cut" in [what for _, what in client.taken]


async def test_text_carried_twice_is_counted_once_a_prompt(autojump_clock: MockClock) -> None:
    first, second, third = (FakeSource([[OPENED, text("x" * 8)], [end]]) for end in (CUT, CUT, Finished("stop")))
    running = relay(first, FakeClient(), rescue=FakeRescue([second, third]))

    await running.run()

    # Prompts of 40, 48 and 56 characters; three answers of 8.
    assert Usage(10 + 12 + 14, 6, estimated=True) == running.usage


async def test_idle_stream_goes_on_elsewhere(autojump_clock: MockClock) -> None:
    source, client = FakeSource([[OPENED, text("a")]]), FakeClient()
    rescue = FakeRescue([FakeSource([[OPENED, text("b")], [Finished("stop")]])], after_s=50)

    await relay(source, client, idle_s=5, rescue=rescue).run()

    assert ("no token within 5 s", 55) == (source.broke_off, client.taken[-1][0])
    # The client gets keep-alive comments while no candidate answers.
    assert [10, 20, 30, 40, 50] == [at for at, what in client.taken if what == ": keep-alive"]


async def test_comment_never_mixes_with_a_join(autojump_clock: MockClock) -> None:
    # The rescue takes from 0 to 11; the comment's write, from 10 to 12, is still on its way then.
    client = FakeClient()
    rescue = FakeRescue([FakeSource([[OPENED, text("b"), Finished("stop")]])], after_s=11)
    running = relay(FakeSource([[OPENED, text("a")], [CUT]]), client, rescue=rescue)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(running.run)
        await trio.sleep(5)
        client.write_s = 2

    assert [12, 14, 16, 18] == [at for at, _ in client.taken[-4:]]
    assert ": keep-alive" == client.taken[-4][1]


async def test_nobody_left_ends_with_what_broke(autojump_clock: MockClock) -> None:
    client = FakeClient()
    running = relay(FakeSource([[OPENED, text("a")], [CUT]]), client, rescue=FakeRescue([]))

    await running.run()

    assert ("fail Provider call failed: the stream was cut", "failed: the stream was cut") == (
        client.taken[-1][1],
        running.outcome,
    )


async def test_failed_rescue_is_what_is_told(autojump_clock: MockClock) -> None:
    client = FakeClient()
    rescue = FakeRescue([ProviderCallFailed("HTTP 503")])

    await relay(FakeSource([[OPENED, text("a")], [CUT]]), client, rescue=rescue).run()

    assert "fail Provider call failed: HTTP 503" == client.taken[-1][1]


async def test_deadline_ends_a_rescue(autojump_clock: MockClock) -> None:
    client = FakeClient()
    rescue = FakeRescue([FakeSource([[OPENED]])], after_s=100)
    running = relay(FakeSource([[OPENED, text("a")], 1.0, [CUT]]), client, ends_in_s=7, rescue=rescue)

    await running.run()

    assert (7, "fail Deadline exceeded: no answer within 7000 ms.") == client.taken[-1]


async def test_tool_calls_are_not_joined(autojump_clock: MockClock) -> None:
    client = FakeClient()
    rescue = FakeRescue([FakeSource([[OPENED, text("b")], [Finished("stop")]])])
    source = FakeSource([[OPENED, ToolCallDelta(0, "call_1", "look_up", '{"ci')], [CUT]])

    await relay(source, client, rescue=rescue).run()

    assert [] == rescue.told
    assert "fail Provider call failed: the stream was cut" == client.taken[-1][1]


async def test_client_that_leaves_ends_a_rescue(autojump_clock: MockClock) -> None:
    running = relay(FakeSource([[OPENED, text("x" * 8)], [CUT]]), FakeClient(), rescue=FakeRescue([], after_s=9))

    with trio.move_on_after(5) as scope:
        await running.run()

    assert (True, 2) == (scope.cancelled_caught, running.usage.completion_tokens)
    assert ("cancelled", "failed: the stream was cut") == (running.relay.outcome, running.outcome)


# ── stopping ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def stop_after(running: Running, after_s: float) -> bool:
    """Run the answer, and stop it at that time; what `stop` said."""
    said: list[bool] = []

    async def stop() -> None:
        await trio.sleep(after_s)
        said.append(running.relay.stop())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop)
        await running.run()
    return said[0]


async def test_stop_ends_the_answer_where_it_is(autojump_clock: MockClock) -> None:
    source, client = FakeSource([[OPENED, text("abcdefgh")], 9.0, [text("never")]]), FakeClient()
    running = relay(source, client)

    assert await stop_after(running, 2)

    assert [(0, "abcdefgh"), (2, "stopped 2")] == client.taken
    assert (None, "cancelled: stopped") == (running.failure, running.outcome)


async def test_stop_before_the_first_token(autojump_clock: MockClock) -> None:
    client = FakeClient()
    running = relay(FakeSource([]), client, rescue=FakeRescue([], first_after_s=60))

    assert await stop_after(running, 2)

    assert [(2, "stopped 0")] == client.taken
    assert not running.has_begun


async def test_stop_waits_for_a_running_write(autojump_clock: MockClock) -> None:
    source, client = FakeSource([[OPENED, text("a")], 0.5, [text("b")], 0.5, [text("never")]]), FakeClient(write_s=3)
    running = relay(source, client)

    assert await stop_after(running, 4)

    assert [(3, "a"), (6.5, "b"), (9.5, "stopped 1")] == client.taken


async def test_ending_answer_is_not_stopped(autojump_clock: MockClock) -> None:
    client = FakeClient(write_s=3)
    running = relay(FakeSource([[OPENED, text("a"), Finished("stop", Usage(1, 1))]]), client)

    assert not await stop_after(running, 4)

    assert [(3, "a"), (6, "finish stop 1")] == client.taken


async def test_answer_that_ends_in_the_same_write_is_whole(autojump_clock: MockClock) -> None:
    client = FakeClient(write_s=3)
    running = relay(FakeSource([[OPENED, text("a"), Finished("stop", Usage(1, 1))]]), client)

    assert await stop_after(running, 2)

    assert (6, "finish stop 1") == client.taken[-1]


async def test_stopped_answer_is_kept_as_it_is(autojump_clock: MockClock) -> None:
    call = ToolCallDelta(0, "call_1", "look_up", '{"half')
    source = FakeSource([[OPENED, text("said "), call], 9.0, [text("never")]])
    kept: list[Reply] = []

    async def keep(usage: Usage) -> None:
        assert running.record is not None
        kept.append(running.record.reply_so_far())

    running = relay(source, FakeClient(), keeps_text=True, keep=keep)

    assert await stop_after(running, 2)

    [reply] = kept
    assert ("said ", "stop", ()) == (reply.content, reply.finish_reason, reply.tool_calls)


async def test_held_text_of_a_stopped_answer_is_sent(autojump_clock: MockClock) -> None:
    class Holding:
        """A guardrail that passes text on only at the end."""

        def __init__(self) -> None:
            self.held: list[Event] = []

        def take(self, events: Sequence[Event]) -> Sequence[Event]:
            self.held += events
            if not events[-1].is_last:
                return []
            released, self.held = self.held, []
            return released

    client = FakeClient()
    running = relay(FakeSource([[OPENED, text("a")], 1.0, [text("b")], 9.0, [text("never")]]), client)
    running.relay.source = FilteredSource(running.source, Holding())

    assert await stop_after(running, 4)

    assert [(4, "ab"), (4, "stopped 1")] == client.taken


@define
class StoppingSource(FakeSource):
    """A client asks for the answer's end in the moment in which the last events of the script come."""

    stop: Callable[[], bool] = field(default=lambda: False)

    async def receive_events(self) -> Sequence[Event]:
        events = await super().receive_events()
        if not self.script:
            self.stop()
        return events


async def test_text_that_comes_with_the_stop_is_sent(autojump_clock: MockClock) -> None:
    source, client = StoppingSource([[OPENED, text("a")], 1.0, [text("b")]]), FakeClient()
    running = relay(source, client, keeps_text=True)
    source.stop = running.relay.stop

    await running.run()

    assert running.record is not None
    assert [(0, "a"), (1, "b"), (1, "stopped 1")] == client.taken
    assert "ab" == running.record.reply_so_far().content


async def test_answer_that_ends_with_the_stop_is_whole(autojump_clock: MockClock) -> None:
    source, client = (
        StoppingSource([[OPENED, text("a")], 1.0, [text("b"), Finished("stop", Usage(1, 2))]]),
        FakeClient(),
    )
    running = relay(source, client)
    source.stop = running.relay.stop

    await running.run()

    assert [(0, "a"), (1, "b"), (1, "finish stop 2")] == client.taken


# ── the second task ──────────────────────────────────────────────────────────────────────────────────────────────────


@define
class CountingSource(FakeSource):
    """Notes how many other tasks its stream has, each time it is asked."""

    others: list[int] = field(factory=list)

    async def receive_events(self) -> Sequence[Event]:
        self.others.append(len(trio.lowlevel.current_task().child_nurseries[-1].child_tasks))
        return await super().receive_events()


async def test_stream_without_silence_is_one_task(autojump_clock: MockClock) -> None:
    source = CountingSource([[OPENED, text("a")], 9.0, [text("b")], 9.0, [text("c")], 9.0, [Finished("stop")]])

    await relay(source, FakeClient()).run()

    assert {0} == set(source.others)


async def test_second_task_ends_when_its_work_is_done(autojump_clock: MockClock) -> None:
    source = CountingSource([[OPENED, text("a")], 11.0, [text("b")], 1.0, [Finished("stop")]])
    client = FakeClient()

    await relay(source, client).run()

    assert ({0}, 1) == (set(source.others), [what for _, what in client.taken].count(": keep-alive"))


async def test_stream_that_is_over_is_looked_at_no_more(autojump_clock: MockClock) -> None:
    """A task started for it would find its nursery closed, and end the keeper of all streams."""
    whole = relay(FakeSource([[OPENED, text("a")], [Finished("stop")]]), FakeClient())
    cut = relay(FakeSource([[OPENED, text("a")]]), FakeClient())
    keeper = cut.relay.keeper = whole.relay.keeper

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run)
        await whole.relay.run()
        with trio.move_on_after(1):
            await cut.relay.run()
        was_stopped = [running.relay.stop() for running in (whole, cut)]
        await trio.sleep(60)
        nursery.cancel_scope.cancel()

    assert (False, 0) == (was_stopped[0], len(keeper))
