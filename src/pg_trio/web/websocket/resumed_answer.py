"""An answer that goes on for a client that comes back: read from the store of kept answers, in any worker."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import trio

from pg_trio.attachment.answer_store import AnswerStore, KeptAnswer
from pg_trio.domain.chat import Usage
from pg_trio.domain.project import Caller
from pg_trio.errors import AnswerCut, BadRequest, GatewayError, StreamInterrupted, StreamNotAccessible
from pg_trio.surfaces.openai_shapes import usage_object
from pg_trio.surfaces.websocket import dump_frame, error_frame
from pg_trio.web.kept_reading import STOP_WAIT_S, find_kept, receive_parts
from pg_trio.web.websocket.chat_protocol import ResumeAnswer
from pg_trio.web.websocket.frame_sinks import FORM, STARTED, SocketSink, add_id, end_of, id_field


class ResumedAnswer:
    """One answer, read on behind the frame that the client has last."""

    def __init__(
        self, answers: AnswerStore | None, caller: Caller, slug: str, order: ResumeAnswer, sink: SocketSink
    ) -> None:
        self._answers = answers
        self._caller = caller
        self._slug = slug
        self._order = order
        self._sink = sink
        self._field = id_field(order.id)
        # The number of the last frame that the client has.
        self._seq = order.after
        self._stopping = trio.Event()

    async def run(self) -> None:
        """Send the frames that are still to come, to the last one."""
        try:
            answer = await self._find()
        except GatewayError as error:
            await self._sink.send(error_frame(error, {"id": self._order.id}), 0, is_last=True)
            return
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._stop_if_asked)
                await self._send_all(answer)
                nursery.cancel_scope.cancel(reason="the answer is over")
        finally:
            answer.close()

    def stop(self) -> None:
        """Ask the worker that makes it for its end, which comes as the last frame."""
        self._stopping.set()

    async def cancel(self) -> None:
        """Its end has not come in time."""
        frame = {"type": "cancelled", "id": self._order.id, "seq": self._seq + 1, "usage": usage_object(Usage(0, 0))}
        await self._sink.send(dump_frame(frame), 0, is_last=True)

    async def _stop_if_asked(self) -> None:
        await self._stopping.wait()
        # One task at a time uses a reader.
        with suppress(GatewayError, AnswerCut):
            answer = await self._find()
            try:
                await answer.stop(STOP_WAIT_S)
            finally:
                answer.close()

    async def _find(self) -> KeptAnswer:
        """The caller's answer, at its place. Raises StreamNotAccessible, or BadRequest if there is no such place."""
        order = self._order
        answer = await find_kept(self._answers, self._caller, order.request_id)
        try:
            head = answer.head
            if head.form != FORM or head.slug != self._slug or answer.ended == "outgrown":
                raise StreamNotAccessible
            if await answer.wait_start() is None:
                raise StreamNotAccessible
            if not await answer.seek(order.after):
                raise BadRequest(f"after: the answer has no frame {order.after} yet.")
        except AnswerCut:
            answer.close()
            raise StreamNotAccessible from None
        except BaseException:
            answer.close()
            raise
        return answer

    async def _send_all(self, answer: KeptAnswer) -> None:
        with answer.attach():
            try:
                # Of one that has ended, the next parts are here, or there are none.
                first = () if answer.ended is None else await answer.receive()
                if first or answer.ended is None:
                    await self._send_started(answer)
                if first and await self._send_parts(first):
                    return
                while parts := await receive_parts(answer, trio.lowlevel.checkpoint):
                    if await self._send_parts(parts):
                        return
                ended = answer.ended
            except AnswerCut:
                ended = "cut"
        if ended in ("whole", "stopped", "failed"):
            # Only where the client asks for what is behind the last frame.
            mistake = BadRequest(f"after: the answer ended with frame {self._seq}.")
            await self._sink.send(error_frame(mistake, {"id": self._order.id}), 0, is_last=True)
            return
        error = error_frame(StreamInterrupted(), {"id": self._order.id, "seq": self._seq + 1})
        await self._sink.send(error, self._seq + 1, is_last=True)

    async def _send_started(self, answer: KeptAnswer) -> None:
        assert answer.start is not None
        started = dict(answer.start.fields).get(STARTED)
        if started is not None:
            await self._sink.send(add_id(started, self._field), 0, is_last=False)

    async def _send_parts(self, parts: Sequence[bytes]) -> bool:
        """Whether the last of them ends the answer."""
        self._seq += len(parts)
        frames = [add_id(part, self._field) for part in parts]
        is_last = end_of(parts[-1]) is not None
        await self._sink.send(b"\n".join(frames), self._seq, is_last=is_last)
        return is_last
