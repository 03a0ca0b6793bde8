"""A subscriber in one file: it sees every fact of a request in order, whatever becomes of the request."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio

from pg_trio.recorder import RequestOutcome, RequestRecord
from pg_trio.recorder.facts import (
    AttemptBegan,
    AttemptEnded,
    CallerFound,
    EndpointFound,
    Fact,
    GuardrailDecided,
    RequestRead,
    RequestSettled,
    StageBegan,
    StreamEnded,
    StreamFailed,
)
from tests.support.gateway import PROJECT, Gateway, endpoint, project, start_gateway
from tests.support.wire import bearer, post

FAILOVER = [{"credential": "sim", "model": "second"}]
CONFIGURATION = "\n".join(
    [
        project(),
        endpoint("plain", estimated_cost_per_1k_tokens_usd="1"),
        endpoint("hedged", "first", failover=FAILOVER, hedge_after_ms=0),
        endpoint("failing", "first", failover=FAILOVER),
        endpoint("streamed", streaming_enabled=True, estimated_cost_per_1k_tokens_usd="1"),
        endpoint("rescued", "first", streaming_enabled=True, failover=FAILOVER, on_stream_failure="restart"),
        endpoint("short", streaming_enabled=True, stream_deadline_ms=400),
        endpoint("masked", guardrails={"pii_filter": {"enabled": True}}),
        endpoint("words", guardrails={"keyword_blocklist": {"enabled": True, "words": ["forbidden"]}}),
        endpoint("shaped", output_schema={"type": "object", "required": ["answer"]}),
    ]
)
UP_TO_PROVIDER = [
    "auth",
    "caller ci",
    "endpoint",
    "read",
    "request",
    "rate_limit",
    "budget",
    "guardrails",
    "guarded",
    "input_schema",
    "prompt",
    "provider",
]


class Toy:
    """Tells each request as a list of words."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.times_ms: list[float] = []
        self.ended_records: list[RequestRecord] = []
        self.is_over = trio.Event()

    def began(self, record: RequestRecord) -> None:
        self.told.append("began")

    def noted(self, record: RequestRecord, fact: Fact) -> None:
        self.told.append(say(fact))
        # A race tells of its winner when the losers are gone.
        if not isinstance(fact, AttemptEnded):
            self.times_ms.append(fact.at_ms)

    def ended(self, record: RequestRecord, outcome: RequestOutcome) -> None:
        self.told.append(f"ended {outcome.kind} {outcome.status}")
        self.ended_records.append(record)
        self.is_over.set()

    def shed(self, count: int) -> None:
        raise NotImplementedError


def say(fact: Fact) -> str:
    """A fact in a few words."""
    match fact:
        case StageBegan(stage=stage):
            return stage
        case CallerFound():
            return "caller ci"
        case EndpointFound():
            return "endpoint"
        case RequestRead(is_stream=is_stream):
            return "request of a stream" if is_stream else "request"
        case GuardrailDecided(verdict=verdict):
            return f"{verdict.guardrail} {verdict.action}"
        case AttemptBegan(candidate=candidate, is_hedge=is_hedge):
            return f"asked {candidate.model}" + " as a hedge" * is_hedge
        case AttemptEnded(row=row):
            return f"{row.model} {row.kind}"
        case StreamEnded(row=row):
            return f"{row.model}'s stream {row.kind}"
        case RequestSettled(settled=settled):
            return "settled" if settled.candidate is not None else "settled what was lost"
        case StreamFailed(failure=failure):
            return f"stream failed: {failure.code}"
        case _:
            return {
                "RequestGuarded": "guarded",
                "ReplyMade": "reply",
                "FirstToken": "first token",
                "StagesEnded": "stages ended",
            }[type(fact).__name__]


@pytest.fixture
def toy() -> Toy:
    return Toy()


@pytest.fixture(params=["lane", "hypercorn"])
async def gateway(nursery: trio.Nursery, tmp_path: Path, request: pytest.FixtureRequest, toy: Toy) -> Gateway:
    return await start_gateway(nursery, tmp_path, CONFIGURATION, request.param, live=[toy])


async def tell(gateway: Gateway, toy: Toy, slug: str, body: object = None) -> list[str]:
    """What the toy was told of one call."""
    await gateway.call(slug, body)
    return await finish(toy)


async def finish(toy: Toy) -> list[str]:
    with trio.fail_after(10):
        await toy.is_over.wait()
    assert sorted(toy.times_ms) == toy.times_ms
    return toy.told


async def test_plain_request(gateway: Gateway, toy: Toy) -> None:
    told = await tell(gateway, toy, "plain")

    asked = ["asked plain", "plain won", "reply", "settled"]
    assert ["began", *UP_TO_PROVIDER, *asked, "stages ended", "ended ok 200"] == told
    assert toy.ended_records[0].settled is not None
    assert toy.ended_records[0].settled.cost_nano_usd


async def test_hedged_request(gateway: Gateway, toy: Toy) -> None:
    gateway.simulator.behave("first", "fault=stall")

    told = await tell(gateway, toy, "hedged")

    race = ["asked first", "asked second as a hedge", "first lost", "second won", "reply", "settled"]
    assert ["began", *UP_TO_PROVIDER, *race, "stages ended", "ended ok 200"] == told
    assert [False, True] == [row.is_hedge for row in toy.ended_records[0].attempts.rows]


async def test_failed_request(gateway: Gateway, toy: Toy) -> None:
    gateway.simulator.behave("first", "fault=status:400")

    told = await tell(gateway, toy, "failing")

    assert ["began", *UP_TO_PROVIDER, "asked first", "first failed", "stages ended", "ended all_failed 502"] == told


async def test_failed_over_request(gateway: Gateway, toy: Toy) -> None:
    gateway.simulator.behave("first", "fault=status:500")

    told = await tell(gateway, toy, "failing")

    race = ["asked first", "first failed", "asked second", "second won", "reply", "settled"]
    assert ["began", *UP_TO_PROVIDER, *race, "stages ended", "ended ok 200"] == told


STREAM = {"message": "Tell me", "stream": True}


def up_to_stream() -> list[str]:
    return ["request of a stream" if said == "request" else said for said in UP_TO_PROVIDER]


async def test_streamed_request(gateway: Gateway, toy: Toy) -> None:
    told = await tell(gateway, toy, "streamed", STREAM)

    stream = ["asked streamed", "streamed won", "first token", "stream", "streamed's stream won", "settled"]
    assert ["began", *up_to_stream(), *stream, "stages ended", "ended ok 200"] == told


async def test_rescued_stream(gateway: Gateway, toy: Toy) -> None:
    gateway.simulator.behave("first", "fault=cut:4")

    told = await tell(gateway, toy, "rescued", STREAM)

    first = ["asked first", "first won", "first token", "stream", "first's stream failed"]
    second = ["asked second", "second won", "second's stream won", "settled"]
    assert ["began", *up_to_stream(), *first, *second, "stages ended", "ended ok 200"] == told


async def test_cut_stream(gateway: Gateway, toy: Toy) -> None:
    gateway.simulator.behave("short", "fault=stall:4")

    told = await tell(gateway, toy, "short", STREAM)

    stream = ["asked short", "short won", "first token", "stream"]
    cut = ["stream failed: DeadlineExceeded", "short's stream cancelled", "settled"]
    assert ["began", *up_to_stream(), *stream, *cut, "stages ended", "ended deadline 504"] == told


@pytest.mark.parametrize("body", [{"message": "Hi"}, STREAM])
async def test_abandoned_request(gateway: Gateway, toy: Toy, body: dict[str, object]) -> None:
    slug = "streamed"
    gateway.simulator.behave(slug, "fault=stall")
    client = await trio.open_tcp_stream("127.0.0.1", gateway.port)
    await client.send_all(post(f"/api/{PROJECT}/{slug}", body, bearer(gateway.token)))
    with trio.fail_after(10):
        await gateway.simulator.wait_request(1)

    await client.aclose()
    told = await finish(toy)

    lost = ["asked streamed", "streamed cancelled", "settled what was lost"]
    before = up_to_stream() if "stream" in body else UP_TO_PROVIDER
    assert ["began", *before, *lost, "stages ended", "ended client_left 499"] == told


async def test_guardrails_say_which_and_never_what(gateway: Gateway, toy: Toy) -> None:
    told = await tell(gateway, toy, "masked", {"message": "Write to max@example.com"})

    place = told.index("guardrails")
    assert ["pii_filter mask", "guarded", "input_schema"] == told[place + 1 : place + 4]
    assert "example.com" not in json.dumps(told)


async def test_blocked_request(gateway: Gateway, toy: Toy) -> None:
    told = await tell(gateway, toy, "words", {"message": "This is forbidden"})

    blocked = ["guardrails", "stages ended", "keyword_blocklist block", "ended refused_guardrail 422"]
    assert ["began", *UP_TO_PROVIDER[:7], *blocked] == told


async def test_unfit_answer(gateway: Gateway, toy: Toy) -> None:
    told = await tell(gateway, toy, "shaped")

    assert ["output_schema", "settled", "stages ended", "ended refused_schema 502"] == told[-4:]


async def test_unknown_endpoint(gateway: Gateway, toy: Toy) -> None:
    told = await tell(gateway, toy, "nowhere")

    assert ["began", "auth", "caller ci", "stages ended", "ended refused_request 404"] == told
    assert "nowhere" == toy.ended_records[0].slug
