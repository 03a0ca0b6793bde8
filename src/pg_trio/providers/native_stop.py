"""Read what a provider says about an answer's end beyond the finish reason: which stop sequence, or why a turn paused.

Sources, read 2026-11: Anthropic, "Handling stop reasons"; vLLM, `stop_reason` of a choice (the string that matched, or
the number of a token); SGLang, `matched_stop` (the same); Cohere, Chat API v2, `STOP_SEQUENCE`; TGI, `stop_sequence`.
"""

from __future__ import annotations

from pg_trio.domain.json_value import Json
from pg_trio.domain.native_fields import NativeStop

# Anthropic's reasons that the five neutral ones do not tell apart.
_REASONS = frozenset({"stop_sequence", "pause_turn", "model_context_window_exceeded"})


def read_stop(reason: Json, sequence: Json = None) -> NativeStop | None:
    """The end in Anthropic's words; None if the finish reason says all."""
    if type(sequence) is str and sequence:
        return NativeStop("stop_sequence", sequence)
    word = reason.lower() if type(reason) is str else ""
    return NativeStop(word) if word in _REASONS else None


def read_matched_stop(choice: dict[str, Json]) -> NativeStop | None:
    """The same for a choice of OpenAI's wire."""
    return read_stop(choice.get("finish_reason"), choice.get("stop_reason") or choice.get("matched_stop"))
