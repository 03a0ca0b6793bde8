"""JSON frames that belong to no answer under way, and the parts that frames have in common."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

import orjson

from pg_trio.errors import DeadlineExceeded, GatewayError, Overloaded, ProviderCallFailed
from pg_trio.surfaces.gateway.answers import describe_attempts
from pg_trio.surfaces.http_answer import Tries


def dump_frame(fields: Mapping[str, object]) -> bytes:
    """A frame's text. It holds no line end, so frames can be joined by line ends."""
    return orjson.dumps(fields)


def error_frame(
    error: GatewayError,
    answer: Mapping[str, object] | None = None,
    request_id: UUID | None = None,
    tries: Tries | None = None,
) -> bytes:
    """An `error` frame. `answer` has the fields `id` and `seq` of the answer that it ends; None if it ends none."""
    frame: dict[str, object] = {"type": "error", **(answer or {}), "status": error.status, "error": error.text}
    frame.update(error.fields())
    if tries is not None and isinstance(error, ProviderCallFailed | DeadlineExceeded | Overloaded):
        frame["attempts"] = describe_attempts(tries.attempts)
    retry_after = error.headers().get("Retry-After")
    if retry_after is not None:
        frame["retry_after"] = int(retry_after)
    if request_id is not None:
        frame["request_id"] = str(request_id)
    return dump_frame(frame)
