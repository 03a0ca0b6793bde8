"""Signed reasoning and signatures of tool calls, which a client sends back from an earlier answer of the gateway.

An assistant's message has them as the gateway sent them: `reasoning_details` in OpenRouter's shape, and Google's
`extra_content` in a tool call. Clients also send values of other gateways under these names. So a value in another
shape, or above the limits here, is dropped like an unknown field. The guardrails read the text, because a person may
have written it. Signatures and encrypted blocks must be base64.
"""

from __future__ import annotations

import re

from pg_trio.domain.chat import Json, JsonObject, Reasoning

# More blocks than any model writes between two tool calls.
MAX_BLOCKS = 256
# 1 MiB of base64: three times the size of Anthropic's longest thinking, which a signature may hold encrypted.
_OPAQUE = re.compile(r"[A-Za-z0-9+/_=-]{1,1048576}")
# The gateway only sends signed blocks of Anthropic's. OpenRouter names the wire of each block.
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
    if kind == "reasoning.text" and isinstance(text, str) and is_opaque(signature):
        return Reasoning(text, signature)
    if kind == "reasoning.encrypted" and is_opaque(data):
        return Reasoning("", data=data)
    return None


def read_signature(call: JsonObject) -> str | None:
    """The signature of a tool call; None without one."""
    fields: Json = call
    for name in ("extra_content", "google", "thought_signature"):
        if not isinstance(fields, dict):
            return None
        fields = fields.get(name)
    return fields if is_opaque(fields) else None


def is_opaque(given: Json) -> bool:
    """Whether it is a string of base64 that may be a signature or an encrypted block."""
    return isinstance(given, str) and _OPAQUE.fullmatch(given) is not None
