"""Ask the candidates, in order, until one answers.

Rules (the contract's section "Provider call"):
1. A candidate that fails in a way another might not starts the next at once; a request that is refused as malformed
   would be refused everywhere, so it ends the call.
2. `attempt_timeout_ms` ends one candidate's try where another is left; the last one has all the time that remains.
3. A `Retry-After` puts its candidate aside for that long (adapters read a day at most): it is asked last, never left
   out, for a request must have somebody to ask.
4. A candidate whose provider is switched off is not there; with none left, the answer says so.
5. Every try leaves a row, also the one that the deadline or the client's leaving cut short.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import trio

from pg_trio.domain.call import Answered
from pg_trio.domain.chat import Prompt, Reply
from pg_trio.domain.log_row import Attempts
from pg_trio.domain.project import Candidate, Endpoint
from pg_trio.domain.secret import Secret, mask_secrets
from pg_trio.domain.upstream import Transport, UpstreamResponse, WireRequest
from pg_trio.errors import AttemptFailed, AttemptTimedOut, ProviderCallFailed, ProviderDisabled, UpstreamRefused
from pg_trio.racing.large_work import LargeWork


class Adapter(Protocol):
    """Speaks one provider's wire: a prompt to bytes, and bytes to a reply. No I/O."""

    def build_request(self, prompt: Prompt, candidate: Candidate) -> WireRequest: ...

    def read_reply(
        self, status: int, headers: Mapping[str, str], body: bytes, candidate: Candidate, *, now_s: float
    ) -> Reply:
        """Raises AttemptFailed. `now_s` is Unix seconds, for a `Retry-After` that is a date."""


class ProviderCall:
    """Asks an endpoint's candidates one after the other. `now_s` is Unix seconds."""

    def __init__(
        self,
        adapters: Callable[[str], Adapter],
        transports: Mapping[str, Transport],
        disabled_providers: frozenset[str],
        now_s: Callable[[], float],
        large_work: LargeWork,
    ) -> None:
        self._adapters = adapters
        self._transports = transports
        self._disabled = disabled_providers
        self._now_s = now_s
        self._large_work = large_work
        self._aside_until: dict[tuple[str, str], float] = {}

    async def ask(self, endpoint: Endpoint, prompt: Prompt, attempts: Attempts) -> Answered:
        """The first good reply. Raises ProviderCallFailed or ProviderDisabled; the caller holds the deadline."""
        candidates = self._order(endpoint)
        last = len(candidates) - 1
        failure: AttemptFailed | None = None
        for number, candidate in enumerate(candidates):
            limit_s = endpoint.attempt_timeout_ms / 1000 if number < last else None
            try:
                return Answered(await self._try(candidate, prompt, limit_s, attempts), candidate)
            except AttemptFailed as exc:
                failure = exc
                if not exc.fails_over:
                    break
        assert failure is not None
        raise ProviderCallFailed(mask_secrets(failure.said, _known_secrets(candidates))) from failure

    def _order(self, endpoint: Endpoint) -> Sequence[Candidate]:
        """The candidates that are there, those that are put aside at the end."""
        candidates = endpoint.candidates
        if self._disabled:
            candidates = tuple(candidate for candidate in candidates if candidate.provider not in self._disabled)
            if not candidates:
                raise ProviderDisabled(endpoint.candidates[0].provider)
        if self._aside_until:
            now = trio.current_time()
            return sorted(candidates, key=lambda candidate: self._aside_until.get(_key(candidate), 0.0) > now)
        return candidates

    async def _try(self, candidate: Candidate, prompt: Prompt, limit_s: float | None, attempts: Attempts) -> Reply:
        """One try, noted whatever becomes of it."""
        started_at = trio.current_time()
        outcome = "cancelled"
        try:
            reply = await self._exchange_within(limit_s, candidate, prompt)
            outcome = "won"
            return reply
        except AttemptFailed as exc:
            outcome = f"failed: {mask_secrets(exc.said, _known_secrets([candidate]))}"
            if isinstance(exc, UpstreamRefused) and exc.retry_after_s is not None:
                self._aside_until[_key(candidate)] = trio.current_time() + exc.retry_after_s
            raise
        finally:
            attempts.add(candidate, started_at, trio.current_time(), outcome)

    async def _exchange_within(self, limit_s: float | None, candidate: Candidate, prompt: Prompt) -> Reply:
        if limit_s is None:
            return await self._exchange(candidate, prompt)
        with trio.move_on_after(limit_s):
            return await self._exchange(candidate, prompt)
        raise AttemptTimedOut(f"no answer from {candidate.provider} within {limit_s:g} s")

    async def _exchange(self, candidate: Candidate, prompt: Prompt) -> Reply:
        adapter = self._adapters(candidate.provider)
        transport = self._transports[candidate.credential.transport]
        response = await transport.open_response(adapter.build_request(prompt, candidate))
        try:
            body = await read_whole(response)
        finally:
            await response.aclose()
        return await self._large_work.call(
            len(body), adapter.read_reply, response.status, response.headers, body, candidate, now_s=self._now_s()
        )


async def read_whole(response: UpstreamResponse) -> bytes:
    """The whole body. The transport limits its size; the caller's deadline its time."""
    body = await response.receive_some()
    if not body:
        return body
    rest = await response.receive_some()
    if not rest:
        return body
    chunks = [body, rest]
    while chunk := await response.receive_some():
        chunks.append(chunk)
    return b"".join(chunks)


def _key(candidate: Candidate) -> tuple[str, str]:
    return candidate.credential.name, candidate.model


def _known_secrets(candidates: Sequence[Candidate]) -> list[Secret]:
    return [candidate.credential.api_key for candidate in candidates if candidate.credential.api_key is not None]
