"""The suite's own net: a test that waits for ever must not stop the suite."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from tests.support.limits import StoodStillError, within


async def wait_for_ever() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_for_the_word)


async def wait_for_the_word() -> None:
    word_that_never_comes = trio.Event()
    await word_that_never_comes.wait()


async def test_waiting_test_fails_and_says_where() -> None:
    with pytest.raises(StoodStillError, match=r"await word_that_never_comes\.wait\(\)"):
        await within(0.01, wait_for_ever)()


async def test_own_error_at_the_limit_says_where_too() -> None:
    async def fail() -> None:
        try:
            await wait_for_the_word()
        finally:
            raise ValueError("the test's own")

    with pytest.raises(StoodStillError, match="word_that_never_comes"):
        await within(0.01, fail)()


async def test_no_limit_under_mock_clock(autojump_clock: MockClock) -> None:
    await within(1.0, trio.sleep)(3600)

    assert 3600 == trio.current_time()


async def test_cancellation_from_outside_passes() -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await within(60, wait_for_ever)()

    assert scope.cancelled_caught


async def test_errors_and_results_pass() -> None:
    async def fail() -> None:
        raise ValueError("the test's own")

    async def give() -> int:
        return 1

    with pytest.raises(ValueError, match="the test's own"):
        await within(60, fail)()
    assert 1 == await within(60, give)()
