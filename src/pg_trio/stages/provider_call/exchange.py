"""One candidate's try over the network: a whole answer, or a stream opened up to its first token."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Protocol

import trio
from attrs import evolve, field, frozen

from pg_trio.domain.chat import Prompt, Reply
from pg_trio.domain.events import Broken, Event, Finished, events_of
from pg_trio.domain.project import Candidate
from pg_trio.domain.upstream import Transport, UpstreamResponse, WireRequest
from pg_trio.errors import AttemptTimedOut, UpstreamNonsense, UpstreamRefused
from pg_trio.racing.attempt import Attempt
from pg_trio.racing.large_work import LargeWork
from pg_trio.stages.provider_call.stream import OpenStream, StreamReader

# What we take ourselves (stages/deadline.py): so a pg_trio behind this one knows its deadline.
DEADLINE_HEADER = "X-PG-Timeout-Ms"

# As many candidates as a configuration has at most (providers/openai.py keeps as many routes).
REFUSALS_KEPT = 4096
# 16 MiB: the default of `upstream.max_body_bytes`.
MAX_BODY_BYTES = 16 * 1024 * 1024
# 64 KiB: a body of nothing but white space is no stream.
MAX_START_BYTES = 64 * 1024


class Adapter(Protocol):
    """Speaks one provider's wire: a prompt to bytes, and bytes to a reply or to events. No I/O."""

    def build_request(
        self, prompt: Prompt, candidate: Candidate, *, stream: bool = False, asks_usage: bool = True
    ) -> WireRequest: ...

    def refuses_usage(self, status: int, body: bytes, candidate: Candidate) -> bool:
        """Whether a failure may be because a stream was asked for its usage."""

    def is_stream(self, status: int, headers: Mapping[str, str], start: bytes) -> bool | None:
        """Whether a body that begins so is a stream's; None where more of it must be seen."""

    def open_stream(self, candidate: Candidate) -> StreamReader: ...

    def read_reply(
        self, status: int, headers: Mapping[str, str], body: bytes, candidate: Candidate, *, now_s: float
    ) -> Reply:
        """Raises AttemptFailed. `now_s` is Unix seconds, for a `Retry-After` that is a date."""


class UsageRefusals:
    """The candidates whose servers refuse to be asked for a stream's usage (`stream_options`); this worker's own."""

    __slots__ = ("_candidates",)

    def __init__(self) -> None:
        # In the order in which they were learnt.
        self._candidates: dict[Candidate, None] = {}

    def __contains__(self, candidate: Candidate) -> bool:
        return candidate in self._candidates

    def note(self, candidate: Candidate) -> None:
        """Remember one; the oldest is forgotten, and learnt again, where there are too many."""
        self._candidates[candidate] = None
        if len(self._candidates) > REFUSALS_KEPT:
            del self._candidates[next(iter(self._candidates))]

    def forget(self, candidate: Candidate) -> None:
        """It was for another reason."""
        self._candidates.pop(candidate, None)


@frozen
class Exchange:
    """Makes tries. `adapters` finds a provider's adapter; `now_s` is Unix seconds."""

    adapters: Callable[[str], Adapter]
    transports: Mapping[str, Transport]
    now_s: Callable[[], float]
    large_work: LargeWork
    # Of an answer that is whole where a stream was asked for: the transport's limit is that of the stream.
    max_body_bytes: int = MAX_BODY_BYTES
    usage_refusals: UsageRefusals = field(factory=UsageRefusals)

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
            return await self._read_body(adapter, response, await read_whole(response), candidate)
        finally:
            await response.aclose()

    async def open_stream(
        self, attempt: Attempt[Candidate], prompt: Prompt, first_token_limit_s: float, ends_at: float
    ) -> OpenStream:
        """The candidate's stream, its first token come; `ends_at` is when all of it ends at the latest.

        Raises AttemptFailed, also where the token took too long; a model that shows its reasoning is waited for.
        """
        candidate = attempt.candidate
        with trio.move_on_after(first_token_limit_s) as patience:

            def note_life() -> None:
                patience.deadline = trio.current_time() + first_token_limit_s

            return await self._open_stream(candidate, prompt, ends_at, note_life)
        raise AttemptTimedOut(f"no first token from {candidate.provider} within {first_token_limit_s:g} s")

    async def _open_stream(
        self, candidate: Candidate, prompt: Prompt, ends_at: float, note_life: Callable[[], None]
    ) -> OpenStream:
        asks_usage = candidate not in self.usage_refusals
        response = await self._send_for_stream(candidate, prompt, ends_at, asks_usage=asks_usage)
        try:
            adapter = self.adapters(candidate.provider)
            is_stream, start = await read_start(response, adapter)
            if is_stream:
                reader = adapter.open_stream(candidate)
                events = await read_to_first_token(response, reader, start, note_life)
                return OpenStream(candidate, response, reader, events)
            # A failure, or a provider that answers whole all the same.
            body = await read_whole(response, start, self.max_body_bytes)
            if asks_usage and adapter.refuses_usage(response.status, body, candidate):
                await response.aclose()
                return await self._open_without_usage(candidate, prompt, ends_at, note_life)
            events = events_of(await self._read_body(adapter, response, body, candidate))
            await response.aclose()
            return OpenStream(candidate, None, None, events)
        except BaseException:
            await response.aclose()
            raise

    async def _open_without_usage(
        self, candidate: Candidate, prompt: Prompt, ends_at: float, note_life: Callable[[], None]
    ) -> OpenStream:
        """The same for a server that refuses to be asked for a stream's usage; it is not asked again."""
        self.usage_refusals.note(candidate)
        try:
            return await self._open_stream(candidate, prompt, ends_at, note_life)
        except UpstreamRefused as refused:
            if refused.upstream_status in (400, 422):
                # That was not why.
                self.usage_refusals.forget(candidate)
            raise

    async def _send_for_stream(
        self, candidate: Candidate, prompt: Prompt, ends_at: float, *, asks_usage: bool
    ) -> UpstreamResponse:
        adapter = self.adapters(candidate.provider)
        request = adapter.build_request(prompt, candidate, stream=True, asks_usage=asks_usage)
        if candidate.credential.send_deadline:
            # The try's own limit ends with the first token; the other side is to know how long the stream may be.
            request = tell_deadline(request, ends_at)
        return await self.transports[candidate.credential.carrier].open_response(request)

    async def _read_body(
        self, adapter: Adapter, response: UpstreamResponse, body: bytes, candidate: Candidate
    ) -> Reply:
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


async def read_start(response: UpstreamResponse, adapter: Adapter) -> tuple[bool, bytes]:
    """Whether the body is a stream's, and what was read of it to tell: its type alone says too little."""
    start = b""
    while (is_stream := adapter.is_stream(response.status, response.headers, start)) is None:
        data = await response.receive_some()
        start += data
        if not data or len(start) > MAX_START_BYTES:
            return False, start
    return is_stream, start


async def read_to_first_token(
    response: UpstreamResponse, reader: StreamReader, start: bytes = b"", note_life: Callable[[], None] = lambda: None
) -> list[Event]:
    """The events up to and with those that came with the first token, or a whole answer without one. `start` is what
    was read of the body already; `note_life` is called where the model shows that it works.

    Raises the attempt's failure where the stream breaks before that.
    """
    events: list[Event] = []
    data = start or await response.receive_some()
    while True:
        for event in reader.feed(data) if data else reader.close():
            if isinstance(event, Broken) and not any(seen.is_token for seen in events):
                raise event.failure
            if event.shows_life:
                note_life()
            events.append(event)
        if any(event.is_token or isinstance(event, Finished) for event in events):
            return events
        data = await response.receive_some()


async def read_whole(response: UpstreamResponse, start: bytes = b"", limit_bytes: int | None = None) -> bytes:
    """The whole body, of which `start` was read. The transport limits its size, and `limit_bytes` where that is less;
    the caller's deadline limits its time. Raises UpstreamNonsense over the limit."""
    body = start or await response.receive_some()
    if not body:
        return body
    rest = await response.receive_some()
    if not rest:
        return body
    chunks, size = [body, rest], len(body) + len(rest)
    while chunk := await response.receive_some():
        chunks.append(chunk)
        size += len(chunk)
        if limit_bytes is not None and size > limit_bytes:
            raise UpstreamNonsense(f"answer's body is over {limit_bytes} bytes")
    return b"".join(chunks)
