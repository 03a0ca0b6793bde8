"""One candidate's try over the network: a whole answer, or a stream opened up to its first token."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Protocol

import trio
from attrs import evolve, frozen

from pg_trio.domain.chat import Prompt, Reply
from pg_trio.domain.events import events_of
from pg_trio.domain.project import Candidate
from pg_trio.domain.upstream import Transport, UpstreamResponse, WireRequest
from pg_trio.errors import AttemptTimedOut
from pg_trio.racing.attempt import Attempt
from pg_trio.racing.large_work import LargeWork
from pg_trio.stages.provider_call.stream import Opening, OpenStream, StreamReader

# What we take ourselves (stages/deadline.py): so a pg_trio behind this one knows its deadline.
DEADLINE_HEADER = "X-PG-Timeout-Ms"


class Adapter(Protocol):
    """Speaks one provider's wire: a prompt to bytes, and bytes to a reply or to events. No I/O."""

    def build_request(self, prompt: Prompt, candidate: Candidate, *, stream: bool = False) -> WireRequest: ...

    def is_stream(self, status: int, headers: Mapping[str, str], candidate: Candidate) -> bool: ...

    def open_stream(self, candidate: Candidate) -> StreamReader: ...

    def read_reply(
        self, status: int, headers: Mapping[str, str], body: bytes, candidate: Candidate, *, now_s: float
    ) -> Reply:
        """Raises AttemptFailed. `now_s` is Unix seconds, for a `Retry-After` that is a date."""


@frozen
class Exchange:
    """Makes tries. `adapters` finds a provider's adapter; `now_s` is Unix seconds."""

    adapters: Callable[[str], Adapter]
    transports: Mapping[str, Transport]
    now_s: Callable[[], float]
    large_work: LargeWork

    async def fetch_reply(self, attempt: Attempt[Candidate], prompt: Prompt) -> Reply:
        """The candidate's whole answer. Raises AttemptFailed."""
        candidate = attempt.candidate
        adapter = self.adapters(candidate.provider)
        transport = self.transports[candidate.credential.carrier]
        request = adapter.build_request(prompt, candidate)
        if candidate.credential.send_deadline:
            request = tell_deadline(request, attempt.ends_at)
        response = await transport.open_response(request)
        try:
            return await self._read_reply(adapter, response, candidate)
        finally:
            await response.aclose()

    async def open_stream(
        self, attempt: Attempt[Candidate], prompt: Prompt, opening: Opening, ends_at: float
    ) -> OpenStream:
        """The candidate's stream, its first token come; `ends_at` is when all of it ends at the latest.

        Raises AttemptFailed, also where the token took too long.
        """
        candidate, limit_s = attempt.candidate, opening.first_token_limit_s
        opening.begin(is_hedge=attempt.is_hedge)
        try:
            with trio.move_on_after(limit_s) as limit:
                stream = await self._open_stream(candidate, prompt, ends_at)
                await stream.wait_first_token(opening, limit)
                return stream
        finally:
            opening.end()
        raise AttemptTimedOut(f"no first token from {candidate.provider} within {limit_s:g} s")

    async def _open_stream(self, candidate: Candidate, prompt: Prompt, ends_at: float) -> OpenStream:
        adapter = self.adapters(candidate.provider)
        transport = self.transports[candidate.credential.carrier]
        request = adapter.build_request(prompt, candidate, stream=True)
        if candidate.credential.send_deadline:
            # The try's own limit ends with the first token; the other side is to know how long the stream may be.
            request = tell_deadline(request, ends_at)
        response = await transport.open_response(request)
        try:
            if not adapter.is_stream(response.status, response.headers, candidate):
                # A failure, or a provider that answers whole all the same.
                events = events_of(await self._read_reply(adapter, response, candidate))
                await response.aclose()
                return OpenStream(candidate, None, None, events)
            return OpenStream(candidate, response, adapter.open_stream(candidate), [])
        except BaseException:
            await response.aclose()
            raise

    async def _read_reply(self, adapter: Adapter, response: UpstreamResponse, candidate: Candidate) -> Reply:
        body = await read_whole(response)
        return await self.large_work.call(
            len(body), adapter.read_reply, response.status, response.headers, body, candidate, now_s=self.now_s()
        )


def tell_deadline(request: WireRequest, ends_at: float) -> WireRequest:
    """The request, saying how many milliseconds are left; unchanged where there is no end."""
    left_s = ends_at - trio.current_time()
    if math.isinf(left_s):
        return request
    left_ms = max(1, math.floor(left_s * 1000))
    return evolve(request, headers=[*request.headers, (DEADLINE_HEADER, str(left_ms))])


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
