"""Cancellations that escape a test."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import trio

_P = ParamSpec("_P")
_R = TypeVar("_R")


class StrayCancellationError(AssertionError):
    """A test ended by a cancellation of its own making, somewhere in its middle."""


def without_strays(test: Callable[_P, Awaitable[_R]]) -> Callable[_P, Awaitable[_R]]:
    """The test, which fails if a cancellation escapes that no surrounding scope requested.

    pytest-trio runs a test in a nursery that it cancels at the end, and takes every Cancelled for its own: such a
    test would end early and pass.
    """

    @wraps(test)
    async def checked(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return await test(*args, **kwargs)
        except BaseException as error:
            if is_cancellation(error) and trio.current_effective_deadline() > -math.inf:
                raise StrayCancellationError("a cancellation escaped the test") from error
            raise

    return checked


def is_cancellation(error: BaseException) -> bool:
    """Whether this is a cancellation and nothing else."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_cancellation, error.exceptions))
    return isinstance(error, trio.Cancelled)
