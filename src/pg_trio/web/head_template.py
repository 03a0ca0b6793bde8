"""What a request's header fields say, read once for all requests of a connection whose heads are the same."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Self, TypeAlias

from attrs import field

from pg_trio.domain.authorization import Authorization
from pg_trio.domain.call import NO_FIELDS, RequestHead, RequestOrigin
from pg_trio.domain.request_id import new_request_id
from pg_trio.domain.secret import mask_credentials
from pg_trio.domain.value import value
from pg_trio.surfaces import MatchedRoute, Surface
from pg_trio.web.client_address import Networks, find_client, plain_address
from pg_trio.web.cors import CorsTable

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]


@value(slots=True)
class HeadTemplate:
    """The surface that such requests came by, and what their heads have in common; fields are noted, not yet judged."""

    surface: Surface
    project: str
    slug: str | None
    authorization: Sequence[str]
    content_type: str | None
    content_coding: str | None
    timeout_ms: Sequence[str]
    read_timeout: Sequence[str]
    origin: RequestOrigin
    fields: Mapping[bytes, bytes] = NO_FIELDS
    # Header lines of every answer, for browsers of other origins; see cors.py.
    cors: bytes = b""
    # Whether such a request may outlive its client's connection: for a resumable stream, or by its key.
    outlives: bool = False
    # `Idempotency-Key`, as it came.
    idempotency_key: bytes | None = None
    is_rare: bool = field(init=False)

    @is_rare.default
    def _find_rare(self) -> bool:
        return bool(self.cors) or self.outlives

    @classmethod
    def read(
        cls, headers: Headers, surface: Surface, route: MatchedRoute, peer: Peer, cors: CorsTable | None = None
    ) -> Self:
        """From a request's headers, the route that its path is, and the connection that it came on."""
        fields = dict(headers)
        if len(fields) != len(headers):
            fields = _join_repeated(headers)
        client_request_id = fields.get(b"x-request-id")
        return cls(
            surface=surface,
            project=route.project,
            slug=route.slug,
            authorization=Authorization(_read_tokens(fields, surface)),
            content_type=_text(fields.get(b"content-type")),
            content_coding=_text(fields.get(b"content-encoding")),
            timeout_ms=_values(fields.get(b"x-pg-timeout-ms")),
            read_timeout=_values(fields.get(b"x-stainless-read-timeout")) + _values(fields.get(b"x-stainless-timeout")),
            origin=RequestOrigin(
                surface=surface.name,
                client_address=peer.find_client(fields),
                client_request_id=None if client_request_id is None else _read_client_id(client_request_id),
                traceparent=_text(fields.get(b"traceparent")),
                tracestate=_text(fields.get(b"tracestate")),
            ),
            fields={name: fields[name] for name in surface.head_fields if name in fields} or NO_FIELDS,
            idempotency_key=fields.get(b"idempotency-key"),
            cors=b"" if not cors else cors.fields_of(route.project, fields.get(b"origin")),
        )

    def make_head(self, head_at: float) -> RequestHead:
        """The head of one such request, read at that time of Trio's clock."""
        # By position, because keyword arguments take three times as long.
        return RequestHead(
            new_request_id(),
            self.project,
            self.slug,
            self.authorization,
            self.content_type,
            self.timeout_ms,
            head_at,
            # As good as when its head was read: nothing waits in between.
            time.time(),
            self.read_timeout,
            self.content_coding,
            self.origin,
            self.fields,
        )


def _read_tokens(fields: Mapping[bytes, bytes], surface: Surface) -> Sequence[str]:
    authorization = _values(fields.get(b"authorization"))
    if not surface.takes_api_key or b"x-api-key" not in fields:
        return authorization
    return pick_tokens(authorization, _values(fields[b"x-api-key"]))


# Credentials of a scheme that is ours.
_HOLDS_BEARER = re.compile(r"bearer +[^ ]", re.IGNORECASE)


def pick_tokens(authorization: Sequence[str], api_keys: Sequence[str]) -> Sequence[str]:
    """The values that may be a token, of a request that may have it in either field.

    Clients that were told of one field may send the other one empty (`ANTHROPIC_API_KEY=""`), and a proxy may want
    `Authorization: Basic` for itself: neither is a token beside the one in the other field.
    """
    keys = [key for key in api_keys if key.strip()]
    return join_tokens([each for each in authorization if _HOLDS_BEARER.match(each)] if keys else authorization, keys)


def join_tokens(authorization: Sequence[str], api_keys: Sequence[str]) -> Sequence[str]:
    """The values of `Authorization`, and those of `x-api-key` in its form. The same token in both counts once."""
    if not api_keys:
        return authorization
    keys = [f"Bearer {key.strip()}" for key in api_keys]
    if len(keys) == len(authorization) == 1 and _is_bearer(authorization[0], keys[0]):
        return authorization
    return [*authorization, *keys]


def _is_bearer(authorization: str, expected: str) -> bool:
    """Whether it is the expected `Bearer …`. The scheme's letters may be of any case (RFC 9110, section 11.1)."""
    scheme, _, token = authorization.partition(" ")
    return scheme.lower() == "bearer" and f"Bearer {token.strip()}" == expected


@value(slots=True)
class Peer:
    """The other end of a request's connection: its address, None without one, and the proxies to be believed."""

    address: str | None = None
    trusted: Networks = ()

    def find_client(self, fields: Mapping[bytes, bytes]) -> str | None:
        """The address of the client, by these headers where the peer is a listed proxy."""
        if self.address is None or not self.address:
            return None
        peer = plain_address(self.address)
        if not self.trusted:
            return peer
        x_forwarded_for, forwarded = fields.get(b"x-forwarded-for"), fields.get(b"forwarded")
        return find_client(peer, self.trusted, _values(x_forwarded_for), _values(forwarded))


# 128 visible ASCII characters: what is kept of a client's own id; four UUIDs, or a trace and a span.
_CLIENT_ID = re.compile(rb"[!-~]{1,128}")


def _read_client_id(text: bytes) -> str | None:
    """A client's `X-Request-Id` as the log keeps it; None where there is none, or two with two values."""
    return mask_credentials(text.decode("ascii")) if _CLIENT_ID.fullmatch(text) else None


# No field value holds one (RFC 9110 section 5.5), and no server passes one on.
_REPEATED = b"\0"
_LISTS = frozenset({b"content-type", b"content-encoding", b"tracestate"})


def _join_repeated(headers: Headers) -> dict[bytes, bytes]:
    """Headers by name where some come more than once: values that we must see apart are told apart by _values."""
    fields: dict[bytes, bytes] = {}
    for name, text in headers:
        if name not in fields:
            fields[name] = text
        elif name in _LISTS:
            # As RFC 9110 says. Two content types are then one malformed media type, which every surface refuses.
            fields[name] += b", " + text
        else:
            fields[name] += _REPEATED + text
    return fields


def _values(joined: bytes | None) -> list[str]:
    return [] if joined is None else joined.decode("latin-1").split("\0")


def _text(joined: bytes | None) -> str | None:
    return None if joined is None else joined.decode("latin-1")
