"""A request that cannot be understood."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define

from pg_trio.errors.gateway_error import CallerError


@define(slots=False, eq=False)
class BadRequest(CallerError):
    """The request cannot be understood: its headers, its JSON, or a field's type. Says which."""

    status = 400
    reason: str

    @property
    def text(self) -> str:
        return self.reason


@define(slots=False, eq=False)
class MalformedHttp(CallerError):
    """The server refuses the request's HTTP: its head, its framing, or the size of either. The connection ends."""

    http_status: int
    said: str

    @property
    def status(self) -> int:  # type: ignore[override]
        return self.http_status

    @property
    def text(self) -> str:
        return self.said


@define(slots=False, eq=False)
class RouteNotFound(CallerError):
    """No route has this path."""

    status = 404
    text = "Not found."


@define(slots=False, eq=False)
class StreamingNotEnabled(CallerError):
    """A WebSocket to an endpoint that does not stream (`streaming_enabled`)."""

    status = 400
    text = "Streaming is not enabled for this endpoint."


@define(slots=False, eq=False)
class OriginNotAllowed(CallerError):
    """A WebSocket of a page whose origin is not among the project's `cors_origins`; or the project does not exist."""

    status = 403
    text = "Origin is not allowed."


@define(slots=False, eq=False)
class NoSubprotocol(CallerError):
    """A WebSocket that offers subprotocols, but none that the gateway speaks."""

    status = 400
    text = "Sec-WebSocket-Protocol must offer pg-chat.v1."


@define(slots=False, eq=False)
class MalformedFrame(CallerError):
    """A frame of a WebSocket that cannot be understood. `said` says which part is wrong."""

    status = 400
    said: str

    @property
    def text(self) -> str:
        return self.said


@define(slots=False, eq=False)
class TooManyInFlight(CallerError):
    """A message on a WebSocket that has as many answers under way as it may have (`server.websocket_max_in_flight`)."""

    status = 429
    most: int

    @property
    def text(self) -> str:
        return f"Too many answers in flight on this socket, at most {self.most}."

    def fields(self) -> dict[str, object]:
        return {"scope": "socket", "max_in_flight": self.most}


@define(slots=False, eq=False)
class MethodNotAllowed(CallerError):
    """The path is a route, but not with this method."""

    status = 405
    allowed: Sequence[str]
    text = "Method not allowed."

    def headers(self) -> dict[str, str]:
        return {"Allow": ", ".join(self.allowed)}


@define(slots=False, eq=False)
class ContentCodingUnsupported(CallerError):
    """The body is encoded (`Content-Encoding: gzip`). The gateway does not decode request bodies."""

    status = 415
    coding: str

    @property
    def text(self) -> str:
        return f"Content-Encoding '{self.coding}' is not supported; send the body as it is."

    def headers(self) -> dict[str, str]:
        # RFC 9110, section 12.5.3: the accepted coding.
        return {"Accept-Encoding": "identity"}


@define(slots=False, eq=False)
class BodyTooLarge(CallerError):
    """The body is over `gateway.max_body_bytes`, by its declared length or by what arrived."""

    status = 413
    limit_bytes: int

    @property
    def text(self) -> str:
        return f"Request body exceeds {self.limit_bytes} bytes."


@define(slots=False, eq=False)
class BodyTooSlow(CallerError):
    """The body did not arrive within `gateway.body_timeout_ms`, and no endpoint's deadline was known yet."""

    status = 408
    limit_ms: int

    @property
    def text(self) -> str:
        return f"Request body not received within {self.limit_ms} ms."


@define(slots=False, eq=False)
class InputInvalid(CallerError):
    """The body does not match the endpoint's `input_schema`. `where` is a JSON path, `why` holds no client data."""

    status = 422
    where: str
    why: str

    @property
    def text(self) -> str:
        return f"Validation failed: {self.where}: {self.why}"
