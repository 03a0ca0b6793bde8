"""One candidate's try over the network: a whole answer, or a stream opened up to its first token."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

import trio
from attrs import evolve, field, frozen

from pg_trio.config.settings import GatewaySettings, UpstreamSettings
from pg_trio.domain.adapter import Adapter
from pg_trio.domain.chat import Prompt, Reply
from pg_trio.domain.events import events_of
from pg_trio.domain.json_size import MAX_NODES, has_too_many_nodes
from pg_trio.domain.project import Candidate
from pg_trio.domain.trace_context import AttemptTrace
from pg_trio.domain.upstream import Transport, UpstreamResponse, WireRequest
from pg_trio.domain.value import value
from pg_trio.errors import (
    AttemptFailed,
    AttemptTimedOut,
    Overloaded,
    UpstreamBroken,
    UpstreamNonsense,
    UpstreamRefused,
)
from pg_trio.racing.attempt import Attempt
from pg_trio.racing.byte_room import ByteRoom, KeptBytes
from pg_trio.racing.large_work import LARGE_BYTES, LargeWork, work_owner
from pg_trio.stages.provider_call.stream import Opening, OpenStream

# The header that the gateway itself reads (request_deadline.py), so a pg_trio behind this one knows its deadline.
DEADLINE_HEADER = "X-PG-Timeout-Ms"
# `Retry-After` of a refusal for lack of room, as at admission.
RETRY_AFTER_S = 1
# As many candidates as a configuration has at most (providers/openai.py keeps as many routes).
REFUSALS_KEPT = 4096
# 64 KiB: a body of nothing but white space is no stream, and a refusal's words are shorter.
MAX_START_BYTES = 64 * 1024
# What a server answers to a field that it does not know.
UNKNOWN_FIELD_STATUSES = frozenset({400, 422})


T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class ReplyReader(Protocol[T_co]):
    """Reads a whole answer: an adapter, for an answer of a chat."""

    def read_reply(
        self, status: int, headers: Mapping[str, str], body: bytes, candidate: Candidate, *, now_s: float
    ) -> T_co:
        """See Adapter."""


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


@value(slots=True)
class StreamCall:
    """A stream that is asked for: its candidate, its latest end, and further lines of the head."""

    candidate: Candidate
    prompt: Prompt
    ends_at: float
    lines: bytes


@frozen
class Exchange:
    """Makes tries. `adapters` finds a provider's adapter; `now_s` is Unix seconds."""

    adapters: Callable[[str], Adapter]
    transports: Mapping[str, Transport]
    now_s: Callable[[], float]
    large_work: LargeWork
    # The limit of an answer that is read whole, even if a stream was requested; then the transport's own limit is a
    # stream's.
    max_body_bytes: int = UpstreamSettings().max_body_bytes
    # For answers of more than LARGE_BYTES, until they are read.
    answer_room: ByteRoom = field(factory=lambda: ByteRoom(GatewaySettings().max_inflight_body_bytes))
    usage_refusals: UsageRefusals = field(factory=UsageRefusals)
    # By the candidate's identity; the candidate is held, or another one could come to have it.
    _ways: dict[int, tuple[Adapter, Transport, Candidate]] = field(factory=dict, init=False)

    async def fetch_reply(
        self, attempt: Attempt[Candidate], prompt: Prompt, trace: AttemptTrace | None = None
    ) -> Reply:
        """The candidate's whole answer. `trace` is the request's. Raises AttemptFailed."""
        candidate = attempt.candidate
        adapter, transport, _ = self._ways.get(id(candidate)) or self._find_way(candidate)
        request = adapter.build_request(prompt, candidate)
        if candidate.credential.send_deadline:
            request = tell_deadline(request, attempt.ends_at)
        if trace is not None:
            request = add_lines(request, trace.tell_call(candidate, attempt.started_at))
        response = await transport.open_response(request)
        body = response.receive_nowait()
        if body is not None and len(body) <= LARGE_BYTES:
            return adapter.read_reply(response.status, response.headers, body, candidate, now_s=self.now_s())
        try:
            return await self.read_reply(adapter, response, candidate, body or b"")
        finally:
            await response.aclose()

    def _find_way(self, candidate: Candidate) -> tuple[Adapter, Transport, Candidate]:
        """How a candidate is spoken to and reached."""
        if len(self._ways) >= REFUSALS_KEPT:
            self._ways.clear()
        transport = self.transports[candidate.credential.carrier]
        way = self._ways[id(candidate)] = (self.adapters(candidate.provider), transport, candidate)
        return way

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
                lines = b"" if opening.tell_call is None else opening.tell_call(candidate, attempt.started_at)
                stream = await self._open_stream(StreamCall(candidate, prompt, ends_at, lines))
                await stream.wait_first_token(opening, limit)
                return stream
        finally:
            opening.end()
        raise AttemptTimedOut(f"no first token from {candidate.provider} within {limit_s:g} s")

    async def _open_stream(self, call: StreamCall) -> OpenStream:
        candidate = call.candidate
        asks_usage = candidate not in self.usage_refusals
        response = await self._send_for_stream(call, asks_usage=asks_usage)
        try:
            adapter = self.adapters(candidate.provider)
            is_stream, start = await read_start(response, adapter)
            if is_stream:
                response.forget_headers()
                return OpenStream(candidate, response, adapter.open_stream(candidate), [], start)
            if asks_usage and response.status in UNKNOWN_FIELD_STATUSES:
                start = await read_refused(response, start)
                if adapter.refuses_usage(response.status, start, candidate):
                    await response.aclose()
                    return await self._open_without_usage(call)
            # A failure, or a provider that answers whole all the same.
            events = events_of(await self._read_reply_to_stream(adapter, response, candidate, start))
            await response.aclose()
            return OpenStream(candidate, None, None, events)
        except BaseException:
            await response.aclose()
            raise

    async def _open_without_usage(self, call: StreamCall) -> OpenStream:
        """The same for a server that refuses to be asked for a stream's usage; it is not asked again."""
        self.usage_refusals.note(call.candidate)
        try:
            return await self._open_stream(call)
        except UpstreamRefused as refused:
            if refused.upstream_status in UNKNOWN_FIELD_STATUSES:
                # That was not why.
                self.usage_refusals.forget(call.candidate)
            raise

    async def _send_for_stream(self, call: StreamCall, *, asks_usage: bool) -> UpstreamResponse:
        candidate = call.candidate
        adapter = self.adapters(candidate.provider)
        request = adapter.build_request(call.prompt, candidate, stream=True, asks_usage=asks_usage)
        if candidate.credential.send_deadline:
            # The try's own limit ends with the first token; the other side is to know how long the stream may be.
            request = tell_deadline(request, call.ends_at)
        if call.lines:
            request = add_lines(request, call.lines)
        return await self.transports[candidate.credential.carrier].open_response(request)

    async def read_reply(
        self, reader: ReplyReader[T], response: UpstreamResponse, candidate: Candidate, start: bytes = b""
    ) -> T:
        """The reply of a whole body, of which `start` was read. Raises AttemptFailed."""
        try:
            body = start or await response.receive_some()
            rest = await response.receive_some() if body else b""
        except (UpstreamBroken, UpstreamNonsense):
            if response.status < 400:
                raise
            # A failure is told by its status. Its body would only have said more.
            body = rest = b""
        if rest or len(body) > LARGE_BYTES:
            return await self._read_large_reply(reader, response, [body, rest], candidate)
        return reader.read_reply(response.status, response.headers, body, candidate, now_s=self.now_s())

    async def _read_reply_to_stream(
        self, reader: ReplyReader[T], response: UpstreamResponse, candidate: Candidate, start: bytes
    ) -> T:
        """The same where a stream was asked for: its transport's limit is a stream's, not a whole answer's."""
        if response.status >= 400:
            return await self.read_reply(reader, response, candidate, start)
        return await self._read_large_reply(reader, response, [start], candidate)

    async def _read_large_reply(
        self, reader: ReplyReader[T], response: UpstreamResponse, begun: list[bytes], candidate: Candidate
    ) -> T:
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
                    len(body), _read_bounded, reader, response, body, candidate, now_s=self.now_s()
                )
            except AttemptFailed as failure:
                # Its frames hold the body, and the race holds it for as long as the request lasts.
                raise failure.with_traceback(None) from None
            finally:
                del body


def _read_bounded(
    reader: ReplyReader[T], response: UpstreamResponse, body: bytes, candidate: Candidate, *, now_s: float
) -> T:
    if has_too_many_nodes(body):
        raise UpstreamNonsense(f"answer has more than {MAX_NODES} objects, lists and keys")
    return reader.read_reply(response.status, response.headers, body, candidate, now_s=now_s)


def add_lines(request: WireRequest, lines: bytes) -> WireRequest:
    """The request with further lines of its head."""
    # Not `evolve`, which takes five times as long: see domain/value.py.
    return WireRequest(
        request.url,
        request.headers,
        request.body,
        request.method,
        request.allow_private_addresses,
        request.is_stream,
        lines,
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


async def read_refused(response: UpstreamResponse, start: bytes) -> bytes:
    """The body of a refusal, of which `start` was read, up to MAX_START_BYTES or to where it breaks."""
    try:
        while len(start) <= MAX_START_BYTES and (data := await response.receive_some()):
            start += data
    except (UpstreamBroken, UpstreamNonsense):
        # The refusal is told by its status.
        return start
    return start


async def read_whole(
    response: UpstreamResponse,
    limit_bytes: int = UpstreamSettings().max_body_bytes,
    begun: Sequence[bytes] = (),
    kept: KeptBytes | None = None,
) -> bytes:
    """The whole body, of at most `limit_bytes`, after what has come already; `kept` counts what is large.

    The caller's deadline limits its time. Raises: UpstreamNonsense over the limit; Overloaded where there is no room;
    what `receive_some` raises.
    """
    chunks, size = list(begun), sum(len(chunk) for chunk in begun)
    while True:
        if size > limit_bytes:
            # The error holds this frame, and the race the error.
            chunks.clear()
            raise UpstreamNonsense(f"answer's body is over {limit_bytes} bytes")
        if kept is not None and size > LARGE_BYTES and not kept.grow_nowait(size - kept.size_bytes):
            raise Overloaded(RETRY_AFTER_S)
        if not (chunk := await response.receive_some()):
            return b"".join(chunks)
        chunks.append(chunk)
        size += len(chunk)
