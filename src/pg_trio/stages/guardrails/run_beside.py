"""A check that runs beside a call: what the call gives waits for the check, and a refusal cancels the call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from pg_trio.errors import GatewayError

Result = TypeVar("Result")


async def run_beside(check: Callable[[], Awaitable[None]], call: Callable[[], Awaitable[Result]]) -> Result:
    """The result of `call`, once `check` has returned.

    Raises the GatewayError of the first of both that fails; the other one is cancelled, and has ended.
    """
    failures: list[GatewayError] = []
    results: list[Result] = []

    async def watch() -> None:
        try:
            await check()
        except GatewayError as error:
            failures.append(error)
            nursery.cancel_scope.cancel(reason="the check failed")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        try:
            results.append(await call())
        except GatewayError as error:
            failures.append(error)
            nursery.cancel_scope.cancel(reason="the call failed")
    if failures:
        raise failures[0]
    return results[0]
