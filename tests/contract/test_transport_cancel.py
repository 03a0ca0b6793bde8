"""Cancellation at every await of an exchange: what was held is freed, and the next call works.

A scenario is run again and again; the n-th time it is cancelled where its task waits for the n-th time.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable

import pytest
import trio
from attrs import define, evolve

from pg_trio.domain.upstream import WireRequest
from pg_trio.stages.provider_call.exchange import read_whole
from tests.contract.conftest import SMALL, AnyTransport, Caller, Certificates, Serve
from tests.contract.fault_server import LIMIT_S, Peer, answer_with, answers

# More awaits than any scenario has: a bound for the loop, not a number that matters.
MANY_AWAITS = 400


@define(eq=False)
class CancelAtWait(trio.abc.Instrument):
    """Cancels the scope where the task has just begun its n-th wait."""

    task: trio.lowlevel.Task
    scope: trio.CancelScope
    waits_left: int

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Called by Trio where a task has given up control."""
        if task is self.task:
            self.waits_left -= 1
            if self.waits_left == 0:
                self.scope.cancel()


async def run_cancelled_at(n: int, scenario: Callable[[], Awaitable[None]]) -> bool:
    """Whether the scenario was cancelled at its n-th wait; False if it was over before."""
    with trio.CancelScope() as scope:
        instrument = CancelAtWait(trio.lowlevel.current_task(), scope, n)
        trio.lowlevel.add_instrument(instrument)
        try:
            await scenario()
        finally:
            trio.lowlevel.remove_instrument(instrument)
    return scope.cancelled_caught


def use_once(transport: AnyTransport, url: str, body: bytes = b"{}") -> Callable[[], Awaitable[None]]:
    """A scenario: one whole exchange, with the response always closed."""

    async def scenario() -> None:
        response = await transport.open_response(WireRequest(url, [], body, allow_private_addresses=True))
        try:
            assert b"good" == await read_whole(response)
        finally:
            await response.aclose()

    return scenario


async def cancel_everywhere(
    make: Callable[[], Caller], url: str, body: bytes, busy_is_over: Callable[[], Awaitable[None]], *, warm: bool
) -> int:
    """Cancel the exchange at each of its waits in turn; how many there were. Every call after one must succeed."""
    n = 1
    while n < MANY_AWAITS:
        caller = make()
        scenario = use_once(caller.transport, url, body)
        if warm:
            await scenario()
        was_cancelled = await run_cancelled_at(n, scenario)
        assert "busy 0" in caller.transport.describe() or not caller.transport.describe()
        with trio.fail_after(LIMIT_S):
            await scenario()
        await caller.transport.aclose()
        await busy_is_over()
        if not was_cancelled:
            return n - 1
        # httpx sends a large body in hundreds of alike waits; every seventh is enough of those.
        n += 7 if n > 10 and len(body) > 100 else 1
    raise AssertionError("the exchange never came to its end")


async def answer_in_pieces(peer: Peer) -> None:
    while True:
        await peer.read_request()
        for byte in answer_with(b"good"):
            await peer.send(bytes([byte]))


@pytest.mark.parametrize("warm", [False, True], ids=["fresh", "reused"])
async def test_cancelled_exchange_frees_its_connection(
    warm: bool, make_caller: Callable[..., Caller], serve: Serve
) -> None:
    server = await serve(answer_in_pieces)

    waits = await cancel_everywhere(make_caller, server.url, b"{}", server.wait_all_gone, warm=warm)

    assert waits >= 2


@pytest.mark.parametrize("warm", [False, True], ids=["fresh", "reused"])
async def test_cancelled_sending_frees_its_connection(
    warm: bool, make_caller: Callable[..., Caller], serve: Serve
) -> None:
    server = await serve(answers(answer_with(b"good")))

    # More than the socket's buffers take, so that sending waits.
    body = bytes(6 * 1024 * 1024)
    waits = await cancel_everywhere(make_caller, server.url, body, server.wait_all_gone, warm=warm)

    assert waits >= 2


async def test_cancelled_handshake_frees_its_connection(
    make_caller: Callable[..., Caller], serve: Serve, certificates: Certificates
) -> None:
    server = await serve(answers(answer_with(b"good")), tls=certificates.server_context())
    context: ssl.SSLContext = certificates.client_context()

    def make() -> Caller:
        return make_caller(SMALL, context)

    waits = await cancel_everywhere(make, server.url, b"{}", server.wait_all_gone, warm=False)

    assert waits >= 3


async def test_no_cancellation_uses_up_the_transport(make_caller: Callable[..., Caller], serve: Serve) -> None:
    server = await serve(answers(answer_with(b"good")))
    caller = make_caller(evolve(SMALL, pool_idle_connections=2))
    scenario = use_once(caller.transport, server.url)

    async def cancelled_somewhere(n: int) -> None:
        await run_cancelled_at(1 + n % 5, scenario)

    for _ in range(5):
        async with trio.open_nursery() as nursery:
            for n in range(20):
                nursery.start_soon(cancelled_somewhere, n)

    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(scenario)
    assert "busy 0" in caller.transport.describe()
    await caller.transport.aclose()
    await server.wait_all_gone()
