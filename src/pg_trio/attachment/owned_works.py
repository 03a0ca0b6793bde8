"""Works that the gateway's nursery runs, so that they may outlive the connection of their client.

Rules:
1. A work is ATTACHED while a client reads its output, ORPHANED while none does, and ENDED. It begins as an orphan whose
   client is about to attach.
2. An orphan that may not outlive its client, or whose output is not whole any more, is cancelled at once: nothing that
   it sends could be read in order. Any other is cancelled after `grace_s`.
3. What ended is found for `keep_s` longer, if its output is whole. Memory is bounded for all outputs together: the
   oldest of those that ended go first. If that is not enough, the output that grows is not kept, and its work waits as
   soon as its client is CROWDED_BYTES behind.
4. Once a drain has begun, no work outlives it. The end of the nursery cancels every work at once.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Generic, Literal, Protocol, TypeAlias, TypeVar

import trio
from attrs import frozen

from pg_trio.attachment.answer_store import AnswerWriter
from pg_trio.attachment.kept_output import LAST_BYTES, DeliverNow, KeptOutput, OutputReader

logger = logging.getLogger("pg_trio")

P = TypeVar("P")
P_contra = TypeVar("P_contra", contravariant=True)

# Why a work was cancelled before its end.
WorkCut: TypeAlias = Literal["client left", "stopped", "drain"]
WorkState: TypeAlias = Literal["attached", "orphaned", "ended"]

# 64 MiB for the outputs of one worker: the default of memcached.
OUTPUTS_BYTES = 64 * 1024 * 1024
# 1 MiB: what a client that is attached may be behind, before the work waits for it.
BEHIND_BYTES = 1024 * 1024
# 64 KiB: what a pipe holds (pipe(7)).
CROWDED_BYTES = 64 * 1024
# 2 s for cancelled works to settle and write their rows, as a connection has for its last answer.
SETTLE_S = 2.0
# 1 s for a stopped work to write its end, as a stream has after its deadline (stages/relay/watch.py).
STOP_LIMIT_S = 1.0


@frozen(slots=True)
class Outlives:
    """The policy of a work that may go on without a client: for how long, and what of it is kept for how long.

    With `kept`, the memory holds only what a present client has not taken, `keep_bytes` at most.
    """

    grace_s: float
    keep_s: float
    keep_bytes: int
    # Keeps the output for clients that come back, in place of this worker's memory.
    kept: AnswerWriter | None = None


class WorkPort(Protocol[P_contra]):
    """What a work knows of its client."""

    def send(self, part: P_contra, /) -> Awaitable[None]:
        """Send a part of the output. Waits while the client is too far behind."""

    def outlive(self, policy: Outlives, /) -> bool:
        """Let the work go on when its client leaves; False if it cannot. Until this is called it ends with its
        client."""

    def note_waiters(self, count: int, /) -> None:
        """So many other requests wait for the same output: while there is one, the work goes on without its client."""

    def stop_with(self, stop: Callable[[], bool], /) -> None:
        """Stop the work with this from now on, in place of its cancellation. It is False if the work ends anyway."""

    @property
    def cut(self) -> WorkCut | None:
        """Why the work is being cancelled, if it is known here. None if the server does that: see ServerLink.cut."""


Work: TypeAlias = Callable[[WorkPort[P]], Awaitable[None]]


class OwnedWork(Generic[P]):
    """One work, while it runs and as long as its output is kept."""

    __slots__ = (
        "_cut",
        "_late_cut",
        "_policy",
        "_readers",
        "_remote_readers",
        "_scope",
        "_soft_stop",
        "_stopped_at",
        "_waiters",
        "_works",
        "ended",
        "kept_until",
        "key",
        "output",
    )

    def __init__(self, key: Hashable, works: OwnedWorks[P]) -> None:
        self.key = key
        self.output = KeptOutput[P](works.size_of, BEHIND_BYTES, works.note_kept)
        self.ended = trio.Event()
        # Trio's clock at which an ended work is forgotten.
        self.kept_until = math.inf
        self._works = works
        self._policy: Outlives | None = None
        self._readers = 0
        # Those that read what is kept, in any worker.
        self._remote_readers = 0
        # Later requests with the same key that wait for its answer, in any worker.
        self._waiters = 0
        self._soft_stop: Callable[[], bool] | None = None
        # Trio's clock at which it is cancelled after a stop, if it has not ended by itself.
        self._stopped_at = math.inf
        self._scope = trio.CancelScope()
        self._cut: WorkCut | None = None
        # Why it is cancelled if its time as an orphan passes.
        self._late_cut: WorkCut = "client left"

    @property
    def state(self) -> WorkState:
        """Whether it runs, and whether a client is attached."""
        if self.ended.is_set():
            return "ended"
        return "attached" if self._readers or self._remote_readers or self._waiters else "orphaned"

    @property
    def may_outlive(self) -> bool:
        """Whether a client may leave it and come back: it says so, and its output is whole."""
        policy = self._policy
        return policy is not None and (self.output.is_whole if policy.kept is None else policy.kept.is_kept)

    # ── what the work says: see WorkPort ─────────────────────────────────────────────────────────────────────────────

    async def send(self, part: P) -> None:
        """Keep a part of the output, and let the attached clients have it."""
        await self.output.add(part)
        self._works.make_room(self.output)
        if not self._readers and not self._remote_readers and not self._waiters and not self.may_outlive:
            self._cancel("client left")
            await trio.lowlevel.checkpoint_if_cancelled()

    def outlive(self, policy: Outlives) -> bool:
        """Go on when the client leaves, from now on."""
        self._policy = policy
        self.output.limit_bytes = policy.keep_bytes
        if policy.kept is not None:
            self.output.shed()
            self.output.low_bytes = policy.keep_bytes // 4
            policy.kept.watch(self)
        return True

    def stop_with(self, stop: Callable[[], bool]) -> None:
        """See WorkPort."""
        self._soft_stop = stop

    @property
    def cut(self) -> WorkCut | None:
        """Why it is or was cancelled; None if it was not."""
        return self._cut or (self._late_cut if self._scope.cancel_called else None)

    # ── what clients and the server do ───────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def attach(self, first_part: int = 0, deliver_now: DeliverNow[P] | None = None) -> Iterator[OutputReader[P]]:
        """A reader of the output from this part on. While the block lasts, the work is not an orphan.

        Raises OutputDropped if that part is not kept.
        """
        reader = self.output.open_reader(first_part, deliver_now)
        self._readers += 1
        self._scope.deadline = self._stopped_at
        try:
            yield reader
        finally:
            self._readers -= 1
            self.output.close_reader(reader)
            self.note_orphaned()

    def note_orphaned(self) -> None:
        """If no client is attached, the grace begins, or the work ends."""
        if self.state != "orphaned":
            return
        policy = self._policy
        if policy is None or not self.may_outlive:
            self._cancel("client left")
            return
        grace_ends_at, drained_at = trio.current_time() + policy.grace_s, self._works.drained_at
        self._late_cut = "client left" if grace_ends_at <= drained_at else "drain"
        self._scope.deadline = min(grace_ends_at, drained_at, self._stopped_at)

    def note_readers(self, count: int) -> None:
        """So many clients read what is kept of it now, in any worker."""
        self._remote_readers = count
        if count:
            # A client that came back does not wait for its old connection, which may be dead.
            self.output.let_through(BEHIND_BYTES)
        self._note_attached()

    def note_waiters(self, count: int) -> None:
        """See WorkPort."""
        self._waiters = count
        self._note_attached()

    def _note_attached(self) -> None:
        if self.state == "attached":
            self._scope.deadline = self._stopped_at
        else:
            self.note_orphaned()

    def stop(self) -> bool:
        """End it at once, even if clients are attached. False if it has ended, or is about to."""
        if self._soft_stop is None or self.ended.is_set():
            return self._cancel("stopped")
        if not self._soft_stop():
            return False
        if self._stopped_at == math.inf:
            self._stopped_at = trio.current_time() + STOP_LIMIT_S
            self._late_cut = "stopped"
            self._scope.deadline = min(self._scope.deadline, self._stopped_at)
        # Its last words need not wait for a slow client.
        self.output.let_through(LAST_BYTES)
        return True

    def end_drain(self) -> None:
        """The time of the drain is over."""
        self._cancel("drain")

    def _cancel(self, cut: WorkCut) -> bool:
        if self.ended.is_set():
            return False
        if not self._scope.cancel_called:
            self._cut = cut
            self._scope.cancel(reason=cut)
        return True

    async def run(self, work: Work[P]) -> None:
        """Do the work, until it ends or is cancelled. Raises nothing but cancellation from outside."""
        # The gateway's nursery ends without having told the works before.
        cut: str | None = "drain"
        try:
            with self._scope:
                await work(self)
            cut = self.cut if self._scope.cancelled_caught else None
        except Exception:
            logger.exception("work %s: unexpected error", self.key)
            cut = "failed"
        finally:
            self.output.end(cut)
            policy = self._policy
            keep_s = policy.keep_s if policy is not None and self.output.is_whole else 0.0
            self._soft_stop = None
            self.kept_until = trio.current_time() + keep_s
            self.ended.set()


class OwnedWorks(Generic[P]):
    """The works of one worker, by their keys. `run` is a task of the gateway's nursery. `size_of`: a part's bytes."""

    def __init__(self, size_of: Callable[[P], int], limit_bytes: int = OUTPUTS_BYTES) -> None:
        self.size_of = size_of
        self.kept_bytes = 0
        # Trio's clock; no orphan runs longer.
        self.drained_at = math.inf
        self._limit_bytes = limit_bytes
        self._running: set[OwnedWork[P]] = set()
        # Those that ended are in the order of their end.
        self._by_key: dict[Hashable, OwnedWork[P]] = {}
        self._nursery: trio.Nursery | None = None
        self._has_ended = trio.lowlevel.ParkingLot()

    async def run(self) -> None:
        """Run works until cancelled; then none runs."""
        try:
            async with trio.open_nursery() as self._nursery:
                await trio.sleep_forever()
        finally:
            self._nursery = None

    def start(self, key: Hashable, work: Work[P]) -> OwnedWork[P]:
        """Begin a work. Its client attaches to it before it waits for anything.

        An earlier work of that key that `find` does not give is found no more.
        """
        assert self._nursery is not None, "works are started while the gateway runs"
        assert self.find(key) is None, f"there is a work with the key {key}"
        self._forget_old(trio.current_time())
        owned = self._by_key[key] = OwnedWork(key, self)
        self._running.add(owned)
        self._nursery.start_soon(self._run_one, owned, work)
        return owned

    def find(self, key: Hashable) -> OwnedWork[P] | None:
        """The work of that key, if clients may attach to it: it runs, or its output is still kept."""
        work = self._by_key.get(key)
        is_there = work is not None and work.may_outlive and trio.current_time() < work.kept_until
        return work if is_there else None

    async def drain(self, bound_s: float) -> None:
        """Let works end for so long, then cancel what is left. Returns when none runs, at the latest SETTLE_S later."""
        self.drained_at = trio.current_time() + bound_s
        for work in list(self._running):
            work.note_orphaned()
        with trio.move_on_at(self.drained_at):
            await self._wait_all_ended()
        for work in list(self._running):
            work.end_drain()
        with trio.move_on_after(SETTLE_S):
            await self._wait_all_ended()

    def note_kept(self, more_bytes: int) -> None:
        """An output has grown by so many bytes."""
        self.kept_bytes += more_bytes

    def make_room(self, growing: KeptOutput[P]) -> None:
        """Keep within the bound of all outputs (rule 3)."""
        if self.kept_bytes <= self._limit_bytes:
            return
        for work in list(self._by_key.values()):
            if work.state == "ended":
                self._forget(work)
                if self.kept_bytes <= self._limit_bytes:
                    return
        growing.shed()
        growing.limit_bytes = min(growing.limit_bytes, CROWDED_BYTES)

    async def _run_one(self, owned: OwnedWork[P], work: Work[P]) -> None:
        try:
            await owned.run(work)
        finally:
            self._running.discard(owned)
            if self._by_key.get(owned.key) is owned:
                self._by_key[owned.key] = self._by_key.pop(owned.key)
                self._forget_old(trio.current_time())
            else:
                owned.output.shed()
            self._has_ended.unpark_all()

    async def _wait_all_ended(self) -> None:
        while self._running:
            await self._has_ended.park()

    def _forget_old(self, now: float) -> None:
        for work in list(self._by_key.values()):
            if now >= work.kept_until:
                self._forget(work)

    def _forget(self, work: OwnedWork[P]) -> None:
        """It is found no more. Clients that are attached read on to its end."""
        del self._by_key[work.key]
        work.output.shed()
