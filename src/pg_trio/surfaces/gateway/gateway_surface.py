"""The Gateway API. One object serves all of its requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pg_trio.domain.call import RequestHead
from pg_trio.domain.chat import ChatRequest
from pg_trio.domain.project import RESERVED_SLUGS, Endpoint
from pg_trio.surfaces.contract import MatchedRoute, SurfaceDefaults
from pg_trio.surfaces.gateway.answers import render_answer, render_error
from pg_trio.surfaces.gateway.chat_request import read_chat_request
from pg_trio.surfaces.gateway.stream_writer import GatewayStream
from pg_trio.surfaces.reading.content_type import JSON_TYPE, check_content_coding, check_content_type

DISPATCHER = "chat/completions"


class GatewaySurface(SurfaceDefaults):
    """See surfaces.contract.Surface."""

    name: ClassVar[str] = "gateway"
    roots: ClassVar[Sequence[bytes]] = (b"api",)

    def match(self, method: str, path: bytes) -> MatchedRoute | None:
        """`POST /api/{project}/{slug}`, or `POST /api/{project}/chat/completions` without a slug.

        Reserved words cannot be slugs. The project and the endpoint need not exist.
        """
        if method != "POST" or not path.startswith(b"/api/"):
            return None
        project, _, rest = path[5:].decode("ascii").partition("/")
        if not project or not rest:
            return None
        if rest == DISPATCHER:
            return MatchedRoute(project, None)
        return None if "/" in rest or rest in RESERVED_SLUGS else MatchedRoute(project, rest)

    def check_head(self, head: RequestHead) -> None:
        """Raises BadRequest for the wrong content type, ContentCodingUnsupported for an encoded body."""
        if head.content_type != JSON_TYPE:
            check_content_type(head.content_type)
        if head.content_coding is not None:
            check_content_coding(head.content_coding)

    # Not wrapped in a method, which would cost each request another call.
    read = staticmethod(read_chat_request)
    render_answer = staticmethod(render_answer)
    render_error = staticmethod(render_error)

    def open_stream(self, head: RequestHead, request: ChatRequest, endpoint: Endpoint) -> GatewayStream:
        """A writer of OpenAI's chunks, with usage and meta in the last chunk."""
        return GatewayStream(head, endpoint)


GATEWAY = GatewaySurface()
