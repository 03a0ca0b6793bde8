"""Messages, requests, prompts and replies. Values only; no field is filled in later."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias
from uuid import UUID

from attrs import field

from pg_trio.domain.value import value

Json: TypeAlias = Any  # the result of a JSON parser: dict, list, str, int, float, bool, None
JsonObject: TypeAlias = Mapping[str, Json]
Role: TypeAlias = Literal["system", "user", "assistant", "tool"]
FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter", "error"]

ROLES: frozenset[str] = frozenset({"system", "user", "assistant", "tool"})

# The text field of each type of content part. (A file has a name, one level deeper.)
TEXT_FIELDS: dict[str, str] = {"text": "text", "refusal": "refusal"}

# Words of the format of OpenAI's tools, `response_format` and JSON Schema. They carry no client text, and masking them
# would break the format.
# fmt: off
TOOL_WORDS: frozenset[str] = frozenset({
    "type", "function", "name", "description", "parameters", "strict", "auto", "none", "object", "properties",
    "required", "additionalProperties", "items", "array", "string", "number", "integer", "boolean", "null", "enum",
    "const", "default", "anyOf", "oneOf", "allOf", "not", "$ref", "$defs", "$schema", "definitions", "title", "format",
    "pattern", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "uniqueItems",
    "json_schema", "json_object", "schema", "text",
})
# fmt: on


_MACHINE_MADE = re.compile(r"[A-Za-z0-9_.:/+=|~-]+")


@value(slots=True)
class ToolCall:
    """A function call that the model requests. `arguments` is the JSON text as the model wrote it, not parsed."""

    id: str
    name: str
    arguments: str


@value(slots=True)
class Message:
    """One message. `content` is text, OpenAI content parts (`{"type": "text", "text": …}`, images, …), or None if an
    assistant only called tools."""

    role: Role
    content: str | tuple[JsonObject, ...] | None
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None

    def texts(self) -> list[str]:
        """Every piece of free text in it that a provider receives: the name, the texts of the content's parts (refusals
        and file names included), the tool calls' names and arguments, and ids that may be prose."""
        content = self.content
        texts = [] if self.name is None else [self.name]
        if isinstance(content, str):
            texts.append(content)
        elif content is not None:
            for part in content:
                field = TEXT_FIELDS.get(part["type"])
                if field is not None:
                    texts.append(part[field])
                elif "filename" in part.get("file", ()):
                    texts.append(part["file"]["filename"])
        for call in self.tool_calls:
            texts += (call.name, call.arguments)
        if self.tool_calls or self.tool_call_id is not None:
            texts += [call_id for call_id in self.ids() if not is_machine_made(call_id)]
        return texts

    def ids(self) -> list[str]:
        """The ids that connect tool calls with their results."""
        ids = [call.id for call in self.tool_calls]
        return ids if self.tool_call_id is None else [*ids, self.tool_call_id]


@value(slots=True)
class ChatRequest:
    """A client's request body, parsed. `body` is the JSON object as it was sent (for `input_schema`)."""

    messages: tuple[Message, ...]
    body: JsonObject
    endpoint: str | None = None
    stream: bool = False
    session_id: UUID | None = None
    tools: tuple[JsonObject, ...] = ()
    tool_choice: Json = None
    parallel_tool_calls: bool | None = None
    response_format: JsonObject | None = None
    reasoning_effort: str | None = None
    # The text of a request that has a single text message and nothing else, as most have; None for other requests.
    plain_text: str | None = field(init=False, repr=False, eq=False)

    @plain_text.default
    def _find_plain_text(self) -> str | None:
        if len(self.messages) != 1 or self.tools or self.tool_choice is not None or self.response_format is not None:
            return None
        message = self.messages[0]
        is_plain = message.name is None and not message.tool_calls and message.tool_call_id is None
        return message.content if is_plain and isinstance(message.content, str) else None

    @property
    def has_tools_or_format(self) -> bool:
        """Whether it has `tools`, `tool_choice` or `response_format`, which carry text besides the messages."""
        return bool(self.tools) or self.tool_choice is not None or self.response_format is not None

    def texts(self) -> list[str]:
        """Every piece of free text in it that a provider receives: the messages' texts, then the tools'."""
        texts = [text for message in self.messages for text in message.texts()]
        return texts + self.tool_texts() if self.has_tools_or_format else texts

    def tool_texts(self) -> list[str]:
        """The strings, keys and numbers of `tools`, `tool_choice` and `response_format`, without the words of their own
        format."""
        return [text for text in tool_and_format_texts(self) if text not in TOOL_WORDS]

    def text(self) -> str:
        """All of `texts` joined with newlines, for the guardrails."""
        plain = self.plain_text
        return "\n".join(self.texts()) if plain is None else plain

    def characters(self) -> int:
        """Characters of everything that a provider receives for it: texts, ids, and complete tools; separators are not
        counted."""
        plain = self.plain_text
        if plain is not None:
            return len(plain)
        characters = count_sent(self.messages)
        if self.has_tools_or_format:
            characters += sum(map(len, tool_and_format_texts(self)))
        return characters


@value(slots=True)
class Prompt:
    """The request to a candidate: the messages in their final order and the sampling settings.

    None in a sampling field means that the provider's own default holds.
    """

    messages: tuple[Message, ...]
    temperature: float | None = None
    top_p: float | None = None
    max_output_tokens: int | None = None
    tools: tuple[JsonObject, ...] = ()
    tool_choice: Json = None
    parallel_tool_calls: bool | None = None
    response_format: JsonObject | None = None
    reasoning_effort: str | None = None

    def characters(self) -> int:
        """Characters of everything that a provider receives: texts, ids, and complete tools; separators are not
        counted."""
        return count_sent(self.messages) + sum(map(len, tool_and_format_texts(self)))


@value(slots=True)
class Usage:
    """Token counts, never characters. `estimated` if the provider sent no counts: four characters a token."""

    prompt_tokens: int
    completion_tokens: int
    estimated: bool = False

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def plus(self, other: Usage) -> Usage:
        """The sum of both, for a stream that two candidates carried."""
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.estimated or other.estimated,
        )


@value(slots=True)
class Reply:
    """A complete answer of a provider, in the contract's terms for every wire.

    `content` is None only if the model answered with tool calls alone. `model` is the model that the provider names, or
    the requested one if it names none. `usage` is None if it sent none.
    """

    id: str
    model: str
    content: str | None
    finish_reason: FinishReason
    usage: Usage | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    # The model's reasoning as text, if the provider sent it. Never part of the content, never stored.
    reasoning: str | None = None

    def characters(self) -> int:
        """Characters that the model wrote, reasoning included, because providers count it as completion."""
        written = len(self.content or "") + len(self.reasoning or "")
        return written + sum([len(call.name) + len(call.arguments) for call in self.tool_calls])


def estimate_tokens(characters: int) -> int:
    """Tokens in so many characters: four characters a token, rounded up (the contract's estimate)."""
    return -(-characters // 4)


def count_sent(messages: Sequence[Message]) -> int:
    """Characters of these messages as they are sent: texts and ids; separators are not counted.

    The only count for caps, budgets, limits and estimates, so that none of them leaves out a part that is used.
    """
    characters = 0
    for message in messages:
        content = message.content
        if (
            isinstance(content, str)
            and message.name is None
            and not message.tool_calls
            and message.tool_call_id is None
        ):
            # The common case.
            characters += len(content)
        else:
            # Other ids are counted among the texts.
            ids = [call_id for call_id in message.ids() if is_machine_made(call_id)]
            characters += sum(map(len, message.texts())) + sum(map(len, ids))
    return characters


def is_machine_made(call_id: str) -> bool:
    """Whether an id has only letters, digits and the characters of base64, paths and separators, as all providers' ids.

    Gemini's ids contain a thought's signature of a thousand characters or more. Prose has spaces, commas or other
    letters.
    """
    return _MACHINE_MADE.fullmatch(call_id) is not None


def tool_and_format_texts(asked: ChatRequest | Prompt) -> list[str]:
    """Every string, key and number in the tools, the tool choice, and the answer's format, including the words of the
    format: for the size."""
    return json_texts([asked.tools, asked.tool_choice, asked.response_format])


def json_texts(value: Json) -> list[str]:
    """Every string, key and number in a JSON value, in no particular order; numbers as they are written."""
    texts: list[str] = []
    rest = [value]
    while rest:
        node = rest.pop()
        if isinstance(node, str):
            texts.append(node)
        elif isinstance(node, dict):
            texts.extend(node)
            rest.extend(node.values())
        elif isinstance(node, list | tuple):
            rest.extend(node)
        elif node is not None and not isinstance(node, bool):
            texts.append(str(node))
    return texts
