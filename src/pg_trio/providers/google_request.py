"""What Google's wire is sent: neutral values to the JSON of `:generateContent`.

Rules:
1. System messages, wherever they stand, become `systemInstruction`, in their order.
2. Roles are `user` and `model`; messages of one role that follow each other become one content. Results of tools are
   the user's, and carry the name of the function that was called, which only the call knows.
3. A replayed call keeps the signature that the model gave it; without one, `skip_thought_signature_validator` is sent,
   the documented word for calls that another model made. Gemini 3 refuses calls without either.
4. Tools are given as JSON Schema (`parametersJsonSchema`), not in Google's own subset.
5. Thinking has levels from Gemini 3 on, and budgets before.

Sources, read 2026-11: Gemini API reference (generateContent), "Thinking", "Thought signatures", "Structured output",
"OpenAI compatibility" (what an effort is in tokens); request types of the `google-genai` package 3.6.
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Iterable

import orjson

from pg_trio.domain.chat import Message, Prompt
from pg_trio.domain.content import Audio, File, Image, Part, Refusal, Text, split_data_url
from pg_trio.domain.json_value import Json, JsonObject
from pg_trio.domain.options import Options
from pg_trio.domain.tools import ForeignTool, ForeignToolChoice, Tool, ToolCall, ToolChoice
from pg_trio.providers.anthropic_request import read_arguments

SKIP_SIGNATURE = "skip_thought_signature_validator"
# The API takes five.
MAX_STOPS = 5
# What OpenAI's efforts are in tokens, by the page "OpenAI compatibility"; 0 turns thinking off.
BUDGETS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24_576, "xhigh": 24_576, "max": 24_576}
LEVELS = {"none": "MINIMAL", "minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH", "xhigh": "HIGH"}

_GENERATION = re.compile(r"gemini-(\d+)")
_TOOL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")
_MODES = {"auto": "AUTO", "required": "ANY", "none": "NONE", "function": "ANY"}

Block = dict[str, Json]


def why_unfit(prompt: Prompt) -> str | None:
    """What of the prompt this wire cannot carry; None if it can carry all of it."""
    if any(isinstance(tool, ForeignTool) or not _TOOL_NAME.fullmatch(tool.name) for tool in prompt.tools):
        return "tools"
    if isinstance(prompt.tool_choice, ForeignToolChoice):
        return "tool_choice"
    wanted = prompt.options.response_format
    if wanted is not None and wanted.kind == "other":
        return "response_format"
    for name in ("logprobs", "modalities"):
        if (prompt.options.more or {}).get(name):
            return name
    contents = [message.content for message in prompt.messages if isinstance(message.content, tuple)]
    if any(isinstance(part, File) and _write_part(part) is None for content in contents for part in content):
        return "file"
    return None


def write_body(prompt: Prompt, model: str) -> dict[str, Json]:
    """The body of the request; the same for a stream."""
    body: dict[str, Json] = {"contents": _write_contents(prompt.messages)}
    system = [text for message in prompt.messages if message.role == "system" for text in _texts(message)]
    if system:
        body["systemInstruction"] = {"parts": [{"text": text} for text in system]}
    if prompt.tools:
        body["tools"] = [
            {"functionDeclarations": [_write_tool(tool) for tool in prompt.tools if isinstance(tool, Tool)]}
        ]
    if prompt.tools and isinstance(prompt.tool_choice, ToolChoice):
        body["toolConfig"] = {"functionCallingConfig": _write_choice(prompt.tool_choice)}
    config = _write_config(prompt.options, model)
    if config:
        body["generationConfig"] = config
    return body


# ── contents ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _write_contents(messages: Iterable[Message]) -> list[Block]:
    contents: list[Block] = []
    # Names of the functions by the ids of their calls, for the results.
    names: dict[str, str] = {}
    for message in messages:
        if message.role == "system":
            continue
        names |= {call.id: call.name for call in message.tool_calls}
        parts = _write_result(message, names) if message.role == "tool" else _write_parts(message)
        if not parts:
            continue
        role = "model" if message.role == "assistant" else "user"
        if contents and contents[-1]["role"] == role:
            contents[-1]["parts"] += parts
        else:
            contents.append({"role": role, "parts": parts})
    return contents


def _write_parts(message: Message) -> list[Block]:
    content = message.content
    parts: list[Block] = []
    if isinstance(content, str):
        parts = [{"text": content}] if content else []
    elif content is not None:
        parts = [block for part in content if (block := _write_part(part)) is not None]
    return [*parts, *[_write_call(call) for call in message.tool_calls]]


def _write_part(part: Part) -> Block | None:
    match part:
        case Text() | Refusal():
            return {"text": part.text} if part.text else None
        case Image():
            return _write_media(part.url, "image/jpeg")
        case Audio():
            return {"inlineData": {"mimeType": f"audio/{part.format}", "data": part.data}}
        case File():
            return _write_file(part)


def _write_media(url: str, otherwise: str) -> Block:
    given = split_data_url(url)
    if given is not None:
        return {"inlineData": {"mimeType": given[0], "data": given[1]}}
    kind = mimetypes.guess_type(url.partition("?")[0])[0] or otherwise
    return {"fileData": {"mimeType": kind, "fileUri": url}}


def _write_file(file: File) -> Block | None:
    """A file with its content; None for an upload to another provider."""
    if file.data is None:
        return None
    given = split_data_url(file.data)
    if given is None:
        kind = mimetypes.guess_type(file.name or "")[0]
        given = None if kind is None else (kind, file.data)
    return None if given is None else {"inlineData": {"mimeType": given[0], "data": given[1]}}


def _write_call(call: ToolCall) -> Block:
    function = {"id": call.id, "name": call.name, "args": read_arguments(call.arguments)}
    return {"functionCall": function, "thoughtSignature": call.signature or SKIP_SIGNATURE}


def _write_result(message: Message, names: dict[str, str]) -> list[Block]:
    call_id = message.tool_call_id or ""
    text = "\n".join(_texts(message))
    result: Block = {"functionResponse": {"id": call_id, "name": names.get(call_id) or message.name or call_id}}
    result["functionResponse"]["response"] = _read_result(text)
    content = message.content if isinstance(message.content, tuple) else ()
    media = [block for part in content if not isinstance(part, Text | Refusal) and (block := _write_part(part))]
    return [result, *media]


def _read_result(text: str) -> JsonObject:
    """What a tool said, as the object that the API wants: its own JSON object, or `{"output": text}`."""
    try:
        given = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {"output": text}
    return given if isinstance(given, dict) else {"output": given}


def _texts(message: Message) -> list[str]:
    content = message.content
    if isinstance(content, str):
        return [content] if content else []
    return [part.text for part in content or () if isinstance(part, Text | Refusal) and part.text]


# ── tools, options ───────────────────────────────────────────────────────────────────────────────────────────────────


def _write_tool(tool: Tool) -> Block:
    wire: Block = {"name": tool.name}
    if tool.description is not None:
        wire["description"] = tool.description
    if tool.parameters:
        wire["parametersJsonSchema"] = tool.parameters
    return wire


def _write_choice(choice: ToolChoice) -> Block:
    wire: Block = {"mode": _MODES[choice.mode]}
    return wire if choice.name is None else {**wire, "allowedFunctionNames": [choice.name]}


def _write_config(options: Options, model: str) -> Block:
    fields: Block = {
        "temperature": options.temperature,
        "topP": options.top_p,
        "maxOutputTokens": options.max_output_tokens,
        "stopSequences": list(options.stop[:MAX_STOPS]) or None,
        "seed": options.seed,
        "presencePenalty": options.presence_penalty,
        "frequencyPenalty": options.frequency_penalty,
        "thinkingConfig": _write_thinking(options, model),
    }
    wanted = options.response_format
    if wanted is not None and wanted.kind != "text":
        fields["responseMimeType"] = "application/json"
        fields["responseJsonSchema"] = wanted.schema
    return {name: given for name, given in fields.items() if given is not None}


def _write_thinking(options: Options, model: str) -> Block | None:
    effort, budget = options.reasoning_effort, options.thinking_budget_tokens
    if effort is None and budget is None:
        return None
    found = _GENERATION.search(model)
    # A name without a generation is one of the newest ("gemini-flash-latest").
    has_levels = found is None or int(found[1]) >= 3
    shows = {"includeThoughts": True} if effort != "none" else {}
    if budget is not None or not has_levels:
        return {**shows, "thinkingBudget": BUDGETS.get(effort or "", 0) if budget is None else budget}
    level = LEVELS.get(effort or "", "HIGH")
    if level == "MINIMAL" and "pro" in model:
        level = "LOW"
    return {**shows, "thinkingLevel": level}
