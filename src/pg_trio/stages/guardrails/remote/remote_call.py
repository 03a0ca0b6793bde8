"""Asks the services of remote checks, over transports that are given: the limits, and the pause of a dead service.

Rules:
1. A check has its own time limit, inside the request's deadline. Writing, waiting for a place and reading are parts of
   it. A call that is cut closes its connection.
2. At most MOST_CALLS of one service run at once in a worker; the next wait in order.
3. Only a 200 with a body up to its limit is an answer. Redirects are not followed.
4. A service that left FAILURES_IN_ROW calls in a row without an answer is not asked for PAUSE_S; then one call tries
   it. Only rules that fail closed pause: with `on_failure = "open"`, text would pass that no call tried to check. A
   call during which this process did not run does not count.
5. The log has a line when a service begins to fail and when it answers again. Neither quotes anything.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from urllib.parse import urlsplit

import trio
from attrs import define, evolve, field, frozen

from pg_trio.domain.guardrails import GuardrailVerdict
from pg_trio.domain.upstream import Transport, UpstreamResponse
from pg_trio.errors import AttemptFailed, GuardrailBlocked, GuardrailFailed, OwnStateError
from pg_trio.racing.large_work import LargeWork
from pg_trio.racing.pauses import Pauses
from pg_trio.stages.guardrails.remote.remote_answer import RemoteCheckFailed, RemoteWire
from pg_trio.stages.guardrails.remote_guard import RemoteCheck, RemoteVerdict

# httpx's default of connections.
MOST_CALLS = 100
# Envoy's outlier detection ejects a host after five failures in a row; a shorter time than its 30 s, because one call
# in a pause's end is all that a dead service costs.
FAILURES_IN_ROW = 5
PAUSE_S = 5.0
# The request's own deadline cancels a check. If it does not within this time, the check ends all the same.
DEADLINE_GRACE_S = 0.25
# The rule of a verdict about a check that has none.
UNAVAILABLE = "unavailable"

logger = logging.getLogger("pg_trio.guardrails")


@define(slots=True, eq=False)
class RemoteService:
    """One service's places and standing, in this worker. Times are Trio's clock."""

    name: str
    places: trio.CapacityLimiter = field(factory=lambda: trio.CapacityLimiter(MOST_CALLS))
    silent_in_row: int = 0
    asked_again_at: float = 0.0
    is_failing: bool = False

    def check_pause(self, now: float) -> None:
        """Let the call pass, or raise RemoteCheckFailed in a pause. The call that passes after a pause tries it."""
        if self.silent_in_row < FAILURES_IN_ROW:
            return
        if now < self.asked_again_at:
            raise RemoteCheckFailed("not asked, because it gave no answer several times in a row")
        # The next ones wait for this one's result.
        self.asked_again_at = now + PAUSE_S

    def note_silence(self, now: float) -> None:
        """It could not be reached, or gave no answer in time."""
        self.silent_in_row += 1
        self.asked_again_at = now + PAUSE_S

    def note_failure(self, why: RemoteCheckFailed) -> None:
        """A check has no verdict."""
        if not self.is_failing:
            logger.warning("guardrail service %s fails: %s", self.name, why)
        self.is_failing = True

    def note_verdict(self) -> None:
        """A check has a verdict."""
        if self.is_failing:
            logger.warning("guardrail service %s answers again", self.name)
        self.is_failing = False


@define(slots=True, eq=False)
class _Try:
    """How far one call came."""

    was_sent: bool = False
    was_answered: bool = False


class RemoteCaller:
    """Asks the services. One for each worker."""

    def __init__(self, transports: Mapping[str, Transport], large_work: LargeWork, pauses: Pauses) -> None:
        self._transports = transports
        self.large_work = large_work
        self._pauses = pauses
        # As many as the configuration names.
        self._services: dict[str, RemoteService] = {}

    async def ask(self, wire: RemoteWire, asked: RemoteCheck) -> RemoteVerdict:
        """The service's verdict. Raises GuardrailBlocked, or RemoteCheckFailed."""
        service = self._service_at(wire.terms.url)
        try:
            if wire.terms.on_failure == "closed":
                service.check_pause(trio.current_time())
            verdict = await self._ask_in_time(service, wire, asked)
        except GuardrailBlocked:
            service.note_verdict()
            raise
        except RemoteCheckFailed as why:
            service.note_failure(why)
            raise
        service.note_verdict()
        return verdict

    def _service_at(self, url: str) -> RemoteService:
        service = self._services.get(url)
        if service is None:
            # Without the path and the query: a key may be in them.
            service = self._services[url] = RemoteService(urlsplit(url).netloc)
        return service

    async def _ask_in_time(self, service: RemoteService, wire: RemoteWire, asked: RemoteCheck) -> RemoteVerdict:
        began, tried = trio.current_time(), _Try()
        cut_at = began + wire.terms.limit_s
        with trio.move_on_at(min(cut_at, asked.ends_at + DEADLINE_GRACE_S)):
            try:
                return await self._exchange(service, wire, asked, tried)
            except (AttemptFailed, OwnStateError) as failure:
                if isinstance(failure, AttemptFailed):
                    self._note_silence(service, tried, began)
                raise RemoteCheckFailed(str(failure)) from None
        if not tried.was_answered and trio.current_time() >= cut_at:
            self._note_silence(service, tried, began)
        raise RemoteCheckFailed(f"no answer within {wire.terms.limit_s * 1000:.0f} ms")

    def _note_silence(self, service: RemoteService, tried: _Try, began: float) -> None:
        now = trio.current_time()
        if tried.was_sent and not self._pauses.took_most_of(began, now):
            service.note_silence(now)

    async def _exchange(
        self, service: RemoteService, wire: RemoteWire, asked: RemoteCheck, tried: _Try
    ) -> RemoteVerdict:
        size = sum(map(len, asked.texts))
        request = await self.large_work.call(size, wire.write, asked)
        most_bytes = wire.most_bytes(request, asked)
        holder = object()
        await service.places.acquire_on_behalf_of(holder)
        try:
            tried.was_sent = True
            response = await self._transports[wire.terms.carrier].open_response(request)
            try:
                body = await _read_answer(response, most_bytes)
            finally:
                await response.aclose()
        finally:
            service.places.release_on_behalf_of(holder)
        tried.was_answered = True
        service.silent_in_row = 0
        if response.status != 200:
            raise RemoteCheckFailed(f"HTTP {response.status}")
        return await self.large_work.call(len(body), wire.read, body, asked)


async def _read_answer(response: UpstreamResponse, most_bytes: int) -> bytes:
    """The whole body of a 200; nothing of other answers. Raises RemoteCheckFailed, and what `receive_some` raises."""
    chunks: list[bytes] = []
    size = 0
    while response.status == 200 and (chunk := await response.receive_some()):
        size += len(chunk)
        if size > most_bytes:
            raise RemoteCheckFailed(f"answer's body is over {most_bytes} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


@frozen(slots=True, eq=False)
class ServiceGuard:
    """A rule of another service, compiled: see remote_guard.RemoteGuard. `flags`: what it refuses passes, flagged."""

    _wire: RemoteWire
    _caller: RemoteCaller
    _flags: bool = False

    @property
    def guardrail(self) -> str:
        return self._wire.guardrail

    @property
    def parallel(self) -> bool:
        return self._wire.parallel

    async def check(self, asked: RemoteCheck) -> RemoteVerdict:
        """See RemoteGuard. Without texts there is nothing to ask."""
        if not asked.texts:
            return RemoteVerdict()
        try:
            verdict = await self._caller.ask(self._wire, asked)
        except GuardrailBlocked as refusal:
            if not self._flags:
                raise
            return RemoteVerdict((GuardrailVerdict(self.guardrail, refusal.rule, asked.phase, "flag", refusal.count),))
        except RemoteCheckFailed:
            if self._wire.terms.on_failure == "closed":
                raise GuardrailFailed(self.guardrail, asked.phase) from None
            return RemoteVerdict((GuardrailVerdict(self.guardrail, UNAVAILABLE, asked.phase, "flag"),))
        if self._flags and verdict.texts is not None:
            return RemoteVerdict(tuple([evolve(each, action="flag") for each in verdict.verdicts]))
        return verdict
