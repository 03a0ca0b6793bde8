"""When a provider is to be asked again: `Retry-After` in all the forms it is sent in.

Rules:
1. `retry-after-ms` goes before `retry-after`, because it is the finer one, as in the client libraries of OpenAI
   (openai-python) and Azure (azure-rest/core-client).
2. A number is seconds; one past a billion is a moment, in Unix time (seconds, or thousandths and less).
3. A date is HTTP's (RFC 9110, section 5.6.7), an e-mail's, or ISO 8601's.
4. Numbers may have units (`1m30s`, `500ms`), as Go's durations and OpenAI's x-ratelimit-reset, and ISO 8601's `PT30S`.
5. A 429 without any of these may say when its limits are whole again: `anthropic-ratelimit-tokens-reset` (a date,
   Anthropic's API reference, "Rate limits"), `x-ratelimit-reset-requests` (a duration, OpenAI's), `x-ratelimit-reset`,
   `ratelimit-reset`. Of limits that say so, those with nothing left count, the last of them; else the first to be whole
   again, for then one is merely too small for this request.
6. Without a header the body of a 429 or 503 may say it: `retryDelay` in Google's details (google.rpc.RetryInfo), on any
   wire, and `X-RateLimit-Reset` among the headers that OpenRouter repeats in its error.
7. At most an hour: longer waits are mistakes, or a day's quota, and a candidate is looked at again before that.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

# 1 MiB: FastAPI repeats the whole input in its message; a larger body is a page, and is not read.
ERROR_BODY_BYTES = 1024 * 1024

# The contract's cap (section 9).
RETRY_AFTER_LIMIT_S = 3_600.0

# The 9th of September, 2001, as Unix time; as a delay, thirty years.
_UNIX_TIME_FROM = 1e9
# 64: the longest date there is has 33 characters.
_VALUE_CHARS = 64

_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_UNITS = re.compile(
    r"(\d+(?:\.\d+)?)\s*(milliseconds?|msecs?|millis|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d)"
)
_CLOCK = re.compile(r"(\d{1,3}):(\d{2}):(\d{2})(\.\d+)?")
# `x-ratelimit-reset-tokens` and `x-ratelimit-remaining-tokens`, `anthropic-ratelimit-tokens-reset` and
# `anthropic-ratelimit-tokens-remaining`, `ratelimit-reset` and `ratelimit-remaining`.
_RESET = re.compile(r"(?:x-)?ratelimit-reset(?:-[a-z-]+)?|anthropic-ratelimit-[a-z-]+-reset")
_IN_BODY = re.compile(rb'"(?:retryDelay|x-ratelimit-reset)"\s*:\s*"?([^",}\s]{1,64})', re.IGNORECASE)
_ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?\s?([Zz]|[+-]\d\d:?\d\d)?")


def read_retry_after(headers: Mapping[str, str], now_s: float) -> float | None:
    """Seconds to wait, 0 to one hour; None where the provider says nothing that can be understood."""
    wait_s = _read_wait(headers.get("retry-after-ms"), now_s, per_second=1000)
    if wait_s is None:
        wait_s = _read_wait(headers.get("retry-after"), now_s, per_second=1)
    return None if wait_s is None else min(max(wait_s, 0.0), RETRY_AFTER_LIMIT_S)


def read_limit_reset(headers: Mapping[str, str], now_s: float) -> float | None:
    """Seconds until a 429's own limits let one ask again, 0 to one hour; None where its headers do not say."""
    spent_s: list[float] = []
    others_s: list[float] = []
    for name, value in headers.items():
        wait_s = _read_wait(value, now_s, per_second=1) if _RESET.fullmatch(name) else None
        if wait_s is None:
            continue
        left = _read_number(headers.get(name.replace("reset", "remaining"), "").strip())
        (spent_s if left == 0 else others_s).append(wait_s)
    waits_s = [max(spent_s)] if spent_s else others_s
    return min(max(min(waits_s), 0.0), RETRY_AFTER_LIMIT_S) if waits_s else None


def read_body_wait(body: bytes, now_s: float) -> float | None:
    """Seconds that the body of a failure asks for, 0 to one hour; None where it does not say."""
    found = _IN_BODY.search(body[:ERROR_BODY_BYTES])
    wait_s = None if found is None else _read_wait(found[1].decode("latin-1"), now_s, per_second=1)
    return None if wait_s is None else min(max(wait_s, 0.0), RETRY_AFTER_LIMIT_S)


def _read_wait(value: str | None, now_s: float, per_second: int) -> float | None:
    if value is None:
        return None
    value = value.strip().strip("\"'")
    number = _read_number(value)
    if number is not None:
        return number / per_second if number < _UNIX_TIME_FROM or math.isinf(number) else _unix_s(number) - now_s
    value = value[:_VALUE_CHARS]
    duration_s = _read_duration(value.lower())
    if duration_s is not None:
        return duration_s
    at_s = _read_date(value)
    return None if at_s is None else at_s - now_s


def _read_number(value: str) -> float | None:
    # A header that was sent twice is joined with a comma: the first counts.
    try:
        number = float(value.split(",", maxsplit=1)[0] if value[:1].isdigit() else value)
    except ValueError:
        return None
    return None if math.isnan(number) else number


def _unix_s(number: float) -> float:
    """Unix seconds of a moment given in them, or in thousandths, millionths or billionths."""
    while number >= 1e11:
        number /= 1000
    return number


def _read_duration(value: str) -> float | None:
    """`1m30s`, `500 ms`, `in 7 seconds`, `pt30s`, `00:01:30`; None for anything else."""
    clock = _CLOCK.fullmatch(value)
    if clock is not None:
        return int(clock[1]) * 3_600 + int(clock[2]) * 60 + int(clock[3]) + float(clock[4] or 0)
    parts = _UNITS.findall(value)
    rest = _UNITS.sub("", value)
    if not parts or rest.strip(" ,.+") not in ("", "in", "after", "pt", "p", "and"):
        return None
    return sum(float(number) * _UNIT_S[_unit_of(word)] for number, word in parts)


def _unit_of(word: str) -> str:
    return "ms" if word.startswith(("ms", "milli")) else word[0]


def _read_date(value: str) -> float | None:
    try:
        date = datetime.fromisoformat(value) if _ISO_DATE.fullmatch(value) else parsedate_to_datetime(value)
        # HTTP's dates are UTC, with any or no zone (RFC 9110, section 5.6.7).
        return (date if date.tzinfo is not None else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError, OSError):
        # The parser and the clock's range raise all of these for dates that are none.
        return None
