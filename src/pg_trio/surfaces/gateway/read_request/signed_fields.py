"""What an answer of ours had for the provider to see again: signed reasoning, and signatures of tool calls.

They come back in an assistant's message as they went out: `reasoning_details` in OpenRouter's shape, and in a tool call
Google's `extra_content`. Clients pass on much else under these names, from other gateways too, so what has another
shape, or is larger than the limits here, is left out like any unknown field. What a person may have written (the text)
is text for the guardrails; signatures and encrypted blocks are base64, and nothing else is taken for one.
"""

from __future__ import annotations

import re

from pg_trio.domain.chat import Json, JsonObject, Reasoning

# More blocks than any model makes between two calls of tools.
MAX_BLOCKS = 256
# 1 MiB of base64: three times what Anthropic's longest thinking comes to, which a signature may hold encrypted.
_OPAQUE = re.compile(r"[A-Za-z0-9+/_=-]{1,1048576}")
# The only signed blocks that the gateway hands out are Anthropic's; OpenRouter names the wire of each.
_FORMATS = (None, "unknown", "anthropic-claude-v1")


def read_reasoning(given: Json) -> tuple[Reasoning, ...]:
    """The blocks of a message's `reasoning_details`, in their order."""
    if not isinstance(given, list) or len(given) > MAX_BLOCKS:
        return ()
    blocks = [_read_block(entry) for entry in given if isinstance(entry, dict)]
    return tuple([block for block in blocks if block is not None])


def _read_block(entry: JsonObject) -> Reasoning | None:
    if entry.get("format") not in _FORMATS:
        return None
    kind, text, signature, data = entry.get("type"), entry.get("text"), entry.get("signature"), entry.get("data")
    if kind == "reasoning.text" and isinstance(text, str) and _is_opaque(signature):
        return Reasoning(text, signature)
    if kind == "reasoning.encrypted" and _is_opaque(data):
        return Reasoning("", data=data)
    return None


def read_signature(call: JsonObject) -> str | None:
    """The signature of a tool call; None without one."""
    fields: Json = call
    for name in ("extra_content", "google", "thought_signature"):
        if not isinstance(fields, dict):
            return None
        fields = fields.get(name)
    return fields if _is_opaque(fields) else None


def _is_opaque(given: Json) -> bool:
    return isinstance(given, str) and _OPAQUE.fullmatch(given) is not None
