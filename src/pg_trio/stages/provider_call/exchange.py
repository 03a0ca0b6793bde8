"""One candidate's try over the network: a whole answer, or a stream opened up to its first token."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import trio
from attrs import evolve, field, frozen

from pg_trio.config.settings import GatewaySettings, UpstreamSettings
from pg_trio.domain.chat import Prompt, Reply
from pg_trio.domain.events import events_of
from pg_trio.domain.json_size import MAX_NODES, has_too_many_nodes
from pg_trio.domain.project import Candidate
from pg_trio.domain.upstream import Transport, UpstreamResponse, WireRequest
from pg_trio.errors import AttemptFailed, AttemptTimedOut, Overloaded, UpstreamBroken, UpstreamNonsense
from pg_trio.racing.attempt import Attempt
from pg_trio.racing.byte_room import ByteRoom, Kept
from pg_trio.racing.large_work import LARGE_BYTES, LargeWork, work_owner
from pg_trio.stages.provider_call.stream import Opening, OpenStream, StreamReader

# What we take ourselves (stages/deadline.py): so a pg_trio behind this one knows its deadline.
DEADLINE_HEADER = "X-PG-Timeout-Ms"
# Whoever is turned away for want of room asks again after this long: as at admission.
RETRY_AFTER_S = 1


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
    # For answers of more than LARGE_BYTES, until they are read.
    answer_room: ByteRoom = field(factory=lambda: ByteRoom(GatewaySettings().max_inflight_body_bytes))

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
        try:
            body = await response.receive_some()
            rest = await response.receive_some() if body else b""
        except (UpstreamBroken, UpstreamNonsense):
            if response.status < 400:
                raise
            # A failure is told by its status. Its body would only have said more.
            body = rest = b""
        if rest or len(body) > LARGE_BYTES:
            return await self._read_large_reply(adapter, response, [body, rest], candidate)
        return adapter.read_reply(response.status, response.headers, body, candidate, now_s=self.now_s())

    async def _read_large_reply(
        self, adapter: Adapter, response: UpstreamResponse, begun: list[bytes], candidate: Candidate
    ) -> Reply:
        """The reply of a body that did not come in one small piece; `begun` is what has come of it."""
        with self.answer_room.keep_nothing(work_owner.get()) as kept:
            try:
                body = await read_whole(response, self.max_body_bytes, begun, kept)
            except (UpstreamBroken, UpstreamNonsense):
                if response.status < 400:
                    raise
                body = b""
            try:
                return await self.large_work.call(
                    len(body), _read_bounded, adapter, response, body, candidate, now_s=self.now_s()
                )
            except AttemptFailed as failure:
                # Its frames hold the body, and the race holds it for as long as the request lasts.
                raise failure.with_traceback(None) from None
            finally:
                del body


def _read_bounded(
    adapter: Adapter, response: UpstreamResponse, body: bytes, candidate: Candidate, *, now_s: float
) -> Reply:
    if has_too_many_nodes(body):
        raise UpstreamNonsense(f"answer has more than {MAX_NODES} objects, lists and keys")
    return adapter.read_reply(response.status, response.headers, body, candidate, now_s=now_s)


def tell_deadline(request: WireRequest, ends_at: float) -> WireRequest:
    """The request, saying how many milliseconds are left; unchanged where there is no end."""
    left_s = ends_at - trio.current_time()
    if math.isinf(left_s):
        return request
    left_ms = max(1, math.floor(left_s * 1000))
    return evolve(request, headers=[*request.headers, (DEADLINE_HEADER, str(left_ms))])


async def read_whole(
    response: UpstreamResponse,
    limit_bytes: int = UpstreamSettings().max_body_bytes,
    begun: Sequence[bytes] = (),
    kept: Kept | None = None,
) -> bytes:
    """The whole body, of at most `limit_bytes`, after what has come already; `kept` counts what is large.

    The caller's deadline limits its time. Raises: UpstreamNonsense over the limit; Overloaded where there is no room;
    what `receive_some` raises.
    """
    chunks, size = list(begun), sum(len(chunk) for chunk in begun)
    while chunk := await response.receive_some():
        chunks.append(chunk)
        size += len(chunk)
        if size > limit_bytes:
            # The error holds this frame, and the race the error.
            chunks.clear()
            raise UpstreamNonsense(f"answer's body is over {limit_bytes} bytes")
        if kept is not None and size > LARGE_BYTES and not kept.grow_nowait(size - kept.size_bytes):
            raise Overloaded(RETRY_AFTER_S)
    return b"".join(chunks)
