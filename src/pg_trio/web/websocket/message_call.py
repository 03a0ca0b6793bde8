"""A `message` frame as a call of the pipeline, and the client's end of its streamed answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar
from uuid import UUID

from pg_trio.domain.call import Kept, Progress, RequestHead
from pg_trio.domain.chat import ChatRequest, FinishReason, Usage
from pg_trio.domain.events import Event, Opened
from pg_trio.domain.limits import LimitState
from pg_trio.domain.log_row import AttemptRow
from pg_trio.domain.project import Endpoint
from pg_trio.domain.stage_times import StageTimes
from pg_trio.errors import GatewayError
from pg_trio.surfaces import StreamSummary, Tries
from pg_trio.surfaces.websocket import MESSAGE_SURFACE, FrameWriter, MessageSurface
from pg_trio.web.websocket.chat_protocol import AskMessage
from pg_trio.web.websocket.outlet import Outlet

NO_USAGE = Usage(0, 0)


class MessageCall:
    """See domain.call.Call. `why_cut`: why the server ends the socket. `note_end` is called when the answer's last
    frame is sent."""

    surface: ClassVar[MessageSurface] = MESSAGE_SURFACE
    has_body: ClassVar[bool] = True
    # Its body's share of the bytes in flight, where it is large.
    kept: Kept | None = None

    def __init__(
        self,
        head: RequestHead,
        ask: AskMessage,
        outlet: Outlet,
        why_cut: Callable[[], GatewayError | None],
        note_end: Callable[[], None],
    ) -> None:
        self.head = head
        self.why_cut = why_cut
        self._ask = ask
        self._outlet = outlet
        self._note_end = note_end
        self._writer = FrameWriter(ask.id, head.request_id)
        # The number of the last frame that is sent.
        self._sent_seq = 0
        self._progress: Progress | None = None
        self._tries: Tries | None = None
        self.has_ended = False

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
        """A client stops its answer with a `cancel` frame."""

    def open_stream(
        self, request: ChatRequest, endpoint: Endpoint, progress: Progress, session_id: UUID | None
    ) -> SocketStream:
        """The client's end of the answer."""
        self._progress = progress
        self._writer.shows_reasoning = endpoint.stream_reasoning
        return SocketStream(self, self._writer, progress, session_id)

    async def send(self, rendered: bytes) -> None:
        """Send frames of the answer."""
        await self._outlet.send(rendered)
        self._sent_seq = self._writer.seq

    async def send_last(self, rendered: bytes) -> None:
        """Send the last frame."""
        await self.send(rendered)
        self.has_ended = True
        self._note_end()

    async def fail(self, error: GatewayError) -> None:
        """End an answer that failed."""
        await self.send_last(self._take_back().fail(error, self._tries))

    async def cancel(self) -> None:
        """End an answer that its client has cancelled."""
        settled = None if self._progress is None else self._progress.settled
        usage = None if settled is None else settled.usage
        await self.send_last(self._take_back().cancel(usage or NO_USAGE))

    def _take_back(self) -> FrameWriter:
        """The writer, without the frames that were written and not sent, because a cancellation came in between."""
        self._writer.seq = self._sent_seq
        return self._writer


class HandshakeCall(MessageCall):
    """The call of a handshake that was refused: for its row alone."""

    def __init__(self, head: RequestHead) -> None:
        self.head = head
        self._tries = None

    def why_cut(self) -> None:
        """The server did not."""


class SocketStream:
    """A client that reads a streamed answer over a WebSocket; see domain.call.StreamClient."""

    __slots__ = ("_call", "_has_started", "_model", "_progress", "_provider", "_session_id", "_writer")

    def __init__(self, call: MessageCall, writer: FrameWriter, progress: Progress, session_id: UUID | None) -> None:
        self._call = call
        self._writer = writer
        self._progress = progress
        self._session_id = session_id
        self._has_started = False
        # Whose tokens they are: None before the first.
        self._provider: str | None = None
        self._model = ""

    def name_source(self, provider: str, model: str) -> None:
        """Say whose tokens follow."""
        self._provider, self._model = provider, model

    async def send_events(self, events: Sequence[Event]) -> bool:
        """Pass events on, those that came together in one write."""
        rendered = self._writer.render(events)
        if not rendered:
            self._note_model(events)
            return False
        if not self._has_started:
            self._note_model(events)
            rendered = self._start() + rendered
        await self._call.send(rendered)
        return True

    def _note_model(self, events: Sequence[Event]) -> None:
        """Reasoning may come before a candidate is chosen: then the model is what the provider says."""
        if not self._model:
            self._model = next((event.model for event in events if isinstance(event, Opened)), "")

    def _start(self) -> bytes:
        self._has_started = True
        return self._writer.start(self._provider, self._model, self._session_id) + b"\n"

    async def send_keep_alive(self) -> None:
        """Nothing: the socket has its pings."""

    async def finish(self, finish_reason: FinishReason, usage: Usage) -> None:
        """End a complete answer."""
        progress = self._progress
        summary = StreamSummary(
            request_id=self._call.head.request_id,
            provider=self._provider,
            model=self._model,
            attempts=len(progress.attempts.tries),
            first_token_ms=progress.attempts.first_token_ms,
            times=progress.times_so_far(),
            session_id=self._session_id,
        )
        start = b"" if self._has_started else self._start()
        await self._call.send_last(start + self._writer.finish(finish_reason, usage, summary))

    async def finish_stopped(self, usage: Usage) -> None:
        """End an answer that a client has stopped."""
        start = b"" if self._has_started else self._start()
        await self._call.send_last(start + self._writer.cancel(usage))

    async def fail(self, error: GatewayError) -> None:
        """End one that broke."""
        await self._call.fail(error)
