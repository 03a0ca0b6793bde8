"""The base of all deliberate errors, and its children."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import ClassVar

from attrs import define


@define(slots=False, eq=False)
class GatewayError(Exception):
    """Base of all deliberate errors. Catch it at the boundary; raise only its subclasses."""

    status: ClassVar[int] = 500

    @property
    def text(self) -> str:
        """The `error` field of the answer's body."""
        raise NotImplementedError

    def __str__(self) -> str:
        return self.text

    @property
    def code(self) -> str:
        """Stable name for logs and metrics: the class's name."""
        return type(self).__name__

    def fields(self) -> dict[str, object]:
        """More fields of the answer's body, after `ok` and `error`."""
        return {}

    def headers(self) -> dict[str, str]:
        """More headers of the answer."""
        return {}


class CallerError(GatewayError):
    """The caller's mistake: the same request fails again."""


class UpstreamError(GatewayError):
    """The provider's failure, after every candidate was tried."""


class OwnStateError(GatewayError):
    """The gateway's own state: overloaded, switched off, out of time, or a bug."""


@define(slots=False, eq=False)
class Unavailable(OwnStateError):
    """Base of what a part of the gateway cannot do now, and perhaps can in a second."""

    status = 503

    def headers(self) -> dict[str, str]:
        return {"Retry-After": "1"}


def error_body(error: GatewayError, more_fields: Mapping[str, object] | None = None) -> bytes:
    """The answer's body for an error: `{"ok":false,"error":…}`, the error's own fields and more, UTF-8 JSON."""
    body = {"ok": False, "error": error.text, **error.fields(), **(more_fields or {})}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
