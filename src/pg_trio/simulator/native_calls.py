"""Read a chat request as Anthropic's, Google's or Cohere's API would: a call, or the refusal it would answer with.

What is checked is what a gateway that translates gets wrong first: required fields, unknown ones, turns, and results of
tools that belong to no call. Error texts are in each API's manner, not its words: no client may rely on them.

Sources, read 2026-11: Messages API reference; Gemini API reference (generateContent, "Function calling"); Cohere API
reference, "Chat" (v2).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pg_trio.domain.chat import estimate_tokens
from pg_trio.domain.json_value import Json, json_texts
from pg_trio.simulator.chat_call import ChatCall, RefusedCall

_ANTHROPIC_FIELDS = frozenset(
    {
        "model",
        "max_tokens",
        "messages",
        "system",
        "tools",
        "tool_choice",
        "thinking",
        "output_config",
        "temperature",
        "top_p",
        "top_k",
        "stop_sequences",
        "stream",
        "metadata",
        "service_tier",
        "container",
        "mcp_servers",
        "context_management",
        "cache_control",
    }
)
_COHERE_FIELDS = frozenset(
    {
        "model",
        "messages",
        "stream",
        "tools",
        "strict_tools",
        "documents",
        "citation_options",
        "response_format",
        "safety_mode",
        "max_tokens",
        "stop_sequences",
        "temperature",
        "seed",
        "frequency_penalty",
        "presence_penalty",
        "k",
        "p",
        "logprobs",
        "tool_choice",
        "thinking",
        "priority",
    }
)
_GOOGLE_FIELDS = frozenset(
    {
        "contents",
        "systemInstruction",
        "system_instruction",
        "tools",
        "toolConfig",
        "generationConfig",
        "safetySettings",
        "cachedContent",
        "model",
        "store",
    }
)


def read_anthropic_call(body: Mapping[str, Json]) -> ChatCall:
    """The request to `/v1/messages`. Raises: RefusedCall (400) that names the field."""
    _check_fields(body, _ANTHROPIC_FIELDS)
    limit = _read_limit(body, "max_tokens")
    if limit is None:
        raise RefusedCall(400, "max_tokens: Field required", param="max_tokens")
    said, characters, called = "", _count(body.get("system")), list[Json]()
    turns = _read_list(body, "messages")
    if turns and turns[0].get("role") != "user":
        raise RefusedCall(400, 'messages: first message must use the "user" role', param="messages")
    for index, turn in enumerate(turns):
        where = f"messages.{index}"
        if turn.get("role") not in ("user", "assistant"):
            raise RefusedCall(400, f"{where}.role: Input should be 'user' or 'assistant'", param=where)
        blocks = _read_blocks(turn.get("content"), where)
        _match(called, [block.get("tool_use_id") for block in blocks if block.get("type") == "tool_result"], where)
        called = [block.get("id") for block in blocks if block.get("type") == "tool_use"]
        text = " ".join([block["text"] for block in blocks if block.get("type") == "text"])
        said, characters = text or said, characters + _count(turn.get("content"))
    return ChatCall(
        model=_read_model(body),
        said=said,
        prompt_tokens=estimate_tokens(characters),
        stream=_read_flag(body, "stream"),
        max_tokens=limit,
        wire="anthropic",
    )


def _read_blocks(content: Json, where: str) -> list[dict[str, Json]]:
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
        raise RefusedCall(400, f"{where}.content: Input should be a valid list", param=where)
    for block in content:
        if block.get("type") == "text" and not (isinstance(block.get("text"), str) and block["text"]):
            raise RefusedCall(400, f"{where}: text content blocks must be non-empty", param=where)
    return content


def read_google_call(body: Mapping[str, Json], model: str, *, stream: bool) -> ChatCall:
    """The request to `:generateContent`, whose path names the model. Raises: RefusedCall (400) that names the field."""
    _check_fields(body, _GOOGLE_FIELDS)
    said, characters, called = "", _count(body.get("systemInstruction")), list[Json]()
    contents = _read_list(body, "contents")
    if contents[-1].get("role", "user") != "user":
        raise RefusedCall(400, "Please ensure that multiturn requests end with a user role or a function response.")
    for index, content in enumerate(contents):
        where = f"contents[{index}]"
        if content.get("role", "user") not in ("user", "model"):
            raise RefusedCall(400, f"{where}.role: Please use a valid role: user, model.", param=where)
        parts = content.get("parts")
        if not isinstance(parts, list) or not parts or not all(isinstance(part, dict) and part for part in parts):
            raise RefusedCall(400, f"{where}.parts: must not be empty.", param=where)
        _match(called, [part["functionResponse"].get("name") for part in parts if "functionResponse" in part], where)
        calls = [part for part in parts if "functionCall" in part]
        if calls and not calls[0].get("thoughtSignature"):
            raise RefusedCall(400, f"Function call is missing a thought_signature in {where}.", param=where)
        called = [part["functionCall"].get("name") for part in calls]
        text = " ".join([part["text"] for part in parts if isinstance(part.get("text"), str)])
        said, characters = text or said, characters + _count(parts)
    config = body.get("generationConfig") or {}
    return ChatCall(
        model=model,
        said=said,
        prompt_tokens=estimate_tokens(characters),
        stream=stream,
        max_tokens=_read_limit(config, "maxOutputTokens"),
        wire="google",
    )


def read_cohere_call(body: Mapping[str, Json]) -> ChatCall:
    """The request to `/v2/chat`. Raises: RefusedCall (400) that names the field."""
    _check_fields(body, _COHERE_FIELDS)
    said, characters, called = "", 0, list[Json]()
    for index, message in enumerate(_read_list(body, "messages")):
        where = f"messages[{index}]"
        role, content = message.get("role"), message.get("content")
        if role not in ("system", "user", "assistant", "tool"):
            raise RefusedCall(400, f"invalid request: {where}.role is not valid.", param=where)
        if role == "tool" and message.get("tool_call_id") not in called:
            raise RefusedCall(400, f"invalid request: {where}.tool_call_id belongs to no call.", param=where)
        if not content and role != "tool" and not message.get("tool_calls"):
            raise RefusedCall(400, f"invalid request: {where} must have a message.", param=where)
        called += [call.get("id") for call in message.get("tool_calls") or []]
        parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
        text = content if isinstance(content, str) else " ".join([part.get("text") or "" for part in parts])
        said, characters = text or said, characters + len(text)
    return ChatCall(
        model=_read_model(body),
        said=said,
        prompt_tokens=estimate_tokens(characters),
        stream=_read_flag(body, "stream"),
        max_tokens=_read_limit(body, "max_tokens"),
        wire="cohere",
    )


# ── what they have in common ─────────────────────────────────────────────────────────────────────────────────────────


def _check_fields(body: Mapping[str, Json], known: frozenset[str]) -> None:
    for name in body:
        if name not in known:
            raise RefusedCall(400, f"{name}: Extra inputs are not permitted", param=name)


def _match(called: Iterable[Json], answered: list[Json], where: str) -> None:
    """Each call of the turn before has its result in this one, and the other way round."""
    if sorted(map(str, called)) != sorted(map(str, answered)):
        raise RefusedCall(400, f"{where}: results of tools must match the calls of the turn before.", param=where)


def _read_model(body: Mapping[str, Json]) -> str:
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise RefusedCall(400, "model: Field required", param="model")
    return model


def _read_list(body: Mapping[str, Json], name: str) -> list[dict[str, Json]]:
    items = body.get(name)
    if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
        raise RefusedCall(400, f"{name}: at least one message is required", param=name)
    return items


def _read_flag(body: Mapping[str, Json], name: str) -> bool:
    flag = body.get(name)
    if flag is not None and not isinstance(flag, bool):
        raise RefusedCall(400, f"{name}: Input should be a valid boolean", param=name)
    return bool(flag)


def _read_limit(fields: Mapping[str, Json], name: str) -> int | None:
    limit = fields.get(name)
    if limit is None:
        return None
    # bool is an int to Python, not to JSON.
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise RefusedCall(400, f"{name}: Input should be greater than or equal to 1", param=name)
    return limit


def _count(value: Json) -> int:
    return sum(map(len, json_texts(value)))
