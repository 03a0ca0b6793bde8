"""The chat's frames: a client's text in, what to do about it out. No I/O, and no waiting.

| state | a client's frame | leads to |
|---|---|---|
| AWAITING_AUTH | `auth` | an order to check the token; `accept` is READY, anything else CLOSING |
| | anything else | 4401, CLOSING |
| READY | `message`, `cancel`, `resume`, `ping` | an order |
| | `auth`, or what is no frame | an `error` frame |
| | an unknown type | nothing |
| DRAINING | `message`, `resume` | an `error` frame with status 503; the others as in READY |
| CLOSING | anything | nothing |

An id names one answer while that is under way. The error for a second message of that id has no `id`: it would end the
first one's answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, TypeAlias

import orjson

from pg_trio.domain.json_size import MAX_NODES, has_too_many_nodes
from pg_trio.domain.value import value
from pg_trio.errors import (
    GatewayError,
    MalformedFrame,
    MalformedToken,
    MissingToken,
    ShuttingDown,
    TooManyInFlight,
)
from pg_trio.surfaces.websocket import dump_frame, error_frame
from pg_trio.surfaces.websocket.message_surface import is_timeout_ms

NORMAL, GOING_AWAY, UNSUPPORTED_DATA, POLICY, TOO_BIG, INTERNAL, TRY_AGAIN = 1000, 1001, 1003, 1008, 1009, 1011, 1013
NOT_AUTHENTICATED, FORBIDDEN = 4401, 4403
MAX_ID_CHARS = 64
PONG = dump_frame({"type": "pong"})
_CLOSE_CODES: Mapping[int, int] = {401: NOT_AUTHENTICATED, 403: FORBIDDEN, 500: INTERNAL, 503: TRY_AGAIN}


class ChatState(Enum):
    """See the table above."""

    AWAITING_AUTH = "awaiting auth"
    READY = "ready"
    DRAINING = "draining"
    CLOSING = "closing"


@value(slots=True)
class CheckToken:
    """Authenticate with this value of `Authorization`."""

    authorization: str


@value(slots=True)
class AskMessage:
    """Answer a message: `body` is the frame as it came. `refusal` is the error that it ends with, if it may not run."""

    id: str
    body: bytes
    timeout_ms: int | None
    refusal: GatewayError | None = None


@value(slots=True)
class CancelAnswer:
    """Stop the answer of this id, which is under way."""

    id: str


@value(slots=True)
class ResumeAnswer:
    """Go on with an answer after its frame of this number."""

    id: str
    request_id: str
    after: int


@value(slots=True)
class SendFrame:
    """Send this frame."""

    frame: bytes


@value(slots=True)
class CloseSocket:
    """Send the frame, if there is one, and close."""

    code: int
    frame: bytes | None = None


Order: TypeAlias = CheckToken | AskMessage | CancelAnswer | ResumeAnswer | SendFrame | CloseSocket


def close_for(error: GatewayError) -> CloseSocket:
    """The end of a socket with this error."""
    return CloseSocket(_CLOSE_CODES.get(error.status, POLICY), error_frame(error))


class ChatProtocol:
    """One socket's protocol. `in_flight` are the ids of the answers under way."""

    __slots__ = ("in_flight", "most_in_flight", "state")

    def __init__(self, most_in_flight: int, *, needs_auth: bool) -> None:
        self.most_in_flight = most_in_flight
        self.state = ChatState.AWAITING_AUTH if needs_auth else ChatState.READY
        self.in_flight: set[str] = set()

    def accept(self) -> None:
        """The token is good."""
        self.state = ChatState.READY

    def drain(self) -> None:
        """No answer begins from here on."""
        if self.state is not ChatState.CLOSING:
            self.state = ChatState.DRAINING

    def close(self) -> None:
        """Nothing is read from here on."""
        self.state = ChatState.CLOSING

    def end_answer(self, answer_id: str) -> None:
        """The last frame of that answer is sent."""
        self.in_flight.discard(answer_id)

    def take(self, text: str, fields: object) -> Order | None:
        """What a text message leads to; None if to nothing. `fields`: what `parse_frame` made of it."""
        if self.state is ChatState.CLOSING:
            return None
        if self.state is ChatState.AWAITING_AUTH:
            return self._take_auth(fields)
        if isinstance(fields, GatewayError):
            return SendFrame(error_frame(fields))
        assert isinstance(fields, dict)
        kind = fields["type"]
        if kind == "message":
            return self._take_message(text, fields)
        if kind == "ping":
            return SendFrame(PONG)
        if kind == "cancel":
            answer_id = fields.get("id")
            # An answer that has ended meanwhile is no mistake of the client's.
            return CancelAnswer(answer_id) if isinstance(answer_id, str) and answer_id in self.in_flight else None
        if kind == "resume":
            return self._take_resume(fields)
        if kind == "auth":
            return SendFrame(error_frame(MalformedFrame("auth: only as the first message, and without another token.")))
        return None

    def _take_auth(self, fields: object) -> Order:
        if not isinstance(fields, dict) or fields["type"] != "auth":
            return close_for(MissingToken())
        token = fields.get("token")
        if not isinstance(token, str) or not token.isascii():
            return close_for(MalformedToken())
        return CheckToken(f"Bearer {token}")

    def _take_message(self, text: str, fields: Mapping[str, Any]) -> Order:
        answer_id = fields.get("id")
        mistake = self._judge_id(answer_id)
        if mistake is not None:
            return SendFrame(error_frame(mistake))
        refusal = self._refuse_more()
        timeout_ms = fields.get("timeout_ms")
        self.in_flight.add(str(answer_id))
        return AskMessage(str(answer_id), text.encode(), timeout_ms if is_timeout_ms(timeout_ms) else None, refusal)

    def _take_resume(self, fields: Mapping[str, Any]) -> Order:
        answer_id, request_id, after = fields.get("id"), fields.get("request_id"), fields.get("after", 0)
        mistake = self._judge_id(answer_id)
        if mistake is None and not isinstance(request_id, str):
            mistake = MalformedFrame("request_id: must be a string.")
        if mistake is None and (not isinstance(after, int) or isinstance(after, bool) or after < 0):
            mistake = MalformedFrame("after: must be a whole number, 0 or more.")
        if mistake is not None:
            return SendFrame(error_frame(mistake))
        refusal = self._refuse_more()
        if refusal is not None:
            return SendFrame(error_frame(refusal, {"id": answer_id, "seq": 1}))
        self.in_flight.add(str(answer_id))
        return ResumeAnswer(str(answer_id), str(request_id), int(after))

    def _judge_id(self, answer_id: object) -> GatewayError | None:
        if not isinstance(answer_id, str) or not 1 <= len(answer_id) <= MAX_ID_CHARS:
            return MalformedFrame(f"id: must be a string of 1 to {MAX_ID_CHARS} characters.")
        if answer_id in self.in_flight:
            return MalformedFrame("id: an answer of this id is under way.")
        return None

    def _refuse_more(self) -> GatewayError | None:
        if self.state is ChatState.DRAINING:
            return ShuttingDown()
        return TooManyInFlight(self.most_in_flight) if len(self.in_flight) >= self.most_in_flight else None


def parse_frame(text: str) -> dict[str, Any] | MalformedFrame:
    """A frame's fields, among them `type`, a string; or what is wrong with it. May run in a thread, if it is large."""
    body = text.encode("utf-8", "surrogatepass")
    if has_too_many_nodes(body):
        return MalformedFrame(f"Frame has more than {MAX_NODES} objects, lists and keys.")
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        return MalformedFrame(f"Frame is not valid JSON: {error.msg}.")
    if not isinstance(fields, dict):
        return MalformedFrame("Frame must be a JSON object.")
    if not isinstance(fields.get("type"), str):
        return MalformedFrame("type: must be a string.")
    return fields


def ready_frame(most_in_flight: int, heartbeat_ms: int) -> bytes:
    """The first frame to an authenticated client."""
    return dump_frame({"type": "ready", "max_in_flight": most_in_flight, "heartbeat_ms": heartbeat_ms})


def closing_frame(retry_after_ms: int) -> bytes:
    """The server is about to stop: no answer begins any more, and the socket closes when those under way have ended."""
    return dump_frame({"type": "closing", "retry_after_ms": retry_after_ms})
