"""A model's reasoning, in the dialects of the OpenAI wire: text for the client, or no more than a sign of life.

Fields of a message or a delta: `reasoning_content` (DeepSeek, vLLM, SGLang, llama.cpp, xAI), `reasoning` (Groq,
Together, Ollama, OpenRouter), `reasoning_details` (OpenRouter: text, summary or encrypted), `thinking`,
`thinking_blocks` (LiteLLM), `thought`. A provider that says the same in two of them (OpenRouter) is told once.
Content parts: `thinking` (Mistral), `reasoning`, `redacted_thinking`, and a part whose `thought` is true (Google).
"""

from __future__ import annotations

from collections.abc import Mapping

from pg_trio.domain.chat import Json

_FIELDS = (
    *("reasoning_content", "reasoning", "thinking", "thinking_content", "reasoning_text", "thought", "thoughts"),
    *("reasoning_details", "thinking_blocks", "reasoning_summary"),
)
REASONING_FIELDS = frozenset(_FIELDS)
_PART_FIELDS = ("thinking", "reasoning", "text", "summary", "content", "reasoning_content", "thought")
# What an opaque one has instead of a text: it shows that the model reasons, and no more.
_OPAQUE = ("data", "signature", "encrypted_content", "type", "redacted_thinking")
_PART_TYPES = ("thinking", "reasoning", "redacted_thinking", "thought")
# Parts of parts of parts: Mistral nests two.
_MAX_DEPTH = 4


def find_reasoning(fields: Mapping[str, Json]) -> str | None:
    """The reasoning in a message or a delta; "" where it is hidden, None where there is none."""
    if REASONING_FIELDS.isdisjoint(fields):
        return None
    is_hidden = False
    for name in _FIELDS:
        value = fields.get(name)
        if value:
            text = _read(value, _MAX_DEPTH)
            if text:
                return text
            is_hidden = is_hidden or text == ""
    return "" if is_hidden else None


def is_reasoning_part(part: Mapping[str, Json]) -> bool:
    """Whether a content part is reasoning rather than the answer."""
    kind = part.get("type")
    return (isinstance(kind, str) and kind.startswith(_PART_TYPES)) or part.get("thought") is True or "thinking" in part


def read_reasoning_part(part: Mapping[str, Json]) -> str:
    """The text of such a part, "" where it has none that can be read."""
    return _read(part, _MAX_DEPTH) or ""


def _read(value: Json, depth: int) -> str | None:
    if isinstance(value, str):
        return value or None
    if depth == 0:
        return None
    if isinstance(value, list):
        texts = [_read(item, depth - 1) for item in value]
        return None if all(text is None for text in texts) else "".join([text or "" for text in texts])
    if isinstance(value, dict):
        for name in _PART_FIELDS:
            text = _read(value.get(name), depth - 1)
            if text:
                return text
        return "" if any(value.get(name) for name in _OPAQUE) else None
    return None
