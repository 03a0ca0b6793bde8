"""Write requests of Google's wire: from neutral values to the JSON of `:generateContent`.

Rules:
1. All system messages become `systemInstruction`, in their order.
2. Roles are `user` and `model`. Adjacent messages of one role become one content. Tool results come first in the user's
   turn and have the function's name, which is taken from the call. Conversations must begin and end with the user's
   turn; FIRST_TURN and GO_ON are added if that turn is missing.
3. A replayed call keeps its signature from the model. If the first call of a turn has none, it gets
   `skip_thought_signature_validator`, the documented word for calls of another model. Gemini 3 refuses a turn without
   either. The other calls of the turn need none.
4. Tools are sent as JSON Schema (`parametersJsonSchema`), not in Google's own subset.
5. Thinking has levels from Gemini 3 on and budgets in Gemini 2.5. Older models have no thinking.
6. A setting that a model refuses is left out: penalties from 2.5 on, a response format beside tools before 3.

Sources, read 2026-11: Gemini API reference (generateContent), "Thinking", "Thought signatures", "Structured output",
"Function calling", "OpenAI compatibility"; request types of the `google-genai` package 3.6; rule 6:
google-gemini/cookbook#1290, vercel/ai#8943.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pg_trio.domain.chat import Message, Prompt
from pg_trio.domain.json_value import Json
from pg_trio.domain.options import Options
from pg_trio.domain.tools import Tool, ToolChoice
from pg_trio.providers.foreign import find_foreign
from pg_trio.providers.google_models import Gemini, find_model
from pg_trio.providers.google_parts import is_result, why_part_unfit, write_parts, write_result
from pg_trio.providers.native_request import FIRST_TURN, GO_ON, Block, find_unfit, parts_of, texts_of

# The API takes five.
MAX_STOPS = 5
# `seed` is an int32; a larger number is a 400.
SEED_BITS = 0x7FFF_FFFF

_TOOL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")
_MODES = {"auto": "AUTO", "required": "ANY", "none": "NONE", "function": "ANY"}


def why_unfit(prompt: Prompt) -> str | None:
    """The content of the prompt that this wire cannot carry; None if it can carry all."""
    unfit = find_foreign(prompt, "google") or find_unfit(prompt, _TOOL_NAME)
    if unfit is not None:
        return unfit
    contents = [parts_of(message) for message in prompt.messages if isinstance(message.content, tuple)]
    reasons = (why_part_unfit(part) for content in contents for part in content)
    return next((reason for reason in reasons if reason is not None), None)


def write_body(prompt: Prompt, model: str) -> dict[str, Json]:
    """The body of the request; the same for a stream."""
    body: dict[str, Json] = {"contents": _write_contents(prompt.messages)}
    system = [text for message in prompt.messages if message.role == "system" for text in texts_of(message)]
    if system:
        body["systemInstruction"] = {"parts": [{"text": text} for text in system]}
    tools = [_write_tool(tool) for tool in prompt.tools if isinstance(tool, Tool)]
    if tools:
        body["tools"] = [{"functionDeclarations": tools}]
        if isinstance(prompt.tool_choice, ToolChoice):
            body["toolConfig"] = {"functionCallingConfig": _write_choice(prompt.tool_choice)}
    config = _write_config(prompt.options, find_model(model), has_tools=bool(tools))
    if config:
        body["generationConfig"] = config
    return body


# ── contents ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _write_contents(messages: Iterable[Message]) -> list[Block]:
    contents: list[Block] = []
    # The functions' names by the ids of their calls, for the results.
    names: dict[str, str] = {}
    for message in messages:
        if message.role == "system":
            continue
        names |= {call.id: call.name for call in message.tool_calls}
        parts = write_result(message, names) if message.role == "tool" else write_parts(message)
        if not parts:
            continue
        role = "model" if message.role == "assistant" else "user"
        if contents and contents[-1]["role"] == role:
            contents[-1]["parts"] += parts
        else:
            contents.append({"role": role, "parts": parts})
    return _complete(contents)


def _complete(contents: list[Block]) -> list[Block]:
    """The contents with the first turn, the last turn and the order of results that rule 2 requires."""
    if not contents or contents[0]["role"] != "user":
        contents.insert(0, {"role": "user", "parts": [{"text": FIRST_TURN}]})
    if contents[-1]["role"] != "user":
        contents.append({"role": "user", "parts": [{"text": GO_ON}]})
    for content in contents:
        if content["role"] == "user":
            # The sort is stable, so results keep their order, and so do the other parts.
            content["parts"].sort(key=is_result, reverse=True)
    return contents


# ── tools, options ───────────────────────────────────────────────────────────────────────────────────────────────────


def _write_tool(tool: Tool) -> Block:
    wire: Block = {"name": tool.name}
    if tool.description:
        wire["description"] = tool.description
    if tool.parameters:
        wire["parametersJsonSchema"] = tool.parameters
    return wire


def _write_choice(choice: ToolChoice) -> Block:
    wire: Block = {"mode": _MODES[choice.mode]}
    return wire if choice.name is None else {**wire, "allowedFunctionNames": [choice.name]}


def _write_config(options: Options, gemini: Gemini, *, has_tools: bool) -> Block:
    fields: Block = {
        "temperature": options.temperature,
        "topP": options.top_p,
        "maxOutputTokens": options.max_output_tokens,
        "stopSequences": [stop for stop in options.stop if stop][:MAX_STOPS] or None,
        "seed": None if options.seed is None else options.seed & SEED_BITS,
        "thinkingConfig": _write_thinking(options, gemini),
    }
    if gemini.takes_penalties:
        fields["presencePenalty"] = options.presence_penalty
        fields["frequencyPenalty"] = options.frequency_penalty
    wanted = options.response_format
    if wanted is not None and wanted.kind != "text" and (gemini.takes_format_with_tools or not has_tools):
        fields["responseMimeType"] = "application/json"
        fields["responseJsonSchema"] = wanted.schema
    return {name: given for name, given in fields.items() if given is not None}


def _write_thinking(options: Options, gemini: Gemini) -> Block | None:
    effort, budget = options.reasoning_effort, options.thinking_budget_tokens
    if not gemini.thinks or (effort is None and budget is None):
        return None
    shows: Block = {"includeThoughts": True} if effort != "none" else {}
    if budget is None and gemini.has_levels:
        return {**shows, "thinkingLevel": gemini.level_of(effort or "")}
    return {**shows, "thinkingBudget": gemini.budget_of(effort or "", budget)}
