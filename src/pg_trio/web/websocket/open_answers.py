"""The answers under way on one socket: each is a task of the socket's nursery.

Rules:
1. An answer frees its id and its place in the moment in which its last frame is queued. Its task may go on for a
   moment: it writes the row.
2. `cancel` cancels one answer; its upstream connection is closed at once. The `cancelled` frame says what was charged,
   so it comes when the answer's task has settled.
3. The tasks of one socket are bounded: beyond the answers under way there are only such ends, and refusals.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import trio
from attrs import evolve

from pg_trio.domain.call import Call, Kept
from pg_trio.errors import ClientLeft, DeadlineExceeded, GatewayError, InternalError
from pg_trio.web.head_template import HeadTemplate
from pg_trio.web.websocket.chat_protocol import AskMessage, ChatProtocol
from pg_trio.web.websocket.message_call import MessageCall
from pg_trio.web.websocket.outlet import Outlet

logger = logging.getLogger("pg_trio.web")

# Tasks beyond the answers under way: messages that are being refused, and answers that have sent their last frame.
MORE_TASKS = 8


class Answerer(Protocol):
    """What answers a call: the pipeline."""

    def answer(self, call: Call, lasting: Any = None) -> Awaitable[object]:
        """See Pipeline.answer. The answer was streamed when it returns."""


class Answers:
    """The answers of one socket. `why_cut`: why the server ends the socket. `end_socket` ends it with an error."""

    __slots__ = (
        "_answerer",
        "_changed",
        "_end_socket",
        "_is_over",
        "_outlet",
        "_protocol",
        "_scopes",
        "_tasks",
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
        self._scopes: dict[str, trio.CancelScope] = {}
        self._tasks = 0
        self._is_over = False
        self._changed: trio.Event | None = None

    async def start(self, nursery: trio.Nursery, template: HeadTemplate, ask: AskMessage, kept: Kept | None) -> None:
        """Begin an answer, or a refusal. `kept` is given back at its end. Waits if there are too many tasks."""
        while self._tasks >= self._protocol.most_in_flight + MORE_TASKS:
            await self._wait_change()
        self._tasks += 1
        # Before the task runs: a `cancel` may come with the message.
        self._scopes[ask.id] = scope = trio.CancelScope()
        nursery.start_soon(self._answer, self._make_call(template, ask, scope), scope, kept)

    def cancel(self, answer_id: str) -> None:
        """Cancel the answer of this id, which is under way."""
        self._scopes[answer_id].cancel(reason="the client cancelled it")

    def stop(self) -> None:
        """Cancel all answers, without a frame: the socket closes."""
        self._is_over = True
        for scope in self._scopes.values():
            scope.cancel(reason="the socket is closed")

    async def wait_none(self) -> None:
        """Wait until no answer is under way."""
        while self._tasks:
            await self._wait_change()

    def _make_call(self, template: HeadTemplate, ask: AskMessage, scope: trio.CancelScope) -> MessageCall:
        head = template.make_head(trio.current_time())
        if ask.timeout_ms is not None:
            head = evolve(head, timeout_ms=[str(ask.timeout_ms)])

        def note_end() -> None:
            self._protocol.end_answer(ask.id)
            self._scopes.pop(ask.id, None)

        def why_cut() -> GatewayError | None:
            return None if scope.cancel_called else self._why_cut()

        return MessageCall(head, ask, self._outlet, why_cut, note_end)

    async def _answer(self, call: MessageCall, scope: trio.CancelScope, kept: Kept | None) -> None:
        try:
            with scope:
                error = await self._work(call)
            if self._is_over:
                return
            if not scope.cancelled_caught:
                await self._fail(call, error)
            elif not call.has_ended:
                await call.cancel()
        finally:
            if kept is not None:
                kept.give_back()
            self._tasks -= 1
            if self._changed is not None:
                self._changed.set()
                self._changed = None

    async def _work(self, call: MessageCall) -> GatewayError | None:
        """Take the call through the pipeline. Returns the error for the client, if the answer has not ended."""
        try:
            await self._answerer.answer(call)
        except GatewayError as error:
            return error.with_traceback(None)
        except ClientLeft:
            # A limit passed while the client took nothing. No half of a frame is out, so the error may follow.
            return DeadlineExceeded(round((trio.current_time() - call.head.head_at) * 1000))
        except Exception:
            request_id = call.head.request_id
            logger.exception("request %s: unexpected error", request_id, extra={"request_id": str(request_id)})
            return InternalError()
        return None

    async def _fail(self, call: MessageCall, error: GatewayError | None) -> None:
        if error is None:
            return
        if not call.has_ended:
            await call.fail(error)
        if error.status in (401, 403):
            await self._end_socket(error)

    async def _wait_change(self) -> None:
        """Wait until an answer's task has ended."""
        if self._changed is None:
            self._changed = trio.Event()
        await self._changed.wait()
