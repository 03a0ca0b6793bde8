"""Absolute deadlines: a block is cancelled at a time of Trio's clock, and leaving it raises the deadline's own error.

Blocks nest. If two deadlines pass in the same moment, the outer one raises its error, as with Trio's cancel scopes.
"""

from __future__ import annotations

import math
from types import TracebackType
from typing import Self

import trio

from pg_trio.racing.deadline_keeper import DeadlineKeeper

# The reason of a cancellation by a deadline: the same word as Trio's own (`Cancelled.source`).
DEADLINE = "deadline"


class DeadlinePassed(Exception):
    """The deadline passed before the block ended by itself."""


class LastingScope:
    """A cancel scope that one task's deadlines use in turn: `with LastingScope() as lasting: …` around all of them.

    Entering and leaving a scope for each deadline costs a tenth of a request. This scope is entered with the first
    deadline and stays entered. Between two deadlines its time is infinity. When a deadline has passed, the scope is
    spent, and the next deadline enters a new one. Inside the block, scopes must be left in the reverse order, as
    everywhere in Trio.

    `keeper` cancels the scope when its time comes. Without one the scope has a deadline of Trio's.
    """

    __slots__ = ("_has_ended", "_keeper", "_scope", "at", "looked_at_from")

    def __init__(self, keeper: DeadlineKeeper | None = None) -> None:
        self._keeper = keeper
        self._scope: trio.CancelScope | None = None
        self._has_ended = False
        # Trio's clock at which the present deadline passes.
        self.at = math.inf
        # The keeper's own: see Watched.
        self.looked_at_from = math.inf

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if self._keeper is not None:
            self._keeper.forget(self)
            # Its void entry may still be there: together they would be a cycle.
            self._keeper = None
        return None if self._scope is None else self.leave(kind, error, trace)

    def hold(self, at: float) -> trio.CancelScope:
        """Let this deadline hold; returns the scope, entered. After the deadline has come it changes nothing."""
        scope = self._scope
        if scope is None:
            scope = self._scope = trio.CancelScope()
            scope.__enter__()
        self.at = at
        # The deadline is set after the scope is entered. A deadline in the past cancels the next wait.
        if self._keeper is None:
            scope.deadline = at
        elif at < self.looked_at_from:
            self._keeper.watch(self)
        return scope

    def has_come(self) -> bool:
        """Whether the deadline has come: then the next wait is cancelled."""
        if self._keeper is None:
            return self._scope is not None and self._scope.cancel_called
        if not self._has_ended and trio.current_time() >= self.at:
            self.end()
        return self._has_ended

    def rest(self, now: float) -> bool:
        """Let no deadline hold until the next one. False if the present one has come, and then nothing changes."""
        if self._keeper is None or self._has_ended or now >= self.at:
            return self._rest()
        self.at = math.inf
        return True

    def _rest(self) -> bool:
        """The same where the deadline may have come, or is Trio's."""
        if self.has_come():
            return False
        self.at = math.inf
        if self._keeper is None and self._scope is not None:
            self._scope.deadline = math.inf
        return True

    def end(self) -> None:
        """Cancel what runs: the deadline has come."""
        if self._scope is not None:
            self._has_ended = True
            self._scope.cancel(reason=DEADLINE)

    def leave(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        """Leave the scope for good. True, as a context manager's exit, if it swallowed its own cancellation."""
        scope, self._scope = self._scope, None
        self.at, self._has_ended = math.inf, False
        assert scope is not None
        return scope.__exit__(kind, error, trace)


class Deadline:
    """A block that is cancelled at an absolute time of Trio's clock: `with Deadline(at) as deadline: …`.

    `move(at)` sets another time while the block runs; after the time came it changes nothing. If the time came, leaving
    the block raises `passed()` instead of the cancellation, and instead of a result or an error that came too late:
    work that never waits is not cut, but its late result is refused. A subclass says which error `passed` gives.

    With `at` infinite no scope is entered before `move` sets a time. `lasting` is the task's scope to use, if it has
    one; otherwise the block enters a scope of its own. Both do the same; see LastingScope for the difference in cost.
    """

    # Once it has a time.
    _scope: trio.CancelScope | None = None
    # Whether the scope is the task's, and outlives the block.
    _lasts = True
    # Whether a result that is there late is one. For a subclass.
    takes_late = False
    # Trio's clock at which the block ends.
    at = math.inf
    # Trio's clock when the block was left: for those that end with it, so that they need not read the clock again.
    left_at: float | None = None

    def __init__(self, at: float = math.inf, lasting: LastingScope | None = None) -> None:
        if lasting is None:
            lasting, self._lasts = LastingScope(), False
        self._lasting = lasting
        self.at = at

    def passed(self) -> Exception:
        """What leaving the block raises after its time came."""
        return DeadlinePassed()

    @property
    def has_come(self) -> bool:
        """Whether the time has come: then the block's next wait is cancelled, even if the deadline is moved."""
        return self._scope is not None and self._lasting.has_come()

    def move(self, at: float) -> None:
        """Let the block end at `at` instead. Only inside the block; first by its own task, which enters the scope."""
        self.at = at
        self._scope = self._lasting.hold(at)

    def __enter__(self) -> Self:
        if self.at != math.inf:
            self._scope = self._lasting.hold(self.at)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        scope = self._scope
        # The clock is read here: a block whose time has not come is in time.
        now = self.left_at = trio.current_time()
        if scope is None or (self._lasts and self._lasting.rest(now)):
            return
        late = now > self.at
        # The scope swallows only its own cancellation, and then we raise.
        self._lasting.leave(kind, error, trace)
        if scope.cancelled_caught:
            raise self.passed()
        if late and (not self.takes_late if error is None else isinstance(error, Exception)):
            raise self.passed() from error
