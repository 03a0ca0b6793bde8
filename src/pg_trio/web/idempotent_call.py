"""A call with an `Idempotency-Key`: the first one's answer is kept, and sent to every later one.

Rules:
1. A key belongs to a token (and to its holder, for client tokens) and to a route; on `/v1`, client tokens of one
   holder share it if they name the same endpoints. With another body it is a 422.
2. Who comes first runs, and keeps the answer while it is made (attachment.answer_store). Later ones read it from its
   beginning, in any worker. The first one's work is the gateway's own, and goes on as long as one of them waits.
3. A 5xx, a 429, a stream that failed or was stopped, and a work that was cancelled are not kept. Those that wait then
   claim the key again: one of them runs, and the others wait for that one.
4. What is longer than `idempotency_bytes` is sent to those that wait, and not kept. Beyond SHARED_BYTES it is theirs no
   more, either: a stream breaks off for them, and of whole answers they make their own.
5. If nothing can be kept (a full disk), requests run as without a key, and say so: `Idempotent-Kept: false`. So does
   one whose answer only its own node of a cluster will find.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol, Self
from uuid import UUID

import trio
from attrs import evolve, frozen

from pg_trio.attachment import WorkPort
from pg_trio.attachment.answer_store import AnswerStore, AnswerWriter, KeptAnswer
from pg_trio.domain.call import OwnDeadline, Progress
from pg_trio.domain.chat import ChatRequest
from pg_trio.domain.kept_answer import AnswerHead, AnswerStart, KeepLimits, owner_of
from pg_trio.domain.project import Access, Caller, Endpoint
from pg_trio.errors import AnswerCut, AnswersUnavailable, BadRequest, IdempotencyKeyReused
from pg_trio.surfaces import HttpAnswer
from pg_trio.surfaces.http_answer import split_fields
from pg_trio.web.asgi_call import AsgiCall, AsgiStream
from pg_trio.web.asgi_types import AsgiEvent
from pg_trio.web.kept_stream import render_cut

KEY = re.compile(rb"[!-~]{1,255}")
# 16 MiB: `upstream.max_body_bytes`, more than which no whole answer has by default.
SHARED_BYTES = 16 * 1024 * 1024
REPLAYED = (b"idempotent-replayed", b"true")
NOT_KEPT = (b"idempotent-kept", b"false")
# 2 ms: an answer that was given up is gone from its folder by then.
AGAIN_AFTER_S = 0.002
# 5 s for the answer that a request with the same malformed body gets.
SAME_FAILURE_S = 5.0
NO_ENDPOINT = UUID(int=0)


@frozen(slots=True)
class KeyTerms:
    """For how long an answer is kept, and how many bytes of it."""

    ttl_s: float
    most_bytes: int


class KeyedGateway(Protocol):
    """The parts of the running gateway that a keyed call needs."""

    @property
    def key_terms(self) -> KeyTerms: ...

    async def open_keyed_answers(self) -> AnswerStore | None:
        """Where the answers are kept; None if nothing can be kept now."""

    def find_caller(
        self, authorization: Sequence[str], project: str, access: Access, at: float
    ) -> Awaitable[Caller]: ...

    def digest_of(self, body: bytes) -> Awaitable[bytes]:
        """The SHA-256 of a body; of a large one on a thread."""


class IdempotentCall(AsgiCall):
    """See AsgiCall and domain.call.KeyedRequest."""

    is_owned = True
    _handle: KeyedHandle
    _key: bytes
    _gateway: KeyedGateway
    _name: bytes
    _digest: bytes
    # The answer of an earlier request; what keeps this one's own. Neither, before the body is here.
    _earlier: KeptAnswer | None = None
    _writer: AnswerWriter | None = None
    # Whether nothing can be kept, or not for every node.
    _is_unkept = False
    _kept_bytes = 0
    # Makes the end for those whose stream breaks off; set once it is streamed.
    _render_cut: Callable[[], bytes] | None = None

    @classmethod
    def of(cls, call: AsgiCall, key: bytes, gateway: KeyedGateway) -> Self:
        """The call, with its key."""
        keyed = cls(call.head, call.surface, call.headers, call.receive, call.send, call.link)
        keyed._handle = KeyedHandle(keyed)
        keyed.head = evolve(call.head, keyed=keyed._handle)
        keyed.cors = call.cors
        keyed._key, keyed._gateway = key, gateway
        return keyed

    async def receive_body(self, limit_bytes: int) -> bytes:
        """See Call. Finds out whether it is the first. Raises BadRequest for a bad key, IdempotencyKeyReused."""
        body = await super().receive_body(limit_bytes)
        if KEY.fullmatch(self._key) is None:
            raise BadRequest("Idempotency-Key: must be 1 to 255 visible ASCII characters.")
        head, surface = self.head, self.surface
        caller = await self._gateway.find_caller(head.authorization, head.project, surface.access, head.at)
        self._digest = await self._gateway.digest_of(body)
        route = f"{surface.name}/{head.slug or ''}"
        # On a route without an endpoint, the body names one: what a token may not call, its keys must not lead to.
        grant = caller.token.grant if head.slug is None else None
        granted = () if grant is None else sorted(grant.endpoints)
        self._name = owner_of(caller).name("idempotent", route, self._key.decode("ascii"), *granted)
        await self._claim()
        return body

    async def _claim(self) -> None:
        """Be the first, or find the one that is. Raises IdempotencyKeyReused."""
        head, terms = self.head, self._gateway.key_terms
        of = AnswerHead(
            head.request_id, NO_ENDPOINT, head.slug or "", self.surface.name, at=head.at, body_digest=self._digest
        )
        store = await self._gateway.open_keyed_answers()
        got = None if store is None else await store.claim(self._name, of, KeepLimits(_shared_bytes(terms)))
        if isinstance(got, AnswerWriter):
            self._writer, self._is_unkept = got, not got.is_shared
            if self.port is not None:
                got.watch(_Waiters(self.port))
        elif got is None or got.ended == "outgrown":
            self._is_unkept = True
            if got is not None:
                got.close()
        elif got.head.body_digest != self._digest:
            got.close()
            raise IdempotencyKeyReused
        else:
            self._earlier = got

    # ── a later request: see domain.call.KeyedRequest ────────────────────────────────────────────────────────────────

    @property
    def is_later(self) -> bool:
        """See KeyedRequest."""
        return self._earlier is not None

    async def join(self, deadline: OwnDeadline) -> int | None:
        """See KeyedRequest."""
        while (earlier := self._earlier) is not None:
            try:
                with earlier.attach():
                    status = await self._replay(earlier, deadline)
            finally:
                self._earlier = None
                earlier.close()
            if status is not None:
                return status
            await trio.sleep(AGAIN_AFTER_S)
            await self._claim()
        return None

    async def _replay(self, earlier: KeptAnswer, deadline: OwnDeadline) -> int | None:
        """Send the earlier answer; its status. None if it was given up before anything of it was sent."""
        with suppress(AnswerCut):
            start = await earlier.wait_start()
            if start is None:
                return None
            if not start.cut_end:
                return await self._replay_whole(earlier, start)
            ends_at = deadline.at
            deadline.hand_over()
            return await self._replay_stream(earlier, start, ends_at)
        return None

    async def _replay_whole(self, earlier: KeptAnswer, start: AnswerStart) -> int:
        """Send it once all of it is here. Raises AnswerCut."""
        parts: list[bytes] = []
        while more := await earlier.receive():
            parts += more
        body = b"".join(parts)
        await self._send_start(start, (b"content-length", b"%d" % len(body)))
        await self._send_part(body, more=False)
        return start.status

    async def _replay_stream(self, earlier: KeptAnswer, start: AnswerStart, ends_at: float) -> int:
        """Send it from its beginning, as it comes. From here on it can only break off."""
        await self._send_start(start)
        with trio.move_on_at(ends_at), suppress(AnswerCut):
            while parts := await earlier.receive():
                await self._send_part(b"".join(parts), more=True)
            await self._send_part(b"", more=False)
        if not self.has_ended:
            await self._send_part(start.cut_end, more=False)
        return start.status

    async def _send_start(self, start: AnswerStart, *more: tuple[bytes, bytes]) -> None:
        assert self.port is not None
        self.has_started = True
        self.link.waits_between_parts = True
        fields = [*more, *start.fields, REPLAYED, *split_fields(self.cors)]
        await self.port.send({"type": "http.response.start", "status": start.status, "headers": fields})

    async def _send_part(self, data: bytes, *, more: bool) -> None:
        assert self.port is not None
        self.has_ended = not more
        await self.port.send({"type": "http.response.body", "body": data, "more_body": more})

    # ── the first one ────────────────────────────────────────────────────────────────────────────────────────────────

    def begin_work(self, port: WorkPort[AsgiEvent]) -> None:
        """Send to the client through this port, and keep what is streamed."""
        self.port, self.send = port, self._send_kept

    def open_stream(
        self, request: ChatRequest, endpoint: Endpoint, progress: Progress, session_id: UUID | None
    ) -> AsgiStream:
        """See Call."""
        model = endpoint.candidates[0].model

        def render() -> bytes:
            return render_cut(self.surface.open_stream(self.head, request, endpoint), self.head.request_id, model)

        self._render_cut = render
        return super().open_stream(request, endpoint, progress, session_id)

    async def settle(self, answer: HttpAnswer) -> HttpAnswer | None:
        """Keep a whole answer. If there is an earlier one that could not be joined, this is the same failure."""
        if self._earlier is not None:
            with trio.move_on_after(SAME_FAILURE_S), suppress(AnswersUnavailable):
                if await self.join(_NoDeadline()) is not None:
                    return None
        writer, self._writer = self._writer, None
        if writer is None:
            return answer.with_fields(_line(NOT_KEPT)) if self._is_unkept else answer
        if answer.status >= 500 or answer.status == 429:
            writer.discard()
            return answer
        is_short = len(answer.body) <= self._gateway.key_terms.most_bytes
        if not is_short:
            # Those that wait get the same.
            answer = answer.with_fields(_line(NOT_KEPT))
        writer.begin(AnswerStart(answer.status, tuple(split_fields(answer.fields))))
        is_kept = writer.add([answer.body])
        if is_kept:
            writer.end("whole", self._gateway.key_terms.ttl_s if is_short else 0.0)
        else:
            writer.discard()
        says_so = is_short and (self._is_unkept or not is_kept)
        return answer.with_fields(_line(NOT_KEPT)) if says_so else answer

    async def _send_kept(self, event: AsgiEvent) -> None:
        """Send a part of a stream, and keep it."""
        assert self.port is not None
        writer = self._writer
        if event["type"] == "http.response.start":
            fields = event["headers"]
            if writer is not None:
                own = split_fields(self.cors)
                kept = tuple([pair for pair in fields if pair not in own])
                assert self._render_cut is not None
                writer.begin(AnswerStart(event["status"], kept, self._render_cut()))
            if self._is_unkept:
                event = {**event, "headers": [*fields, NOT_KEPT]}
        elif writer is not None:
            self._keep_part(writer, event["body"], is_last=not event["more_body"])
        await self.port.send(event)

    def _keep_part(self, writer: AnswerWriter, data: bytes, *, is_last: bool) -> None:
        self._kept_bytes += len(data)
        writer.add([data])
        if is_last:
            # Before the client has its end: what it asks next finds the answer ended.
            self._writer = None
            terms = self._gateway.key_terms
            is_kept = self.stream_end == "whole" and self._kept_bytes <= terms.most_bytes
            writer.end(self.stream_end, terms.ttl_s if is_kept else 0.0)

    def close(self) -> None:
        """See AsgiCall. An answer without an end is given up, and its key is free."""
        super().close()
        self._handle.call = None
        if self._writer is not None:
            self._writer.discard()
        if self._earlier is not None:
            self._earlier.close()


class KeyedHandle:
    """See domain.call.KeyedRequest. The request's record keeps its head, and so this, but not the call."""

    __slots__ = ("call",)

    def __init__(self, call: IdempotentCall) -> None:
        self.call: IdempotentCall | None = call

    @property
    def is_later(self) -> bool:
        """See KeyedRequest."""
        return self.call is not None and self.call.is_later

    async def join(self, deadline: OwnDeadline) -> int | None:
        """See KeyedRequest."""
        return None if self.call is None else await self.call.join(deadline)


class _Waiters:
    """Tells a work how many requests wait for its answer: see answer_store.AnswerKeeper."""

    def __init__(self, port: WorkPort[Any]) -> None:
        self._port = port

    def stop(self) -> None:
        """Only a stream's own address stops it."""

    def note_readers(self, count: int) -> None:
        self._port.note_waiters(count)


class _NoDeadline:
    """Of a request that has failed already."""

    at = float("inf")

    def hand_over(self) -> int:
        return 0


def _shared_bytes(terms: KeyTerms) -> int:
    return max(terms.most_bytes, SHARED_BYTES)


def _line(field: tuple[bytes, bytes]) -> bytes:
    return b"%b: %b\r\n" % field
