"""Token counts of the Messages wire."""

from __future__ import annotations

from pg_trio.domain.chat import Usage
from pg_trio.domain.json_value import Json
from pg_trio.providers.openai_usage import MAX_TOKEN_COUNT


def read_usage(usage: Json, before: Usage | None = None) -> Usage | None:
    """Token counts, or None if one of them is wrong. Returns `before`, the earlier counts, if there are none here.

    Shape:  {"input_tokens": int, "cache_read_input_tokens": int | null, "cache_creation_input_tokens": int | null,
            "output_tokens": int, "output_tokens_details": {"thinking_tokens": int} | null}. `input_tokens` leaves the
            cached ones out. A stream's later counts are totals, and repeat only what changed: a missing count and 0
            leave the earlier one.
    """
    if type(usage) is not dict:
        return before
    cached = _count(usage.get("cache_read_input_tokens"), 0 if before is None else before.cached_tokens)
    written = _count(usage.get("cache_creation_input_tokens"), 0 if before is None else before.cache_write_tokens)
    fresh = None if before is None else before.prompt_tokens - before.cached_tokens - before.cache_write_tokens
    fresh = _count(usage.get("input_tokens"), fresh)
    output = _count(usage.get("output_tokens"), 0 if before is None else before.completion_tokens)
    if fresh is None or output is None or cached is None or written is None:
        return None
    details = usage.get("output_tokens_details")
    thought = _count(details.get("thinking_tokens") if type(details) is dict else None, 0)
    return Usage(
        prompt_tokens=fresh + cached + written,
        completion_tokens=output,
        cached_tokens=cached,
        cache_write_tokens=written,
        reasoning_tokens=thought or (0 if before is None else before.reasoning_tokens),
    )


def _count(given: Json, otherwise: int | None) -> int | None:
    # `type(…) is`: a bool is an int to isinstance.
    if given is None or (type(given) is int and given == 0 and otherwise):
        return otherwise
    return given if type(given) is int and 0 <= given <= MAX_TOKEN_COUNT else None
