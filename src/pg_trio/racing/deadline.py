"""One absolute deadline for everything below it."""

from __future__ import annotations

import math
from types import TracebackType
from typing import Self

import trio


class DeadlinePassed(Exception):
    """The deadline passed before the block ended by itself."""


class LastingScope:
    """A cancel scope that one task's deadlines use in turn: `with LastingScope() as lasting: …` around all of them.

    Entering and leaving a scope of its own costs a deadline a tenth of a request. This one is entered with the first
    deadline and stays so, without a time while there is none, until a deadline has come: then it is spent, and the next
    deadline enters another. Inside the block scopes are left in the reverse order, as everywhere.
    """

    __slots__ = ("_scope",)

    def __init__(self) -> None:
        self._scope: trio.CancelScope | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return None if self._scope is None else self.leave(kind, error, trace)

    def enter(self, at: float) -> trio.CancelScope:
        """The scope, entered, with this deadline."""
        scope = self._scope
        if scope is None:
            scope = self._scope = trio.CancelScope()
            scope.__enter__()
        # The deadline is set after the scope is entered. A deadline in the past cancels the next wait.
        scope.deadline = at
        return scope

    def leave(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        """Leave the scope for good. True, as a context manager's exit, if it swallowed its own cancellation."""
        scope, self._scope = self._scope, None
        assert scope is not None
        return scope.__exit__(kind, error, trace)


class Deadline:
    """A block that is cancelled at an absolute time of Trio's clock: `with Deadline(at) as deadline: …`.

    `move(at)` sets another time while the block runs; once the time came it changes nothing. When the time came,
    leaving the block raises DeadlinePassed in place of the cancellation, and in place of a result or an error that came
    too late: work that never waits is not cut, but its late result is refused.

    With `at` infinite nothing is entered before `move` says a time. `lasting` is the scope to use, where the task has
    one; else the block has its own.
    """

    __slots__ = ("_lasting", "_lasts", "_scope", "at")

    def __init__(self, at: float = math.inf, lasting: LastingScope | None = None) -> None:
        self._lasts = lasting is not None
        self._lasting = LastingScope() if lasting is None else lasting
        self._scope: trio.CancelScope | None = None
        # Trio's clock at which the block ends.
        self.at = at

    @property
    def has_come(self) -> bool:
        """Whether the time has come: then the block's next wait is cancelled, wherever the deadline is moved."""
        return self._scope is not None and self._scope.cancel_called

    def move(self, at: float) -> None:
        """Let the block end at `at` instead. Only inside the block; first by its own task, which enters the scope."""
        if self._scope is None:
            self.at = at
            self._scope = self._lasting.enter(at)
        # Setting it costs 2 µs, whether or not it is another time.
        elif at != self.at:
            self.at = self._scope.deadline = at

    def __enter__(self) -> Deadline:
        if self.at != math.inf:
            self._scope = self._lasting.enter(self.at)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        scope = self._scope
        if scope is None:
            return
        # Trio checks its clock here: a block that is not cancelled is in time.
        if self._lasts and not scope.cancel_called:
            scope.deadline = math.inf
            return
        late = trio.current_time() > self.at
        # The scope swallows only its own cancellation, and then we raise.
        self._lasting.leave(kind, error, trace)
        if scope.cancelled_caught:
            raise DeadlinePassed
        if late and (error is None or isinstance(error, Exception)):
            raise DeadlinePassed from error
