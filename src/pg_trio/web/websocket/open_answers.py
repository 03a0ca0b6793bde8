"""The answers under way on one socket: each is a task of the socket's nursery.

Rules:
1. An answer frees its id and its place in the moment in which its last frame is queued. Its task may go on for a
   moment: it writes the row.
2. `cancel` ends the answer where it is: what the client has of it is settled, and stored in its session. Its upstream
   connection is closed at once. The answer's task is cancelled instead before the stream has begun, and if a slow
   reader holds up its end.
3. The tasks of one socket are bounded: beyond the answers under way there are only such ends, and refusals.
4. The answers of a resumable endpoint are works of the gateway's (pg_trio.attachment). The socket's task follows them.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from enum import Enum
from functools import partial
from typing import Any, Protocol

import trio
from attrs import define, evolve

from pg_trio.attachment import OutputCut, OwnedAttachment, OwnedWork, OwnedWorks, WorkPort
from pg_trio.attachment.answer_store import AnswerStore
from pg_trio.attachment.owned_works import STOP_LIMIT_S
from pg_trio.domain.call import Call, Kept, RequestHead
from pg_trio.domain.project import Caller, Endpoint
from pg_trio.errors import ClientLeft, DeadlineExceeded, GatewayError, InternalError, ShuttingDown
from pg_trio.web.asgi_types import AsgiEvent
from pg_trio.web.head_template import HeadTemplate
from pg_trio.web.websocket.chat_protocol import AskMessage, ChatProtocol, ResumeAnswer
from pg_trio.web.websocket.frame_sinks import KeepingSink, SocketSink
from pg_trio.web.websocket.message_call import NO_USAGE, MessageCall
from pg_trio.web.websocket.outlet import Outlet
from pg_trio.web.websocket.resumed_answer import ResumedAnswer

logger = logging.getLogger("pg_trio.web")

# Tasks beyond the answers under way: messages that are being refused, and answers that have sent their last frame.
MORE_TASKS = 8


class Answerer(Protocol):
    """What the answers of a socket ask of its worker's gateway."""

    @property
    def works(self) -> OwnedWorks[AsgiEvent]: ...

    @property
    def answers(self) -> AnswerStore | None:
        """None where nothing is kept."""

    def answer(self, call: Call, lasting: Any = None) -> Awaitable[object]:
        """See Pipeline.answer. The answer was streamed when it returns."""

    def find_endpoint(self, caller: Caller, slug: str) -> Endpoint:
        """An active endpoint of the caller's project. Raises EndpointNotFound."""


class Stopped(Enum):
    """What comes of stopping an answer."""

    SOON = "soon"  # its end follows
    NOT_BEGUN = "not begun"  # its task has to be cancelled
    ENDING = "ending"  # it is whole, and its end is being written


@define(slots=True, eq=False)
class UnderWay:
    """One answer. `scope` is its task's. `stop` ends it where it is."""

    scope: trio.CancelScope
    stop: Callable[[], Stopped]

    def cancel(self) -> None:
        """End it at the client's wish."""
        stopped = self.stop()
        if stopped is Stopped.SOON:
            self.scope.deadline = min(self.scope.deadline, trio.current_time() + STOP_LIMIT_S)
        elif stopped is Stopped.NOT_BEGUN:
            self.scope.cancel(reason="the client cancelled it")


class Answers:
    """The answers of one socket. `why_cut`: why the server ends the socket. `end_socket` ends it with an error."""

    __slots__ = (
        "_answerer",
        "_changed",
        "_end_socket",
        "_is_over",
        "_outlet",
        "_protocol",
        "_tasks",
        "_under_way",
        "_why_cut",
    )

    def __init__(
        self,
        answerer: Answerer,
        protocol: ChatProtocol,
        outlet: Outlet,
        why_cut: Callable[[], GatewayError | None],
        end_socket: Callable[[GatewayError], Awaitable[None]],
    ) -> None:
        self._answerer = answerer
        self._protocol = protocol
        self._outlet = outlet
        self._why_cut = why_cut
        self._end_socket = end_socket
        # By the client's ids.
        self._under_way: dict[str, UnderWay] = {}
        self._tasks = 0
        self._is_over = False
        self._changed: trio.Event | None = None

    async def start(
        self, nursery: trio.Nursery, template: HeadTemplate, caller: Caller, ask: AskMessage, kept: Kept | None
    ) -> None:
        """Begin an answer, or a refusal. `kept` is given back at its end. Waits if there are too many tasks."""
        await self._wait_place()
        head = template.make_head(trio.current_time())
        if ask.timeout_ms is not None:
            head = evolve(head, timeout_ms=[str(ask.timeout_ms)])
        scope, sink = trio.CancelScope(), SocketSink(self._outlet, partial(self._note_end, ask.id))
        store = self._answerer.answers
        if store is None or not self._is_resumable(caller, template.slug):
            why_cut = partial(self._why_cut_task, scope)
            call = MessageCall(head, ask, sink, why_cut)
            answer = partial(self._answer, call, scope)
            # Before the task runs: a `cancel` may come with the message.
            self._under_way[ask.id] = UnderWay(scope, partial(stop_call, call))
        else:
            owned = OwnedAnswer(self._answerer, KeepingSink(store, ask.id, head), head, ask)
            answer = partial(self._follow, owned, sink, scope)
            self._under_way[ask.id] = UnderWay(scope, owned.stop)
        self._tasks += 1
        nursery.start_soon(self._run, answer, kept)

    async def resume(self, nursery: trio.Nursery, caller: Caller, slug: str, order: ResumeAnswer) -> None:
        """Go on with an answer that was cut."""
        await self._wait_place()
        scope, sink = trio.CancelScope(), SocketSink(self._outlet, partial(self._note_end, order.id))
        resumed = ResumedAnswer(self._answerer.answers, caller, slug, order, sink)
        self._under_way[order.id] = UnderWay(scope, partial(stop_resumed, resumed))
        self._tasks += 1
        nursery.start_soon(self._run, partial(self._resume, resumed, scope), None)

    def cancel(self, answer_id: str) -> None:
        """End the answer of this id, which is under way."""
        self._under_way[answer_id].cancel()

    def stop(self) -> None:
        """Cancel all answers, without a frame: the socket closes."""
        self._is_over = True
        for one in self._under_way.values():
            one.scope.cancel(reason="the socket is closed")

    async def wait_none(self) -> None:
        """Wait until no answer is under way."""
        while self._tasks:
            await self._wait_change()

    def _is_resumable(self, caller: Caller, slug: str | None) -> bool:
        assert slug is not None
        try:
            return self._answerer.find_endpoint(caller, slug).resumable_streams
        except GatewayError:
            return False

    def _note_end(self, answer_id: str) -> None:
        self._protocol.end_answer(answer_id)
        self._under_way.pop(answer_id, None)

    def _why_cut_task(self, scope: trio.CancelScope) -> GatewayError | None:
        return None if scope.cancel_called else self._why_cut()

    # ── the tasks ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _run(self, answer: Callable[[], Awaitable[None]], kept: Kept | None) -> None:
        try:
            await answer()
        finally:
            if kept is not None:
                kept.give_back()
            self._tasks -= 1
            if self._changed is not None:
                self._changed.set()
                self._changed = None

    async def _answer(self, call: MessageCall, scope: trio.CancelScope) -> None:
        with scope:
            await answer_call(self._answerer, call)
        if self._is_over:
            return
        if scope.cancelled_caught and not call.has_ended:
            await call.cancel()
        await self._look_at(call.failure)

    async def _follow(self, owned: OwnedAnswer, sink: SocketSink, scope: trio.CancelScope) -> None:
        last: AsgiEvent = {"seq": 0, "is_last": False}

        async def deliver(event: AsgiEvent) -> None:
            await sink.send(event["body"], event["seq"], is_last=event["is_last"])
            last.update(event)

        cut: str | None = None
        with scope:
            try:
                await OwnedAttachment(self._answerer.works, owned.head.request_id, deliver).serve(owned.work)
            except OutputCut as error:
                cut = str(error)
        if self._is_over:
            return
        if not last["is_last"]:
            await sink.send(owned.end_frame(last["seq"], cut), 0, is_last=True)
        await self._look_at(owned.failure)

    async def _resume(self, resumed: ResumedAnswer, scope: trio.CancelScope) -> None:
        with scope:
            await resumed.run()
        if scope.cancelled_caught and not self._is_over:
            await resumed.cancel()

    async def _look_at(self, failure: GatewayError | None) -> None:
        if failure is not None and failure.status in (401, 403):
            await self._end_socket(failure)

    async def _wait_place(self) -> None:
        while self._tasks >= self._protocol.most_in_flight + MORE_TASKS:
            await self._wait_change()

    async def _wait_change(self) -> None:
        """Wait until an answer's task has ended."""
        if self._changed is None:
            self._changed = trio.Event()
        await self._changed.wait()


class OwnedAnswer:
    """An answer that the gateway owns, because its client may leave and come back."""

    def __init__(self, answerer: Answerer, sink: KeepingSink, head: RequestHead, ask: AskMessage) -> None:
        self.head = head
        self._answerer = answerer
        self._sink = sink
        self._call = MessageCall(head, ask, sink, self._why_cut)

    @property
    def failure(self) -> GatewayError | None:
        """How it failed."""
        return self._call.failure

    async def work(self, port: WorkPort[AsgiEvent]) -> None:
        """The work: see OwnedWorks."""
        assert isinstance(port, OwnedWork)
        self._sink.work = port
        self._call.stop_on(port)
        try:
            await answer_call(self._answerer, self._call)
        finally:
            self._sink.close()
            # The work and the sink refer to each other.
            self._sink.work = None

    def stop(self) -> Stopped:
        """End it where it is."""
        work = self._sink.work
        if work is None:
            return Stopped.ENDING if self._call.has_ended else Stopped.NOT_BEGUN
        return Stopped.SOON if work.stop() else Stopped.ENDING

    def end_frame(self, seq: int, cut: str | None) -> bytes:
        """The last frame of an answer that was cut after the frame of that number."""
        writer = self._call.writer
        writer.seq = seq
        if cut in ("stopped", None):
            return writer.cancel(NO_USAGE)
        return writer.fail(ShuttingDown() if cut == "drain" else InternalError())

    def _why_cut(self) -> GatewayError | None:
        work = self._sink.work
        return ShuttingDown() if work is not None and work.cut == "drain" else None


def stop_call(call: MessageCall) -> Stopped:
    """End a call's answer where it is."""
    if call.stop is None:
        return Stopped.NOT_BEGUN
    return Stopped.SOON if call.stop() else Stopped.ENDING


def stop_resumed(resumed: ResumedAnswer) -> Stopped:
    """Ask the worker that makes the answer for its end."""
    resumed.stop()
    return Stopped.SOON


async def answer_call(answerer: Answerer, call: MessageCall) -> None:
    """Take a call through the pipeline, and end its answer if it failed."""
    error: GatewayError | None = None
    try:
        await answerer.answer(call)
    except GatewayError as failure:
        error = failure.with_traceback(None)
    except ClientLeft:
        # A limit passed while the client took nothing. No half of a frame is out, so the error may follow.
        error = DeadlineExceeded(round((trio.current_time() - call.head.head_at) * 1000))
    except Exception:
        request_id = call.head.request_id
        logger.exception("request %s: unexpected error", request_id, extra={"request_id": str(request_id)})
        error = InternalError()
    if error is not None and not call.has_ended:
        await call.fail(error)
