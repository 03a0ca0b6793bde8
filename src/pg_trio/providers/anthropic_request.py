"""Write requests of the Messages wire: from neutral values to the JSON of `POST /messages`.

Rules:
1. All system messages are moved to `system`, in their order.
2. Turns alternate, so adjacent messages of one role become one turn. Tool results come first in the user's turn,
   because they must follow their calls directly. A conversation that does not begin with the user's turn gets
   FIRST_TURN before it, because the API requires one.
3. `max_tokens` is required, and includes thinking. It is the prompt's limit; without one, DEFAULT_MAX_TOKENS beside the
   budget of thinking. It is at most the model's own limit.
4. A setting that a model refuses is left out (anthropic_models.py), so that a request never fails for a sampling
   setting. Forced tools and thinking exclude each other; the tool wins.
5. Signed reasoning goes back unchanged and in its place, because the API checks the signatures. A tool round without
   its reasoning is sent without manual thinking, which would require it.
6. Ids of other wires are mapped to a form that the API accepts. A call and its result get the same id.
7. A conversation with calls needs `tools`. If the client sends none, the called tools are declared, and the tool choice
   forbids further calls.

Sources, read 2026-11: Messages API reference; "Extended thinking", "Adaptive thinking", "Effort", "Tool use",
"Structured outputs"; request types of the `anthropic` package 2.14; rule 7: BerriAI/litellm, "modify_params".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from pg_trio.domain.chat import Message, Prompt
from pg_trio.domain.json_value import Json
from pg_trio.domain.options import Options
from pg_trio.domain.provider import MIN_THINKING_TOKENS
from pg_trio.domain.tools import Tool, ToolChoice
from pg_trio.providers.anthropic_blocks import text_block, why_part_unfit, write_blocks
from pg_trio.providers.anthropic_models import Claude, find_model
from pg_trio.providers.native_request import FIRST_TURN, GO_ON, Block, find_unfit, texts_of
from pg_trio.providers.strict_schema import close_schema

# 32,000: every model from Claude 3.7 on supports it. The table has the lower limits of older models.
DEFAULT_MAX_TOKENS = 32_000
# The limit of all models that think with a budget, except those in the table ("Models overview", read 2026-11).
MAX_TOKENS_WITH_BUDGET = 64_000
JSON_ONLY = "Answer with one JSON object and nothing else."
# "Maximum length is 256": a longer one is a 400. The field only serves to detect abuse.
MAX_USER_CHARS = 256

# The API needs numbers of tokens. Google's page "OpenAI compatibility" maps OpenAI's efforts to these, too.
_BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 16_384, "xhigh": 24_576, "max": 24_576}
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "max": "max"}
_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")
_MODES = {"auto": "auto", "required": "any", "none": "none"}


def why_unfit(prompt: Prompt, model: str) -> str | None:
    """The content of the prompt that this wire cannot carry; None if it can carry all."""
    unfit = find_unfit(prompt, _TOOL_NAME)
    if unfit is not None:
        return unfit
    wanted = prompt.options.response_format
    if wanted is not None and wanted.kind == "json_schema" and not find_model(model).takes_schema:
        return "response_format"
    contents = [message.content for message in prompt.messages if isinstance(message.content, tuple)]
    reasons = (why_part_unfit(part) for content in contents for part in content)
    return next((reason for reason in reasons if reason is not None), None)


def write_body(prompt: Prompt, model: str) -> dict[str, Json]:
    """The body of the request, without the fields of a stream."""
    claude, options = find_model(model), prompt.options
    turns = _write_turns(prompt.messages)
    body: dict[str, Json] = {"model": model, "max_tokens": DEFAULT_MAX_TOKENS, "messages": turns}
    system = [text for message in prompt.messages if message.role == "system" for text in texts_of(message)]
    write_format(options, claude, body, system)
    if system:
        body["system"] = [text_block(text) for text in system]
    _write_tools(prompt, body)
    _write_limit(options, claude, body)
    write_thinking(prompt, claude, body)
    write_sampling(options, claude, body)
    end_with_user(turns, claude, body)
    # "each stop sequence must contain non-whitespace" (a 400).
    stops = [stop for stop in options.stop if stop.strip()]
    if stops:
        body["stop_sequences"] = stops
    if options.user is not None and len(options.user) <= MAX_USER_CHARS:
        body["metadata"] = {"user_id": options.user}
    return body


# ── turns ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _write_turns(messages: Iterable[Message]) -> list[Block]:
    turns: list[Block] = []
    for message in messages:
        if message.role == "system":
            continue
        role = "assistant" if message.role == "assistant" else "user"
        blocks = write_blocks(message)
        if not blocks:
            continue
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    if not turns or turns[0]["role"] != "user":
        turns.insert(0, {"role": "user", "content": [text_block(FIRST_TURN)]})
    for turn in turns:
        # Rule 2. The sort is stable, so results keep their order, and so do the other blocks.
        if turn["role"] == "user":
            turn["content"].sort(key=_stands_behind_results)
    return turns


def _stands_behind_results(block: Block) -> bool:
    return bool(block["type"] != "tool_result")


def end_with_user(turns: list[Block], claude: Claude, body: dict[str, Json]) -> None:
    """Continue the assistant's last turn (prefill) if the model can; else ask for the rest in words."""
    if turns[-1]["role"] != "assistant":
        return
    blocks = turns[-1]["content"]
    # Prefill cannot be combined with thinking or constrained decoding.
    can_prefill = claude.takes_prefill and "output_config" not in body and not _is_thinking(body)
    if can_prefill and blocks[-1]["type"] == "text":
        # "final assistant content cannot end with trailing whitespace" (a 400).
        kept = blocks[-1]["text"].rstrip()
        if kept:
            blocks[-1] = text_block(kept)
            return
    turns.append({"role": "user", "content": [text_block(GO_ON)]})


# ── tools ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _write_tools(prompt: Prompt, body: dict[str, Json]) -> None:
    tools = [_write_tool(tool) for tool in prompt.tools if isinstance(tool, Tool)]
    if tools:
        body["tools"] = tools
        _write_choice(prompt, body)
        return
    called = {call.name: None for message in prompt.messages for call in message.tool_calls}
    if called:
        body["tools"] = [_write_tool(Tool(name)) for name in called]
        body["tool_choice"] = {"type": "none"}


def _write_tool(tool: Tool) -> Block:
    schema: Block = {"type": "object", "properties": {}, **(tool.parameters or {})}
    wire: Block = {"name": tool.name, "input_schema": schema}
    if tool.description:
        wire["description"] = tool.description
    if tool.strict:
        wire["strict"] = True
        wire["input_schema"] = close_schema(schema)
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


def _write_limit(options: Options, claude: Claude, body: dict[str, Json]) -> None:
    limit = options.max_output_tokens
    if limit is None:
        budget = options.thinking_budget_tokens if claude.takes_budget else None
        limit = min(DEFAULT_MAX_TOKENS + (budget or 0), MAX_TOKENS_WITH_BUDGET)
    body["max_tokens"] = limit if claude.output_limit is None else min(limit, claude.output_limit)


def write_format(options: Options, claude: Claude, body: dict[str, Json], system: list[str]) -> None:
    """Write the answer's format; in words, added to `system`, if the model has no field for it."""
    wanted = options.response_format
    if wanted is None or wanted.kind == "text":
        return
    if wanted.kind == "json_schema" and wanted.schema is not None and claude.takes_schema:
        body["output_config"] = {"format": {"type": "json_schema", "schema": close_schema(wanted.schema)}}
    else:
        system.append(JSON_ONLY)


def write_thinking(prompt: Prompt, claude: Claude, body: dict[str, Json]) -> None:
    """Write the effort or the budget of thinking."""
    options = prompt.options
    effort, budget = options.reasoning_effort, options.thinking_budget_tokens
    if not claude.thinks or (effort is None and budget is None):
        return
    if effort == "none" or budget == 0:
        body["thinking"] = {"type": "disabled"}
        return
    is_forced = body.get("tool_choice", {}).get("type") in ("any", "tool")
    if claude.takes_effort and (budget is None or not claude.takes_budget):
        word = _EFFORTS.get(effort or "", claude.most_effort if effort == "xhigh" else None)
        if word is not None:
            body["output_config"] = {**body.get("output_config", {}), "effort": word}
        if not is_forced:
            body["thinking"] = {"type": "adaptive", "display": "summarized"}
        return
    budget = min(budget or _BUDGETS.get(effort or "", MIN_THINKING_TOKENS), body["max_tokens"] - 1)
    if budget >= MIN_THINKING_TOKENS and not is_forced and not lost_reasoning(prompt.messages):
        body["thinking"] = {"type": "enabled", "budget_tokens": budget}


def _is_thinking(body: dict[str, Json]) -> bool:
    return body.get("thinking", {}).get("type") in ("enabled", "adaptive")


def lost_reasoning(messages: Sequence[Message]) -> bool:
    """Whether the current tool round's calls have no signed reasoning before them."""
    if not messages or messages[-1].role != "tool":
        return False
    calls = next((message for message in reversed(messages) if message.role == "assistant"), None)
    return calls is None or not any(block.signature or block.data for block in calls.reasoning)


def write_sampling(options: Options, claude: Claude, body: dict[str, Json]) -> None:
    """Add temperature and top_p if the model accepts them. With thinking, it accepts neither."""
    if not claude.takes_sampling or _is_thinking(body):
        return
    if options.temperature is not None:
        body["temperature"] = min(options.temperature, 1.0)
    if options.top_p is not None and (options.temperature is None or claude.takes_both):
        body["top_p"] = options.top_p
