"""All breakers: the order in which a request's candidates are asked. Synchronous; `now` is passed in.

Rules:
1. A candidate may be asked where its target's breaker and its credential's both let it.
2. Those that may be asked come first, in the order given. At most one of them is a probe; the others whose probe is due
   come after the closed ones.
3. Then, as a last resort, targets that are open for failing: they may be well again. Those that were set aside by
   their own word, and those whose key is refused, are left out: the answer is known.
4. Nobody is left without somebody to ask: where all are out, the one whose time comes first is asked. Only a lone
   candidate fails fast, and says when to come back.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Generic, Protocol, TypeVar

from attrs import frozen

from pg_trio.racing.breaker import Breaker, BreakerRules, Fault, Pass

C = TypeVar("C")
C_contra = TypeVar("C_contra", contravariant=True)


class BreakerOpen(Exception):
    """The only candidate is not to be asked for another `retry_after_s`."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"not asked for another {retry_after_s:.3g} s")
        self.retry_after_s = retry_after_s


class Permit(Protocol):
    """One call to one candidate, known to its breakers. Tell it how the call ended; the first word counts, so
    `cancelled` may always come last."""

    @property
    def is_probe(self) -> bool: ...

    def succeeded(self, now: float) -> None: ...

    def failed(self, fault: Fault, now: float, retry_after_s: float | None = None) -> None: ...

    def cancelled(self) -> None: ...


class Breakers(Protocol[C_contra]):
    """The breakers of all candidates, by whoever keeps them: one process (BreakerBoard), or all workers together."""

    def order(self, candidates: Sequence[C], now: float) -> list[C]: ...

    def may_ask(self, candidate: C_contra, now: float) -> bool: ...

    def wait_s(self, candidate: C_contra, now: float, *, is_alone: bool = False) -> float: ...

    def begin(self, candidate: C_contra, now: float, *, is_alone: bool = False) -> Permit: ...


@frozen(slots=True, eq=False)
class BoardPermit:
    """A permit of a BreakerBoard."""

    _target: Breaker
    _credential: Breaker
    _target_pass: Pass
    _credential_pass: Pass
    _told: list[bool]

    @property
    def is_probe(self) -> bool:
        return self._target_pass.is_probe or self._credential_pass.is_probe

    def succeeded(self, now: float) -> None:
        if self._is_first_word():
            self._target.succeed(self._target_pass, now)
            self._credential.succeed(self._credential_pass, now)

    def failed(self, fault: Fault, now: float, retry_after_s: float | None = None) -> None:
        if not self._is_first_word():
            return
        if fault is Fault.CREDENTIAL:
            self._credential.fail(self._credential_pass, fault, now)
            self._target.cancel(self._target_pass)
        else:
            # A key that works says so by any answer but a refusal of itself; a timeout says nothing of it.
            self._target.fail(self._target_pass, fault, now, retry_after_s)
            self._credential.cancel(self._credential_pass)

    def cancelled(self) -> None:
        if self._is_first_word():
            self._target.cancel(self._target_pass)
            self._credential.cancel(self._credential_pass)

    def _is_first_word(self) -> bool:
        if self._told:
            return False
        self._told.append(True)
        return True


class BreakerBoard(Generic[C]):
    """The breakers of all candidates, made as they are asked for; bounded by what is configured."""

    def __init__(
        self, target_of: Callable[[C], Hashable], credential_of: Callable[[C], Hashable], rules: BreakerRules
    ) -> None:
        self._target_of = target_of
        self._credential_of = credential_of
        self._rules = rules
        self._targets: dict[Hashable, Breaker] = {}
        self._credentials: dict[Hashable, Breaker] = {}

    def order(self, candidates: Sequence[C], now: float) -> list[C]:
        """Who is asked, in order; never empty. Raises BreakerOpen for a lone candidate that is not to be asked."""
        if not any(breaker.is_open for candidate in candidates for breaker in self._of(candidate)):
            return list(candidates)
        if len(candidates) == 1:
            wait_s = self.wait_s(candidates[0], now, is_alone=True)
            if wait_s > 0.0:
                raise BreakerOpen(wait_s)
            return list(candidates)
        askable = [candidate for candidate in candidates if self.may_ask(candidate, now)]
        probes = [candidate for candidate in askable if not self._is_closed(candidate)]
        first = [candidate for candidate in askable if candidate not in probes[1:]]
        resort = [candidate for candidate in candidates if candidate not in askable and self._may_be_well(candidate)]
        ordered = first + probes[1:] + self._by_wait(resort, now)
        return ordered or self._by_wait(candidates, now)[:1]

    def may_ask(self, candidate: C, now: float) -> bool:
        """Whether a call may go there now, were there others to ask; a hedge goes nowhere else."""
        return self.wait_s(candidate, now) == 0.0

    def wait_s(self, candidate: C, now: float, *, is_alone: bool = False) -> float:
        """Seconds until a call may go there."""
        return max(breaker.wait_s(now, is_alone=is_alone) for breaker in self._of(candidate))

    def begin(self, candidate: C, now: float, *, is_alone: bool = False) -> BoardPermit:
        """Note a call as it starts. `is_alone` as in a request with no other candidate."""
        target, credential = self._of(candidate)
        may_ask = self.wait_s(candidate, now, is_alone=is_alone) == 0.0
        # Asked as a last resort, it takes no probe's place with the one breaker while the other is open.
        target_pass = target.begin(now, is_alone=is_alone) if may_ask else target.begin_unasked()
        credential_pass = credential.begin(now, is_alone=is_alone) if may_ask else credential.begin_unasked()
        return BoardPermit(target, credential, target_pass, credential_pass, [])

    def as_dict(self, now: float) -> dict[str, dict[str, object]]:
        """The state of every breaker that has seen a call, for an admin route."""
        return {name: breaker.as_dict(now) for name, breaker in self._named()}

    def as_lines(self, now: float) -> list[str]:
        """The same, a line each."""
        return [f"{name}: {breaker.as_line(now)}" for name, breaker in self._named()]

    def _of(self, candidate: C) -> tuple[Breaker, Breaker]:
        return (
            self._breaker(self._targets, self._target_of(candidate)),
            self._breaker(self._credentials, self._credential_of(candidate)),
        )

    def _breaker(self, breakers: dict[Hashable, Breaker], key: Hashable) -> Breaker:
        breaker = breakers.get(key)
        if breaker is None:
            breaker = breakers[key] = Breaker(self._rules)
        return breaker

    def _is_closed(self, candidate: C) -> bool:
        return not any(breaker.is_open for breaker in self._of(candidate))

    def _may_be_well(self, candidate: C) -> bool:
        return all(breaker.why in (Fault.TARGET, Fault.SLOW, Fault.NOBODY) for breaker in self._of(candidate))

    def _by_wait(self, candidates: Sequence[C], now: float) -> list[C]:
        return sorted(candidates, key=lambda candidate: self.wait_s(candidate, now))

    def _named(self) -> Iterable[tuple[str, Breaker]]:
        for kind, breakers in (("target", self._targets), ("credential", self._credentials)):
            for key, breaker in breakers.items():
                parts = key if isinstance(key, tuple) else (key,)
                yield f"{kind} {'/'.join(map(str, parts))}", breaker
