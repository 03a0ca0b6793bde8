"""Bounded concurrency: at most `max_concurrent` calls with one credential at once, in all workers of all nodes, and a
short queue in each worker.

Rules:
1. A candidate without a free slot comes after those with one and before those of last resort: a short wait for a good
   candidate is better than a try of a bad one. If other candidates are left, the request goes to them at once. The last
   one is waited for, for `slot_wait_ms` at most.
2. A slot is held from before the call is sent until its answer is closed; a stream's until its last byte.
3. Waiting is not a call: breakers and estimates do not count it. The request's deadline includes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b

import trio
from attrs import define, field

from pg_trio.domain.project import Candidate, Credential
from pg_trio.domain.upstream import UpstreamResponse
from pg_trio.errors import CandidateFull
from pg_trio.ledger.node_health import LeaseCounter, SlotLeases
from pg_trio.racing.attempt import Attempt
from pg_trio.racing.breaker_board import Breakers
from pg_trio.racing.leased_slots import LeasedSlots
from pg_trio.racing.shared_slots import SharedSlots
from pg_trio.racing.slots import NoSlot, SlotRules, Slots


class CredentialSlots:
    """The slots of every limited credential. They are made when an endpoint that uses them is compiled.

    `leases` count them over all workers, `slot_leases` over all nodes; None: each worker counts its own.
    """

    def __init__(self, leases: LeaseCounter | None = None, slot_leases: SlotLeases | None = None) -> None:
        self._leases = leases
        self._slot_leases = slot_leases
        self._slots: dict[str, Slots] = {}

    def of(self, candidates: Iterable[Candidate]) -> Mapping[str, Slots] | None:
        """The slots of these candidates' credentials by name; None if no credential is limited."""
        found = {
            candidate.credential.name: self._slots_of(candidate.credential, candidate.credential.max_concurrent)
            for candidate in candidates
            if candidate.credential.max_concurrent is not None
        }
        return found or None

    def describe(self, credential: Credential) -> dict[str, int] | None:
        """The limit, the running calls in all workers of all nodes, and the waiting ones in this worker; None if the
        credential is not limited."""
        if credential.max_concurrent is None:
            return None
        slots = self._slots_of(credential, credential.max_concurrent)
        return {"limit": credential.max_concurrent, "in_use": slots.in_use, "waiting": slots.waiting}

    def _slots_of(self, credential: Credential, limit: int) -> Slots:
        slots = self._slots.get(credential.name)
        if slots is None:
            slots = self._slots[credential.name] = self._make(credential, limit)
        return slots

    def _make(self, credential: Credential, limit: int) -> Slots:
        rules = SlotRules(limit, credential.max_waiting)
        # 20 bytes: no endpoint's or token's key in the same file has this length (shared_memory/leases.py).
        key = blake2b(credential.name.encode(), digest_size=20, person=b"slots").digest()
        if self._slot_leases is not None:
            return LeasedSlots(rules, self._slot_leases, key)
        return Slots(rules) if self._leases is None else SharedSlots(rules, self._leases, key)


def has_free_slot(candidate: Candidate, slots: Mapping[str, Slots]) -> bool:
    """Whether a call could be sent at once."""
    held = slots.get(candidate.credential.name)
    return held is None or held.free > 0


@define(slots=True, eq=False)
class Line:
    """The tries of one request whose slots are limited. `asked_at`: when each try was sent, by its number."""

    slots: Mapping[str, Slots]
    candidates: Sequence[Candidate]
    breakers: Breakers[Candidate]
    asked_at: dict[int, float] = field(factory=dict)
    _tried: list[Candidate] = field(factory=list)

    def order(self) -> Sequence[Candidate]:
        """Candidates with a free slot first; otherwise in their order."""
        now = trio.current_time()
        ready = [
            candidate
            for candidate in self.candidates
            if has_free_slot(candidate, self.slots) and self.breakers.may_ask(candidate, now)
        ]
        return ready + [candidate for candidate in self.candidates if candidate not in ready]

    async def take_slot(self, attempt: Attempt[Candidate]) -> Slots | None:
        """Hold a slot for this try; the caller gives it back. None if its calls are not limited.

        Raises CandidateFull.
        """
        candidate = attempt.candidate
        self._tried.append(candidate)
        slots = self.slots.get(candidate.credential.name)
        if slots is not None:
            await self._take(candidate, slots)
        self.asked_at[attempt.number] = trio.current_time()
        return slots

    async def _take(self, candidate: Candidate, slots: Slots) -> None:
        wait_s = 0.0 if self._has_others() else candidate.credential.slot_wait_ms / 1000
        try:
            await slots.take(wait_s)
        except NoSlot:
            raise CandidateFull(f"{candidate.provider}: no slot free for another call") from None

    def _has_others(self) -> bool:
        """Whether a candidate is left that has not been asked and may be."""
        now = trio.current_time()
        return any(
            candidate not in self._tried and self.breakers.may_ask(candidate, now) for candidate in self.candidates
        )


@define(slots=True, eq=False)
class HeldResponse:
    """A response that gives its slot back when it is closed."""

    _response: UpstreamResponse
    _give_back: Callable[[], None]
    _is_held: bool = True

    @property
    def status(self) -> int:
        return self._response.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self._response.headers

    def forget_headers(self) -> None:
        """See UpstreamResponse."""
        self._response.forget_headers()

    def receive_nowait(self) -> bytes | None:
        """See UpstreamResponse."""
        return self._response.receive_nowait()

    async def receive_some(self) -> bytes:
        """See UpstreamResponse."""
        return await self._response.receive_some()

    async def aclose(self) -> None:
        """See UpstreamResponse."""
        try:
            await self._response.aclose()
        finally:
            if self._is_held:
                self._is_held = False
                self._give_back()
