"""What in a prompt only another wire can carry: blocks, tools and fields in the terms of the client's own wire."""

from __future__ import annotations

from pg_trio.domain.chat import Prompt
from pg_trio.domain.content import NativePart
from pg_trio.domain.provider import Wire
from pg_trio.domain.tools import ForeignTool, ForeignToolChoice


def find_foreign(prompt: Prompt, wire: Wire) -> str | None:
    """The name of what a candidate of this wire cannot take, because it is another wire's; None if there is nothing."""
    if any(isinstance(tool, ForeignTool) and tool.wire != wire for tool in prompt.tools):
        return "tools"
    if isinstance(prompt.tool_choice, ForeignToolChoice) and prompt.tool_choice.wire != wire:
        return "tool_choice"
    native = prompt.native
    if native is not None and native.wire != wire and native.needs:
        return native.needs[0]
    # Native parts are Anthropic's.
    return None if wire == "anthropic" else _find_foreign_part(prompt)


def _find_foreign_part(prompt: Prompt) -> str | None:
    for message in prompt.messages:
        for part in message.content if isinstance(message.content, tuple) else ():
            if isinstance(part, NativePart) and part.others is None:
                return part.kind
    return None
