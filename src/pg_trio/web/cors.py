"""Cross-origin requests: which pages may call a project, and what their scripts may read of an answer.

Rules:
1. Off unless the project has `cors_origins`. Then every answer under `/api/{uuid}` has `Vary: Origin`, because it
   differs by it.
2. A preflight is answered without a token. A listed origin may send the header fields that its browser asks for: the
   SDKs' fields change with their releases.
3. An origin that is not listed gets the same answer without the fields, and its browser hides it.
4. Errors have the fields, too. Credentials are never allowed: tokens are no cookies.

Source: Fetch standard, "CORS protocol", read 2026-11.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeAlias
from uuid import UUID

from pg_trio.domain.origins import AllowedOrigins
from pg_trio.domain.project import Project
from pg_trio.web.asgi_types import AsgiApp, AsgiEvent, Receive, Scope, Send

Fields: TypeAlias = list[tuple[bytes, bytes]]

# There are no prefix wildcards in this field.
EXPOSED = (
    "X-Request-Id, X-PG-Provider, X-PG-Model, X-PG-Attempts, X-PG-Session-Id, X-PG-Guardrails, Retry-After,"
    " retry-after-ms, RateLimit, RateLimit-Policy, x-ratelimit-limit-requests, x-ratelimit-remaining-requests,"
    " x-ratelimit-reset-requests, x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens,"
    " Server-Timing, Idempotent-Replayed, Idempotent-Kept, x-should-retry, request-id"
)
MAX_AGE_S = 7_200
# As much as a head of ours may be; a list of a browser's header fields is some 300 bytes.
MAX_ASKED_BYTES = 4_096
# Origins are some 50 characters; a longer one is listed nowhere.
MAX_ORIGIN_BYTES = 512
_FIELD_NAMES = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~, -]*")
_PROJECT = re.compile(rb"/api/([0-9A-Fa-f-]{36})/")


class CorsTable:
    """The origins of each project that has any."""

    def __init__(self, projects: Mapping[UUID, Project]) -> None:
        self._origins: dict[str, AllowedOrigins] = {
            str(uuid): project.cors_origins for uuid, project in projects.items() if project.cors_origins is not None
        }

    def __bool__(self) -> bool:
        return bool(self._origins)

    def fields_of(self, project: str, origin: bytes | None) -> bytes:
        """The header lines of an answer of this project (its UUID as it was sent); empty if it has no origins."""
        origins = self._origins.get(project.lower())
        if origins is None:
            return b""
        allowed = _allowed(origins, origin)
        if allowed is None:
            return b"vary: Origin\r\n"
        return b"vary: Origin\r\naccess-control-allow-origin: %b\r\naccess-control-expose-headers: %b\r\n" % (
            allowed,
            EXPOSED.encode("ascii"),
        )

    def allows(self, project: str, origin: bytes) -> bool:
        """Whether pages of this origin may call the project (its UUID as it was sent)."""
        origins = self._origins.get(project.lower())
        return origins is not None and _allowed(origins, origin) is not None

    def find(self, path: bytes) -> str | None:
        """The UUID of the project with origins that a path is under; None for any other path."""
        found = _PROJECT.match(path)
        project = None if found is None else found[1].decode("ascii").lower()
        return project if project in self._origins else None

    def answer_preflight(
        self, project: str, headers: Iterable[tuple[bytes, bytes]]
    ) -> list[tuple[bytes, bytes]] | None:
        """The header fields of a preflight's answer; None if the request is none."""
        fields = dict(headers)
        origin, method = fields.get(b"origin"), fields.get(b"access-control-request-method")
        if origin is None or method is None:
            return None
        answer = [(b"vary", b"Origin, Access-Control-Request-Headers"), (b"content-length", b"0")]
        allowed = _allowed(self._origins[project], origin)
        asked = fields.get(b"access-control-request-headers", b"")
        if allowed is None or len(asked) > MAX_ASKED_BYTES or not _FIELD_NAMES.fullmatch(asked):
            return answer
        answer += [
            (b"access-control-allow-origin", allowed),
            (b"access-control-allow-methods", b"GET, POST, DELETE"),
            (b"access-control-max-age", b"%d" % MAX_AGE_S),
        ]
        return [*answer, (b"access-control-allow-headers", asked)] if asked else answer


def _allowed(origins: AllowedOrigins, origin: bytes | None) -> bytes | None:
    """The value of `Access-Control-Allow-Origin`; None for an origin that is not listed."""
    if origin is None or len(origin) > MAX_ORIGIN_BYTES or not origins.allows(origin.decode("latin-1")):
        return None
    return b"*" if origins.allows_any else origin


class CorsApp:
    """An ASGI application around `inner`, for the routes that are not the surfaces': it adds the fields of a project,
    and answers preflights."""

    def __init__(self, inner: AsgiApp, table: CorsTable, project: str) -> None:
        self._inner = inner
        self._table = table
        self._project = project

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        headers = scope["headers"]
        if scope["method"] == "OPTIONS":
            answer = self._table.answer_preflight(self._project, headers)
            if answer is not None:
                await send({"type": "http.response.start", "status": 204, "headers": answer})
                await send({"type": "http.response.body", "body": b""})
                return
        lines = self._table.fields_of(self._project, dict(headers).get(b"origin"))
        more = [(name, value) for name, _, value in [line.partition(b": ") for line in lines.split(b"\r\n")[:-1]]]

        async def send_with_fields(event: AsgiEvent) -> None:
            if event["type"] == "http.response.start":
                event = {**event, "headers": [*event["headers"], *more]}
            await send(event)

        await self._inner(scope, receive, send_with_fields)
