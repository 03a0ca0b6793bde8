"""Write requests that came in this wire's own dialect (`/v1/messages`) to Anthropic.

Rules:
1. What the client sent goes out unchanged, in its order, also fields and blocks that the gateway does not know. No
   setting is left out for a model that may refuse it: the client speaks the API itself.
2. The gateway's own changes hold: the endpoint's prompt before the client's `system`, masks, the model, limits, and
   options that the endpoint sets. These follow the rules of anthropic_request.py.
3. Turns of the gateway's own (a session's history, the text of a broken stream) follow those rules, too.
"""

from __future__ import annotations

from collections.abc import Sequence

from pg_trio.domain.chat import Message, Prompt
from pg_trio.domain.json_value import Json
from pg_trio.domain.native_fields import NativeRequest
from pg_trio.domain.provider import MIN_THINKING_TOKENS
from pg_trio.domain.tools import ForeignTool, Tool
from pg_trio.providers.anthropic_blocks import text_block, why_part_unfit, write_blocks, write_content
from pg_trio.providers.anthropic_models import Claude, find_model
from pg_trio.providers.anthropic_request import (
    DEFAULT_MAX_TOKENS,
    JSON_ONLY,
    end_with_user,
    lost_reasoning,
    write_format,
    write_sampling,
    write_thinking,
)
from pg_trio.providers.native_request import Block


def why_native_unfit(prompt: Prompt) -> str | None:
    """The content of the prompt that this wire cannot carry: parts of a session's history; None if there are none."""
    contents = [message.content for message in prompt.messages if isinstance(message.content, tuple)]
    reasons = (why_part_unfit(part) for content in contents for part in content)
    return next((reason for reason in reasons if reason is not None), None)


def write_native_body(prompt: Prompt, native: NativeRequest, model: str) -> dict[str, Json]:
    """The body of the request, without the fields of a stream."""
    options, asked, claude = prompt.options, native.asked, find_model(model)
    limit = options.max_output_tokens
    body: dict[str, Json] = {
        "model": model,
        "max_tokens": DEFAULT_MAX_TOKENS if limit is None else limit,
        "messages": _write_turns(prompt.messages),
        **native.fields,
    }
    _write_system(prompt.messages, body)
    if prompt.tools:
        body["tools"] = [_write_tool(tool) for tool in prompt.tools]
    _replace_options(prompt, native, claude, body)
    if options.temperature == asked.temperature and options.top_p == asked.top_p:
        sampling = {"temperature": options.temperature, "top_p": options.top_p}
        body |= {name: given for name, given in sampling.items() if given is not None}
    else:
        write_sampling(options, claude, body)
    if _lost_thinking(prompt.messages) and body.get("thinking", {}).get("type") == "enabled":
        del body["thinking"]
    if prompt.messages[-1].native is None:
        end_with_user(body["messages"], claude, body)
    return body


def _replace_options(prompt: Prompt, native: NativeRequest, claude: Claude, body: dict[str, Json]) -> None:
    """Replace the fields whose options the endpoint sets."""
    options, asked = prompt.options, native.asked
    replaces_format = options.response_format != asked.response_format
    effort, budget = options.reasoning_effort, options.thinking_budget_tokens
    replaces_thinking = (effort, budget) != (asked.reasoning_effort, asked.thinking_budget_tokens)
    if options.max_output_tokens != asked.max_output_tokens:
        _fit_budget(body)
    if not replaces_format and not replaces_thinking:
        return
    given = body.pop("output_config", None)
    if replaces_format:
        asks_in_words: list[str] = []
        write_format(options, claude, body, asks_in_words)
        if asks_in_words:
            body["system"] = [*_as_blocks(body.get("system")), text_block(JSON_ONLY)]
    if replaces_thinking:
        body.pop("thinking", None)
        write_thinking(prompt, claude, body)
    replaced = {"format": replaces_format, "effort": replaces_thinking}
    config = given if isinstance(given, dict) else {}
    kept = {name: item for name, item in config.items() if not replaced.get(name)}
    if kept:
        body["output_config"] = {**kept, **body.get("output_config", {})}


def _lost_thinking(messages: Sequence[Message]) -> bool:
    """Whether the calls of the round under way are a session's, which stores no reasoning."""
    calls = next((message for message in reversed(messages) if message.role == "assistant"), None)
    return calls is not None and calls.native is None and lost_reasoning(messages)


def _fit_budget(body: dict[str, Json]) -> None:
    """Make the client's budget for thinking less than the endpoint's limit, as the API demands."""
    thinking = body.get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
    if not isinstance(thinking, dict) or not isinstance(budget, int) or budget < body["max_tokens"]:
        return
    if body["max_tokens"] > MIN_THINKING_TOKENS:
        body["thinking"] = {**thinking, "budget_tokens": body["max_tokens"] - 1}
    else:
        del body["thinking"]


def _write_system(messages: Sequence[Message], body: dict[str, Json]) -> None:
    """Write `system`: the endpoint's prompt, then the client's text. A lone text stays a string."""
    texts = [message for message in messages if message.role == "system" and not _stands_in_place(message)]
    if len(texts) == 1 and isinstance(texts[0].content, str):
        body["system"] = texts[0].content
    elif blocks := [block for message in texts for block in write_content(message)]:
        body["system"] = blocks


def _as_blocks(content: Json) -> list[Block]:
    if isinstance(content, str):
        return [text_block(content)] if content else []
    return list(content or [])


def _stands_in_place(message: Message) -> bool:
    """Whether it is a system message among the client's turns."""
    turn = message.native
    return turn is not None and turn.fields is not None and "role" in turn.fields


def _write_turns(messages: Sequence[Message]) -> list[Block]:
    turns: list[Block] = []
    before: Message | None = None
    for message in messages:
        if message.role == "system" and not _stands_in_place(message):
            continue
        turn = _write_turn(message)
        if not turn["content"]:
            continue
        if before is not None and _continues(before, message):
            turns[-1] = {**turns[-1], **turn, "content": _as_blocks(turns[-1]["content"]) + _as_blocks(turn["content"])}
        else:
            turns.append(turn)
        before = message
    return turns


def _write_turn(message: Message) -> Block:
    content = message.content
    # An assistant's text without a native turn is not the client's, and may need another end (`end_with_user`).
    is_plain = message.role in ("user", "system") or (message.role == "assistant" and message.native is not None)
    is_plain = is_plain and isinstance(content, str) and not message.tool_calls and not message.reasoning
    turn: Block = {"role": "user" if message.role == "tool" else message.role}
    turn["content"] = content if is_plain else write_blocks(message)
    fields = None if message.native is None else message.native.fields
    return turn if fields is None else {**turn, **fields}


def _continues(before: Message, message: Message) -> bool:
    """Whether the message belongs to the same turn: results of tools, and what the user says after them."""
    begins = message.native is not None and message.native.begins
    return before.role == "tool" and message.role in ("tool", "user") and not begins


def _write_tool(tool: Tool | ForeignTool) -> Json:
    if isinstance(tool, ForeignTool):
        return tool.raw
    wire: Block = {"name": tool.name}
    if tool.description is not None:
        wire["description"] = tool.description
    if tool.parameters is not None:
        wire["input_schema"] = tool.parameters
    if tool.strict is not None:
        wire["strict"] = tool.strict
    return wire if tool.native is None else {**wire, **tool.native}
