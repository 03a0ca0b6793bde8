"""The open sockets of one worker: their number, and the end of those whose token is no longer good."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import trio

from pg_trio.domain.project import CHAT_ACCESS, Access, Caller
from pg_trio.errors import CallerError, GatewayError

logger = logging.getLogger("pg_trio.web")

# Half of the second within which a revoked token's sockets close; the tokens' own poll takes a quarter.
LOOK_EVERY_S = 0.4
# A look at a token that is remembered takes some 3 µs.
LOOKS_AT_ONCE = 100

FindCaller = Callable[[Sequence[str], str, Access, float], Awaitable[Caller]]


class TokenHolder(Protocol):
    """What this module uses of a socket."""

    @property
    def authorization(self) -> str:
        """Its token, as a value of `Authorization`."""

    @property
    def project(self) -> str:
        """Its project, as the path has it."""

    def note_revoked(self, error: GatewayError) -> None:
        """Its token is no longer good: close."""


class OpenSockets:
    """At most `limit` sockets. `watch` is a task of the gateway's."""

    def __init__(self, limit: int, find_caller: FindCaller) -> None:
        self.limit = limit
        self._find_caller = find_caller
        self._count = 0
        self._holders: set[TokenHolder] = set()

    def __len__(self) -> int:
        return self._count

    @property
    def full(self) -> bool:
        """Whether the next one would be one too many."""
        return self._count >= self.limit

    @contextmanager
    def count_one(self) -> Iterator[None]:
        """A socket is open while the block lasts."""
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1

    @contextmanager
    def hold(self, holder: TokenHolder) -> Iterator[None]:
        """While the block lasts, the socket is told if its token is revoked."""
        self._holders.add(holder)
        try:
            yield
        finally:
            self._holders.discard(holder)

    async def watch(self) -> None:
        """Look at the sockets' tokens, for ever."""
        while True:
            await trio.sleep(LOOK_EVERY_S)
            try:
                await self._look()
            except Exception:
                # The sockets of all clients depend on the next look.
                logger.exception("looking at the tokens of WebSockets: unexpected error")

    async def _look(self) -> None:
        by_token: dict[tuple[str, str], list[TokenHolder]] = {}
        for holder in self._holders:
            by_token.setdefault((holder.authorization, holder.project), []).append(holder)
        for number, ((authorization, project), holders) in enumerate(by_token.items()):
            if number % LOOKS_AT_ONCE == LOOKS_AT_ONCE - 1:
                await trio.lowlevel.checkpoint()
            error = await self._judge(authorization, project)
            if error is not None:
                for holder in holders:
                    holder.note_revoked(error)

    async def _judge(self, authorization: str, project: str) -> GatewayError | None:
        try:
            await self._find_caller([authorization], project, CHAT_ACCESS, time.time())
        except CallerError as error:
            return error.with_traceback(None)
        except GatewayError:
            # It cannot be looked up now. That says nothing about the token.
            return None
        return None
