"""Values of a request for tests that record one by hand, and subscribers that keep what they are told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

import trio

from pg_trio.domain.call import Kept, Progress, RequestHead, StreamClient
from pg_trio.domain.chat import ChatRequest
from pg_trio.domain.limits import LimitState
from pg_trio.domain.log_row import AttemptRow, LogRow, UnwrittenRow
from pg_trio.domain.project import Candidate, Credential, Endpoint, Project, Token
from pg_trio.domain.stage_times import StageTimes
from pg_trio.errors import GatewayError
from pg_trio.recorder import RequestOutcome, RequestRecord
from pg_trio.recorder.facts import Fact
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


class SilentCall:
    """A call of which nothing is read; it keeps what it was shown."""

    def __init__(self, cut: GatewayError | None = None, slug: str | None = "asked-for") -> None:
        self.head = RequestHead(UUID(int=1), "p", slug, [], None, [], trio.current_time(), 1_700_000_000.5)
        self.shown: Sequence[AttemptRow] | None = None
        self.has_body = self.has_waited = False
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

    def stop_with(self, stop: Callable[[], bool]) -> None:
        raise NotImplementedError

    def open_stream(
        self, request: ChatRequest, endpoint: Endpoint, progress: Progress, session_id: UUID | None
    ) -> StreamClient:
        raise NotImplementedError


class ListSink:
    """A log that keeps its rows."""

    def __init__(self) -> None:
        self._unwritten: list[UnwrittenRow] = []

    def record(self, row: UnwrittenRow) -> bool:
        self._unwritten.append(row)
        return True

    @property
    def rows(self) -> list[LogRow]:
        """The rows, made as late as the writer of a file makes them."""
        return [row.to_row() for row in self._unwritten]


class Ends:
    """A subscriber that wants the end alone."""

    def __init__(self) -> None:
        self.records: list[RequestRecord] = []
        self.outcomes: list[RequestOutcome] = []
        self.turned_away = 0

    def ended(self, record: RequestRecord, outcome: RequestOutcome) -> None:
        self.records.append(record)
        self.outcomes.append(outcome)

    def shed(self, count: int) -> None:
        self.turned_away += count


class Facts(Ends):
    """A live subscriber: the facts, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[RequestRecord] = []
        self.facts: list[Fact] = []

    def began(self, record: RequestRecord) -> None:
        self.begun.append(record)

    def noted(self, record: RequestRecord, fact: Fact) -> None:
        assert record is self.begun[-1]
        self.facts.append(fact)
