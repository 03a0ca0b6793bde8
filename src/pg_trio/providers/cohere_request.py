"""What Cohere's wire is sent: neutral values to the JSON of `POST /v2/chat`.

Rules:
1. The wire has a chat's four roles. Names of speakers are not part of it.
2. Ranges are narrower than the contract's: temperature up to 1, `p` 0.01 to 0.99, penalties 0 to 1, five stop
   sequences. A value outside is brought to the nearest one.
3. `tool_choice` knows REQUIRED and NONE. One named function is REQUIRED with that function as the only tool.
4. A response format is not taken together with tools: then the format is left out, and the endpoint's own
   `output_schema` decides.

Sources, read 2026-11: Cohere API reference, "Chat" (v2); "Tool use", "Structured outputs", "Reasoning"; request types
of the `cohere` package 7.3.
"""

from __future__ import annotations

import re

from pg_trio.domain.chat import Message, Prompt
from pg_trio.domain.content import Audio, File, Image, Refusal, Text
from pg_trio.domain.json_value import Json
from pg_trio.domain.message_json import call_to_json
from pg_trio.domain.options import Options
from pg_trio.domain.tools import ForeignTool, ForeignToolChoice, Tool

MAX_STOPS = 5
# The API's own limits of `p`.
LEAST_P, MOST_P = 0.01, 0.99
# Efforts as budgets; "none" turns reasoning off.
BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24_576, "xhigh": 24_576, "max": 24_576}

_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")


def why_unfit(prompt: Prompt) -> str | None:
    """What of the prompt this wire cannot carry; None if it can carry all of it."""
    if any(isinstance(tool, ForeignTool) or not _TOOL_NAME.fullmatch(tool.name) for tool in prompt.tools):
        return "tools"
    if isinstance(prompt.tool_choice, ForeignToolChoice):
        return "tool_choice"
    wanted = prompt.options.response_format
    if wanted is not None and wanted.kind == "other":
        return "response_format"
    if (prompt.options.more or {}).get("modalities"):
        return "modalities"
    contents = [message.content for message in prompt.messages if isinstance(message.content, tuple)]
    for part in [part for content in contents for part in content]:
        if isinstance(part, Audio):
            return "audio"
        if isinstance(part, File):
            return "file"
    return None


def write_body(prompt: Prompt, model: str) -> dict[str, Json]:
    """The body of the request, without what only a stream has."""
    body: dict[str, Json] = {"model": model, "messages": [_write_message(message) for message in prompt.messages]}
    tools = [tool for tool in prompt.tools if isinstance(tool, Tool)]
    choice = prompt.tool_choice
    if tools and choice is not None and not isinstance(choice, ForeignToolChoice):
        if choice.mode == "function":
            tools = [tool for tool in tools if tool.name == choice.name] or tools
        if choice.mode in ("function", "required"):
            body["tool_choice"] = "REQUIRED"
        elif choice.mode == "none":
            body["tool_choice"] = "NONE"
    if tools:
        body["tools"] = [_write_tool(tool) for tool in tools]
        if any(tool.strict for tool in tools):
            body["strict_tools"] = True
    return body | _write_options(prompt.options, has_tools=bool(tools))


def _write_message(message: Message) -> dict[str, Json]:
    content = message.content
    wire: dict[str, Json] = {"role": message.role}
    if isinstance(content, str):
        wire["content"] = content
    elif content is not None:
        wire["content"] = [_write_part(part) for part in content if isinstance(part, Text | Refusal | Image)]
    if message.tool_calls:
        wire["tool_calls"] = [call_to_json(call) for call in message.tool_calls]
    if message.tool_call_id is not None:
        wire["tool_call_id"] = message.tool_call_id
    return wire


def _write_part(part: Text | Refusal | Image) -> dict[str, Json]:
    if not isinstance(part, Image):
        return {"type": "text", "text": part.text}
    detail = {} if part.detail is None else {"detail": part.detail}
    return {"type": "image_url", "image_url": {"url": part.url, **detail}}


def _write_tool(tool: Tool) -> dict[str, Json]:
    function: dict[str, Json] = {"name": tool.name, "parameters": tool.parameters or {"type": "object"}}
    if tool.description is not None:
        function["description"] = tool.description
    return {"type": "function", "function": function}


def _write_options(options: Options, *, has_tools: bool) -> dict[str, Json]:
    fields: dict[str, Json] = {
        "temperature": _between(options.temperature, 0.0, 1.0),
        "p": _between(options.top_p, LEAST_P, MOST_P),
        "max_tokens": options.max_output_tokens,
        "stop_sequences": list(options.stop[:MAX_STOPS]) or None,
        "seed": None if options.seed is None else max(0, options.seed),
        "presence_penalty": _between(options.presence_penalty, 0.0, 1.0),
        "frequency_penalty": _between(options.frequency_penalty, 0.0, 1.0),
        "thinking": _write_thinking(options),
    }
    wanted = options.response_format
    if wanted is not None and wanted.kind != "text" and not has_tools:
        schema = {} if wanted.schema is None else {"json_schema": wanted.schema}
        fields["response_format"] = {"type": "json_object", **schema}
    return {name: given for name, given in fields.items() if given is not None}


def _write_thinking(options: Options) -> dict[str, Json] | None:
    effort, budget = options.reasoning_effort, options.thinking_budget_tokens
    if budget is None and effort in BUDGETS:
        budget = BUDGETS[effort]
    if effort == "none":
        return {"type": "disabled"}
    return None if budget is None else {"type": "enabled", "token_budget": budget}


def _between(given: float | None, least: float, most: float) -> float | None:
    return None if given is None else min(max(given, least), most)
