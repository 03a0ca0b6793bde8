"""A stream that is kept while it is made, event by event, so that clients may leave it and come back."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from attrs import frozen

from pg_trio.attachment import Outlives
from pg_trio.attachment.answer_store import AnswerStore, AnswerWriter
from pg_trio.attachment.owned_works import CROWDED_BYTES
from pg_trio.domain.call import Progress, RequestHead
from pg_trio.domain.chat import ChatRequest, Usage
from pg_trio.domain.events import Opened
from pg_trio.domain.kept_answer import AnswerEnd, AnswerHead, AnswerStart, KeepLimits, owner_of
from pg_trio.domain.project import Caller, Endpoint
from pg_trio.errors import GatewayError, StreamInterrupted
from pg_trio.surfaces import StreamWriter
from pg_trio.web.asgi_call import AsgiCall, AsgiStream, StreamMaker

# A minute after its deadline no stream runs, unless its worker is stopped (SIGSTOP). Then readers wait no longer.
SLACK_S = 60.0


def latest_end(head: RequestHead, endpoint: Endpoint) -> float:
    """When a stream must have ended (Unix seconds), however slow its worker is: see AnswerHead."""
    return head.at + endpoint.stream_deadline_ms / 1000 + SLACK_S


class StreamKeeping:
    """Keeps the stream of one call, if it becomes one: see asgi_call.StreamKeeper."""

    def __init__(self, answers: AnswerStore) -> None:
        self._answers = answers
        self._stream: KeptStream | None = None

    def make_stream(self, call: AsgiCall, request: ChatRequest, endpoint: Endpoint) -> StreamMaker:
        """What makes a stream that is kept."""
        terms = StreamTerms(self._answers, endpoint, lambda: call.surface.open_stream(call.head, request, endpoint))

        def make(of: AsgiCall, writer: StreamWriter, progress: Progress, session_id: UUID | None) -> AsgiStream:
            self._stream = KeptStream(of, writer, progress, session_id)
            self._stream.terms = terms
            return self._stream

        return make

    def close(self) -> None:
        """The work has ended. If its stream has no end, those who read what is kept are told so."""
        if self._stream is not None:
            self._stream.close()


@frozen(slots=True, eq=False)
class StreamTerms:
    """Where and how a stream is kept. `open_writer` gives another writer of the same stream."""

    answers: AnswerStore
    endpoint: Endpoint
    open_writer: Callable[[], StreamWriter]

    def render_cut(self, head: RequestHead, model: str) -> bytes:
        """The end for readers of a stream whose own end is missing."""
        return render_cut(self.open_writer(), head.request_id, model)


def render_cut(writer: StreamWriter, request_id: UUID, model: str) -> bytes:
    """The end for readers of a stream whose own end is missing, by a writer that has written nothing."""
    writer.render([Opened(f"chatcmpl-{request_id.hex}", model)])
    return writer.fail(StreamInterrupted())


class KeptStream(AsgiStream):
    """A stream that is kept, so that clients may leave it and come back; see docs/streams.md.

    Each event is one part of the kept answer, numbered from 1. Comments are no events: they are neither numbered nor
    kept.
    """

    terms: StreamTerms

    def __init__(self, call: AsgiCall, writer: StreamWriter, progress: Progress, session_id: UUID | None) -> None:
        super().__init__(call, writer, progress, session_id)
        self._kept: AnswerWriter | None = None
        self._how: AnswerEnd = "whole"
        self._number = 0
        head = call.head
        self._id = b"id: %b:" % str(head.request_id).encode("ascii") if call.surface.numbers_events(head) else b""

    async def send_keep_alive(self) -> None:
        """See StreamClient."""
        if not self._call.has_started:
            await self._begin()
        await super()._send(self._writer.keep_alive)

    async def finish_stopped(self, usage: Usage) -> None:
        """See StreamClient."""
        self._how = "stopped"
        await super().finish_stopped(usage)

    async def fail(self, error: GatewayError) -> None:
        """See StreamClient."""
        self._how = "failed"
        await super().fail(error)

    def close(self) -> None:
        """The work has ended. If its stream has no end, those who read what is kept are told so."""
        if self._kept is not None:
            self._kept.end("cut", self.terms.endpoint.resume_window_ms / 1000)

    async def _send(self, data: bytes, *, more: bool = True) -> None:
        if not self._call.has_started:
            await self._begin()
        events = data.split(b"\n\n")
        # Behind the blank line that ends the last event. Data of ours has no other blank lines.
        events.pop()
        number, of = self._number, self._id
        self._number += len(events)
        if of:
            events = [b"%b%d\n%b\n\n" % (of, at, event) for at, event in enumerate(events, number + 1)]
            data = b"".join(events)
        else:
            events = [event + b"\n\n" for event in events]
        if self._kept is not None:
            self._kept.add(events)
            if not more:
                # Before the client has its end: what it asks for next finds the answer ended.
                self._kept.end(self._how, self.terms.endpoint.resume_window_ms / 1000)
        await super()._send(data, more=more)

    async def _begin(self) -> None:
        """Claim the answer's place. If it cannot be kept, the stream is like any other."""
        call, terms = self._call, self.terms
        endpoint, caller, head = terms.endpoint, self._progress.caller, call.head
        assert caller is not None
        assert call.port is not None
        name = stream_name(caller, head.request_id)
        ends_by = latest_end(head, endpoint)
        of = AnswerHead(
            head.request_id, endpoint.uuid, endpoint.slug, call.surface.name, "sse", head.at, ends_by=ends_by
        )
        kept = await terms.answers.claim(name, of, KeepLimits(endpoint.resume_bytes))
        if not isinstance(kept, AnswerWriter):
            if kept is not None:
                kept.close()
            return
        self._kept = kept
        model = self._model or endpoint.candidates[0].model
        fields = tuple(self._list_fields(for_any_reader=True))
        kept.begin(AnswerStart(200, fields, terms.render_cut(head, model), self._writer.keep_alive))
        call.port.outlive(Outlives(endpoint.orphan_grace_ms / 1000, 0.0, CROWDED_BYTES, kept))


def stream_name(caller: Caller, request_id: UUID) -> bytes:
    """The name of a kept stream of this caller."""
    return owner_of(caller).name("stream", request_id.hex)
