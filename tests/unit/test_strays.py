"""The suite's own net: a test that a cancellation ends must not pass."""

from __future__ import annotations

import pytest
import trio

from tests.support.strays import StrayCancellationError, without_strays


async def cancel_itself() -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.sleep_forever()
        except trio.Cancelled as cancelled:
            stray = cancelled
    raise stray


async def test_stray_cancellation_is_failure() -> None:
    with pytest.raises(StrayCancellationError):
        await without_strays(cancel_itself)()


async def test_cancellation_from_outside_passes() -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await without_strays(trio.sleep_forever)()

    assert scope.cancelled_caught


async def test_other_errors_and_results_pass() -> None:
    async def fail() -> None:
        raise ValueError("the test's own")

    async def give() -> int:
        return 1

    with pytest.raises(ValueError, match="the test's own"):
        await without_strays(fail)()
    assert 1 == await without_strays(give)()
