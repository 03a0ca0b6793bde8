"""A `message` frame as a call of the pipeline, and the client's end of its streamed answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol
from uuid import UUID

from pg_trio.attachment import WorkPort
from pg_trio.domain.call import Kept, Progress, RequestHead
from pg_trio.domain.chat import ChatRequest, FinishReason, Usage
from pg_trio.domain.events import Event
from pg_trio.domain.limits import LimitState
from pg_trio.domain.log_row import AttemptRow
from pg_trio.domain.project import Endpoint
from pg_trio.domain.stage_times import StageTimes
from pg_trio.errors import GatewayError
from pg_trio.surfaces import Tries
from pg_trio.surfaces.websocket import MESSAGE_SURFACE, FrameWriter, MessageSurface
from pg_trio.web.named_stream import NamedStream
from pg_trio.web.websocket.chat_protocol import AskMessage

NO_USAGE = Usage(0, 0)


class FrameSink(Protocol):
    """Where an answer's frames go. `rendered` are one or more, joined by line ends."""

    async def begin(self, started: bytes, endpoint: Endpoint, progress: Progress) -> None:
        """The answer begins: the `started` frame, and whose it is."""

    async def send(self, rendered: bytes, seq: int, *, is_last: bool) -> None:
        """Send frames, the last of which has that number. If cancelled, all of them are sent, or none."""


class MessageCall:
    """See domain.call.Call. `why_cut`: why the server ends the socket."""

    surface: ClassVar[MessageSurface] = MESSAGE_SURFACE
    has_body: ClassVar[bool] = True
    has_waited: ClassVar[bool] = False

    # ── attributes of the class until they are set ───────────────────────────────────────────────────────────────────

    # The last frame is sent.
    has_ended = False
    # How the answer failed.
    failure: GatewayError | None = None
    # Ends the answer where it is; None before its stream begins. False if its end is being written.
    stop: Callable[[], bool] | None = None
    # The number of the last frame that is sent.
    _sent_seq = 0
    _progress: Progress | None = None
    _tries: Tries | None = None
    _port: WorkPort[Any] | None = None

    def __init__(
        self, head: RequestHead, ask: AskMessage, sink: FrameSink, why_cut: Callable[[], GatewayError | None]
    ) -> None:
        self.head = head
        self.why_cut = why_cut
        self._ask = ask
        self._sink = sink
        self.writer = FrameWriter(ask.id, head.request_id)

    @property
    def declared_bytes(self) -> int:
        """The frame's size."""
        return len(self._ask.body)

    def hold(self, kept: Kept) -> None:
        """See domain.call.Call: no call that has its body keeps bytes."""
        raise AssertionError

    async def receive_body(self, limit_bytes: int) -> bytes:
        """The frame. Raises the message's refusal, now that its caller and its endpoint are in the record."""
        if self._ask.refusal is not None:
            raise self._ask.refusal
        return self._ask.body

    def show_limits(self, states: Sequence[LimitState]) -> None:
        """Frames show no limits but those that are exceeded."""

    def show_tries(self, attempts: Sequence[AttemptRow], times: StageTimes) -> None:
        """Show these tries in a failure that is answered later."""
        self._tries = Tries(attempts, times)

    def stop_with(self, stop: Callable[[], bool]) -> None:
        """See domain.call.Call."""
        self.stop = stop
        if self._port is not None:
            self._port.stop_with(stop)

    def stop_on(self, port: WorkPort[Any]) -> None:
        """The gateway owns the work, and is asked to stop it."""
        self._port = port

    def open_stream(
        self, request: ChatRequest, endpoint: Endpoint, progress: Progress, session_id: UUID | None
    ) -> SocketStream:
        """The client's end of the answer."""
        self._progress = progress
        self.writer.shows_reasoning = endpoint.stream_reasoning
        return SocketStream(self, self.writer, progress, session_id, endpoint)

    async def begin(self, started: bytes, endpoint: Endpoint) -> None:
        """The answer begins."""
        assert self._progress is not None
        await self._sink.begin(started, endpoint, self._progress)

    async def send(self, rendered: bytes, *, is_last: bool = False) -> None:
        """Send frames of the answer."""
        await self._sink.send(rendered, self.writer.seq, is_last=is_last)
        self._sent_seq = self.writer.seq
        self.has_ended = is_last

    async def fail(self, error: GatewayError) -> None:
        """End an answer that failed."""
        self.failure = error
        await self.send(self._take_back().fail(error, self._tries), is_last=True)

    async def cancel(self) -> None:
        """End an answer that was cancelled before its stream could be stopped."""
        settled = None if self._progress is None else self._progress.settled
        usage = None if settled is None else settled.usage
        await self.send(self._take_back().cancel(usage or NO_USAGE), is_last=True)

    def _take_back(self) -> FrameWriter:
        """The writer, without the frames that were written and not sent, because a cancellation came in between."""
        self.writer.seq = self._sent_seq
        return self.writer


class HandshakeCall(MessageCall):
    """The call of a handshake that was refused: for its row alone."""

    def __init__(self, head: RequestHead) -> None:
        self.head = head
        self.why_cut = lambda: None


class SocketStream(NamedStream):
    """A client that reads a streamed answer over a WebSocket; see domain.call.StreamClient."""

    __slots__ = ("_call", "_endpoint", "_has_started", "_writer")

    def __init__(
        self, call: MessageCall, writer: FrameWriter, progress: Progress, session_id: UUID | None, endpoint: Endpoint
    ) -> None:
        super().__init__(call.head.request_id, progress, session_id)
        self._call = call
        self._writer = writer
        self._endpoint = endpoint
        self._has_started = False

    def name_speaker(self, provider: str, model: str) -> None:
        """Say whose reasoning follows: the `started` frame names it."""
        if not self._has_started:
            self._provider, self._model = provider, model

    async def send_events(self, events: Sequence[Event]) -> bool:
        """Pass events on, those that came together in one write."""
        rendered = self._writer.render(events)
        if not rendered:
            return False
        if not self._has_started:
            await self._start()
        await self._call.send(rendered)
        return True

    async def _start(self) -> None:
        self._has_started = True
        await self._call.begin(self._writer.start(self._provider, self._model, self._session_id), self._endpoint)

    async def send_keep_alive(self) -> None:
        """Nothing: the socket has its pings."""

    async def finish(self, finish_reason: FinishReason, usage: Usage) -> None:
        """End a complete answer."""
        if not self._has_started:
            await self._start()
        await self._call.send(self._writer.finish(finish_reason, usage, self.summarize()), is_last=True)

    async def finish_stopped(self, usage: Usage) -> None:
        """End one that a client has stopped."""
        await self._call.send(self._writer.cancel(usage), is_last=True)

    async def fail(self, error: GatewayError) -> None:
        """End one that broke."""
        await self._call.fail(error)
