"""What the Messages wire is sent: neutral values to the JSON of `POST /messages`.

Rules:
1. System messages, wherever they stand, are lifted to `system` in their order.
2. Turns alternate: messages of one role that follow each other become one turn. Tool results belong to the user's
   turn, in the order of the calls that they answer. A conversation that does not begin with the user's turn gets
   FIRST_TURN before it, because the API demands one.
3. `max_tokens` is required: the prompt's, or DEFAULT_MAX_TOKENS.
4. What a model refuses is left out (anthropic_models.py): a request is never lost for a sampling setting. Forced tools
   and manual thinking exclude each other; the tool wins.
5. Signed reasoning goes back where it came from, unchanged: the API checks the signatures. A tool round that lost its
   reasoning is asked without manual thinking, which would demand it.
6. Ids of other wires are mapped to what the API takes, the same for a call and its result.

Sources, read 2026-11: Messages API reference; "Extended thinking", "Tool use", "Structured outputs"; request types of
the `anthropic` package 2.14.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

import orjson

from pg_trio.domain.chat import Message, Prompt, Reasoning
from pg_trio.domain.content import Audio, File, Image, Part, Refusal, Text, split_data_url
from pg_trio.domain.json_value import Json, JsonObject
from pg_trio.domain.options import Options
from pg_trio.domain.tools import ForeignTool, ForeignToolChoice, Tool, ToolCall, ToolChoice
from pg_trio.providers.anthropic_models import Claude, find_model
from pg_trio.providers.strict_schema import close_schema

# 4,096: the most that the smallest model still served (Claude 3 Haiku) gives in an answer.
DEFAULT_MAX_TOKENS = 4096
# The least budget that the API takes.
MIN_THINKING_TOKENS = 1024
FIRST_TURN = "."
GO_ON = "Continue your last answer exactly where it stopped. Repeat nothing of it."
JSON_ONLY = "Answer with one JSON object and nothing else."

# Shares of `max_tokens` are no use: the API wants numbers. These are what its own page calls small, medium, large.
_BUDGETS = {"minimal": 1024, "low": 1024, "medium": 4096, "high": 16_384, "xhigh": 32_768, "max": 32_768}
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
_CALL_ID = re.compile(r"[A-Za-z0-9_-]{1,256}")
_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")
_MODES = {"auto": "auto", "required": "any", "none": "none"}
_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})

Block = dict[str, Json]


def why_unfit(prompt: Prompt, model: str) -> str | None:
    """What of the prompt this wire cannot carry; None if it can carry all of it."""
    if any(isinstance(tool, ForeignTool) or not _TOOL_NAME.fullmatch(tool.name) for tool in prompt.tools):
        return "tools"
    if isinstance(prompt.tool_choice, ForeignToolChoice):
        return "tool_choice"
    wanted = prompt.options.response_format
    if wanted is not None and wanted.kind == "other":
        return "response_format"
    more = prompt.options.more or {}
    if wanted is not None and wanted.kind == "json_schema" and not find_model(model).takes_schema:
        return "response_format"
    for name in ("logprobs", "modalities"):
        if more.get(name):
            return name
    for message in prompt.messages:
        if isinstance(message.content, tuple):
            for part in message.content:
                if (unfit := _why_part_unfit(part)) is not None:
                    return unfit
    return None


def _why_part_unfit(part: Part) -> str | None:
    match part:
        case Audio():
            return "audio"
        case File():
            return None if _read_document(part) is not None else "file"
        case Image():
            given = split_data_url(part.url)
            return "image" if given is not None and given[0] not in _IMAGES else None
        case _:
            return None


def write_body(prompt: Prompt, model: str) -> dict[str, Json]:
    """The body of the request, without what only a stream has."""
    claude, options = find_model(model), prompt.options
    turns = _write_turns(prompt.messages)
    _end_with_user(turns, claude)
    limit = options.max_output_tokens or DEFAULT_MAX_TOKENS
    body: dict[str, Json] = {"model": model, "max_tokens": limit, "messages": turns}
    system = [text for message in prompt.messages if message.role == "system" for text in _texts(message)]
    if options.response_format is not None:
        _write_format(options, claude, body, system)
    if system:
        body["system"] = [{"type": "text", "text": text} for text in system]
    if prompt.tools:
        body["tools"] = [_write_tool(tool) for tool in prompt.tools if isinstance(tool, Tool)]
        _write_choice(prompt, body)
    _write_thinking(prompt, claude, body)
    _write_sampling(options, claude, body)
    stops = [stop for stop in options.stop if stop.strip()]
    if stops:
        body["stop_sequences"] = stops
    if options.user is not None:
        body["metadata"] = {"user_id": options.user}
    return body


# ── turns ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _write_turns(messages: Iterable[Message]) -> list[Block]:
    turns: list[Block] = []
    for message in messages:
        if message.role == "system":
            continue
        role = "assistant" if message.role == "assistant" else "user"
        blocks = _write_blocks(message)
        if not blocks:
            continue
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    if not turns or turns[0]["role"] != "user":
        turns.insert(0, {"role": "user", "content": [_text_block(FIRST_TURN)]})
    return turns


def _write_blocks(message: Message) -> list[Block]:
    if message.role == "tool":
        content = _write_content(message)
        result: Block = {"type": "tool_result", "tool_use_id": write_call_id(message.tool_call_id or "")}
        return [{**result, "content": content} if content else result]
    reasoning = [_write_reasoning(block) for block in message.reasoning if block.signature or block.data]
    return [*reasoning, *_write_content(message), *[_write_call(call) for call in message.tool_calls]]


def _write_content(message: Message) -> list[Block]:
    content = message.content
    if content is None:
        return []
    if isinstance(content, str):
        # The API refuses empty blocks of text.
        return [_text_block(content)] if content else []
    return [block for part in content if (block := _write_part(part)) is not None]


def _write_part(part: Part) -> Block | None:
    match part:
        case Text() | Refusal():
            return _text_block(part.text) if part.text else None
        case Image():
            return {"type": "image", "source": _write_source(part.url)}
        case File():
            return _read_document(part)
        case Audio():
            return None


def _write_source(url: str) -> Block:
    given = split_data_url(url)
    if given is None:
        return {"type": "url", "url": url}
    return {"type": "base64", "media_type": given[0], "data": given[1]}


def _read_document(file: File) -> Block | None:
    """A PDF as a document block; None for what the API has no block for (uploads to another provider among them)."""
    if file.data is None:
        return None
    given = split_data_url(file.data)
    if given is None and (file.name or "").lower().endswith(".pdf"):
        given = "application/pdf", file.data
    if given is None or given[0] != "application/pdf":
        return None
    block: Block = {"type": "document", "source": {"type": "base64", "media_type": given[0], "data": given[1]}}
    return block if file.name is None else {**block, "title": file.name}


def _write_reasoning(block: Reasoning) -> Block:
    if block.data is not None:
        return {"type": "redacted_thinking", "data": block.data}
    return {"type": "thinking", "thinking": block.text, "signature": block.signature}


def _text_block(text: str) -> Block:
    return {"type": "text", "text": text}


def _texts(message: Message) -> list[str]:
    content = message.content
    if isinstance(content, str):
        return [content] if content else []
    return [part.text for part in content or () if isinstance(part, Text) and part.text]


def _end_with_user(turns: list[Block], claude: Claude) -> None:
    """A last turn of the assistant's is continued (prefill) where the model can, else asked for in words."""
    if turns[-1]["role"] != "assistant":
        return
    blocks = turns[-1]["content"]
    if not claude.takes_prefill or blocks[-1]["type"] != "text":
        turns.append({"role": "user", "content": [_text_block(GO_ON)]})
        return
    # "final assistant content cannot end with trailing whitespace" (a 400).
    kept = blocks[-1]["text"].rstrip()
    if kept:
        blocks[-1] = _text_block(kept)
    else:
        turns.append({"role": "user", "content": [_text_block(GO_ON)]})


# ── tools ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def write_call_id(call_id: str) -> str:
    """The id as the API takes it: letters, digits, _ and -; the same for a call and its result."""
    if _CALL_ID.fullmatch(call_id):
        return call_id
    return f"toolu_{hashlib.sha256(call_id.encode()).hexdigest()[:24]}"


def _write_call(call: ToolCall) -> Block:
    return {
        "type": "tool_use",
        "id": write_call_id(call.id),
        "name": call.name,
        "input": read_arguments(call.arguments),
    }


def read_arguments(arguments: str) -> JsonObject:
    """Arguments as the object that the API wants; text that is no JSON object is its field `input`."""
    if not arguments.strip():
        return {}
    try:
        given = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return {"input": arguments}
    return given if isinstance(given, dict) else {"input": given}


def _write_tool(tool: Tool) -> Block:
    parameters = tool.parameters or {}
    wire: Block = {"name": tool.name, "input_schema": {"type": "object", "properties": {}, **parameters}}
    if tool.description is not None:
        wire["description"] = tool.description
    if tool.strict:
        wire["strict"] = True
        wire["input_schema"] = close_schema(wire["input_schema"])
    return wire


def _write_choice(prompt: Prompt, body: dict[str, Json]) -> None:
    choice, parallel = prompt.tool_choice, prompt.options.parallel_tool_calls
    wire: Block | None = None
    if isinstance(choice, ToolChoice):
        wire = {"type": "tool", "name": choice.name} if choice.name is not None else {"type": _MODES[choice.mode]}
    if parallel is False and (wire is None or wire["type"] != "none"):
        wire = {**(wire or {"type": "auto"}), "disable_parallel_tool_use": True}
    if wire is not None:
        body["tool_choice"] = wire


# ── options ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _write_format(options: Options, claude: Claude, body: dict[str, Json], system: list[str]) -> None:
    wanted = options.response_format
    if wanted is None or wanted.kind == "text":
        return
    if wanted.kind == "json_schema" and wanted.schema is not None and claude.takes_schema:
        body["output_config"] = {"format": {"type": "json_schema", "schema": close_schema(wanted.schema)}}
    else:
        system.append(JSON_ONLY)


def _write_thinking(prompt: Prompt, claude: Claude, body: dict[str, Json]) -> None:
    options = prompt.options
    effort, budget = options.reasoning_effort, options.thinking_budget_tokens
    if not claude.thinks or (effort is None and budget is None):
        return
    if effort == "none":
        body["thinking"] = {"type": "disabled"}
        return
    if claude.takes_effort and (budget is None or not claude.takes_budget):
        body["thinking"] = {"type": "adaptive", "display": "summarized"}
        if effort in _EFFORTS:
            body["output_config"] = {**body.get("output_config", {}), "effort": _EFFORTS[effort]}
        return
    budget = min(budget or _BUDGETS.get(effort or "", MIN_THINKING_TOKENS), body["max_tokens"] - 1)
    is_forced = body.get("tool_choice", {}).get("type") in ("any", "tool")
    if budget >= MIN_THINKING_TOKENS and not is_forced and not _lost_reasoning(prompt.messages):
        body["thinking"] = {"type": "enabled", "budget_tokens": budget}


def _lost_reasoning(messages: tuple[Message, ...]) -> bool:
    """Whether a tool round is under way whose calls have no signed reasoning before them."""
    if not messages or messages[-1].role != "tool":
        return False
    calls = next((message for message in reversed(messages) if message.role == "assistant"), None)
    return calls is None or not any(block.signature or block.data for block in calls.reasoning)


def _write_sampling(options: Options, claude: Claude, body: dict[str, Json]) -> None:
    """Temperature and top_p, as far as the model takes them; manual thinking takes neither."""
    if not claude.takes_sampling or body.get("thinking", {}).get("type") in ("enabled", "adaptive"):
        return
    if options.temperature is not None:
        body["temperature"] = min(options.temperature, 1.0)
    if options.top_p is not None and (options.temperature is None or claude.takes_both):
        body["top_p"] = options.top_p
