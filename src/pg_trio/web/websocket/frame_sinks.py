"""Where an answer's frames go: to the socket alone, or also to the store of kept answers, for clients that come back.

Rules:
1. A kept part is a frame that has a number, without its `id`: the client that resumes gives another one. So the parts'
   numbers are the frames' own. The `started` frame is kept with the answer's beginning.
2. `id` is the second field of every frame of an answer.
"""

from __future__ import annotations

from collections.abc import Callable

import orjson

from pg_trio.attachment import Outlives
from pg_trio.attachment.answer_store import AnswerStore, AnswerWriter
from pg_trio.attachment.owned_works import BEHIND_BYTES, OwnedWork
from pg_trio.domain.call import Progress, RequestHead
from pg_trio.domain.kept_answer import AnswerEnd, AnswerHead, AnswerStart, KeepLimits
from pg_trio.domain.project import Endpoint
from pg_trio.web.asgi_types import AsgiEvent
from pg_trio.web.kept_stream import latest_end, stream_name
from pg_trio.web.websocket.outlet import Outlet

# The form of a kept answer: it is resumed here alone.
FORM = "websocket"
STARTED = b"started"
# How an answer ended, by the type of its last frame.
_ENDS: tuple[tuple[bytes, AnswerEnd], ...] = (
    (b'{"type":"done"', "whole"),
    (b'{"type":"cancelled"', "stopped"),
    (b'{"type":"error"', "failed"),
)


class SocketSink:
    """Sends an answer's frames to the socket. `note_end` is called in the moment in which the last one is queued."""

    __slots__ = ("_note_end", "_outlet", "_started")

    def __init__(self, outlet: Outlet, note_end: Callable[[], None]) -> None:
        self._outlet = outlet
        self._note_end = note_end
        self._started = b""

    async def begin(self, started: bytes, endpoint: Endpoint, progress: Progress) -> None:
        """See message_call.FrameSink: sent with the first frames."""
        self._started = started + b"\n"

    async def send(self, rendered: bytes, seq: int, *, is_last: bool) -> None:
        """See message_call.FrameSink."""
        await self._outlet.send(self._started + rendered if self._started else rendered)
        self._started = b""
        if is_last:
            self._note_end()


class KeepingSink:
    """Sends an answer's frames to the work that the gateway owns, and keeps them. `work` is set when it runs.

    `answer_id` is the client's id of the answer.
    """

    __slots__ = ("_answers", "_head", "_id_field", "_keep_s", "_kept", "_started", "work")

    def __init__(self, answers: AnswerStore, answer_id: str, head: RequestHead) -> None:
        self._answers = answers
        self._head = head
        self._id_field = id_field(answer_id)
        self._kept: AnswerWriter | None = None
        self._keep_s = 0.0
        self._started = b""
        self.work: OwnedWork[AsgiEvent] | None = None

    async def begin(self, started: bytes, endpoint: Endpoint, progress: Progress) -> None:
        """See message_call.FrameSink. If the answer cannot be kept, it is like any other."""
        self._started = started + b"\n"
        caller, head, work = progress.caller, self._head, self.work
        assert caller is not None
        assert work is not None
        if not endpoint.resumable_streams:
            return
        ends_by = latest_end(head, endpoint)
        of = AnswerHead(head.request_id, endpoint.uuid, endpoint.slug, FORM, FORM, head.at, ends_by=ends_by)
        kept = await self._answers.claim(stream_name(caller, head.request_id), of, KeepLimits(endpoint.resume_bytes))
        if not isinstance(kept, AnswerWriter):
            if kept is not None:
                kept.close()
            return
        self._kept, self._keep_s = kept, endpoint.resume_window_ms / 1000
        kept.begin(AnswerStart(200, ((STARTED, started.replace(self._id_field, b"", 1)),)))
        work.outlive(Outlives(endpoint.orphan_grace_ms / 1000, 0.0, BEHIND_BYTES, kept))

    async def send(self, rendered: bytes, seq: int, *, is_last: bool) -> None:
        """See message_call.FrameSink."""
        kept, work = self._kept, self.work
        assert work is not None
        if kept is not None:
            kept.add([frame.replace(self._id_field, b"", 1) for frame in rendered.split(b"\n")])
            if is_last:
                # Before the client has its end: what it asks for next finds the answer ended.
                kept.end(end_of(rendered.rpartition(b"\n")[2]) or "failed", self._keep_s)
        body, self._started = self._started + rendered, b""
        await work.send({"type": FORM, "body": body, "seq": seq, "is_last": is_last})

    def close(self) -> None:
        """The work has ended. If its answer has no end, those who read what is kept are told so."""
        if self._kept is not None:
            self._kept.end("cut", self._keep_s)


def end_of(frame: bytes) -> AnswerEnd | None:
    """How an answer ended whose last frame this is; None for a frame that ends none."""
    return next((how for start, how in _ENDS if frame.startswith(start)), None)


def id_field(answer_id: str) -> bytes:
    """The field of a frame that names the answer, with the comma before it."""
    return b',"id":' + orjson.dumps(answer_id)


def add_id(part: bytes, field: bytes) -> bytes:
    """The frame of a kept part."""
    kind, comma, rest = part.partition(b",")
    return kind + field + comma + rest
