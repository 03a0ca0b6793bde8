"""Items of a response's output: reasoning, the message, function calls.

Rules:
1. Each block of reasoning is an item, with its text as the summary: the field that all clients show. What a provider
   wants to see again is in `encrypted_content`.
2. Signatures of calls (Google's) are in the `encrypted_content` of a reasoning item before the call, because clients do
   not keep a call's unknown fields.
3. An answer that is complete has a message, also an empty one, unless it has calls.

Source: OpenAI's openapi.yaml, OutputItem, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Sequence

from pg_trio.domain.chat import Reasoning, Reply
from pg_trio.domain.tools import ToolCall
from pg_trio.surfaces.v1.responses.response_id import ResponseIds
from pg_trio.surfaces.v1.responses.response_object import Item, ResponseStatus, status_of
from pg_trio.surfaces.v1.responses.sealed_reasoning import SealedReasoning, seal
from pg_trio.surfaces.v1.responses.token_logprobs import Logprob, read_logprobs


def reasoning_item(item_id: str, text: str, encrypted: str | None, status: ResponseStatus = "completed") -> Item:
    """A block of reasoning. `text` is empty if there is nothing to show."""
    item: Item = {
        "id": item_id,
        "type": "reasoning",
        "status": status,
        "summary": [summary_part(text)] if text else [],
    }
    return item if encrypted is None else item | {"encrypted_content": encrypted}


def message_item(item_id: str, parts: Sequence[Item], status: ResponseStatus = "completed") -> Item:
    """A message with these content parts."""
    return {"id": item_id, "type": "message", "status": status, "role": "assistant", "content": list(parts)}


def call_item(item_id: str, call: ToolCall, status: ResponseStatus = "completed") -> Item:
    """A function call."""
    return {
        "id": item_id,
        "type": "function_call",
        "status": status,
        "call_id": call.id,
        "name": call.name,
        "arguments": call.arguments,
    }


def text_part(text: str, logprobs: Sequence[Logprob] = ()) -> Item:
    """A message's text."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": list(logprobs)}


def summary_part(text: str) -> Item:
    """A reasoning item's text."""
    return {"type": "summary_text", "text": text}


def seal_call(call: ToolCall) -> str | None:
    """The `encrypted_content` for a call's signature; None without one."""
    return seal(SealedReasoning(call_signatures={call.id: call.signature})) if call.signature else None


def output_items(reply: Reply, ids: ResponseIds, *, shows_logprobs: bool = False) -> list[Item]:
    """The items of a whole answer."""
    last = status_of(reply.finish_reason)
    items: list[Item] = []

    def next_id(kind: str) -> str:
        return ids.item_id(kind, len(items))

    for block in _blocks_of(reply):
        encrypted = seal(SealedReasoning(block))
        if block.text or encrypted is not None:
            items.append(reasoning_item(next_id("rs"), block.text, encrypted))
    if reply.content or not (reply.tool_calls or (last == "incomplete" and not reply.content)):
        logprobs = read_logprobs(reply.logprobs) if shows_logprobs else []
        items.append(message_item(next_id("msg"), [text_part(reply.content or "", logprobs)]))
    for call in reply.tool_calls:
        if (encrypted := seal_call(call)) is not None:
            items.append(reasoning_item(next_id("rs"), "", encrypted))
        items.append(call_item(next_id("fc"), call))
    # An answer that stopped early stopped in its last item. A sealed one is whole.
    if items and last != "completed" and "encrypted_content" not in items[-1]:
        items[-1]["status"] = "incomplete"
    return items


def _blocks_of(reply: Reply) -> Sequence[Reasoning]:
    """The reasoning in blocks; as one block if the provider does not want to see it again."""
    blocks = reply.reasoning_blocks
    if "".join([block.text for block in blocks]) == (reply.reasoning or ""):
        return blocks
    return [Reasoning(reply.reasoning or "")]
