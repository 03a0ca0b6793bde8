"""What a gateway needs of its stores. Each stage defines the protocol that it uses; this module adds the lifecycle.

Rules:
1. An opener gets a `Lifetime` and registers its tasks and its closing steps there. The gateway runs the tasks in its
   nursery. After the last request and the last task have ended, it closes in reverse order.
2. If its engine cannot be used, an opener raises StoreError with advice. An open store has this release's schema: the
   opener migrates, or raises.
3. A ledger's steps may wait (ledger/protocols.py). What a race reads and writes never waits: an engine over a network
   keeps the node's own records, and its tasks tell the other nodes (ledger/node_health.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Literal, Protocol, TypeAlias
from uuid import UUID

from attrs import field, frozen

from pg_trio.attachment.answer_store import AnswerStore
from pg_trio.config.settings import GatewaySettings, Settings
from pg_trio.domain.log_row import LogRow
from pg_trio.domain.operator import AuditRow, Change, Operator, Override
from pg_trio.domain.project import Token
from pg_trio.domain.request_filter import Cursor, RowChoice
from pg_trio.domain.request_sums import Overview, TimeRange
from pg_trio.ledger.node_health import NodeHealth
from pg_trio.ledger.protocols import Buckets, HolderBooks, Leases, OpenHolders, SpendBook
from pg_trio.observe.request_log import LogSink
from pg_trio.stages.authenticate import TokenDirectory
from pg_trio.stages.open_session import SessionBook
from pg_trio.stores.client_tokens import ParentTokens

Task: TypeAlias = Callable[[], Awaitable[None]]
# Reads of figures, by the names of the gauges (observe/metric_families.py).
Gauges: TypeAlias = Mapping[str, Callable[[], float]]
LogPage: TypeAlias = tuple[list[tuple[int, LogRow]], Cursor | None]
# What a store of answers is for: streams that clients come back to, or requests with an `Idempotency-Key`.
AnswerKind: TypeAlias = Literal["streams", "keyed"]
OpenKeyed: TypeAlias = Callable[[], Awaitable[AnswerStore | None]]


@frozen(slots=True, eq=False)
class Lifetime:
    """The tasks that run while a gateway is open, and its closing steps, in reverse order."""

    stack: AsyncExitStack
    tasks: list[Task] = field(factory=list)

    def close_with(self, aclose: Task) -> None:
        """Await `aclose` after everything that was opened later is closed."""
        self.stack.push_async_callback(aclose)

    def run(self, *tasks: Task) -> None:
        """Run these tasks from the gateway's start until its stop, which cancels them."""
        self.tasks.extend(tasks)


class Tokens(TokenDirectory, ParentTokens, Protocol):
    """Looks up tokens for requests, and lists them for a project's administrator."""

    async def list_tokens(self, project_uuid: UUID) -> Sequence[Token]:
        """A project's tokens, including revoked ones. Raises StoreError."""

    def poll_after(self, catch_up: Task) -> None:
        """Await `catch_up` before each look for changed tokens: what is recalled is then as fresh as both."""


class LogBook(LogSink, Protocol):
    """Takes one row for each request, and sums their costs."""

    async def spend_since(self, at: float) -> Mapping[UUID, int]:
        """Spend by endpoint since `at` (Unix seconds), in billionths of a US dollar. Raises StoreError."""

    async def holder_spend_since(self, at: float, tokens_at: float) -> Mapping[bytes, int]:
        """The same by the holders of client tokens, by their keys (domain.client_grant). Those without a subject count
        from `tokens_at` on. Raises StoreError."""


class ViewedLog(Protocol):
    """The log as operators see it. Every method may raise StoreError or LogUnavailable.

    Ids are the order in which rows came to the log; there may be gaps.
    """

    @property
    def has_nodes(self) -> bool:
        """Whether rows say which node of a cluster served them."""

    async def page(self, choice: RowChoice, before: Cursor | None, limit: int) -> LogPage:
        """At most `limit` rows with their ids, newest first and without bodies, and where the next page begins."""

    async def one(self, request_id: UUID) -> LogRow | None:
        """The row of a request, with its bodies; None if there is none."""

    async def newest_id(self) -> int:
        """The id of the row that came last; 0 without rows."""

    async def after(self, row_id: int, limit: int) -> list[tuple[int, LogRow]]:
        """At most `limit` rows that came after the row of that id, oldest first and without bodies."""

    async def overview(self, choice: RowChoice, within: TimeRange) -> Overview:
        """The sums of a range."""


class Operators(Protocol):
    """Operators, their sessions at the pages, what they changed, and the audit; see store/operators.py.

    Every method but `watch` and `catch_up` may raise StoreError.
    """

    async def find(self, key: str) -> Operator | None: ...

    async def find_by_session(self, session: str) -> Operator | None: ...

    async def open_session(self, operator: Operator) -> str: ...

    async def end_session(self, session: str) -> None: ...

    async def use_link(self, secret: str) -> Operator | None: ...

    async def read_overrides(self) -> list[Override]: ...

    async def override(self, overrides: Sequence[Override], change: Change) -> None: ...

    async def read_audit(self, before: int, limit: int) -> list[AuditRow]: ...

    async def watch(self, on_overrides: Callable[[Sequence[Override]], None]) -> None: ...

    async def catch_up(self) -> None: ...


@frozen(slots=True, eq=False)
class Ledger:
    """The open state that all workers share: limits, spend, leases, and the health of candidates.

    `open_holders` opens what is counted by client tokens. None: that is counted in the same books, which always have
    room. `gauges` tell of servers that it is at.
    """

    buckets: Buckets
    spend: SpendBook
    leases: Leases
    health: NodeHealth
    open_holders: OpenHolders | None = None
    gauges: Gauges = field(factory=dict)

    async def share_books(self) -> HolderBooks:
        """The books for client tokens of a ledger without `open_holders`."""
        return HolderBooks(self.buckets, self.spend, self.leases, lambda key: True)


@frozen(slots=True, eq=False)
class Stores:
    """All stores, open. `sessions` is None if no endpoint has sessions, `answers` if none is kept.

    `open_keyed` gives the store for requests with an `Idempotency-Key`, or None if it cannot be used now.
    """

    tokens: Tokens
    log: LogBook
    sessions: SessionBook | None
    ledger: Ledger
    operators: Operators
    log_view: ViewedLog
    answers: AnswerStore | None = None
    open_keyed: OpenKeyed | None = None


class OpenTokens(Protocol):
    """Opens an engine's store of tokens."""

    async def __call__(self, settings: GatewaySettings, lifetime: Lifetime) -> Tokens: ...


class OpenLog(Protocol):
    """Opens an engine's log."""

    async def __call__(self, settings: GatewaySettings, lifetime: Lifetime) -> LogBook: ...


class OpenLogView(Protocol):
    """Opens an engine's log for operators."""

    async def __call__(self, settings: GatewaySettings, lifetime: Lifetime) -> ViewedLog: ...


class OpenSessions(Protocol):
    """Opens an engine's store of sessions."""

    async def __call__(
        self, settings: GatewaySettings, keep_s: Mapping[UUID, float], lifetime: Lifetime
    ) -> SessionBook:
        """`keep_s`: how long a session without a turn is kept, by endpoint, in seconds."""


class OpenLedger(Protocol):
    """Opens an engine's ledger."""

    async def __call__(self, settings: Settings, log: LogBook, lifetime: Lifetime) -> Ledger:
        """The open ledger. A new ledger begins with the month's spend from the log."""


class OpenOperators(Protocol):
    """Opens an engine's store of operators."""

    async def __call__(self, settings: GatewaySettings, lifetime: Lifetime) -> Operators: ...


class OpenAnswers(Protocol):
    """Opens an engine's store of kept answers."""

    async def __call__(self, settings: GatewaySettings, lifetime: Lifetime, kind: AnswerKind) -> AnswerStore | None:
        """None if it cannot be used, which is logged: requests are served without it."""


@frozen(slots=True)
class Engines:
    """The openers of each store."""

    tokens: OpenTokens
    log: OpenLog
    sessions: OpenSessions
    ledger: OpenLedger
    operators: OpenOperators
    answers: OpenAnswers
    log_view: OpenLogView
