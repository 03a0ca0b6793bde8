"""All breakers: the order in which a request's candidates are asked. Synchronous; `now` is passed in.

Rules:
1. A candidate may be asked if its target's breaker and its credential's both allow it.
2. Those that may be asked come first, in the order given. At most one of them is a probe; the others whose probe is due
   come after the closed ones.
3. Targets whose breaker is open because they failed come last: they may work again. Targets that asked for a pause
   (`Retry-After`) and those whose key is refused are left out, because their answer is known.
4. A lone candidate whose breaker is open is always left out, so that an endpoint that is down fails at once. Then
   there is no candidate to ask. `standing` says why a candidate may not be asked, for how long, and what its provider
   said.
5. If the workers share their breakers, another worker may send the probe after this one has looked and before it
   calls. Then this worker does not call.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

from attrs import define

from pg_trio.ledger.node_health import BreakerRecords
from pg_trio.racing.breaker import PROBED_WAIT_S, BreakerRules, Fault, Pass
from pg_trio.racing.stored_breaker import LocalRecords, StoredBreaker

logger = logging.getLogger("pg_trio.racing")

C = TypeVar("C")
# More than the candidates of ten thousand endpoints. Where clients name models, candidates come and go.
PAIRS_KEPT = 65_536


class BreakerOpen(Exception):
    """Another worker has sent the probe to the candidate first. It may be asked in `retry_after_s`."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"not asked for another {retry_after_s:.3g} s")
        self.retry_after_s = retry_after_s


class Standing(NamedTuple):
    """Why a candidate may not be asked: `why` (NOBODY: it may be), for how long at least, and whether a probe is out.

    `said` is the provider's last message about it; empty if this worker has received none.
    """

    why: Fault
    wait_s: float
    has_probe: bool
    said: str


class Permit(Protocol):
    """One call to one candidate, which its breakers count. Report how the call ended. Only the first report counts, so
    `cancelled` may always come last. `said` is the provider's message, safe to be shown."""

    @property
    def is_probe(self) -> bool: ...

    def succeeded(self, now: float) -> None: ...

    def failed(self, fault: Fault, now: float, retry_after_s: float | None = None, said: str = "") -> None: ...

    def cancelled(self) -> None: ...

    def broke_off(self, now: float, said: str) -> None:
        """A call that was reported as a success has failed after all: its stream broke after the first token."""


class Breakers(Protocol[C]):
    """The breakers of all candidates. BreakerBoard implements it over one process's records or all workers'."""

    def order(self, candidates: Sequence[C], now: float) -> Sequence[C]: ...

    def may_ask(self, candidate: C, now: float) -> bool: ...

    def wait_s(self, candidate: C, now: float, *, is_alone: bool = False) -> float: ...

    def standing(self, candidate: C, now: float, *, is_alone: bool = False) -> Standing: ...

    def calls_per_s(self, candidate: C, now: float) -> float: ...

    def describe(self, candidate: C, now: float) -> dict[str, object]: ...

    def begin(self, candidate: C, now: float, *, is_alone: bool = False) -> Permit: ...

    def begin_closed(self, candidate: C) -> Permit | None: ...


@define(slots=True, eq=False)
class BoardPermit:
    """A permit of a BreakerBoard."""

    _target: StoredBreaker
    _credential: StoredBreaker
    _target_pass: Pass
    _credential_pass: Pass
    is_probe: bool = False
    _is_told: bool = False

    def succeeded(self, now: float) -> None:
        if self._is_told:
            return
        self._is_told = True
        self._target_pass = self._target.succeed(self._target_pass, now)
        self._credential_pass = self._credential.succeed(self._credential_pass, now)
        if self.is_probe:
            logger.info("%s and its credential: %s", self._target.name, self._target.as_line(now))

    def failed(self, fault: Fault, now: float, retry_after_s: float | None = None, said: str = "") -> None:
        if self._is_told:
            return
        self._is_told = True
        if fault is Fault.CREDENTIAL:
            failed = self._credential
            self._target.cancel(self._target_pass)
        else:
            # A key that works says so by any answer but a refusal of itself; a timeout says nothing of it.
            failed = self._target
            self._credential.cancel(self._credential_pass)
        trips = failed.trips
        passed = self._target_pass if failed is self._target else self._credential_pass
        failed.fail(passed, fault, now, retry_after_s)
        _note_failure(failed, trips, now, said)

    def broke_off(self, now: float, said: str) -> None:
        trips = self._target.trips
        self._target.break_off(self._target_pass, now)
        _note_failure(self._target, trips, now, said)

    def cancelled(self) -> None:
        if not self._is_told:
            self._is_told = True
            self._target.cancel(self._target_pass)
            self._credential.cancel(self._credential_pass)


class BreakerBoard(Generic[C]):
    """The breakers of all candidates. Each is made at its first use; the configuration bounds their number."""

    def __init__(
        self,
        target_of: Callable[[C], Hashable],
        credential_of: Callable[[C], Hashable],
        rules: BreakerRules,
        records: BreakerRecords | None = None,
    ) -> None:
        """`records`: the records that all workers share; None: this process keeps its own."""
        self._target_of = target_of
        self._credential_of = credential_of
        self._rules = rules
        self._own = LocalRecords()
        self._records: BreakerRecords = self._own if records is None else records
        self._targets: dict[Hashable, StoredBreaker] = {}
        self._credentials: dict[Hashable, StoredBreaker] = {}
        # By the candidate's identity: hashing a candidate hashes all its fields, and a request looks it up twice.
        self._pairs: dict[int, tuple[StoredBreaker, StoredBreaker]] = {}
        # Held, or another candidate could come to have the identity of one.
        self._held: list[C] = []

    def order(self, candidates: Sequence[C], now: float) -> Sequence[C]:
        """The candidates to ask, in order; empty if none may be asked now (rule 4)."""
        if self._look(candidates):
            return candidates
        if len(candidates) == 1:
            return list(candidates) if self.wait_s(candidates[0], now, is_alone=True) == 0.0 else []
        askable = [candidate for candidate in candidates if self.may_ask(candidate, now)]
        probes = [candidate for candidate in askable if not self._is_closed(candidate)]
        first = [candidate for candidate in askable if candidate not in probes[1:]]
        resort = [candidate for candidate in candidates if candidate not in askable and self._may_be_well(candidate)]
        return first + probes[1:] + self._by_wait(resort, now)

    def standing(self, candidate: C, now: float, *, is_alone: bool = False) -> Standing:
        """Whether the candidate may be asked now, and why not."""
        self._look((candidate,))
        target, credential = self._of(candidate)
        waits_s = target.wait_s(now, is_alone=is_alone), credential.wait_s(now, is_alone=is_alone)
        breaker = credential if waits_s[1] > waits_s[0] or (credential.is_open and not target.is_open) else target
        return Standing(breaker.why, max(waits_s), breaker.has_probe(now), breaker.said)

    def calls_per_s(self, candidate: C, now: float) -> float:
        """Recent calls a second that the candidate's credential answered, as far as this worker knows."""
        return self._of(candidate)[1].calls_per_s(now)

    def describe(self, candidate: C, now: float) -> dict[str, object]:
        """The state of one candidate's two breakers, as a line of text and as fields."""
        self._look((candidate,))
        target, credential = self._of(candidate)
        return {
            "line": f"model {target.as_line(now)}; credential {credential.as_line(now)}",
            "model_breaker": target.as_dict(now),
            "credential_breaker": credential.as_dict(now),
        }

    def may_ask(self, candidate: C, now: float) -> bool:
        """Whether a call may go there now if there are other candidates. Hedges need this too."""
        self._look((candidate,))
        return self.wait_s(candidate, now) == 0.0

    def wait_s(self, candidate: C, now: float, *, is_alone: bool = False) -> float:
        """Seconds until a call may go there."""
        return max(breaker.wait_s(now, is_alone=is_alone) for breaker in self._of(candidate))

    def begin(self, candidate: C, now: float, *, is_alone: bool = False) -> BoardPermit:
        """Note the start of a call. `is_alone`: the request has no other candidate.

        Raises BreakerOpen if this call was to be the probe and another worker has sent it first, or may be doing so.
        """
        target, credential = self._of(candidate)
        if not (target.is_open or credential.is_open):
            return BoardPermit(target, credential, target.ordinary, credential.ordinary)
        may_ask = self.wait_s(candidate, now, is_alone=is_alone) == 0.0
        # Asked as a last resort, it takes no probe's place with the one breaker while the other is open.
        target_pass = target.begin(now, is_alone=is_alone) if may_ask else target.begin_unasked()
        credential_pass = credential.begin(now, is_alone=is_alone) if may_ask else credential.begin_unasked()
        is_probe = target_pass.is_probe or credential_pass.is_probe
        permit = BoardPermit(target, credential, target_pass, credential_pass, is_probe)
        if may_ask and (target.is_open > target_pass.is_probe or credential.is_open > credential_pass.is_probe):
            permit.cancelled()
            raise BreakerOpen(self.wait_s(candidate, now, is_alone=is_alone) or PROBED_WAIT_S)
        return permit

    def begin_closed(self, candidate: C) -> BoardPermit | None:
        """The same in one step for a candidate whose breakers are closed, as those of nearly all are.

        None, and nothing is noted, if one is open, or if another worker has changed a breaker since the last look.
        """
        target, credential = self._pairs.get(id(candidate)) or self._pair(candidate)
        changes = self._records.changes()
        if target.seen != changes or credential.seen != changes or target.is_open or credential.is_open:
            return None
        return BoardPermit(target, credential, target.ordinary, credential.ordinary)

    def as_dict(self, now: float) -> dict[str, dict[str, object]]:
        """The state of every breaker that has seen a call, for an admin route."""
        return {breaker.name: breaker.as_dict(now) for breaker in self._all()}

    def as_lines(self, now: float) -> list[str]:
        """The same, a line each."""
        return [f"{breaker.name}: {breaker.as_line(now)}" for breaker in self._all()]

    def _look(self, candidates: Iterable[C]) -> bool:
        """Read what other workers changed. True if all breakers are closed. Called for each request."""
        changes = self._records.changes()
        are_closed = True
        for candidate in candidates:
            target, credential = self._of(candidate)
            if target.seen != changes:
                target.refresh(changes)
            if credential.seen != changes:
                credential.refresh(changes)
            if target.is_open or credential.is_open:
                are_closed = False
        return are_closed

    def _of(self, candidate: C) -> tuple[StoredBreaker, StoredBreaker]:
        return self._pairs.get(id(candidate)) or self._pair(candidate)

    def _pair(self, candidate: C) -> tuple[StoredBreaker, StoredBreaker]:
        target, credential = self._target_of(candidate), self._credential_of(candidate)
        pair = (
            self._targets.get(target) or self._add(self._targets, "target", target),
            self._credentials.get(credential) or self._add(self._credentials, "credential", credential),
        )
        if len(self._pairs) >= PAIRS_KEPT:
            self._pairs.clear()
            self._held.clear()
        self._held.append(candidate)
        self._pairs[id(candidate)] = pair
        return pair

    def _add(self, breakers: dict[Hashable, StoredBreaker], kind: str, key: Hashable) -> StoredBreaker:
        parts = tuple(map(str, key)) if isinstance(key, tuple) else (str(key),)
        name = (kind, *parts)
        records, place = self._records, self._records.find(name)
        if place is None:
            # The shared file is full, and has logged that. This worker keeps the breaker in its own memory.
            records, place = self._own, self._own.find(name)
        breaker = StoredBreaker(self._rules, records, place, f"{kind} {'/'.join(parts)}")
        breaker.refresh(self._records.changes())
        breakers[key] = breaker
        return breaker

    def _is_closed(self, candidate: C) -> bool:
        return not any(breaker.is_open for breaker in self._of(candidate))

    def _may_be_well(self, candidate: C) -> bool:
        return all(breaker.why in (Fault.TARGET, Fault.SLOW, Fault.NOBODY) for breaker in self._of(candidate))

    def _by_wait(self, candidates: Sequence[C], now: float) -> list[C]:
        return sorted(candidates, key=lambda candidate: self.wait_s(candidate, now))

    def _all(self) -> list[StoredBreaker]:
        breakers = [*self._targets.values(), *self._credentials.values()]
        for breaker in breakers:
            breaker.refresh(self._records.changes())
        return breakers


def _note_failure(breaker: StoredBreaker, trips_before: int, now: float, said: str) -> None:
    """Keep the provider's message. It is logged if this failure opened the breaker."""
    breaker.said = said or breaker.said
    if breaker.trips != trips_before:
        logger.warning("%s: %s%s", breaker.name, breaker.as_line(now), f": {said}" if said else "")
