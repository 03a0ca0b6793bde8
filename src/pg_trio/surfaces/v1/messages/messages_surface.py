"""Messages, and the count of a prompt's tokens. One object of each serves all of its requests."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import ClassVar
from uuid import UUID

from pg_trio.domain.call import RequestHead
from pg_trio.domain.chat import ChatRequest
from pg_trio.domain.limits import LimitState
from pg_trio.domain.project import Endpoint
from pg_trio.domain.stage_times import StageTimes
from pg_trio.errors import GatewayError, NoFitCandidate, ParameterUnsupported
from pg_trio.surfaces.http_answer import HeaderList, split_fields
from pg_trio.surfaces.v1.messages.anthropic_errors import render_anthropic_error
from pg_trio.surfaces.v1.messages.message_answer import id_field, render_count, render_message
from pg_trio.surfaces.v1.messages.message_stream import MessageStream
from pg_trio.surfaces.v1.messages.messages_fields import (
    BETA_FIELD,
    VERSION_FIELD,
    are_all_needs,
    read_messages_request,
)
from pg_trio.surfaces.v1.model_limits import render_anthropic_limits
from pg_trio.surfaces.v1.routes import RESUMABLE_FIELD, SESSION_FIELD, V1Surface


class MessagesSurface(V1Surface):
    """See surfaces.contract.Surface."""

    name: ClassVar[str] = "anthropic_messages"
    path: ClassVar[bytes] = b"messages"
    # A block of thinking needs its signature, and the candidate that thinks may still be replaced.
    holds_reasoning: ClassVar[bool] = True
    head_fields: ClassVar[Sequence[bytes]] = (SESSION_FIELD, VERSION_FIELD, BETA_FIELD, RESUMABLE_FIELD)

    read = staticmethod(read_messages_request)
    render_answer = staticmethod(render_message)
    render_error = staticmethod(render_anthropic_error)

    def refuse_unfit(self, error: NoFitCandidate) -> GatewayError:
        """A 400 that names the parameter; the error itself if content is what no candidate can take."""
        return ParameterUnsupported(error.reasons) if are_all_needs(error.reasons) else super().refuse_unfit(error)

    def stream_fields(self, request_id: UUID, limits: Sequence[LimitState], times: StageTimes) -> HeaderList:
        """`request-id`, and Anthropic's fields for limits."""
        return split_fields(id_field(request_id) + render_anthropic_limits(limits, time.time()))

    def open_stream(self, head: RequestHead, request: ChatRequest, endpoint: Endpoint) -> MessageStream:
        """A writer of Anthropic's events."""
        return MessageStream(head, request, endpoint)


class CountTokensSurface(MessagesSurface):
    """The estimate of a request's input tokens. No provider is asked."""

    name: ClassVar[str] = "anthropic_count_tokens"
    path: ClassVar[bytes] = b"messages/count_tokens"
    only_counts: ClassVar[bool] = True

    read = staticmethod(partial(read_messages_request, is_count=True))
    render_answer = staticmethod(render_count)


MESSAGES = MessagesSurface()
COUNT_TOKENS = CountTokensSurface()
