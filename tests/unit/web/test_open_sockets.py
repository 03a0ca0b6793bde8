"""The open sockets of a worker: whose token is looked at, and who is told."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import cast

import trio
import trio.testing
from attrs import define, field

from pg_trio.domain.project import Access, Caller
from pg_trio.errors import GatewayError, ProjectInactive, TokensUnavailable, UnknownToken
from pg_trio.web.websocket.open_sockets import LOOK_EVERY_S, OpenSockets


@define(eq=False)
class Holder:
    """A socket."""

    authorization: str
    project: str = "p"
    told: list[int] = field(factory=list)

    def note_revoked(self, error: GatewayError) -> None:
        self.told.append(error.status)


CALLER = cast(Caller, None)


@define
class Tokens:
    """Says of each token what it is told to."""

    errors: dict[str, Exception] = field(factory=dict)
    looks: list[str] = field(factory=list)

    async def find_caller(self, authorization: Sequence[str], project: str, access: Access, at: float) -> Caller:
        [one] = authorization
        self.looks.append(one)
        await trio.lowlevel.checkpoint()
        if one in self.errors:
            raise self.errors[one]
        return CALLER


async def test_only_holders_of_bad_tokens_are_told(autojump_clock: trio.testing.MockClock) -> None:
    tokens = Tokens({"gone": UnknownToken(), "off": ProjectInactive(), "away": TokensUnavailable()})
    sockets = OpenSockets(10, tokens.find_caller)
    holders = [Holder(name) for name in ("good", "gone", "gone", "off", "away")]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sockets.watch)
        with ExitStack() as stack:
            for holder in holders:
                stack.enter_context(sockets.hold(holder))
            await trio.sleep(LOOK_EVERY_S * 1.5)
        nursery.cancel_scope.cancel()

    assert [[], [401], [401], [403], []] == [holder.told for holder in holders]
    assert ["away", "gone", "good", "off"] == sorted(tokens.looks)


async def test_unexpected_error_ends_no_later_look(autojump_clock: trio.testing.MockClock) -> None:
    tokens = Tokens({"odd": RuntimeError("a bug")})
    sockets = OpenSockets(10, tokens.find_caller)
    holder = Holder("odd")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sockets.watch)
        with sockets.hold(holder):
            await trio.sleep(LOOK_EVERY_S * 1.5)
            tokens.errors["odd"] = UnknownToken()
            await trio.sleep(LOOK_EVERY_S)
        await trio.sleep(LOOK_EVERY_S * 3)
        nursery.cancel_scope.cancel()

    assert [401] == holder.told
    assert 2 == len(tokens.looks)


def test_limit_counts_open_sockets() -> None:
    sockets = OpenSockets(1, Tokens().find_caller)

    with sockets.count_one():
        assert (1, True) == (len(sockets), sockets.full)
    assert (0, False) == (len(sockets), sockets.full)
