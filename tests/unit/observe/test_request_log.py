"""The log's subscriber: what a request leaves behind, however it ended. Trio's clock stands still."""

from __future__ import annotations

import json
import re
from uuid import UUID

import pytest
from attrs import evolve
from trio.testing import MockClock

from pg_trio.domain.call import RequestOrigin
from pg_trio.domain.chat import ChatRequest, Message, Reply, Usage
from pg_trio.domain.client_grant import ClientGrant
from pg_trio.domain.guardrails import GuardrailVerdict
from pg_trio.domain.log_body import LogBodies
from pg_trio.domain.log_row import AttemptRow, LogRow
from pg_trio.domain.project import Caller
from pg_trio.errors import MissingToken, ShuttingDown
from pg_trio.observe.request_log import RequestLog
from pg_trio.recorder import Recorder, Recorders
from pg_trio.recorder.facts import Settled
from pg_trio.recorder.outcome import kind_of
from tests.support.recorded import CANDIDATE, ENDPOINT, PROJECT, TOKEN, ListSink, SilentCall

REQUEST = ChatRequest(messages=(Message("user", "Hello"),), body={"message": "Hello"})


class SetLimit:
    """A request's deadline."""

    limit_ms = 1_200
    left_at = None


def logging_to(sink: ListSink) -> Recorders:
    return Recorders([RequestLog(sink, 100)])


async def test_answered_request_leaves_everything(mock_clock: MockClock) -> None:
    sink = ListSink()

    with logging_to(sink).open(SilentCall()) as recorder:
        mock_clock.jump(0.5)
        recorder.caller_found(Caller(TOKEN, PROJECT))
        recorder.endpoint_found(ENDPOINT)
        recorder.attempts.add(CANDIDATE, recorder.head.head_at + 0.25, recorder.head.head_at + 0.5, "won")
        recorder.request_settled(Settled(CANDIDATE, "gpt-4o-mini-2024", Usage(5, 6), 11))

    expected = LogRow(
        request_id=UUID(int=1),
        at=1_700_000_000.5,
        status=200,
        latency_ms=500.0,
        project_uuid=UUID(int=3),
        endpoint_uuid=UUID(int=2),
        endpoint_slug="a",
        token_id=7,
        provider="openai",
        model="gpt-4o-mini-2024",
        prompt_tokens=5,
        completion_tokens=6,
        cost_nano_usd=11,
        attempts=(AttemptRow("openai", "gpt-4o-mini", "main", started_ms=250.0, ended_ms=500.0, outcome="won"),),
        outcome="ok",
    )
    assert [expected] == sink.rows


async def test_what_few_requests_have_is_in_its_place() -> None:
    sink, call = ListSink(), SilentCall()
    call.head = evolve(
        call.head, origin=RequestOrigin(client_request_id="theirs", client_address="192.0.2.7", surface="openai")
    )
    token = evolve(TOKEN, grant=ClientGrant("minted", TOKEN.id, 0, frozenset(), "someone"))
    verdict = GuardrailVerdict("pii_filter", "email", "input", "mask", 2)

    with logging_to(sink).open(call) as recorder:
        recorder.caller_found(Caller(token, PROJECT))
        recorder.endpoint_found(ENDPOINT)
        recorder.deadline = SetLimit()
        recorder.guardrail_decided(verdict)
        usage = Usage(50, 60, cached_tokens=3, cache_write_tokens=4, reasoning_tokens=5)
        recorder.request_settled(Settled(CANDIDATE, "m", usage, 11, "prices[2]"))
        recorder.stream_failed(ShuttingDown())

    expected = LogRow(
        request_id=UUID(int=1),
        at=1_700_000_000.5,
        status=503,
        latency_ms=sink.rows[0].latency_ms,
        project_uuid=UUID(int=3),
        endpoint_uuid=UUID(int=2),
        endpoint_slug="a",
        token_id=7,
        provider="openai",
        model="m",
        error_code="ShuttingDown",
        error=ShuttingDown().text,
        prompt_tokens=50,
        completion_tokens=60,
        cost_nano_usd=11,
        client_request_id="theirs",
        client_address="192.0.2.7",
        cached_tokens=3,
        cache_write_tokens=4,
        reasoning_tokens=5,
        price="prices[2]",
        surface="openai",
        outcome=kind_of(ShuttingDown),
        deadline_ms=1_200,
        subject="someone",
        client_token="minted",
        guardrails=(verdict,),
    )
    assert [expected] == sink.rows


async def test_refused_request_leaves_what_it_got_to(mock_clock: MockClock) -> None:
    sink = ListSink()

    with pytest.raises(MissingToken), logging_to(sink).open(SilentCall()):
        raise MissingToken

    expected = LogRow(
        request_id=UUID(int=1),
        at=1_700_000_000.5,
        status=MissingToken.status,
        latency_ms=0.0,
        endpoint_slug="asked-for",
        error_code="MissingToken",
        error=MissingToken().text,
        outcome="refused_auth",
    )
    assert [expected] == sink.rows


async def test_lost_tries_leave_their_cost_alone() -> None:
    sink = ListSink()

    with logging_to(sink).open(SilentCall()) as recorder:
        recorder.request_settled(Settled(None, None, None, 12))

    assert [(None, None, None, 12)] == [
        (row.provider, row.model, row.prompt_tokens, row.cost_nano_usd) for row in sink.rows
    ]


async def test_broken_stream_leaves_its_failure() -> None:
    sink = ListSink()

    with logging_to(sink).open(SilentCall()) as recorder:
        recorder.stream_failed(ShuttingDown())

    assert [(ShuttingDown.status, "ShuttingDown")] == [(row.status, row.error_code) for row in sink.rows]


async def test_answer_and_row_have_the_same_times() -> None:
    sink = ListSink()

    with logging_to(sink).open(SilentCall()) as recorder:
        recorder.stage_began("auth")
        recorder.stage_began("read")
        recorder.stages_ended()

    told = re.findall(r"(\w+);dur=([\d.]+)", recorder.times.as_server_timing().decode())
    assert json.loads(sink.rows[0].stages) == {stage: float(took_ms) for stage, took_ms in told if stage != "overhead"}


def log_bodies(kept: LogBodies, *, is_guarded: bool) -> LogRow:
    """The row of a request whose endpoint keeps its bodies."""
    sink = ListSink()
    with logging_to(sink).open(SilentCall()) as recorder:
        recorder.endpoint_found(evolve(ENDPOINT, log_bodies=kept))
        note_texts(recorder, is_guarded=is_guarded)
    return sink.rows[0]


def note_texts(recorder: Recorder, *, is_guarded: bool) -> None:
    recorder.request_read(REQUEST)
    if is_guarded:
        recorder.request_guarded(evolve(REQUEST, messages=(Message("user", "[E-Mail REDACTED]"),)))
    recorder.reply_made(Reply("1", "m", "Good day", "stop"))


async def test_full_bodies_are_as_the_guardrails_left_them() -> None:
    row = log_bodies("full", is_guarded=True)

    assert "[E-Mail REDACTED]" in (row.request_body or "")
    assert "Hello" not in (row.request_body or "")
    assert "Good day" in (row.response_body or "")


async def test_unguarded_request_is_never_shown() -> None:
    row = log_bodies("full", is_guarded=False)

    assert row.request_body is not None
    assert "Hello" not in row.request_body


async def test_no_bodies_without_asking() -> None:
    row = log_bodies("none", is_guarded=True)

    assert (None, None) == (row.request_body, row.response_body)


async def test_turned_away_requests_are_one_row() -> None:
    sink = ListSink()

    logging_to(sink).tell_shed(12)

    assert [(503, "Overloaded", "Gateway is overloaded. Requests turned away: 12.")] == [
        (row.status, row.error_code, row.error) for row in sink.rows
    ]
