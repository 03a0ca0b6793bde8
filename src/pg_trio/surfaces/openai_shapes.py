"""JSON objects of OpenAI's chat, as surfaces render them: usage, and tool calls."""

from __future__ import annotations

from pg_trio.domain.chat import Reply, Usage


def usage_object(usage: Usage) -> dict[str, object]:
    """OpenAI's `usage`. `estimated`, ours, says where the gateway counted because the provider did not."""
    shape: dict[str, object] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    }
    if usage.estimated:
        shape["estimated"] = True
    return shape


def call_objects(reply: Reply) -> list[dict[str, object]]:
    """The tool calls of a whole answer."""
    return [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in reply.tool_calls
    ]
