"""JSON objects of OpenAI's chat that surfaces render: ids, usage, tool calls and signed reasoning.

Sources, read 2026-11: OpenAI, API reference, "The chat completion object"; OpenRouter, "Reasoning tokens" (the shape of
`reasoning_details`); Google, Gemini API, "OpenAI compatibility" (`extra_content.google.thought_signature`).
"""

from __future__ import annotations

from pg_trio.domain.chat import Reasoning, Reply, Usage


def completion_id(reply_id: str) -> str:
    """A reply's id in OpenAI's shape. The same reply always has the same id."""
    return reply_id if reply_id.startswith("chatcmpl-") else f"chatcmpl-{reply_id}"


def usage_object(usage: Usage) -> dict[str, object]:
    """OpenAI's `usage`, with our field `estimated`: whether the gateway counted because the provider did not."""
    shape = plain_usage_object(usage)
    if usage.estimated:
        shape["estimated"] = True
    return shape


def plain_usage_object(usage: Usage) -> dict[str, object]:
    """OpenAI's `usage` and nothing of ours."""
    shape: dict[str, object] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
    if usage.cached_tokens:
        shape["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    if usage.reasoning_tokens:
        shape["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    return shape


def call_objects(reply: Reply) -> list[dict[str, object]]:
    """The tool calls of a whole answer."""
    return [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
            **signature_fields(call.signature),
        }
        for call in reply.tool_calls
    ]


def signature_fields(signature: str | None) -> dict[str, object]:
    """The extra fields of a signed tool call, in Google's shape. Empty without a signature."""
    return {} if not signature else {"extra_content": {"google": {"thought_signature": signature}}}


def reasoning_object(block: Reasoning) -> dict[str, object]:
    """A block of reasoning that the client must send back, in OpenRouter's shape."""
    if block.data is not None:
        return {"type": "reasoning.encrypted", "data": block.data}
    return {"type": "reasoning.text", "text": block.text, "signature": block.signature}
