"""What a gateway needs of its stores. A stage names the part that it uses itself; here, lifecycle is added to it.

Rules:
1. An opener is given a `Lifetime`. It registers what must run and what must be closed; the gateway runs the tasks in
   its nursery, and closes in reverse order after the last request and the last task have ended.
2. An opener raises StoreError where its engine cannot be used, with what to do about it. What is opened is of this
   release's schema: an opener migrates, or raises.
3. A ledger's steps may wait (ledger/protocols.py). What is learned of candidates (`Ledger.memory`) is asked for in the
   middle of a race and never waits: an engine over a network answers from a copy that one of its tasks keeps.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Protocol, TypeAlias
from uuid import UUID

from attrs import field, frozen

from pg_trio.config.settings import GatewaySettings, Settings
from pg_trio.domain.project import Token
from pg_trio.ledger.protocols import Buckets, Leases, SpendBook
from pg_trio.observe.request_log import LogSink
from pg_trio.stages.authenticate import TokenDirectory
from pg_trio.stages.provider_call import Memory
from pg_trio.stages.session import SessionBook

Task: TypeAlias = Callable[[], Awaitable[None]]


@frozen(slots=True, eq=False)
class Lifetime:
    """What runs while a gateway is open, and what is closed with it, the last one first."""

    stack: AsyncExitStack
    tasks: list[Task] = field(factory=list)

    def close_with(self, aclose: Task) -> None:
        """Await this when everything that was opened later is closed."""
        self.stack.push_async_callback(aclose)

    def run(self, *tasks: Task) -> None:
        """Run these from when the gateway starts until it stops; then they are cancelled."""
        self.tasks.extend(tasks)


class Tokens(TokenDirectory, Protocol):
    """Who calls: look-ups for requests, and the list for a project's administrator."""

    async def list_tokens(self, project_uuid: UUID) -> Sequence[Token]:
        """A project's tokens, revoked ones included. Raises StoreError."""


class LogBook(LogSink, Protocol):
    """One row a request, and the sum of what they cost."""

    async def spend_since(self, at: float) -> Mapping[UUID, int]:
        """Spend by endpoint since then (Unix seconds), in billionths of a US dollar. Raises StoreError."""


@frozen(slots=True, eq=False)
class Ledger:
    """What all workers share, open: limits, spend, leases, and how candidates fare."""

    buckets: Buckets
    spend: SpendBook
    leases: Leases
    memory: Memory


@frozen(slots=True, eq=False)
class Stores:
    """Everything that is kept, open. `sessions` is None where no endpoint has sessions."""

    tokens: Tokens
    log: LogBook
    sessions: SessionBook | None
    ledger: Ledger


class OpenTokens(Protocol):
    """Opens an engine's store of tokens."""

    async def __call__(self, settings: GatewaySettings, lifetime: Lifetime) -> Tokens: ...


class OpenLog(Protocol):
    """Opens an engine's log."""

    async def __call__(self, settings: GatewaySettings, lifetime: Lifetime) -> LogBook: ...


class OpenSessions(Protocol):
    """Opens an engine's store of sessions."""

    async def __call__(
        self, settings: GatewaySettings, keep_s: Mapping[UUID, float], lifetime: Lifetime
    ) -> SessionBook:
        """`keep_s`: how long a session without a turn is kept, by endpoint, in seconds."""


class OpenLedger(Protocol):
    """Opens an engine's ledger."""

    async def __call__(self, settings: Settings, log: LogBook, lifetime: Lifetime) -> Ledger:
        """A new ledger begins with the month's spend as the log knows it."""


@frozen(slots=True)
class Engines:
    """Who keeps what."""

    tokens: OpenTokens
    log: OpenLog
    sessions: OpenSessions
    ledger: OpenLedger
