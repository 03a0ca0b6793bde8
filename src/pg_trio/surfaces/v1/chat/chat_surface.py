"""Chat Completions. One object serves all of its requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar
from uuid import UUID

from pg_trio.domain.call import RequestHead
from pg_trio.domain.chat import ChatRequest
from pg_trio.domain.limits import LimitState
from pg_trio.domain.project import Endpoint
from pg_trio.domain.stage_times import StageTimes
from pg_trio.surfaces.http_answer import HeaderList, split_fields
from pg_trio.surfaces.v1.chat.chat_answer import render_answer
from pg_trio.surfaces.v1.chat.chat_fields import read_chat_completion
from pg_trio.surfaces.v1.chat.chat_stream import ChatStream
from pg_trio.surfaces.v1.model_limits import processing_ms, render_openai_limits
from pg_trio.surfaces.v1.openai_errors import render_openai_error
from pg_trio.surfaces.v1.routes import V1Surface


class ChatSurface(V1Surface):
    """See surfaces.contract.Surface."""

    name: ClassVar[str] = "openai_chat"
    path: ClassVar[bytes] = b"chat/completions"

    # Not wrapped in a method, which would cost each request another call.
    read = staticmethod(read_chat_completion)
    render_answer = staticmethod(render_answer)
    render_error = staticmethod(render_openai_error)

    def stream_fields(self, request_id: UUID, limits: Sequence[LimitState], times: StageTimes) -> HeaderList:
        """`openai-processing-ms`, and OpenAI's fields for limits."""
        return split_fields(processing_ms(times) + render_openai_limits(limits))

    def open_stream(self, head: RequestHead, request: ChatRequest, endpoint: Endpoint) -> ChatStream:
        """A writer of OpenAI's chunks."""
        return ChatStream(head, request, endpoint)


CHAT = ChatSurface()
