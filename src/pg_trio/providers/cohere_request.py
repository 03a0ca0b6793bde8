"""Write requests of Cohere's wire: from neutral values to the JSON of `POST /v2/chat`.

Rules:
1. The wire has a chat's four roles and no names of speakers. Only the user's messages can have images.
2. Ranges are narrower than the contract's: temperature up to 1, `p` 0.01 to 0.99, penalties 0 to 1, five stop
   sequences. A value outside its range is replaced by the nearest one inside.
3. `tool_choice` knows REQUIRED and NONE. One named function is REQUIRED with that function as the only tool.
4. The API refuses a response format together with tools. The format is then left out, and the endpoint's own
   `output_schema` decides.
5. The API accepts an assistant's message at the end but does not continue it. The rest is requested in words.
6. Thinking is sent to models that are not known to refuse it.

Sources, read 2026-11: Cohere API reference, "Chat" (v2); "Tool use", "Structured outputs", "Reasoning"; request types
of the `cohere` package 7.3; rule 5: SillyTavern/SillyTavern#3692.
"""

from __future__ import annotations

import re

from pg_trio.domain.chat import Message, Prompt
from pg_trio.domain.content import Audio, File, Image, Part
from pg_trio.domain.json_value import Json
from pg_trio.domain.message_json import call_to_json
from pg_trio.domain.options import Options
from pg_trio.domain.tools import ForeignToolChoice, Tool
from pg_trio.providers.foreign import find_foreign
from pg_trio.providers.native_request import GO_ON, Block, find_unfit, parts_of, read_data_url

MAX_STOPS = 5
# The API's own limits of `p`.
LEAST_P, MOST_P = 0.01, 0.99
# Efforts as budgets; "none" turns reasoning off.
BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24_576, "xhigh": 24_576, "max": 24_576}
# The words that the API accepts for `detail`. Other words are OpenAI's.
DETAILS = frozenset({"auto", "low", "high"})

_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")
# Models without reasoning, from the page "Models". Newer models have it.
_THOUGHTLESS = re.compile(r"command-(?:r|light|nightly)|command-a-(?:03|vision|translate)|c4ai|command$")


def why_unfit(prompt: Prompt) -> str | None:
    """The content of the prompt that this wire cannot carry; None if it can carry all."""
    unfit = find_foreign(prompt, "cohere") or find_unfit(prompt, _TOOL_NAME)
    if unfit is not None:
        return unfit
    for message in prompt.messages:
        for part in parts_of(message):
            if (reason := _why_part_unfit(part, message.role)) is not None:
                return reason
    return None


def _why_part_unfit(part: Part, role: str) -> str | None:
    match part:
        case Audio():
            return "audio"
        case File():
            return "file"
        case Image():
            given = read_data_url(part.url)
            return "image" if role != "user" or (given is not None and not given[1]) else None
        case _:
            return None


def write_body(prompt: Prompt, model: str) -> dict[str, Json]:
    """The body of the request, without the fields of a stream."""
    body: dict[str, Json] = {"model": model, "messages": _write_messages(prompt.messages)}
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
        if all(tool.strict for tool in tools):
            body["strict_tools"] = True
    return body | _write_options(prompt.options, model, has_tools=bool(tools))


def _write_messages(messages: tuple[Message, ...]) -> list[Block]:
    written = [wire for message in messages if (wire := _write_message(message)) is not None]
    if not written or written[-1]["role"] in ("assistant", "system"):
        # After only a system message, there is nothing to answer either.
        is_begun = bool(written) and written[-1]["role"] == "assistant"
        written.append({"role": "user", "content": GO_ON if is_begun else "."})
    return written


def _write_message(message: Message) -> Block | None:
    """A message; None if it is empty, because the API refuses empty messages."""
    parts = parts_of(message)
    wire: Block = {"role": message.role}
    if isinstance(message.content, str):
        content: Json = message.content
    else:
        content = [_write_part(part) for part in parts]
    if message.role == "tool":
        return {**wire, "tool_call_id": message.tool_call_id or "", "content": content or ""}
    if parts:
        wire["content"] = content
    if message.tool_calls:
        wire["tool_calls"] = [call_to_json(call) for call in message.tool_calls]
    return wire if len(wire) > 1 else None


def _write_part(part: Part) -> Block:
    if isinstance(part, Image):
        detail = {"detail": part.detail} if part.detail in DETAILS else {}
        return {"type": "image_url", "image_url": {"url": part.url, **detail}}
    return {"type": "text", "text": part.free_text or ""}


def _write_tool(tool: Tool) -> Block:
    function: Block = {"name": tool.name, "parameters": {"type": "object", **(tool.parameters or {})}}
    if tool.description:
        function["description"] = tool.description
    return {"type": "function", "function": function}


def _write_options(options: Options, model: str, *, has_tools: bool) -> Block:
    fields: Block = {
        "temperature": _between(options.temperature, 0.0, 1.0),
        "p": _between(options.top_p, LEAST_P, MOST_P),
        "max_tokens": options.max_output_tokens,
        "stop_sequences": [stop for stop in options.stop if stop][:MAX_STOPS] or None,
        "seed": None if options.seed is None else max(0, options.seed),
        "presence_penalty": _between(options.presence_penalty, 0.0, 1.0),
        "frequency_penalty": _between(options.frequency_penalty, 0.0, 1.0),
        "thinking": None if _THOUGHTLESS.match(model) else _write_thinking(options),
    }
    wanted = options.response_format
    if wanted is not None and wanted.kind != "text" and not has_tools:
        schema = {} if wanted.schema is None else {"json_schema": wanted.schema}
        fields["response_format"] = {"type": "json_object", **schema}
    return {name: given for name, given in fields.items() if given is not None}


def _write_thinking(options: Options) -> Block | None:
    effort, budget = options.reasoning_effort, options.thinking_budget_tokens
    if budget is None and effort is not None:
        budget = 0 if effort == "none" else BUDGETS.get(effort, BUDGETS["medium"])
    # A budget must be positive.
    if budget == 0:
        return {"type": "disabled"}
    return None if budget is None else {"type": "enabled", "token_budget": budget}


def _between(given: float | None, least: float, most: float) -> float | None:
    return None if given is None else min(max(given, least), most)
