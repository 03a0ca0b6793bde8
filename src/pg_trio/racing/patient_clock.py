"""After a pause of the process, what has come in is read before the time limits that passed meanwhile end anything.

A process that did not run for a while (SIGSTOP, a paused machine, no processor) finds both when it goes on: bytes in
its sockets, and limits that have passed. Trio wakes who reads and cancels whose limit has passed in the same pass, and
the limit wins: clients lost requests that they had sent in time, and answers that had come were paid for again. Rules:

1. A pass of the event loop that comes SHORTEST_S later than it should is a pause. `Pauses.run` lets no wait be long.
2. In that pass and the next ones, GRACE_PASSES in all, no limit ends anything that had not passed before the pause. A
   socket's bytes need one pass to who reads them, and two by way of a set of sockets.
3. Then what has passed ends, some milliseconds later than without a pause. A pause in these passes gives no further
   ones, so that a process which is always late keeps its limits, too.
4. Tasks that read the clock get the true time. Only the event loop's own look for limits that have passed does not.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from time import perf_counter

import trio

from pg_trio.racing.pauses import SHORTEST_S

GRACE_PASSES = 3


class PatientClock(trio.abc.Clock):
    """Trio's own clock, but that `Passes` can hold it back for one look of the event loop. For `trio.run`."""

    def __init__(self) -> None:
        # As Trio's has it: clocks of two runs, or another one's seconds, are not to be mistaken for this one's.
        self.offset = random.uniform(10_000, 200_000)  # noqa: S311

    def start_clock(self) -> None:
        """Nothing to start."""

    def current_time(self) -> float:
        """Seconds; where they begin means nothing."""
        return self.offset + perf_counter()

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Seconds until then."""
        return deadline - self.current_time()

    def tell_once(self, at: float) -> None:
        """The next one who asks is told this time."""
        # In front of the method, so that the usual look costs no comparison.
        self.__dict__["current_time"] = partial(self._tell, at)

    def _tell(self, at: float) -> float:
        del self.__dict__["current_time"]
        return at


class Passes(trio.abc.Instrument):
    """Tells where a pass of the event loop begins: nothing else in Trio does, and it costs nothing per task.

    Sees to the rules above, if the run has a PatientClock.
    """

    def __init__(self, begin_pass: Callable[[], None]) -> None:
        self._begin_pass = begin_pass
        clock = trio.lowlevel.current_clock()
        self._clock = clock if isinstance(clock, PatientClock) else None
        # Of `perf_counter`: when the last pass began, and when the last one before the pause did.
        self._at = perf_counter()
        self._held_at = 0.0
        self._graces = 0

    def after_io_wait(self, timeout: float) -> None:
        """Trio's hook, right before the event loop looks which limits have passed."""
        self._begin_pass()
        now = perf_counter()
        if self._graces or now - self._at > timeout + SHORTEST_S:
            self._hold()
        self._at = now

    def _hold(self) -> None:
        if not self._graces:
            self._graces, self._held_at = GRACE_PASSES + 1, self._at
        self._graces -= 1
        if self._graces and self._clock is not None:
            self._clock.tell_once(self._clock.offset + self._held_at)
