"""Fields that whole answers and streamed ones of Cohere's wire have in common."""

from __future__ import annotations

from pg_trio.domain.chat import FinishReason, Usage
from pg_trio.domain.json_value import Json
from pg_trio.providers.openai_fields import MAX_TOKEN_COUNT

FINISH_REASONS: dict[str, FinishReason] = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
}


def find_finish_reason(given: Json, calls_tools: bool) -> FinishReason:
    """The contract's word for a finish reason. ERROR, TIMEOUT and words that came later are `error`: not whole."""
    known = FINISH_REASONS.get(given, "error") if type(given) is str else "error"
    if known == "stop" and calls_tools:
        return "tool_calls"
    return "error" if known == "tool_calls" and not calls_tools else known


def read_usage(usage: Json) -> Usage | None:
    """Token counts, or None where the provider sent none.

    Shape:  {"tokens": {"input_tokens": number, "output_tokens": number}, "cached_tokens": number, "billed_units": …};
            whole numbers, written with a fraction (`12.0`). `tokens` is what the model saw; `billed_units` leaves out
            what Cohere adds itself, and stands in where `tokens` is missing.
    """
    if type(usage) is not dict:
        return None
    for name in ("tokens", "billed_units"):
        counts = usage.get(name)
        if type(counts) is dict:
            given, answered = _count(counts.get("input_tokens")), _count(counts.get("output_tokens"))
            if given is not None and answered is not None:
                return Usage(given, answered, cached_tokens=min(_count(usage.get("cached_tokens")) or 0, given))
    return None


def _count(given: Json) -> int | None:
    if type(given) not in (int, float) or not 0 <= given <= MAX_TOKEN_COUNT:
        return None
    return int(given)
