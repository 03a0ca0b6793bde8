"""Sessions, kept streams and idempotency keys."""

from __future__ import annotations

from attrs import define

from pg_trio.errors.gateway_error import CallerError


@define(slots=False, eq=False)
class SessionsNotEnabled(CallerError):
    """`session_id` was sent to an endpoint without sessions."""

    status = 400
    text = "Sessions are not enabled for this endpoint."


@define(slots=False, eq=False)
class SessionIdInvalid(CallerError):
    """`session_id` is not a UUID."""

    status = 400
    text = "Invalid session_id."


@define(slots=False, eq=False)
class SessionNotAccessible(CallerError):
    """No session of that id, or another token's, or another endpoint's: the answer does not say which."""

    status = 403
    text = "Session not found or not accessible."


@define(slots=False, eq=False)
class StreamNotAccessible(CallerError):
    """No kept stream of that id, or another token's, or another endpoint's, or one that is not kept any more: the
    answer does not say which."""

    status = 404
    text = "Stream not found or not accessible."


@define(slots=False, eq=False)
class IdempotencyKeyReused(CallerError):
    """The same owner has sent another body with this `Idempotency-Key` on this route, and its answer is kept or is
    being made. A key that is malformed is `BadRequest`."""

    status = 422
    text = "Idempotency-Key was used with another request."


@define(slots=False, eq=False)
class Replayed(CallerError):
    """Only in the log: the client got the failure that an earlier request with the same `Idempotency-Key` got. That
    request's row says why."""

    replayed_status: int
    text = "The failure of an earlier request with the same Idempotency-Key was sent again."

    @property
    def status(self) -> int:  # type: ignore[override]
        return self.replayed_status


@define(slots=False, eq=False)
class SessionExpired(CallerError):
    """The session was idle for longer than `session_ttl_seconds`. It is deleted, so the next call gets
    `SessionNotAccessible`."""

    status = 410
    text = "Session expired."


@define(slots=False, eq=False)
class SessionMessagesReached(CallerError):
    """The session has `session_max_messages` messages, or the request's own messages would exceed them."""

    status = 429
    text = "Session message limit reached."


@define(slots=False, eq=False)
class SessionTokensReached(CallerError):
    """The tokens of the session's turns and the estimate of this request together exceed `session_max_tokens`."""

    status = 429
    text = "Session token limit reached."


@define(slots=False, eq=False)
class SessionMovedOn(CallerError):
    """The session has had a turn since the response that the request continues, or it never had that response."""

    status = 400
    text = "previous_response_id: only the latest response of a session can be continued."


@define(slots=False, eq=False)
class PreviousResponseNotFound(CallerError):
    """`previous_response_id` names no response, or one of another token or endpoint: the answer does not say which.

    On other surfaces, `SessionNotAccessible`.
    """

    status = 400
    text = "previous_response_id: no response of this id can be continued."


@define(slots=False, eq=False)
class QuoteNotFound(CallerError):
    """The input refers to a message of an earlier answer (`item_reference`) that is not stored, or not for the caller.

    Sessions are off, the session has expired, or it is another token's or endpoint's: the answer does not say which.
    """

    status = 400
    text = "input: an item_reference names no stored message; send the message itself (clients do with `store: false`)."


@define(slots=False, eq=False)
class CallsUnpaired(CallerError):
    """A request continues a response, and its conversation then has a call without an output, or an output without a
    call. Providers refuse both."""

    status = 400
    text = "input: each function_call of the continued response needs one function_call_output, and each output a call."


@define(slots=False, eq=False)
class SessionTooLarge(CallerError):
    """The session's messages take `gateway.max_session_bytes` or more. With images this comes long before the other
    limits."""

    status = 429
    text = "Session size limit reached."
