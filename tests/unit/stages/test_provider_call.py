"""The provider call: failover, limits, what is put aside, and what every try leaves behind."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar
from uuid import UUID

import pytest
import trio
from attrs import define, evolve, field
from trio.testing import MockClock, wait_all_tasks_blocked

from pg_trio.domain.adapter import StreamReader
from pg_trio.domain.chat import Message, Prompt, Reply
from pg_trio.domain.events import Broken, ContentDelta, Event, Finished, Opened, ReasoningDelta
from pg_trio.domain.log_row import Attempts
from pg_trio.domain.project import Candidate, Credential, Endpoint
from pg_trio.domain.secret import Secret
from pg_trio.domain.tools import Tool
from pg_trio.domain.upstream import WireRequest
from pg_trio.errors import (
    AttemptFailed,
    ProviderCallFailed,
    ProviderDisabled,
    UpstreamBroken,
    UpstreamNonsense,
    UpstreamRefused,
    UpstreamUnreachable,
)
from pg_trio.providers import adapter_for
from pg_trio.racing.attempt import ATTEMPT_LIMIT, Attempt, AttemptEnd, Outcome
from pg_trio.racing.breaker import BreakerRules, Fault
from pg_trio.racing.breaker_board import BoardPermit, BreakerBoard, BreakerOpen
from pg_trio.racing.large_work import LARGE_BYTES, LargeWork
from pg_trio.racing.latency import LatencyBoard, LatencyRules
from pg_trio.racing.pauses import Pauses
from pg_trio.stages.provider_call import Memory, ProviderCall
from pg_trio.stages.provider_call.exchange import (
    REFUSALS_KEPT,
    Exchange,
    UsageRefusals,
    read_start,
    tell_deadline,
)
from pg_trio.stages.provider_call.retry import SLACK_S
from pg_trio.stages.provider_call.runner import blame, find_fault, tell
from pg_trio.stages.provider_call.stream import Opening, OpenStream
from tests.support.stages_now import PlannedCall

PROMPT = Prompt(messages=(Message("user", "Hi"),))


@define
class FakeResponse:
    """A head with a body of several pieces; remembers that it was let go."""

    pieces: list[bytes]
    status: int = 200
    headers: Mapping[str, str] = field(factory=dict)
    stalls: bool = False
    closed: bool = False

    def forget_headers(self) -> None:
        """Nothing: see UpstreamResponse."""

    def receive_nowait(self) -> bytes | None:
        return None

    async def receive_some(self) -> bytes:
        await trio.lowlevel.checkpoint()
        if self.stalls:
            await trio.sleep_forever()
        return self.pieces.pop(0) if self.pieces else b""

    async def aclose(self) -> None:
        self.closed = True


@define
class FakeTransport:
    """Answers by the host in the URL: a response, a failure, or silence for so many seconds first."""

    script: dict[str, FakeResponse | AttemptFailed]
    after_s: dict[str, float] = field(factory=dict)
    asked: list[str] = field(factory=list)
    requests: list[WireRequest] = field(factory=list)

    async def open_response(self, request: WireRequest) -> FakeResponse:
        self.requests.append(request)
        self.asked.append(request.url)
        await trio.sleep(self.after_s.get(request.url, 0))
        answer = self.script[request.url]
        if isinstance(answer, AttemptFailed):
            raise answer
        return answer

    async def aclose(self) -> None:
        pass


class FakeAdapter:
    """The URL is the credential's name; the reply's content is the body. Models with `text` in them take text alone."""

    carries_all: ClassVar[bool] = False

    def why_unfit(self, prompt: Prompt, candidate: Candidate) -> str | None:
        return "tools" if prompt.tools and "text" in candidate.model else None

    def build_request(
        self, prompt: Prompt, candidate: Candidate, *, stream: bool = False, asks_usage: bool = True
    ) -> WireRequest:
        return WireRequest(candidate.credential.name, [], b"", is_stream=stream)

    def refuses_usage(self, status: int, body: bytes, candidate: Candidate) -> bool:
        return False

    def is_stream(self, status: int, headers: Mapping[str, str], start: bytes) -> bool | None:
        return False

    def open_stream(self, candidate: Candidate) -> StreamReader:
        raise AssertionError("nothing here streams")

    def read_reply(
        self, status: int, headers: Mapping[str, str], body: bytes, candidate: Candidate, *, now_s: float
    ) -> Reply:
        if status != 200:
            retry_after = headers.get("retry-after")
            raise UpstreamRefused(f"HTTP {status}", status, float(retry_after) if retry_after else None)
        if not body:
            raise UpstreamNonsense("empty body")
        return Reply("chatcmpl-1", candidate.model, body.decode(), "stop")


def candidate(name: str, provider: str = "openai") -> Candidate:
    return Candidate(
        Credential(name, provider, "http://127.0.0.1:1", api_key=Secret(f"key-of-{name}")), f"model-{name}"
    )


def endpoint(*names: str, attempt_timeout_ms: int = 1_000) -> Endpoint:
    return Endpoint(
        uuid=UUID(int=2),
        slug="a",
        name="a",
        candidates=tuple(candidate(name) for name in names),
        attempt_timeout_ms=attempt_timeout_ms,
    )


def provider_call(
    transport: FakeTransport, disabled: frozenset[str] = frozenset(), memory: Memory | None = None
) -> PlannedCall:
    adapters: Callable[[str], FakeAdapter] = lambda _: FakeAdapter()  # noqa: E731
    exchange = Exchange(adapters, {"direct": transport}, lambda: 0.0, LargeWork())
    return PlannedCall(ProviderCall(exchange, disabled, 0.05, memory))


def good(text: str = "Hello") -> FakeResponse:
    return FakeResponse([text.encode()])


@define
class EndlessResponse(FakeResponse):
    """The same body each time that it is opened."""

    text: bytes = b""
    is_read: bool = False

    async def receive_some(self) -> bytes:
        await trio.lowlevel.checkpoint()
        self.is_read = not self.is_read
        return self.text if self.is_read else b""


def good_for_ever(text: str) -> FakeResponse:
    return EndlessResponse([], text=text.encode())


def refused(status: int, retry_after: str | None = None) -> FakeResponse:
    return FakeResponse([b"no"], status, {"retry-after": retry_after} if retry_after else {})


async def test_first_good_answer_wins(autojump_clock: MockClock) -> None:
    transport = FakeTransport({"a": good(), "b": good()})
    attempts = Attempts(trio.current_time())

    answered = await provider_call(transport).ask(endpoint("a", "b"), PROMPT, math.inf, attempts)

    assert ("Hello", "model-a") == (answered.reply.content, answered.candidate.model)
    assert ["a"] == transport.asked
    assert ["won"] == [row.outcome for row in attempts.rows]


async def test_body_in_pieces_is_joined(autojump_clock: MockClock) -> None:
    transport = FakeTransport({"a": FakeResponse([b"Hel", b"l", b"o"])})

    answered = await provider_call(transport).ask(endpoint("a"), PROMPT, math.inf, Attempts(0))

    assert "Hello" == answered.reply.content


@pytest.mark.parametrize("status", [401, 402, 403, 404, 408, 409, 425, 429, 500, 502, 503, 504, 529])
async def test_status_fails_over(autojump_clock: MockClock, status: int) -> None:
    transport = FakeTransport({"a": refused(status), "b": good()})
    attempts = Attempts(trio.current_time())

    answered = await provider_call(transport).ask(endpoint("a", "b"), PROMPT, math.inf, attempts)

    assert "model-b" == answered.candidate.model
    assert [f"failed: HTTP {status}", "won"] == [row.outcome for row in attempts.rows]


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_malformed_is_refused_everywhere(autojump_clock: MockClock, status: int) -> None:
    transport = FakeTransport({"a": refused(status), "b": good()})

    with pytest.raises(ProviderCallFailed) as caught:
        await provider_call(transport).ask(endpoint("a", "b"), PROMPT, math.inf, Attempts(0))

    assert f"Provider call failed: HTTP {status}" == caught.value.text
    assert ["a"] == transport.asked


async def test_last_candidate_is_quoted(autojump_clock: MockClock) -> None:
    transport = FakeTransport({"a": refused(500), "b": UpstreamUnreachable("connection refused")})

    with pytest.raises(ProviderCallFailed) as caught:
        await provider_call(transport).ask(endpoint("a", "b"), PROMPT, math.inf, Attempts(0))

    assert "Provider call failed: connection refused" == caught.value.text


async def test_secrets_are_masked_in_error_and_row(autojump_clock: MockClock) -> None:
    transport = FakeTransport({"a": UpstreamUnreachable("your key-of-a is bad")})
    attempts = Attempts(0)

    with pytest.raises(ProviderCallFailed) as caught:
        await provider_call(transport).ask(endpoint("a"), PROMPT, math.inf, attempts)

    assert "key-of-a" not in caught.value.text
    assert "key-of-a" not in attempts.rows[0].outcome


async def test_no_candidates_secret_is_quoted(autojump_clock: MockClock) -> None:
    transport = FakeTransport({"a": refused(500), "b": UpstreamUnreachable("this is key-of-a, not mine")})

    with pytest.raises(ProviderCallFailed) as caught:
        await provider_call(transport).ask(endpoint("a", "b"), PROMPT, math.inf, Attempts(0))

    assert "Provider call failed: this is [redacted], not mine" == caught.value.text


async def test_attempt_limit_starts_next(autojump_clock: MockClock) -> None:
    transport = FakeTransport({"a": good(), "b": good()}, after_s={"a": 9})
    attempts = Attempts(trio.current_time())

    answered = await provider_call(transport).ask(endpoint("a", "b"), PROMPT, math.inf, attempts)

    assert "model-b" == answered.candidate.model
    assert ("cancelled: attempt limit", 1000.0) == (attempts.rows[0].outcome, attempts.rows[0].ended_ms)


async def test_last_attempt_has_all_that_remains(autojump_clock: MockClock) -> None:
    transport = FakeTransport({"a": refused(500), "b": good()}, after_s={"b": 50})
    started = trio.current_time()

    answered = await provider_call(transport).ask(endpoint("a", "b"), PROMPT, math.inf, Attempts(started))

    assert "model-b" == answered.candidate.model
    assert 50 == pytest.approx(trio.current_time() - started)


async def test_retry_after_puts_candidate_last(autojump_clock: MockClock) -> None:
    transport = FakeTransport({"a": refused(429, "2"), "b": good()})
    call = provider_call(transport)
    await call.ask(endpoint("a", "b"), PROMPT, math.inf, Attempts(0))

    transport.script["b"] = good()
    await call.ask(endpoint("a", "b"), PROMPT, math.inf, Attempts(0))
    await trio.sleep(2)
    transport.script["b"] = good()
    await call.ask(endpoint("a", "b"), PROMPT, math.inf, Attempts(0))

    assert ["a", "b", "b", "a", "b"] == transport.asked


async def put_aside(call: PlannedCall, transport: FakeTransport, *names: str, for_s: str = "60") -> None:
    """Let candidates ask for a pause; forgets who was asked."""
    for name in names:
        transport.script[name] = refused(429, for_s)
        with pytest.raises(ProviderCallFailed):
            # No time for another try: the pause is longer.
            await call.ask(endpoint(name), PROMPT, trio.current_time() + 1, Attempts(0))
    transport.asked.clear()


async def test_pause_longer_than_what_is_left_is_not_asked_in_vain(autojump_clock: MockClock) -> None:
    transport = FakeTransport({})
    call = provider_call(transport)
    await put_aside(call, transport, "a", "b")

    await trio.sleep(20)
    with pytest.raises(ProviderCallFailed) as caught:
        await call.ask(endpoint("a", "b"), PROMPT, trio.current_time() + 30, Attempts(0))

    assert ([], {"Retry-After": "40"}) == (transport.asked, caught.value.headers())


async def test_pause_that_ends_in_time_is_waited_for(autojump_clock: MockClock) -> None:
    transport = FakeTransport({})
    call = provider_call(transport)
    await put_aside(call, transport, "a", "b")

    transport.script = {"a": good(), "b": good()}
    await call.ask(endpoint("a", "b"), PROMPT, 90, Attempts(0))

    assert (["a"], 60 + SLACK_S) == (transport.asked, trio.current_time())


async def test_pause_asked_for_meanwhile_is_skipped_at_once(autojump_clock: MockClock) -> None:
    transport = FakeTransport({"a": refused(500)}, after_s={"a": 5})
    call, attempts = provider_call(transport), Attempts(0)

    async def ask_both() -> None:
        with pytest.raises(ProviderCallFailed) as caught:
            await call.ask(endpoint("a", "b", attempt_timeout_ms=60_000), PROMPT, 30, attempts)
        assert "Provider call failed: HTTP 500" == caught.value.text

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask_both)
        await wait_all_tasks_blocked()
        await put_aside(call, transport, "b")

    assert "a" == transport.asked[0]
    assert "b" not in transport.asked
    assert ("model-b", "passed over: HTTP 429 (openai asked for a pause; not asked for another 55 s)") == (
        attempts.rows[1].model,
        attempts.rows[1].outcome,
    )


async def test_client_is_told_when_all_asked_for_a_pause(autojump_clock: MockClock) -> None:
    transport = FakeTransport({"a": refused(429, "9"), "b": refused(503, "4")})

    with pytest.raises(ProviderCallFailed) as caught:
        await provider_call(transport).ask(endpoint("a", "b"), PROMPT, math.inf, Attempts(0))

    assert {"Retry-After": "4"} == caught.value.headers()


async def test_client_is_told_no_time_where_one_only_failed(autojump_clock: MockClock) -> None:
    transport = FakeTransport({"a": refused(429, "60"), "b": refused(500)})

    with pytest.raises(ProviderCallFailed) as caught:
        await provider_call(transport).ask(endpoint("a", "b"), PROMPT, math.inf, Attempts(0))

    assert {} == caught.value.headers()


async def test_last_rescuer_has_all_that_remains(autojump_clock: MockClock) -> None:
    transport, attempts, asked = FakeTransport({"b": good()}, after_s={"b": 9}), Attempts(0), endpoint("a", "b")
    attempts.add(asked.candidates[0], 0, 0, "failed: the stream was cut")

    opened = await provider_call(transport).open_rescue(asked, PROMPT, math.inf, attempts)

    assert opened is not None
    assert "model-b" == opened.candidate.model


async def test_reserve_leaves_time_for_the_rescue(autojump_clock: MockClock) -> None:
    transport = FakeTransport({"a": good("slow"), "b": good("rescue")}, after_s={"a": 99, "b": 1.5})
    attempts = Attempts(0)
    reserving = evolve(endpoint("a", "b", attempt_timeout_ms=60_000), reserve_ms=2_000)

    with trio.fail_at(10):
        answered = await provider_call(transport).ask(reserving, PROMPT, 10, attempts)

    assert ("rescue", 9.5) == (answered.reply.content, trio.current_time())
    assert ("cancelled: attempt limit", 8_000) == (attempts.rows[0].outcome, attempts.rows[0].ended_ms)


async def test_silent_first_leaves_a_quarter_to_the_next(autojump_clock: MockClock) -> None:
    transport = FakeTransport({"a": good("slow"), "b": good("rescue")}, after_s={"a": 99, "b": 1.5})
    patient = endpoint("a", "b", attempt_timeout_ms=60_000)

    with trio.fail_at(10):
        answered = await provider_call(transport).ask(patient, PROMPT, 10, Attempts(0))

    assert ("rescue", 9.0) == (answered.reply.content, trio.current_time())


async def test_time_left_is_told_where_asked_for(autojump_clock: MockClock) -> None:
    transport = FakeTransport({"a": good(), "b": good()}, after_s={"a": 99})
    asked = endpoint("a", "b", attempt_timeout_ms=3_000)
    telling = [
        evolve(candidate, credential=evolve(candidate.credential, send_deadline=True)) for candidate in asked.candidates
    ]

    await provider_call(transport).ask(evolve(asked, candidates=tuple(telling)), PROMPT, 10.5, Attempts(0))

    # The first is given up after 3 s; the second has all that is left.
    told = [dict(request.headers) for request in transport.requests]
    assert [{"X-PG-Timeout-Ms": "3000"}, {"X-PG-Timeout-Ms": "7500"}] == told


async def test_time_left_is_not_told_unasked(autojump_clock: MockClock) -> None:
    transport = FakeTransport({"a": good()})

    await provider_call(transport).ask(endpoint("a"), PROMPT, 10, Attempts(0))

    assert [[]] == [request.headers for request in transport.requests]


async def test_stream_is_told_its_whole_time(autojump_clock: MockClock) -> None:
    transport = FakeTransport({"a": good()})
    [only] = endpoint("a").candidates
    telling = evolve(endpoint("a"), candidates=(evolve(only, credential=evolve(only.credential, send_deadline=True)),))

    stream = await provider_call(transport).open_stream(telling, PROMPT, 600, Attempts(0))
    await stream.aclose()

    assert [("X-PG-Timeout-Ms", "600000")] == list(transport.requests[0].headers)


async def test_no_time_left_is_told_as_one_millisecond(autojump_clock: MockClock) -> None:
    told = tell_deadline(WireRequest("a", [], b""), trio.current_time() + 0.0004)

    assert [("X-PG-Timeout-Ms", "1")] == told.headers


async def test_lone_candidate_put_aside_says_when_to_come_back(autojump_clock: MockClock) -> None:
    transport = FakeTransport({"a": refused(429, "60")})
    call = provider_call(transport)
    with pytest.raises(ProviderCallFailed):
        await call.ask(endpoint("a"), PROMPT, 30, Attempts(0))

    await trio.sleep(10)
    with pytest.raises(ProviderCallFailed) as caught:
        await call.ask(endpoint("a"), PROMPT, 40, Attempts(0))
    await trio.sleep(50)
    transport.script["a"] = good()
    answered = await call.ask(endpoint("a"), PROMPT, math.inf, Attempts(0))

    assert {"Retry-After": "50"} == caught.value.headers()
    assert ["a", "a"] == transport.asked
    assert "Hello" == answered.reply.content


async def test_silent_candidate_is_hedged(autojump_clock: MockClock) -> None:
    transport = FakeTransport({"a": good("slow"), "b": good("quick")}, after_s={"a": 9})
    attempts = Attempts(trio.current_time())
    hedged = evolve(endpoint("a", "b", attempt_timeout_ms=60_000), hedge_after_ms=500)

    answered = await provider_call(transport).ask(hedged, PROMPT, math.inf, attempts)

    assert "quick" == answered.reply.content
    rows = [(row.model, row.started_ms, row.ended_ms, row.outcome) for row in attempts.rows]
    assert [("model-a", 0.0, 500.0, "cancelled: hedge lost"), ("model-b", 500.0, 500.0, "won")] == rows


async def test_requests_earn_hedges(autojump_clock: MockClock) -> None:
    transport = FakeTransport({"a": good_for_ever("late"), "b": good_for_ever("hedged")}, after_s={"a": 9})
    call, hedged = provider_call(transport), evolve(endpoint("a", "b", attempt_timeout_ms=60_000), hedge_after_ms=10)

    answers = [await call.ask(hedged, PROMPT, math.inf, Attempts(0)) for _ in range(22)]

    # 20 are there from the start, 20 requests earn one more, and the next finds none.
    assert ["hedged"] * 21 + ["late"] == [answer.reply.content for answer in answers]


async def test_candidate_put_aside_meanwhile_is_no_hedge(autojump_clock: MockClock) -> None:
    transport = FakeTransport({"a": good(), "b": refused(429, "60")}, after_s={"a": 9})
    call, hedged = provider_call(transport), evolve(endpoint("a", "b", attempt_timeout_ms=60_000), hedge_after_ms=500)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call.ask, hedged, PROMPT, math.inf, Attempts(0))
        await trio.sleep(0.1)
        with pytest.raises(ProviderCallFailed):
            await call.ask(endpoint("b"), PROMPT, trio.current_time() + 1, Attempts(0))

    assert ["a", "b"] == transport.asked


async def test_request_with_tools_is_not_hedged(autojump_clock: MockClock) -> None:
    transport = FakeTransport({"a": good(), "b": good()}, after_s={"a": 9})
    hedged = evolve(endpoint("a", "b", attempt_timeout_ms=60_000), hedge_after_ms=500)

    await provider_call(transport).ask(hedged, evolve(PROMPT, tools=(Tool("look_up"),)), math.inf, Attempts(0))

    assert ["a"] == transport.asked


async def test_request_with_tools_is_hedged_where_allowed(autojump_clock: MockClock) -> None:
    transport = FakeTransport({"a": good(), "b": good("quick")}, after_s={"a": 9})
    hedged = evolve(endpoint("a", "b", attempt_timeout_ms=60_000), hedge_after_ms=500, hedge_tools=True)
    tools = evolve(PROMPT, tools=(Tool("look_up"),))

    answered = await provider_call(transport).ask(hedged, tools, math.inf, Attempts(0))

    assert ("quick", 0.5) == (answered.reply.content, trio.current_time())


async def ask_often(call: PlannedCall, endpoint: Endpoint, times: int) -> None:
    for _ in range(times):
        await call.ask(endpoint, PROMPT, math.inf, Attempts(0))


async def test_learned_hedge_comes_after_usual_time(autojump_clock: MockClock) -> None:
    transport = FakeTransport({"a": good_for_ever("slow"), "b": good_for_ever("quick")}, after_s={"a": 0.2})
    call = provider_call(transport)
    learned = evolve(endpoint("a", "b", attempt_timeout_ms=60_000), hedge_after="p95")
    await ask_often(call, learned, 20)
    asked_before = list(transport.asked)

    transport.after_s["a"] = 9
    attempts = Attempts(trio.current_time())
    answered = await call.ask(learned, PROMPT, math.inf, attempts)

    assert ["a"] * 20 == asked_before
    assert "quick" == answered.reply.content
    assert "cancelled: hedge lost" == attempts.rows[0].outcome
    # The upper bound of the bucket that 200 ms fall in: at most 6 % above.
    assert 200 < attempts.rows[1].started_ms <= 212


async def test_learned_hedge_knows_nothing_yet(autojump_clock: MockClock) -> None:
    transport = FakeTransport({"a": good_for_ever("slow"), "b": good("quick")}, after_s={"a": 0.2})
    call = provider_call(transport)
    learned = evolve(endpoint("a", "b", attempt_timeout_ms=60_000), hedge_after="p95")
    await ask_often(call, learned, 19)

    transport.after_s["a"] = 59
    attempts = Attempts(trio.current_time())
    await call.ask(learned, PROMPT, math.inf, attempts)

    assert 30_000 == attempts.rows[1].started_ms


async def test_failures_teach_no_pace(autojump_clock: MockClock) -> None:
    transport = FakeTransport({"a": refused(404), "b": good_for_ever("quick")}, after_s={"b": 0.1})
    latencies = LatencyBoard()
    call = provider_call(transport, memory=Memory(latencies=latencies))

    await ask_often(call, evolve(endpoint("a", "b"), hedge_after="p50"), 25)

    rules = LatencyRules(quantile=0.5)
    [a, b] = [latencies.estimate_of(("answer", "p50", name, f"model-{name}"), rules) for name in "ab"]
    assert a.estimate_s(trio.current_time()) is None
    assert 0.1 == pytest.approx(b.estimate_s(trio.current_time()), rel=0.06)


async def test_failing_candidate_is_asked_last(autojump_clock: MockClock) -> None:
    transport = FakeTransport({"a": UpstreamUnreachable("refused"), "b": good()})
    call = provider_call(transport)
    for _ in range(5):
        transport.script["b"] = good()
        await call.ask(endpoint("a", "b"), PROMPT, math.inf, Attempts(0))

    assert ["a", "b"] * 3 + ["b", "b"] == transport.asked


class LateBoard(BreakerBoard[Candidate]):
    """Another worker is always quicker to probe `a`."""

    def begin(self, candidate: Candidate, now: float, *, is_alone: bool = False) -> BoardPermit:
        if candidate.model == "model-a":
            raise BreakerOpen(1.5)
        return super().begin(candidate, now, is_alone=is_alone)

    def begin_closed(self, candidate: Candidate) -> BoardPermit | None:
        return None if candidate.model == "model-a" else super().begin_closed(candidate)


async def test_lone_candidate_that_another_worker_probes_says_when(autojump_clock: MockClock) -> None:
    board: BreakerBoard[Candidate] = LateBoard(lambda one: one.model, lambda one: one.model, BreakerRules())
    transport = FakeTransport({"a": good()})

    with pytest.raises(ProviderCallFailed) as caught:
        await provider_call(transport, memory=Memory(breakers=board)).ask(endpoint("a"), PROMPT, math.inf, Attempts(0))

    assert ({"Retry-After": "2"}, []) == (caught.value.headers(), transport.asked)


async def test_probe_sent_by_another_worker_fails_over(autojump_clock: MockClock) -> None:
    board: BreakerBoard[Candidate] = LateBoard(lambda one: one.model, lambda one: one.model, BreakerRules())
    transport, attempts = FakeTransport({"a": good(), "b": good()}), Attempts(trio.current_time())

    answered = await provider_call(transport, memory=Memory(breakers=board)).ask(
        endpoint("a", "b"), PROMPT, math.inf, attempts
    )

    assert ("model-b", ["b"]) == (answered.candidate.model, transport.asked)
    assert ["passed over: openai is being tried by another request; not asked for another 1.5 s", "won"] == [
        row.outcome for row in attempts.rows
    ]


@pytest.mark.parametrize(
    ("statuses", "retry_after_s", "fault"),
    [
        ((401, 402), None, Fault.CREDENTIAL),
        ((403, 404, 408, 409, 425, 500, 503, 529), None, Fault.TARGET),
        ((429,), None, Fault.ASIDE),
        ((429, 500, 503), 5.0, Fault.ASIDE),
        ((400, 413, 422), None, Fault.NOBODY),
    ],
)
def test_status_says_who_is_to_blame(statuses: tuple[int, ...], retry_after_s: float | None, fault: Fault) -> None:
    assert {fault} == {blame(UpstreamRefused("no", status, retry_after_s)) for status in statuses}


@pytest.mark.parametrize(
    ("end", "lost"), [(refused(500), 0), (UpstreamUnreachable("no connection"), 0), (UpstreamBroken("cut"), 1)]
)
async def test_only_who_may_have_worked_is_counted_as_lost(
    autojump_clock: MockClock, end: FakeResponse | AttemptFailed, lost: int
) -> None:
    attempts = Attempts(0)

    await provider_call(FakeTransport({"a": end, "b": good()})).ask(endpoint("a", "b"), PROMPT, math.inf, attempts)

    assert lost == attempts.lost


@define
class FakePermit:
    """Notes what it is told."""

    faults: list[Fault] = field(factory=list)
    is_given_back: bool = False
    is_probe: bool = False

    def succeeded(self, now: float) -> None:
        pass

    def failed(self, fault: Fault, now: float, retry_after_s: float | None = None, said: str = "") -> None:
        self.faults.append(fault)

    def broke_off(self, now: float, said: str) -> None:
        self.faults.append(Fault.TARGET)

    def cancelled(self) -> None:
        self.is_given_back = True


@pytest.mark.parametrize(
    ("took_s", "reason", "faults"),
    [(0.9, "deadline", []), (1.0, "deadline", [Fault.SLOW]), (9.0, "hedge lost", [])],
)
def test_silence_is_blamed_only_where_it_was_long(took_s: float, reason: str, faults: list[Fault]) -> None:
    permit, attempt = FakePermit(), Attempt(candidate("a"), 0, False, 0.0, 9.0)

    end = AttemptEnd(attempt, took_s, Outcome.CANCELLED, reason=reason)
    tell(permit, end, find_fault(end, 0.0, Pauses()))

    assert (faults, True) == (permit.faults, permit.is_given_back)


@pytest.mark.parametrize(
    ("ended", "fault"),
    [
        ({"outcome": Outcome.CANCELLED, "reason": "deadline"}, Fault.SLOW),
        ({"outcome": Outcome.FAILED, "reason": ATTEMPT_LIMIT}, Fault.TARGET),
        ({"outcome": Outcome.FAILED, "error": UpstreamBroken("the connection was cut")}, Fault.TARGET),
    ],
)
async def test_silence_is_not_blamed_where_nothing_listened(
    mock_clock: MockClock, nursery: trio.Nursery, ended: dict[str, Any], fault: Fault
) -> None:
    pauses, attempt = Pauses(), Attempt(candidate("a"), 0, False, 0.0, 9.0)
    nursery.start_soon(pauses.run)
    await wait_all_tasks_blocked()
    mock_clock.jump(5)

    end = AttemptEnd(attempt, trio.current_time(), **ended)

    assert (None, fault) == (find_fault(end, 0.0, pauses), find_fault(end, 0.0, Pauses()))
    # What the provider said itself counts.
    refused = AttemptEnd(attempt, trio.current_time(), Outcome.FAILED, UpstreamRefused("no", 503))
    assert Fault.TARGET is find_fault(refused, 0.0, pauses)


@pytest.mark.parametrize(("pause_s", "faults"), [(0.0, [Fault.TARGET]), (5.0, [])])
async def test_stream_that_breaks_after_a_pause_is_not_blamed(
    mock_clock: MockClock, nursery: trio.Nursery, pause_s: float, faults: list[Fault]
) -> None:
    permit, pauses = FakePermit(), Pauses()
    stream = OpenStream(candidate("a"), None, None, [], permit=permit, pauses=pauses)
    nursery.start_soon(pauses.run)
    await wait_all_tasks_blocked()
    mock_clock.jump(pause_s)

    stream.note_broken(trio.current_time(), "the connection was cut")

    assert faults == permit.faults


async def test_disabled_providers_are_not_there(autojump_clock: MockClock) -> None:
    mixed = Endpoint(uuid=UUID(int=2), slug="a", name="a", candidates=(candidate("a", "groq"), candidate("b")))
    transport = FakeTransport({"a": good(), "b": good()})

    answered = await provider_call(transport, frozenset({"groq"})).ask(mixed, PROMPT, math.inf, Attempts(0))

    assert "model-b" == answered.candidate.model


async def test_all_disabled_names_first(autojump_clock: MockClock) -> None:
    both = evolve(endpoint("a"), candidates=(candidate("a"), candidate("b", "groq")))

    with pytest.raises(ProviderDisabled) as caught:
        await provider_call(FakeTransport({}), frozenset({"groq", "openai"})).ask(both, PROMPT, math.inf, Attempts(0))

    assert "Provider 'openai' is disabled in this gateway." == caught.value.text


@pytest.mark.parametrize("stalls", [False, True])
async def test_cancelled_try_lets_go_and_leaves_row(autojump_clock: MockClock, stalls: bool) -> None:
    response = FakeResponse([], stalls=stalls)
    transport = FakeTransport({"a": response}, after_s={} if stalls else {"a": 99})
    attempts = Attempts(trio.current_time())

    with trio.move_on_after(3):
        await provider_call(transport).ask(endpoint("a"), PROMPT, math.inf, attempts)

    assert ("cancelled: deadline", 3000.0) == (attempts.rows[0].outcome, attempts.rows[0].ended_ms)
    assert stalls == response.closed


async def test_response_is_let_go_after_failure(autojump_clock: MockClock) -> None:
    response = refused(500)

    with pytest.raises(ProviderCallFailed):
        await provider_call(FakeTransport({"a": response})).ask(endpoint("a"), PROMPT, math.inf, Attempts(0))

    assert response.closed


class TokenReader:
    """Every chunk is a token."""

    is_over = False

    def feed(self, data: bytes) -> list[Event]:
        return [ContentDelta(data.decode())]

    def close(self, failure: AttemptFailed | None = None) -> list[Event]:
        return []


class StreamingAdapter(FakeAdapter):
    """Every answer is a stream."""

    def is_stream(self, status: int, headers: Mapping[str, str], start: bytes) -> bool | None:
        return True

    def open_stream(self, candidate: Candidate) -> StreamReader:
        return TokenReader()


def streaming_call(transport: FakeTransport) -> PlannedCall:
    adapters: Callable[[str], FakeAdapter] = lambda _: StreamingAdapter()  # noqa: E731
    exchange = Exchange(adapters, {"direct": transport}, lambda: 0.0, LargeWork())
    return PlannedCall(ProviderCall(exchange, frozenset(), 0.05))


@define
class AwaitedResponse(FakeResponse):
    """Its first bytes come when it is told."""

    ready: trio.Event = field(factory=trio.Event)

    async def receive_some(self) -> bytes:
        await self.ready.wait()
        return self.pieces.pop(0)


async def test_stream_that_comes_too_late_is_closed(autojump_clock: MockClock) -> None:
    """Two first tokens in one tick: there is one winner, and the race must discard the other."""
    ready, opened = trio.Event(), list[OpenStream]()
    responses = {name: AwaitedResponse([b"Hi"], ready=ready) for name in ("a", "b")}
    call, both = streaming_call(FakeTransport({**responses})), evolve(endpoint("a", "b"), hedge_after_ms=500)

    async def open_stream() -> None:
        opened.append(await call.open_stream(both, PROMPT, math.inf, Attempts(0)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(open_stream)
        await trio.sleep(0.7)
        ready.set()

    # Which of the two it is, is Trio's choice.
    assert [opened[0].candidate.credential.name] == [name for name, each in responses.items() if not each.closed]


@define
class ArrivedResponse(FakeResponse):
    """Its body is here; waiting for more of it never ends."""

    def forget_headers(self) -> None:
        """Nothing: see UpstreamResponse."""

    def receive_nowait(self) -> bytes | None:
        taken, self.pieces = b"".join(self.pieces), []
        return taken

    async def receive_some(self) -> bytes:
        return b"" if not self.pieces else await trio.sleep_forever()


@pytest.mark.parametrize("size", [5, LARGE_BYTES, LARGE_BYTES + 1])
async def test_body_that_is_here_is_not_waited_for(size: int) -> None:
    response = ArrivedResponse([b"x" * (size // 2), b"x" * (size - size // 2)])

    # A large one is read in a thread.
    with trio.fail_after(10):
        answered = await provider_call(FakeTransport({"a": response})).ask(endpoint("a"), PROMPT, math.inf, Attempts(0))

    assert "x" * size == answered.reply.content


async def test_cancelled_opening_is_let_go(autojump_clock: MockClock) -> None:
    silent = FakeResponse([], stalls=True)

    with trio.move_on_after(1):
        await streaming_call(FakeTransport({"a": silent})).open_stream(endpoint("a"), PROMPT, math.inf, Attempts(0))

    assert silent.closed


async def test_whole_answer_to_a_stream_is_let_go(autojump_clock: MockClock) -> None:
    whole = good()

    await provider_call(FakeTransport({"a": whole})).open_stream(endpoint("a"), PROMPT, math.inf, Attempts(0))

    assert whole.closed


async def test_whole_answer_to_a_stream_has_the_limit_of_one(autojump_clock: MockClock) -> None:
    """Its transport allows it as much as a stream."""
    transport = FakeTransport({"a": good_for_ever("x" * 2000)})
    exchange = Exchange(lambda _: FakeAdapter(), {"direct": transport}, lambda: 0.0, LargeWork(), max_body_bytes=1024)
    call, attempts = PlannedCall(ProviderCall(exchange, frozenset(), 0.05)), Attempts(0)

    with pytest.raises(ProviderCallFailed):
        await call.open_stream(endpoint("a"), PROMPT, math.inf, attempts)

    assert "failed: answer's body is over 1024 bytes" == attempts.rows[0].outcome


@define
class ScriptedReader(TokenReader):
    """Each piece of the body is the next of these; the last ones come with its end."""

    script: list[list[Event]]

    def feed(self, data: bytes) -> list[Event]:
        return self.script.pop(0)

    def close(self, failure: AttemptFailed | None = None) -> list[Event]:
        return self.script.pop(0)


OPENED, TOKEN, END = Opened("chatcmpl-1", "m"), ContentDelta("Hi"), Finished("stop")
CUT = Broken(UpstreamBroken("the stream was cut"))


def scripted_stream(script: list[list[Event]], response: FakeResponse | None = None) -> OpenStream:
    """A stream whose first token has not come."""
    response = response or FakeResponse([b"piece"] * (len(script) - 1))
    return OpenStream(candidate("a"), response, ScriptedReader(script), [])


@pytest.mark.parametrize(
    ("script", "events"),
    [
        ([[OPENED], [], [TOKEN], [END]], [OPENED, TOKEN]),
        ([[OPENED], [END]], [OPENED, END]),
        ([[OPENED, TOKEN, CUT]], [OPENED, TOKEN, CUT]),
    ],
    ids=["no head is a token", "an answer of nothing", "broken after its first token"],
)
async def test_stream_is_open_with_its_first_token(script: list[list[Event]], events: list[Event]) -> None:
    stream = scripted_stream(script)

    await stream.wait_first_token(Opening(1), trio.CancelScope())

    assert events == await stream.receive_events()


async def test_stream_that_breaks_before_a_token_has_failed() -> None:
    response = FakeResponse([b"piece"])

    with pytest.raises(UpstreamBroken, match="the stream was cut"):
        await scripted_stream([[OPENED], [CUT]], response).wait_first_token(Opening(1), trio.CancelScope())

    assert response.closed


# ── what the first bytes of a stream's answer decide ─────────────────────────────────────────────────────────────────


class OpenAIStreams(FakeTransport):
    """Answers with these in turn, for every candidate."""

    turns: list[FakeResponse]

    def __init__(self, *turns: FakeResponse) -> None:
        super().__init__({})
        self.turns = list(turns)

    async def open_response(self, request: WireRequest) -> FakeResponse:
        self.requests.append(request)
        return self.turns.pop(0)

    def asked_for_usage(self) -> list[bool]:
        return [b"stream_options" in request.body for request in self.requests]


def real_call(transport: FakeTransport) -> PlannedCall:
    exchange = Exchange(adapter_for, {"direct": transport}, lambda: 0.0, LargeWork())
    return PlannedCall(ProviderCall(exchange, frozenset(), 0.05))


STREAM = (
    b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n'
    b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
)
WHOLE = b'{"choices":[{"message":{"content":"Hi","reasoning":"Hm"},"finish_reason":"stop"}]}'


async def text_of_stream(call: PlannedCall, asked: Endpoint) -> str:
    carried, texts = await call.open_stream(asked, PROMPT, math.inf, Attempts(0)), list[str]()
    last: Event = OPENED
    while not last.is_last:
        for last in await carried.receive_events():
            texts += [last.text] if isinstance(last, ContentDelta) else []
    await carried.aclose()
    return "".join(texts)


@pytest.mark.parametrize(
    "body", [STREAM, b"\xef\xbb\xbf" + STREAM, b"\r\n: ping\r\n\r\n" + STREAM, WHOLE, b" \n" + WHOLE]
)
@pytest.mark.parametrize(
    "content_type", ["text/event-stream", "application/json", "text/plain", "", "application/octet-stream"]
)
async def test_stream_is_known_by_its_first_bytes(body: bytes, content_type: str, autojump_clock: MockClock) -> None:
    for size in (1, 3, len(body)):
        pieces = [body[place : place + size] for place in range(0, len(body), size)]
        response = FakeResponse(pieces, headers={"content-type": content_type})

        assert "Hi" == await text_of_stream(real_call(OpenAIStreams(response)), endpoint("a"))
        assert response.closed


async def test_page_is_no_stream(autojump_clock: MockClock) -> None:
    page = FakeResponse([b"<html>", b"down</html>"], headers={"content-type": "text/html"})

    with pytest.raises(ProviderCallFailed, match=r"the answer is not JSON: .*content type text/html"):
        await text_of_stream(real_call(OpenAIStreams(page)), evolve(endpoint("a"), max_attempts=1))


async def test_white_space_without_end_is_no_stream() -> None:
    blank = FakeResponse([b"\n" * 4096] * 40, headers={"content-type": "text/event-stream"})

    is_stream, start = await read_start(blank, adapter_for("openai"))

    assert (False, 17 * 4096) == (is_stream, len(start))


async def test_reasoning_of_a_whole_answer_is_relayed(autojump_clock: MockClock) -> None:
    whole = FakeResponse([WHOLE], headers={"content-type": "application/json"})
    carried = await real_call(OpenAIStreams(whole)).open_stream(endpoint("a"), PROMPT, math.inf, Attempts(0))

    assert ReasoningDelta("Hm") in await carried.receive_events()


REFUSALS = [
    (400, b'{"error":{"message":"Unknown parameter: \'stream_options\'."}}'),
    (422, b'{"detail":[{"loc":["body","stream_options"],"msg":"Extra inputs are not permitted"}]}'),
    (400, b'{"error":{"message":"Unsupported parameter","param":"stream_options.include_usage"}}'),
]


@pytest.mark.parametrize(("status", "body"), REFUSALS)
async def test_stream_without_usage_is_asked_for_where_usage_is_refused(
    status: int, body: bytes, autojump_clock: MockClock
) -> None:
    transport = OpenAIStreams(FakeResponse([body], status), FakeResponse([STREAM]), FakeResponse([STREAM]))
    call, asked = real_call(transport), endpoint("a")

    assert ["Hi", "Hi"] == [await text_of_stream(call, asked) for _ in range(2)]
    assert [True, False, False] == transport.asked_for_usage()


async def test_refusal_for_another_reason_teaches_nothing(autojump_clock: MockClock) -> None:
    refusal = b'{"error":{"message":"messages is empty"},"your_request":{"stream_options":{}}}'
    transport = OpenAIStreams(FakeResponse([refusal], 400), FakeResponse([refusal], 400), FakeResponse([STREAM]))
    call, asked = real_call(transport), endpoint("a")

    with pytest.raises(ProviderCallFailed, match="messages is empty"):
        await text_of_stream(call, asked)
    assert "Hi" == await text_of_stream(call, asked)
    assert [True, False, True] == transport.asked_for_usage()


async def test_refusal_that_does_not_name_usage_is_not_asked_again(autojump_clock: MockClock) -> None:
    transport = OpenAIStreams(FakeResponse([b'{"error":{"message":"messages is empty"}}'], 400))

    with pytest.raises(ProviderCallFailed, match="messages is empty"):
        await text_of_stream(real_call(transport), endpoint("a"))
    assert [True] == transport.asked_for_usage()


def test_refusals_of_usage_are_bounded() -> None:
    refusals = UsageRefusals()

    for number in range(REFUSALS_KEPT + 1):
        refusals.note(candidate(f"c{number}"))

    assert candidate("c0") not in refusals
    assert candidate("c1") in refusals


@define
class SlowResponse(FakeResponse):
    """A second before each piece."""

    async def receive_some(self) -> bytes:
        await trio.sleep(1)
        return self.pieces.pop(0) if self.pieces else b""


async def test_reasoning_keeps_the_first_token_waited_for(autojump_clock: MockClock) -> None:
    thought = b'data: {"choices":[{"delta":{"reasoning_details":[{"type":"reasoning.encrypted","data":"x"}]}}]}\n\n'
    patient = evolve(endpoint("a"), first_token_timeout_ms=1_500, max_attempts=1)

    assert "Hi" == await text_of_stream(real_call(OpenAIStreams(SlowResponse([thought] * 5 + [STREAM]))), patient)
    with pytest.raises(ProviderCallFailed, match=r"no first token from openai within 1\.5 s"):
        await text_of_stream(real_call(OpenAIStreams(SlowResponse([b": ping\n\n"] * 5 + [STREAM]))), patient)
