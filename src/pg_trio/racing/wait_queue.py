"""A queue of tasks that wait for something: fair, bounded, exact under cancellation.

Rules:
1. Owners take turns, one waiter each time; within an owner, first come first served. With one owner this is a plain
   queue. The queue's user decides which waiter is served, and when. The queue keeps the order and wakes the tasks.
2. The queue is bounded by its length and, as an option, by its age: while its head has waited for `standing_limit_s`,
   newcomers are refused at once. They would only wait longer and be served later. This is the idea of CoDel: a long
   queue is harmless, a standing one is not.
3. A waiter is served or cancelled, never both. A cancelled waiter cannot be served any more. A served waiter does not
   get the cancellation in this wait. So nothing has to be given back after a cancellation.
4. The queue reads the clock only to note when a waiter joined, and no task runs in the background. Under Trio's
   autojump clock the order and the times are the same in every run.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from types import TracebackType
from typing import Self

import trio
from attrs import define, field


class QueueFull(Exception):
    """The queue accepts no more waiters. `age_s` is how long its head has been waiting (0: the queue is empty)."""

    def __init__(self, age_s: float) -> None:
        super().__init__(f"the queue is full, its head has waited for {age_s:.3g} s")
        self.age_s = age_s


@define(slots=True, eq=False)
class Waiter:
    """A task's place in a queue: `with queue.join() as waiter: await waiter.wait()`. The block's end frees the place.

    `size`: the amount that it waits for, in the user's own unit.
    """

    queue: WaitQueue
    owner: Hashable
    size: int
    joined_at: float
    is_served: bool = False
    # It was cancelled, or its time to look has come, and its task has not run since.
    is_leaving: bool = field(default=False, init=False)
    _task: trio.lowlevel.Task | None = field(default=None, init=False)
    _is_called: bool = field(default=False, init=False)

    async def wait(self, look_at: float = math.inf) -> None:
        """Wait until it is served, sent home or called, or until `look_at` (Trio's clock). Returns at once if it was.

        A waiter that returns at `look_at` keeps its place and can wait again. To limit the whole wait, put a cancel
        scope around it.
        """
        if self.is_served or self._is_called:
            self._is_called = False
            return
        self._task = trio.lowlevel.current_task()
        if look_at == math.inf:
            await trio.lowlevel.wait_task_rescheduled(self._leave)
        else:
            with trio.CancelScope(deadline=look_at):
                await trio.lowlevel.wait_task_rescheduled(self._pause)
            self.is_leaving = False
        self._is_called = False

    def wake(self) -> None:
        """Let its task run. Only the queue calls this."""
        self._is_called = True
        if self._task is not None:
            task, self._task = self._task, None
            trio.lowlevel.reschedule(task)

    def _leave(self, _: object) -> trio.lowlevel.Abort:
        self.queue.remove(self)
        return self._pause(_)

    def _pause(self, _: object) -> trio.lowlevel.Abort:
        self._task = None
        self.is_leaving = True
        return trio.lowlevel.Abort.SUCCEEDED

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.queue.remove(self)


class WaitQueue:
    """The waiters, in order. `length` is their number."""

    __slots__ = ("_limit", "_standing_limit_s", "_waiting", "length")

    def __init__(self, limit: int | None = None, standing_limit_s: float = math.inf) -> None:
        self._limit = limit
        self._standing_limit_s = standing_limit_s
        # By owner, in the order of their next turns. An ordered dictionary loses its first entry in constant time.
        self._waiting: OrderedDict[Hashable, OrderedDict[Waiter, None]] = OrderedDict()
        self.length = 0

    def join(self, owner: Hashable = None, size: int = 1) -> Waiter:
        """A place at the end of the owner's waiters. Raises QueueFull (rule 2)."""
        if self.length:
            age_s = self.age_s()
            if age_s >= self._standing_limit_s or (self._limit is not None and self.length >= self._limit):
                raise QueueFull(age_s)
        elif self._limit == 0:
            raise QueueFull(0.0)
        waiter = Waiter(self, owner, size, trio.current_time())
        self._waiting.setdefault(owner, OrderedDict())[waiter] = None
        self.length += 1
        return waiter

    def heads(self) -> Iterator[Waiter]:
        """The first waiter of each owner that can be served, in the order of the owners' turns."""
        for waiting in self._waiting.values():
            head = next((waiter for waiter in waiting if not waiter.is_leaving), None)
            if head is not None:
                yield head

    def head(self) -> Waiter | None:
        """The waiter whose turn is next; None if the queue is empty."""
        return next(self.heads(), None)

    def age_s(self) -> float:
        """How long the oldest waiter has been here; 0 if the queue is empty."""
        firsts = [next(iter(waiting)).joined_at for waiting in self._waiting.values()]
        return trio.current_time() - min(firsts) if firsts else 0.0

    def serve(self, waiter: Waiter) -> None:
        """End its wait with success. The owner's next turn comes after all other owners'."""
        self.remove(waiter)
        if waiter.owner in self._waiting:
            self._waiting.move_to_end(waiter.owner)
        waiter.is_served = True
        waiter.wake()

    def send_home(self, waiter: Waiter) -> None:
        """End its wait without serving it."""
        self.remove(waiter)
        waiter.wake()

    def call(self, waiter: Waiter) -> None:
        """Wake its task to check for itself. It keeps its place."""
        waiter.wake()

    def remove(self, waiter: Waiter) -> None:
        """Remove it, if it is still here."""
        waiting = self._waiting.get(waiter.owner)
        if waiting is None or waiter not in waiting:
            return
        del waiting[waiter]
        self.length -= 1
        if not waiting:
            del self._waiting[waiter.owner]
