"""A `message` frame as a request of the Gateway API: the same body beside the frame's own fields."""

from __future__ import annotations

from typing import ClassVar

import orjson
from attrs import evolve

from pg_trio.domain.call import ReadLimits, RequestHead
from pg_trio.domain.chat import ChatRequest
from pg_trio.errors import BadRequest
from pg_trio.surfaces.contract import SurfaceDefaults
from pg_trio.surfaces.gateway.chat_request import KNOWN_FIELDS, read_chat_request
from pg_trio.surfaces.reading.json_body import literal_keys, read_json_object

# The fields of the frame itself, which `input_schema` does not see.
FRAME_FIELDS = ("type", "id", "timeout_ms")
_KEYS = literal_keys((*KNOWN_FIELDS, *FRAME_FIELDS))
# 24 hours in milliseconds have eight digits: see X-PG-Timeout-Ms.
MAX_TIMEOUT_MS = 99_999_999


def is_timeout_ms(value: object) -> bool:
    """Whether it can be a message's `timeout_ms`."""
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_TIMEOUT_MS


class MessageSurface(SurfaceDefaults):
    """What the pipeline asks of it: see domain.call.SurfaceReader."""

    name: ClassVar[str] = "websocket"
    # Where an endpoint has stopped streaming since the socket was opened, the whole answer comes as frames.
    always_streams: ClassVar[bool] = True

    def check_head(self, head: RequestHead) -> None:
        """A frame has no head of its own."""

    def read(self, body: bytes, limits: ReadLimits, head: RequestHead) -> ChatRequest:
        """The request in a frame. Raises: see read_chat_request."""
        fields = read_json_object(body, limits.max_json_depth, _KEYS)
        timeout_ms = fields.get("timeout_ms")
        for name in FRAME_FIELDS:
            fields.pop(name, None)
        if timeout_ms is not None and not is_timeout_ms(timeout_ms):
            raise BadRequest("timeout_ms: must be a whole number of milliseconds, 1 or more.")
        # As the body of an HTTP request would be, so that its reader has no second way in.
        return evolve(read_chat_request(orjson.dumps(fields), limits, head), stream=True)


MESSAGE_SURFACE = MessageSurface()
