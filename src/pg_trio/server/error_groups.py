"""Errors that must end one connection and nothing else, taken out of the groups that nurseries make of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def errors_told(tell: Callable[[Exception], None], applies: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Errors of the block end here, and `tell` gets them; cancellation goes on. `applies` False: all of them go on."""
    try:
        yield
    except BaseExceptionGroup as group:
        if not applies():
            raise
        errors, rest = group.split(Exception)
        try:
            if errors is not None:
                tell(errors)
            if rest is not None:
                raise rest from None
        finally:
            # An error holds the frames it came through. If a frame held the error, both would be garbage.
            del errors, rest
    except Exception as error:
        if not applies():
            raise
        tell(error)
