"""`POST /api/{uuid}/client-tokens`: a server mints a short-lived token for one of its users' browsers."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Protocol, cast

from quart import request
from quart_trio import QuartTrio

from pg_trio.domain.chat import Json
from pg_trio.domain.client_grant import ClientGrant
from pg_trio.domain.mint_terms import MintTerms
from pg_trio.domain.prices import NANO
from pg_trio.domain.project import Access, Caller
from pg_trio.domain.signing_key import CLIENT_TOKEN_MOST_S
from pg_trio.errors import BadRequest
from pg_trio.surfaces.reading.content_type import check_content_coding, check_content_type
from pg_trio.surfaces.reading.field_checks import read_integer, read_strings
from pg_trio.surfaces.reading.json_body import literal_keys, read_json_object

MINT = Access("mint")
LEAST_TTL_S = 60
# 32 slugs of 64 characters and a subject fit into the longest token.
MOST_ENDPOINTS = 32
# OpenAI's `safety_identifier` has 64 characters, a UUID 36, an e-mail address at most 254.
SUBJECT_CHARS = 256
# A billion, as for a stored token's limits.
MOST_LIMIT = 1_000_000_000
# As for an endpoint's budget, in US dollars.
MOST_BUDGET_USD = 1_000_000_000
FIELDS = (
    "ttl_seconds",
    "endpoints",
    "subject",
    "rate_limit_per_minute",
    "max_concurrent",
    "monthly_budget_usd",
)
# Decimal takes spaces and underscores, too. 32 digits are enough, and a longer text is not worth reading.
_AMOUNT = re.compile(r"[+-]?(?:[0-9]{1,16}\.?[0-9]{0,16}|\.[0-9]{1,16})(?:[eE][+-]?[0-9]{1,3})?")
_KEYS = literal_keys(FIELDS)
# A flat object with one list.
_DEPTH = 2


class Mint(Protocol):
    """The parts of the running gateway that mint."""

    async def find_caller(self, authorization: Sequence[str], project: str, access: Access, at: float) -> Caller: ...

    async def mint(self, caller: Caller, terms: MintTerms) -> tuple[ClientGrant, str]: ...


def add_client_token_route(app: QuartTrio, find_gateway: Callable[[], Any]) -> None:
    """Add the route. `find_gateway()` returns the running gateway."""

    @app.post("/api/<project>/client-tokens")
    async def mint_client_token(project: str) -> tuple[dict[str, Any], int]:
        gateway: Mint = find_gateway()
        caller = await gateway.find_caller(request.headers.getlist("Authorization"), project, MINT, time.time())
        check_content_type(", ".join(request.headers.getlist("Content-Type")) or None)
        codings = request.headers.getlist("Content-Encoding")
        if codings:
            check_content_coding(", ".join(codings))
        terms = read_terms(cast(bytes, await request.get_data()))
        grant, text = await gateway.mint(caller, terms)
        return {"ok": True, "data": {"token": text, "expires_at": grant.expires_at}}, 201


def read_terms(body: bytes) -> MintTerms:
    """What the body asks for. Raises: BadRequest that names the field."""
    fields = read_json_object(body, _DEPTH, _KEYS)
    for name in fields:
        if name not in FIELDS:
            # A limit with a spelling mistake must not be no limit.
            raise BadRequest(f"Unknown field; a client token has {', '.join(FIELDS)}.")
    for name in ("ttl_seconds", "endpoints"):
        if fields.get(name) is None:
            raise BadRequest(f"{name}: is required.")
    return MintTerms(
        ttl_s=read_integer(fields["ttl_seconds"], "ttl_seconds", LEAST_TTL_S, CLIENT_TOKEN_MOST_S),
        endpoints=_read_endpoints(fields["endpoints"]),
        subject=_read_subject(fields.get("subject")),
        rate_limit_per_minute=_read_limit(fields, "rate_limit_per_minute"),
        max_concurrent=_read_limit(fields, "max_concurrent"),
        monthly_budget_nano_usd=_read_budget(fields.get("monthly_budget_usd")),
    )


def _read_endpoints(value: Json) -> frozenset[str]:
    slugs = read_strings(value, "endpoints", MOST_ENDPOINTS)
    if not slugs:
        raise BadRequest("endpoints: must not be empty.")
    return frozenset(slugs)


def _read_subject(value: Json) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise BadRequest("subject: must be a string.")
    if not 1 <= len(value) <= SUBJECT_CHARS or not value.isprintable():
        raise BadRequest(f"subject: must be 1 to {SUBJECT_CHARS} printable characters.")
    return value


def _read_limit(fields: dict[str, Json], name: str) -> int | None:
    value = fields.get(name)
    return None if value is None else read_integer(value, name, 1, MOST_LIMIT)


def _read_budget(value: Json) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise BadRequest('monthly_budget_usd: must be an amount as a string, such as "0.50".')
    if _AMOUNT.fullmatch(str(value)) is None:
        raise BadRequest('monthly_budget_usd: must be an amount as a string, such as "0.50".')
    amount = Decimal(str(value))
    nano_usd = int(amount * NANO) if 0 < amount <= MOST_BUDGET_USD else 0
    if nano_usd < 1:
        raise BadRequest(f"monthly_budget_usd: must be more than 0 and at most {MOST_BUDGET_USD}.")
    return nano_usd
