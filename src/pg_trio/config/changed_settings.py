"""Settings that an operator may change while the gateway runs, checked by the same rules as the file."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from attrs import evolve

from pg_trio.config.mistakes import Mistakes, suggest
from pg_trio.config.structuring import structure_sound
from pg_trio.config.tables import CallTable
from pg_trio.domain.json_value import Json
from pg_trio.domain.project import Endpoint

# Limits, budget, deadlines, hedging.
ENDPOINT_FIELDS = (
    "is_active",
    "rate_limit_per_minute",
    "rate_limit_per_hour",
    "usage_hard_limit_tokens",
    "monthly_budget_usd",
    "deadline_ms",
    "stream_deadline_ms",
    "attempt_timeout_ms",
    "first_token_timeout_ms",
    "idle_timeout_ms",
    "hedge_after_ms",
    "hedge_after",
    "max_attempts",
)


def override_endpoint(endpoint: Endpoint, changes: dict[str, Json]) -> Endpoint:
    """The endpoint with these settings in place of the file's. None leaves the file's.

    Raises: ValueError with each mistake in a line.
    """
    unknown = [
        f"{name}: cannot be changed here{suggest(name, ENDPOINT_FIELDS)}"
        for name in changes
        if name not in ENDPOINT_FIELDS
    ]
    if unknown:
        raise ValueError("\n".join(unknown))
    # Numbers with a fraction are exact in the file, so they are here.
    raw: dict[str, Any] = {name: _exact(value) for name, value in changes.items() if value is not None}
    mistakes = Mistakes()
    table = structure_sound(dict(raw), CallTable, (), mistakes)
    if lines := mistakes.lines():
        raise ValueError("\n".join(lines))
    given = {name: getattr(table, name) for name in raw}
    # Of the two ways to say when to hedge, the operator's holds.
    if given.get("hedge_after") is not None and "hedge_after_ms" not in given:
        given["hedge_after_ms"] = None
    elif given.get("hedge_after_ms") is not None and "hedge_after" not in given:
        given["hedge_after"] = None
    elif "hedge_after" in given and "hedge_after_ms" in given:
        raise ValueError("hedge_after: not together with hedge_after_ms")
    return evolve(endpoint, **given)


def override_as_far_as_sound(endpoint: Endpoint, changes: dict[str, Json]) -> tuple[Endpoint, list[str]]:
    """The endpoint with those of these settings that the rules take, one after the other; and the others' mistakes."""
    sound: dict[str, Json] = {}
    mistakes: list[str] = []
    for name, value in changes.items():
        try:
            override_endpoint(endpoint, {**sound, name: value})
        except ValueError as error:
            mistakes.append(str(error))
        else:
            sound[name] = value
    return override_endpoint(endpoint, sound), mistakes


def _exact(value: Json) -> Json | Decimal:
    return Decimal(str(value)) if isinstance(value, float) else value
