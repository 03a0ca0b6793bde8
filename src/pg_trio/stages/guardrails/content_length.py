"""The guardrail `content_length`: characters (code points) of all the client's text, inclusive on both ends."""

from __future__ import annotations

from pg_trio.domain.guardrails import ContentLength
from pg_trio.errors import InputTooLong, InputTooShort


def check_length(rule: ContentLength, length_chars: int) -> None:
    """Return if the length is within the bounds. Raises: InputTooLong, InputTooShort."""
    if rule.max is not None and length_chars > rule.max:
        raise InputTooLong(length_chars, rule.max, rule="max")
    if rule.min is not None and length_chars < rule.min:
        raise InputTooShort(length_chars, rule.min, rule="min")
