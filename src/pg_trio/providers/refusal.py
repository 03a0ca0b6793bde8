"""Failure statuses of every wire: what the provider said about it, and when to come back.

Rules:
1. Redirects are failures like any other: they are never followed, for the next host would be given the key.
2. What is passed on is the provider's message or its first words of plain text; never a page, never a dump.
3. Secrets are masked here already: what an adapter raises may be shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

import orjson

from pg_trio.domain.chat import Json
from pg_trio.domain.project import Candidate
from pg_trio.domain.secret import mask_secrets
from pg_trio.errors import UpstreamRefused

# One day: longer waits are mistakes (a date of the next year, microseconds for seconds).
RETRY_AFTER_LIMIT_S = 86_400.0

# 64 KiB: an error's body is under 2 KiB with every provider we know; a larger one is a page, and is not read.
ERROR_BODY_BYTES = 64 * 1024

# What is looked at of a plain text; `mask_secrets` shows 500 characters of it.
PLAIN_TEXT_BYTES = 4096


def read_refusal(
    status: int, headers: Mapping[str, str], body: bytes, candidate: Candidate, *, now_s: float
) -> UpstreamRefused:
    """The failure that an answer with this status is: `HTTP 429: Rate limit reached …`, and its `Retry-After`."""
    words = _read_words(headers, body)
    said = f"HTTP {status}: {words}" if words else f"HTTP {status}"
    return UpstreamRefused(mask_for(candidate, said), status, read_retry_after(headers, now_s))


def mask_for(candidate: Candidate, said: str) -> str:
    """`said`, safe to be shown: this candidate's key and everything shaped like one masked, at most 500 characters."""
    key = candidate.credential.api_key
    return mask_secrets(said, () if key is None else (key,))


def read_retry_after(headers: Mapping[str, str], now_s: float) -> float | None:
    """Seconds to wait, 0 to one day; None where the provider says nothing that can be understood.

    Source: RFC 9110, section 10.2.3 (seconds or a date); `retry-after-ms` goes before it, as in the client libraries
            of OpenAI (openai-python) and Azure (azure-rest/core-client), because it is the finer one.
    """
    wait_ms = _read_number(headers.get("retry-after-ms"))
    if wait_ms is not None:
        return _clamp_wait(wait_ms / 1000)
    retry_after = headers.get("retry-after")
    wait_s = _read_number(retry_after)
    if wait_s is None and retry_after is not None:
        at_s = _read_date(retry_after)
        wait_s = None if at_s is None else at_s - now_s
    return None if wait_s is None else _clamp_wait(wait_s)


def read_error_message(answer: Json) -> str | None:
    """What an error's JSON says, or None. Each shape is some provider's.

    Shapes: {"error": {"message": str}} (OpenAI, Groq, Together, Ollama), {"error": str} (Ollama's own routes),
            {"message": str} (Mistral), {"detail": str} and {"detail": [{"loc": [...], "msg": str}]} (Mistral's 422,
            also inside "message").
    """
    # Two levels are what providers send; answers nested without end are left alone after that.
    for _ in range(3):
        if isinstance(answer, str):
            return answer
        if isinstance(answer, list):
            return _read_validation_error(answer)
        if not isinstance(answer, dict):
            return None
        fields = (answer.get("error"), answer.get("message"), answer.get("detail"))
        answer = next((said for said in fields if said and isinstance(said, str | dict | list)), None)
    return None


def _read_words(headers: Mapping[str, str], body: bytes) -> str | None:
    if len(body) > ERROR_BODY_BYTES:
        return None
    if "html" in headers.get("content-type", "").lower() or body[:64].lstrip()[:1] == b"<":
        return "HTML page"
    try:
        return read_error_message(orjson.loads(body))
    except orjson.JSONDecodeError:
        return _read_plain_text(body)


def _read_plain_text(body: bytes) -> str | None:
    # What begins like JSON and is none was cut short: its quotes and braces tell nobody anything.
    if body.lstrip()[:1] in (b"{", b"["):
        return None
    text = body[:PLAIN_TEXT_BYTES].decode("utf-8", "replace")
    return text if "\x00" not in text and text.count("�") <= 1 else None


def _read_validation_error(errors: list[Json]) -> str | None:
    first = errors[0] if errors else None
    if not isinstance(first, dict):
        return None
    said = first.get("msg")
    if not isinstance(said, str):
        return None
    place = first.get("loc")
    if not isinstance(place, list):
        return said
    return f"{'.'.join(str(step) for step in place if isinstance(step, str | int))}: {said}"


def _read_number(value: str | None) -> float | None:
    try:
        number = float(value) if value is not None else math.nan
    except ValueError:
        return None
    return None if math.isnan(number) else number


def _read_date(value: str) -> float | None:
    try:
        date = parsedate_to_datetime(value)
        # HTTP's dates are UTC whatever zone they name or leave out (RFC 9110, section 5.6.7).
        return (date if date.tzinfo is not None else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError, OSError):
        # The parser and the clock's range raise all of these for dates that are none.
        return None


def _clamp_wait(wait_s: float) -> float:
    return min(max(wait_s, 0.0), RETRY_AFTER_LIMIT_S)
