"""One absolute deadline for everything below it."""

from __future__ import annotations

from types import TracebackType

import trio


class DeadlinePassed(Exception):
    """The deadline passed before the block ended by itself."""


class Deadline:
    """A block that is cancelled at an absolute time of Trio's clock: `with Deadline(at) as deadline: …`.

    `move(at)` sets another time while the block runs; once the time came it changes nothing. When the time came,
    leaving the block raises DeadlinePassed in place of the cancellation, and in place of a result or an error that
    came too late: work that never waits is not cut, but late is late.
    """

    __slots__ = ("_scope",)

    def __init__(self, at: float) -> None:
        self._scope = trio.CancelScope(deadline=at)

    @property
    def at(self) -> float:
        """Trio's clock at which the block ends."""
        return self._scope.deadline

    @property
    def has_come(self) -> bool:
        """Whether the time has come: then the block's next wait is cancelled, wherever the deadline is moved."""
        return self._scope.cancel_called

    def move(self, at: float) -> None:
        """Let the block end at `at` instead."""
        # Setting it costs 3 µs, whether or not it is another time.
        if at != self._scope.deadline:
            self._scope.deadline = at

    def __enter__(self) -> Deadline:
        self._scope.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The scope swallows only its own cancellation, and then we raise.
        self._scope.__exit__(kind, error, trace)
        if self._scope.cancelled_caught:
            raise DeadlinePassed
        late = trio.current_time() > self._scope.deadline
        if late and (error is None or isinstance(error, Exception)):
            raise DeadlinePassed from error
