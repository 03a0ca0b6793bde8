"""One candidate's try over the network: a whole answer, or a stream opened up to its first token."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Protocol

import trio
from attrs import evolve, frozen

from pg_trio.config.settings import UpstreamSettings
from pg_trio.domain.chat import Prompt, Reply
from pg_trio.domain.events import Broken, Event, Finished, events_of
from pg_trio.domain.project import Candidate
from pg_trio.domain.upstream import Transport, UpstreamResponse, WireRequest
from pg_trio.errors import AttemptTimedOut, UpstreamBroken, UpstreamNonsense
from pg_trio.racing.attempt import Attempt
from pg_trio.racing.large_work import LargeWork
from pg_trio.stages.provider_call.stream import OpenStream, StreamReader

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
    # Of an answer that is read whole, whatever was asked for: the transport's own limit is a stream's where one was.
    max_body_bytes: int = UpstreamSettings().max_body_bytes

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
        self, attempt: Attempt[Candidate], prompt: Prompt, first_token_limit_s: float, ends_at: float
    ) -> OpenStream:
        """The candidate's stream, its first token come; `ends_at` is when all of it ends at the latest.

        Raises AttemptFailed, also where the token took too long.
        """
        candidate = attempt.candidate
        with trio.move_on_after(first_token_limit_s):
            return await self._open_stream(candidate, prompt, ends_at)
        raise AttemptTimedOut(f"no first token from {candidate.provider} within {first_token_limit_s:g} s")

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
            reader = adapter.open_stream(candidate)
            return OpenStream(candidate, response, reader, await read_to_first_token(response, reader))
        except BaseException:
            await response.aclose()
            raise

    async def _read_reply(self, adapter: Adapter, response: UpstreamResponse, candidate: Candidate) -> Reply:
        try:
            body = await read_whole(response, self.max_body_bytes)
        except (UpstreamBroken, UpstreamNonsense):
            if response.status < 400:
                raise
            # A failure is told by its status. Its body would only have said more.
            body = b""
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


async def read_to_first_token(response: UpstreamResponse, reader: StreamReader) -> list[Event]:
    """The events up to and with those that came with the first token, or a whole answer without one.

    Raises the attempt's failure where the stream breaks before that.
    """
    events: list[Event] = []
    while True:
        data = await response.receive_some()
        for event in reader.feed(data) if data else reader.close():
            if isinstance(event, Broken) and not any(seen.is_token for seen in events):
                raise event.failure
            events.append(event)
        if any(event.is_token or isinstance(event, Finished) for event in events):
            return events


async def read_whole(response: UpstreamResponse, limit_bytes: int = UpstreamSettings().max_body_bytes) -> bytes:
    """The whole body, of at most `limit_bytes`; the caller's deadline limits its time.

    Raises: UpstreamNonsense over the limit, and what `receive_some` raises.
    """
    body = await response.receive_some()
    rest = await response.receive_some() if body else b""
    if not rest and len(body) <= limit_bytes:
        return body
    chunks, size = [body], len(body)
    while rest:
        chunks.append(rest)
        size += len(rest)
        if size > limit_bytes:
            break
        rest = await response.receive_some()
    if size > limit_bytes:
        raise UpstreamNonsense(f"answer's body is over {limit_bytes} bytes")
    return b"".join(chunks)
