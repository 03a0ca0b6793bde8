"""Kept streams for clients that come back: read on from an event, or stop the answer.

`GET` and `DELETE` on `/api/{uuid}/{slug}/streams/{request_id}`, and without a slug, for streams of `/v1`.

Rules (docs/streams.md):
1. A stream is found by its owner and its id together (`stream_name`). So another token's request does the same work as
   one for a stream that never was, and has the same answer.
2. What a reader gets is what was kept: the bytes of the first connection, from one event on.
3. A stream whose end is missing ends with the error that was kept with its beginning.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Protocol
from urllib.parse import parse_qs
from uuid import UUID

import orjson
from attrs import frozen

from pg_trio.attachment import OwnedWorks, while_connected
from pg_trio.attachment.answer_store import AnswerStore, KeptAnswer
from pg_trio.domain.kept_answer import AnswerStart
from pg_trio.domain.project import CHAT_ACCESS, RESERVED_SLUGS, Caller, Project
from pg_trio.domain.request_id import new_request_id
from pg_trio.errors import (
    AnswerCut,
    BadRequest,
    EndpointNotGranted,
    GatewayError,
    InternalError,
    MethodNotAllowed,
    ShuttingDown,
    StreamNotAccessible,
)
from pg_trio.surfaces import FALLBACK, V1Surface
from pg_trio.surfaces.contract import MatchedRoute
from pg_trio.web.asgi_types import AsgiApp, AsgiEvent, Receive, Scope, Send
from pg_trio.web.head_template import Headers, pick_tokens
from pg_trio.web.idempotent_call import KeyedGateway
from pg_trio.web.kept_reading import STOP_WAIT_S, find_kept, receive_parts

logger = logging.getLogger("pg_trio.web")

_PATH = re.compile(rb"/api/([^/]+)/(?:([^/]+)/)?streams/([^/]+)")
# Ten digits: more events than an answer of any length has.
_NUMBER = re.compile(r"[0-9]{1,10}")
LAST_EVENT_ID = b"last-event-id"


class StreamGateway(KeyedGateway, Protocol):
    """What these routes, and requests with an `Idempotency-Key`, need of a running gateway."""

    @property
    def works(self) -> OwnedWorks[AsgiEvent]: ...

    @property
    def answers(self) -> AnswerStore | None: ...


@frozen(slots=True)
class Resumable:
    """The endpoints of a project whose streams are resumable. `names`: what a body has that names one of them; empty if
    it can have another name."""

    slugs: frozenset[str]
    names: tuple[bytes, ...]

    @classmethod
    def of(cls, project: Project) -> Resumable:
        """Those of this project."""
        found = [each for each in project.callable_endpoints if each.resumable_streams]
        slugs = frozenset(each.slug for each in found)
        by_slug_alone = slugs <= project.endpoints.keys() and not any(each.model_names for each in found)
        return cls(slugs, tuple(slug.encode("ascii") for slug in sorted(slugs)) if by_slug_alone else ())


@frozen(slots=True)
class StreamPath:
    """What a path of these routes names. `slug` is None for any of the project's."""

    project: str
    slug: str | None
    request_id: str


class StreamRoutes:
    """An ASGI application for these routes, and what is resumable at all. `gateway` is set while the application
    runs."""

    def __init__(self, projects: Mapping[UUID, Project]) -> None:
        self.gateway: StreamGateway | None = None
        resumable = {str(uuid): Resumable.of(project) for uuid, project in projects.items()}
        self._resumable = {uuid: found for uuid, found in resumable.items() if found.slugs}

    def outlives(self, route: MatchedRoute) -> bool:
        """Whether a request of that route may be for a resumable stream."""
        found = self._resumable.get(route.project.lower())
        return found is not None and (route.slug is None or route.slug in found.slugs)

    def may_stream(self, project: str, slug: str | None, body: bytes) -> bool:
        """Whether the body can ask for a resumable stream, on a route of which `outlives` is true. It is not read yet:
        if it does not have the names that it needs, plain or in JSON's escapes, it does not ask for one."""
        if b"\\u" in body:
            return True
        names = () if slug is not None else self._resumable[project.lower()].names
        return b"stream" in body and (not names or any(name in body for name in names))

    def find(self, path: bytes) -> AsgiApp | None:
        """What serves a plain path; None if it is none of these routes."""
        found = _PATH.fullmatch(path)
        if found is None:
            return None
        project, slug, request_id = [None if part is None else part.decode("ascii") for part in found.groups()]
        if slug in RESERVED_SLUGS:
            return None
        assert project is not None
        assert request_id is not None
        return partial(self._serve, StreamPath(project, slug, request_id))

    async def _serve(self, path: StreamPath, scope: Scope, receive: Receive, send: Send) -> None:
        async def wait_left() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        await while_connected(wait_left, partial(self._answer, path, scope, StreamReply(send)))

    async def _answer(self, path: StreamPath, scope: Scope, reply: StreamReply) -> None:
        try:
            await self._handle(path, scope, reply)
        except GatewayError as error:
            await reply.fail(error)
        except Exception:
            request_id = new_request_id()
            logger.exception("request %s: unexpected error", request_id, extra={"request_id": str(request_id)})
            if reply.has_started:
                raise
            await reply.fail(InternalError())

    async def _handle(self, path: StreamPath, scope: Scope, reply: StreamReply) -> None:
        method, headers = scope["method"], scope["headers"]
        if method not in ("GET", "DELETE"):
            raise MethodNotAllowed(["DELETE", "GET"])
        gateway = self.gateway
        if gateway is None:
            raise ShuttingDown
        # `/v1` has projects of more types, and takes the token in another field, too.
        access = V1Surface.access if path.slug is None else CHAT_ACCESS
        tokens = read_tokens(headers, takes_api_key=path.slug is None)
        caller = await gateway.find_caller(tokens, path.project, access, time.time())
        if path.slug is not None and not caller.token.may_call(path.slug):
            raise EndpointNotGranted
        after = read_place(headers, scope.get("query_string", b""), path.request_id) if method == "GET" else 0
        answer = await find_answer(gateway.answers, caller, path)
        try:
            if method == "DELETE":
                await reply.say({"ok": True, "stopped": await answer.stop(STOP_WAIT_S)})
            else:
                await send_stream(answer, after, reply)
        finally:
            answer.close()


async def find_answer(answers: AnswerStore | None, caller: Caller, path: StreamPath) -> KeptAnswer:
    """The caller's stream. Raises StreamNotAccessible."""
    answer = await find_kept(answers, caller, path.request_id)
    try:
        is_kept = answer.ended != "outgrown" and answer.head.form == "sse"
    except AnswerCut:
        is_kept = False
    slug = answer.head.slug
    if not is_kept or path.slug not in (None, slug) or not caller.token.may_call(slug):
        answer.close()
        raise StreamNotAccessible
    return answer


async def send_stream(answer: KeptAnswer, after: int, reply: StreamReply) -> None:
    """Send the events behind that one, those that are still to come included.

    Raises BadRequest if there is no such event, StreamNotAccessible if nothing of the stream is there.
    """
    with answer.attach():
        try:
            start = await answer.wait_start()
            if start is None:
                raise StreamNotAccessible
            if not await answer.seek(after):
                raise BadRequest(f"The stream has no event {after} yet.")
        except AnswerCut:
            raise StreamNotAccessible from None
        await reply.begin(start)
        try:
            while parts := await receive_parts(answer, partial(reply.send, start.keep_alive)):
                await reply.send(b"".join(parts))
        except AnswerCut:
            await reply.send(start.cut_end)
        await reply.end()


class StreamReply:
    """The answer of one of these routes, to be sent by ASGI's `send`."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.has_started = False

    async def begin(self, start: AnswerStart) -> None:
        """The head of the stream. It is out at once: a client may wait for it before the next event comes."""
        self.has_started = True
        await self._send({"type": "http.response.start", "status": start.status, "headers": list(start.fields)})
        await self.send(b"")

    async def send(self, data: bytes) -> None:
        """More of the stream."""
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self) -> None:
        """The end of the stream."""
        await self._send({"type": "http.response.body", "body": b""})

    async def say(self, said: object) -> None:
        """A whole answer: this as JSON."""
        request_id = str(new_request_id()).encode("ascii")
        await self._answer(
            200, [(b"content-type", b"application/json"), (b"x-request-id", request_id)], orjson.dumps(said)
        )

    async def fail(self, error: GatewayError) -> None:
        """A whole answer: this error."""
        answer = FALLBACK.render_error(error, new_request_id())
        await self._answer(answer.status, answer.headers(), answer.body)

    async def _answer(self, status: int, fields: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        self.has_started = True
        has_length = any(name == b"content-length" for name, _ in fields)
        length = [] if has_length else [(b"content-length", b"%d" % len(body))]
        headers = [*fields, *length, (b"cache-control", b"no-store")]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


def read_tokens(headers: Headers, *, takes_api_key: bool) -> Sequence[str]:
    """The values of the fields that may hold a token."""
    values = [value.decode("latin-1") for name, value in headers if name == b"authorization"]
    if not takes_api_key:
        return values
    return pick_tokens(values, [value.decode("latin-1") for name, value in headers if name == b"x-api-key"])


def read_place(headers: Headers, query: bytes, request_id: str) -> int:
    """The number of the last event that the client has: 0 if it says none.

    `Last-Event-ID` comes first: an EventSource that connects again sends it with its first address. Raises BadRequest.
    """
    ids = [value.decode("latin-1").strip() for name, value in headers if name == LAST_EVENT_ID]
    if ids and ids != [""]:
        of, _, number = ids[0].rpartition(":")
        if len(ids) > 1 or of.lower() != request_id.lower() or not _NUMBER.fullmatch(number):
            raise BadRequest("Last-Event-ID: must be the id of an event of this stream.")
        return int(number)
    given = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("after", ["0"])
    if len(given) > 1 or not _NUMBER.fullmatch(given[0]):
        raise BadRequest("after: must be the number of an event.")
    return int(given[0])
