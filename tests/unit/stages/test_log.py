"""The log's entry: what a request leaves behind, however it ended. Trio's clock stands still; the sink is a list."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from uuid import UUID

import pytest
import trio
from trio.testing import MockClock

from pg_trio.domain.call import Kept, Progress, RequestHead, StreamClient
from pg_trio.domain.chat import ChatRequest, Usage
from pg_trio.domain.limits import LimitState
from pg_trio.domain.log_row import AttemptRow, LogRow
from pg_trio.domain.project import Caller, Candidate, Credential, Endpoint, Project, Token
from pg_trio.domain.stage_times import StageTimes
from pg_trio.errors import GatewayError, InternalError, MissingToken, ShuttingDown
from pg_trio.stages.log import CLIENT_LEFT, Log, LogEntry
from pg_trio.surfaces.gateway import GATEWAY

CANDIDATE = Candidate(Credential("main", "openai", "http://127.0.0.1:1"), "gpt-4o-mini")
ENDPOINT = Endpoint(uuid=UUID(int=2), slug="a", name="a", candidates=(CANDIDATE,))
PROJECT = Project(uuid=UUID(int=3), name="p", slug="p")
TOKEN = Token(
    id=7,
    project_uuid=PROJECT.uuid,
    name="ci",
    prefix="pg_live_AAAAAAAA",
    digest=bytes(32),
    env="live",
    scopes=("chat",),
    is_active=True,
    created_at=0.0,
)


class ListSink:
    """Keeps the rows."""

    def __init__(self) -> None:
        self.rows: list[LogRow] = []

    def record(self, row: LogRow) -> bool:
        self.rows.append(row)
        return True


class SilentCall:
    """A call of which nothing is read; it keeps what it was shown."""

    def __init__(self, cut: GatewayError | None = None) -> None:
        self.head = RequestHead(UUID(int=1), "p", "asked-for", [], None, [], trio.current_time(), 1_700_000_000.5)
        self.shown: Sequence[AttemptRow] | None = None
        self.has_body = False
        self.declared_bytes: int | None = None
        self.surface = GATEWAY
        self._cut = cut

    def hold(self, kept: Kept) -> None:
        raise NotImplementedError

    async def receive_body(self, limit_bytes: int) -> bytes:
        raise NotImplementedError

    def show_limits(self, states: Sequence[LimitState]) -> None:
        raise NotImplementedError

    def show_tries(self, attempts: Sequence[AttemptRow], times: StageTimes) -> None:
        self.shown = attempts

    def why_cut(self) -> GatewayError | None:
        return self._cut

    def open_stream(
        self, request: ChatRequest, endpoint: Endpoint, progress: Progress, session_id: UUID | None
    ) -> StreamClient:
        raise NotImplementedError


def note_all(entry: LogEntry) -> None:
    """All that is known of a request that was answered."""
    entry.caller = Caller(TOKEN, PROJECT)
    entry.endpoint = ENDPOINT
    entry.attempts.add(CANDIDATE, trio.current_time() - 0.25, trio.current_time(), "won")
    entry.won(CANDIDATE, "gpt-4o-mini-2024", Usage(5, 6), 11)


async def test_answered_request_leaves_everything(mock_clock: MockClock) -> None:
    sink, call = ListSink(), SilentCall()

    with Log(sink, 100).open(call) as entry:
        mock_clock.jump(0.5)
        note_all(entry)

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
    )
    assert [expected] == sink.rows


async def test_refused_request_leaves_what_it_got_to(mock_clock: MockClock) -> None:
    sink = ListSink()

    with pytest.raises(MissingToken), Log(sink, 100).open(SilentCall()):
        raise MissingToken

    expected = LogRow(
        request_id=UUID(int=1),
        at=1_700_000_000.5,
        status=MissingToken.status,
        latency_ms=0.0,
        endpoint_slug="asked-for",
        error_code="MissingToken",
        error=MissingToken().text,
    )
    assert [expected] == sink.rows


async def test_failure_shows_its_tries() -> None:
    call = SilentCall()
    entry = Log(ListSink(), 100).open(call)
    entry.attempts.add(CANDIDATE, 0.0, 1.0, "failed: 500")

    with pytest.raises(ShuttingDown), entry:
        raise ShuttingDown

    assert entry.attempts.rows == call.shown


async def test_failure_without_tries_shows_none() -> None:
    call = SilentCall()

    with pytest.raises(ShuttingDown), Log(ListSink(), 100).open(call):
        raise ShuttingDown

    assert call.shown is None


async def test_bug_is_an_internal_error() -> None:
    sink = ListSink()

    with pytest.raises(ZeroDivisionError), Log(sink, 100).open(SilentCall()):
        raise ZeroDivisionError

    assert [(500, InternalError.__name__)] == [(row.status, row.error_code) for row in sink.rows]


@pytest.mark.parametrize(
    ("cut", "expected"), [(None, (CLIENT_LEFT, "ClientLeft")), (ShuttingDown(), (ShuttingDown.status, "ShuttingDown"))]
)
async def test_cancelled_request_says_who_cut_it(cut: GatewayError | None, expected: tuple[int, str]) -> None:
    sink = ListSink()

    with trio.CancelScope() as scope, Log(sink, 100).open(SilentCall(cut)):
        scope.cancel()
        await trio.lowlevel.checkpoint()

    assert [expected] == [(row.status, row.error_code) for row in sink.rows]


async def test_broken_stream_leaves_its_failure() -> None:
    sink = ListSink()

    with Log(sink, 100).open(SilentCall()) as entry:
        entry.failure = ShuttingDown()

    assert [(ShuttingDown.status, "ShuttingDown")] == [(row.status, row.error_code) for row in sink.rows]


async def test_stages_are_timed_in_turn() -> None:
    sink = ListSink()

    with Log(sink, 100).open(SilentCall()) as entry:
        entry.begin("auth")
        entry.begin("provider")
        so_far = entry.times_so_far()
        entry.begin("output_schema")

    assert ("auth", "provider") == so_far.stages
    stages = json.loads(sink.rows[0].stages)
    assert ["auth", "provider", "output_schema"] == list(stages)
    assert all(0 <= took_ms < 1_000 for took_ms in stages.values())


async def test_answer_and_row_have_the_same_times() -> None:
    sink = ListSink()

    with Log(sink, 100).open(SilentCall()) as entry:
        entry.begin("auth")
        entry.begin("read")
        entry.end()

    told = re.findall(r"(\w+);dur=([\d.]+)", entry.times.as_server_timing().decode())
    assert json.loads(sink.rows[0].stages) == {stage: float(took_ms) for stage, took_ms in told if stage != "overhead"}
