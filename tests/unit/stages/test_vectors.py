"""Calls for vectors: split and joined, continued by a retry, failed over whole, and charged for what was answered."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import orjson
import pytest
import trio
from attrs import define, field
from trio.testing import MockClock, wait_all_tasks_blocked

from pg_trio.domain.chat import Usage
from pg_trio.domain.embeddings import EmbeddingReply, EmbeddingRequest
from pg_trio.domain.log_row import Attempts
from pg_trio.domain.project import Candidate, Credential, Endpoint
from pg_trio.domain.secret import Secret
from pg_trio.domain.upstream import WireRequest
from pg_trio.errors import NoFitCandidate, Overloaded, ProviderCallFailed, UpstreamBroken
from pg_trio.providers import adapter_for, embeddings_for
from pg_trio.racing.attempt import Won
from pg_trio.racing.byte_room import ByteRoom
from pg_trio.racing.large_work import LargeWork
from pg_trio.stages.provider_call import ProviderCall, VectorCall
from pg_trio.stages.provider_call.exchange import Exchange

SILENT = -1


@define
class FakeResponse:
    """A whole answer; remembers that it was let go."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(factory=dict)
    closed: bool = False

    def forget_headers(self) -> None:
        """Nothing: see UpstreamResponse."""

    def receive_nowait(self) -> None:
        pass

    async def receive_some(self) -> bytes:
        await trio.lowlevel.checkpoint()
        body, self.body = self.body, b""
        return body

    async def aclose(self) -> None:
        self.closed = True


@define
class FakeProviders:
    """Answers every call with a vector for each text; a credential's `script` has what its first calls get instead.

    The script holds statuses, SILENT, the length of the vectors (2 unless told), or a failure. A 429 asks for a second.
    """

    script: dict[str, list[int | UpstreamBroken | str]] = field(factory=dict)
    calls: list[tuple[str, list[str]]] = field(factory=list)
    headers: list[dict[str, str]] = field(factory=list)
    responses: list[FakeResponse] = field(factory=list)
    under_way: int = 0
    most_at_once: int = 0

    async def open_response(self, request: WireRequest) -> FakeResponse:
        name = request.url.split("/")[2]
        body = orjson.loads(request.body)
        texts = body.get("texts") or body.get("input") or [_text_of(one) for one in body["requests"]]
        self.calls.append((name, texts))
        self.headers.append(dict(request.headers))
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        try:
            await trio.sleep(0.001)
            step = self.script[name].pop(0) if self.script.get(name) else 200
            if step == SILENT:
                await trio.sleep_forever()
        finally:
            self.under_way -= 1
        if isinstance(step, UpstreamBroken):
            raise step
        response = _answer(name, texts, step)
        self.responses.append(response)
        return response

    async def aclose(self) -> None:
        pass


def _text_of(one: Any) -> str:
    return str(one["content"]["parts"][0]["text"])


def _answer(name: str, texts: list[Any], step: int | str) -> FakeResponse:
    if isinstance(step, int) and step != 200:
        return FakeResponse(b"{}", step, {"retry-after": "1"} if step == 429 else {})
    vectors = [[float(len(text))] * (int(step) if isinstance(step, str) else 2) for text in texts]
    if name.startswith("cohere"):
        body: dict[str, Any] = {
            "embeddings": {"float": vectors},
            "meta": {"billed_units": {"input_tokens": len(texts)}},
        }
    else:
        body = {"data": [{"embedding": vector} for vector in vectors], "usage": {"prompt_tokens": len(texts)}}
    return FakeResponse(orjson.dumps(body))


def candidate(name: str, **settings: Any) -> Candidate:
    """A candidate whose provider is its name's first word."""
    credential = Credential(name, name.partition("-")[0], f"http://{name}", Secret("the-key"), **settings)
    return Candidate(credential, f"model-of-{name}")


@define(slots=False)
class World:
    """An endpoint with these candidates, and the providers behind it."""

    candidates: tuple[Candidate, ...]
    providers: FakeProviders = field(factory=FakeProviders)
    settings: dict[str, Any] = field(factory=dict)
    room_bytes: int = 1_000_000
    attempts: Attempts = field(init=False)
    vectors: VectorCall | None = None

    def __attrs_post_init__(self) -> None:
        transports = {"direct": self.providers}
        room = ByteRoom(self.room_bytes)
        self.exchange = Exchange(adapter_for, transports, lambda: 0.0, LargeWork(), answer_room=room)
        self.stage = ProviderCall(self.exchange, frozenset(), 1.0)
        self.endpoint = Endpoint(UUID(int=2), "a", "a", self.candidates, **self.settings)
        self.plan = self.stage.compile(self.endpoint)

    async def ask(self, request: EmbeddingRequest, within_s: float = 60.0) -> Won[Candidate, EmbeddingReply]:
        now = trio.current_time()
        self.attempts = Attempts(now)
        self.vectors = VectorCall(request, embeddings_for, self.exchange)
        with self.vectors:
            return await self.stage.ask_step(self.plan, self.vectors, now + within_s, self.attempts)

    def unfinished(self, winner: Candidate | None) -> list[tuple[str, Usage]]:
        assert self.vectors is not None
        return [(one.provider, usage) for one, usage in self.vectors.unfinished(winner, self.attempts)]

    def sizes(self) -> list[tuple[str, int]]:
        """Who was called, with how many texts."""
        return [(name, len(texts)) for name, texts in self.providers.calls]


TEXTS = tuple("x" * number for number in range(1, 201))
MANY = EmbeddingRequest(TEXTS)


def is_all(reply: EmbeddingReply) -> bool:
    return tuple(array("d", [float(number)] * 2) for number in range(1, 201)) == reply.vectors


# ── one candidate ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_few_inputs_are_one_call(autojump_clock: MockClock) -> None:
    world = World((candidate("openai"),))

    won = await world.ask(EmbeddingRequest(("a", "bb")))

    assert ("openai", "model-of-openai") == (won.attempt.candidate.provider, won.value.model)
    assert [[1.0, 1.0], [2.0, 2.0]] == [vector.tolist() for vector in won.value.vectors]
    assert (Usage(2, 0), [("openai", ["a", "bb"])]) == (won.value.usage, world.providers.calls)
    assert all(response.closed for response in world.providers.responses)


async def test_many_inputs_are_split_and_joined(autojump_clock: MockClock) -> None:
    world = World((candidate("cohere"),))

    won = await world.ask(MANY)

    assert is_all(won.value)
    assert Usage(200, 0) == won.value.usage
    assert ([("cohere", 96), ("cohere", 96), ("cohere", 8)], 1) == (world.sizes(), world.providers.most_at_once)
    assert ["won"] == [row.outcome for row in world.attempts.rows]


async def test_retry_continues_where_the_try_failed(autojump_clock: MockClock) -> None:
    world = World((candidate("cohere"),), FakeProviders({"cohere": [200, 429, 200, 200]}))

    won = await world.ask(MANY)

    assert is_all(won.value)
    assert [96, 96, 96, 8] == [size for _, size in world.sizes()]
    assert [TEXTS[0], TEXTS[96], TEXTS[96], TEXTS[192]] == [texts[0] for _, texts in world.providers.calls]
    assert (Usage(200, 0), []) == (won.value.usage, world.unfinished(won.attempt.candidate))


async def test_deadline_holds_over_all_calls(autojump_clock: MockClock) -> None:
    world = World((candidate("cohere"),), FakeProviders({"cohere": [200, SILENT]}))

    with trio.move_on_after(2) as scope:
        await world.ask(MANY)

    assert (True, 2.0) == (scope.cancelled_caught, trio.current_time())
    assert 0 == world.providers.under_way
    # The lost try counts the whole request, so its answered call is not counted besides.
    assert (1, []) == (world.attempts.lost, world.unfinished(None))


async def test_each_call_is_told_the_time_left(autojump_clock: MockClock) -> None:
    world = World((candidate("cohere", send_deadline=True),))

    await world.ask(MANY, within_s=30)

    assert ["30000", "29999", "29998"] == [headers["X-PG-Timeout-Ms"] for headers in world.providers.headers]


async def test_calls_of_different_lengths_are_refused(autojump_clock: MockClock) -> None:
    world = World((candidate("cohere"), candidate("cohere-b")), FakeProviders({"cohere": ["2", "3"]}))

    won = await world.ask(MANY)

    assert ("cohere-b", True) == (won.attempt.candidate.credential.name, is_all(won.value))
    assert "failed: the vectors of two calls differ in length" == world.attempts.rows[0].outcome
    # It is among the lost tries, which count the whole request.
    assert ([candidate("cohere")], []) == (list(world.attempts.lost_to), world.unfinished(won.attempt.candidate))


# ── several candidates ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("failure", [401, 503, UpstreamBroken("cut")])
async def test_next_candidate_answers_all(autojump_clock: MockClock, failure: int | UpstreamBroken) -> None:
    world = World((candidate("cohere"), candidate("openai")), FakeProviders({"cohere": [200, failure]}))

    won = await world.ask(MANY)

    assert ("openai", True) == (won.attempt.candidate.provider, is_all(won.value))
    assert [("cohere", 96), ("cohere", 96), ("openai", 200)] == world.sizes()


async def test_answered_calls_of_a_failed_try_are_charged(autojump_clock: MockClock) -> None:
    world = World((candidate("cohere"), candidate("openai")), FakeProviders({"cohere": [200, 401]}))

    won = await world.ask(MANY)

    assert [("cohere", Usage(96, 0))] == world.unfinished(won.attempt.candidate)


async def test_answered_calls_are_charged_if_nobody_answers(autojump_clock: MockClock) -> None:
    world = World((candidate("cohere"), candidate("google")), FakeProviders({"cohere": [200, 401], "google": [401]}))

    with pytest.raises(ProviderCallFailed):
        await world.ask(MANY)

    assert [("cohere", Usage(96, 0))] == world.unfinished(None)


async def test_silent_candidate_is_not_hedged_unless_told(autojump_clock: MockClock) -> None:
    candidates = (candidate("cohere"), candidate("openai"))
    patient = World(candidates, FakeProviders({"cohere": [SILENT]}), {"attempt_timeout_ms": 5_000})
    hedging = World(candidates, FakeProviders({"cohere": [SILENT]}), {"hedge_after_ms": 100})

    await patient.ask(EmbeddingRequest(("a",)))
    patiently_s = trio.current_time()
    await hedging.ask(EmbeddingRequest(("a",)))

    assert 5.0 < patiently_s < 5.1
    assert trio.current_time() - patiently_s < 0.2
    assert [["cohere", "openai"]] * 2 == [[name for name, _ in world.sizes()] for world in (patient, hedging)]


# ── who cannot ───────────────────────────────────────────────────────────────────────────────────────────────────────

TOKENS = EmbeddingRequest(((1, 2),))


@pytest.mark.parametrize(
    ("request_", "first", "what"),
    [
        (EmbeddingRequest(("a",)), "groq", "embeddings"),
        (TOKENS, "cohere", "inputs as tokens"),
        (EmbeddingRequest(("a",), dimensions=8), "together", "dimensions"),
    ],
)
async def test_candidate_that_cannot_is_passed_over(
    autojump_clock: MockClock, request_: EmbeddingRequest, first: str, what: str
) -> None:
    world = World((candidate(first), candidate("openai")))

    won = await world.ask(request_)

    assert "openai" == won.attempt.candidate.provider
    assert [f"passed over: {first} cannot take {what}", "won"] == [row.outcome for row in world.attempts.rows]


async def test_none_can(autojump_clock: MockClock) -> None:
    world = World((candidate("groq"), candidate("cohere")))

    with pytest.raises(NoFitCandidate) as caught:
        await world.ask(TOKENS)

    assert (("embeddings", "groq/model-of-groq"), ("inputs as tokens", "cohere/model-of-cohere")) == (
        caught.value.reasons
    )
    assert [] == world.providers.calls


# ── what is shared ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_credential_has_one_call_at_a_time(autojump_clock: MockClock) -> None:
    world = World((candidate("cohere", max_concurrent=1),))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(world.ask, MANY)

    assert (9, 1) == (len(world.providers.calls), world.providers.most_at_once)


async def test_cancelled_request_gives_its_slot_back(autojump_clock: MockClock) -> None:
    world = World((candidate("cohere", max_concurrent=1),), FakeProviders({"cohere": [200, SILENT]}))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.ask, MANY)
        await trio.sleep(1)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    won = await world.ask(EmbeddingRequest(("a",)))

    assert 1 == len(won.value.vectors)


async def test_large_vectors_count_as_memory(autojump_clock: MockClock) -> None:
    world = World((candidate("openai"),), FakeProviders({"openai": ["8000", "8000"]}), room_bytes=100_000)

    await world.ask(EmbeddingRequest(("a",)))
    assert 0 == world.exchange.answer_room.used_bytes

    with world.exchange.answer_room.keep_nothing("others") as kept:
        assert kept.grow_nowait(90_000)
        with pytest.raises(Overloaded):
            await world.ask(EmbeddingRequest(("a",)))
    assert 0 == world.exchange.answer_room.used_bytes
