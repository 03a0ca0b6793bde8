"""Cancellations and errors, taken out of the groups that nurseries make of them."""

from __future__ import annotations

import trio


def as_cancelled(error: BaseException | None) -> trio.Cancelled | None:
    """The cancellation that the error is, also inside groups that hold nothing else; None if it is anything else."""
    if isinstance(error, trio.Cancelled):
        return error
    if isinstance(error, BaseExceptionGroup) and error.split(trio.Cancelled)[1] is None:
        return as_cancelled(error.exceptions[0])
    return None


def ungroup(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The only error beside cancellations, or one cancellation if there is nothing else; a group of several errors."""
    _, rest = group.split(trio.Cancelled)
    error: BaseException = group if rest is None else rest
    while isinstance(error, BaseExceptionGroup) and (rest is None or len(error.exceptions) == 1):
        error = error.exceptions[0]
    return error
