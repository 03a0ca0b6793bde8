"""What is said: messages, requests, prompts, replies. Values only; nothing here is filled in later."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias
from uuid import UUID

from attrs import field

from pg_trio.domain.value import value

Json: TypeAlias = Any  # what a JSON parser gives: dict, list, str, int, float, bool, None
JsonObject: TypeAlias = Mapping[str, Json]
Role: TypeAlias = Literal["system", "user", "assistant", "tool"]
FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter", "error"]

ROLES: frozenset[str] = frozenset({"system", "user", "assistant", "tool"})

# The field of a content part that is its text, by the part's type. (A file has a name, one level further down.)
TEXT_FIELDS: dict[str, str] = {"text": "text", "refusal": "refusal"}

# Words of OpenAI's tools, of `response_format` and of JSON Schema: what all of them are made of says nothing, and
# masking it would break it.
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
    """A function call that the model asks for. `arguments` is the JSON text as the model wrote it, unparsed."""

    id: str
    name: str
    arguments: str


@value(slots=True)
class Message:
    """One message. `content` is text, OpenAI content parts (`{"type": "text", "text": …}`, images, …), or None
    where an assistant only called tools."""

    role: Role
    content: str | tuple[JsonObject, ...] | None
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None

    def texts(self) -> list[str]:
        """Every piece of free text in it that a provider is sent: the name, what the content's parts say (refusals and
        file names included), the tool calls' names and arguments, and ids that may be prose."""
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
        """The ids that tie tool calls to their results, whoever wrote them."""
        ids = [call.id for call in self.tool_calls]
        return ids if self.tool_call_id is None else [*ids, self.tool_call_id]


@value(slots=True)
class ChatRequest:
    """A client's request body, understood. `body` is the JSON object as it was sent (for `input_schema`)."""

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
    # The text, where one message of text alone is all that is sent, as nearly always; None for anything else.
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
        """Whether it has `tools`, `tool_choice` or `response_format`, which say something beside the messages."""
        return bool(self.tools) or self.tool_choice is not None or self.response_format is not None

    def texts(self) -> list[str]:
        """Every piece of free text in it that a provider is sent: the messages', then the tools'."""
        texts = [text for message in self.messages for text in message.texts()]
        return texts + self.tool_texts() if self.has_tools_or_format else texts

    def tool_texts(self) -> list[str]:
        """What `tools`, `tool_choice` and `response_format` say: strings, keys and numbers, without the words of their
        own format."""
        return [text for text in tool_and_format_texts(self) if text not in TOOL_WORDS]

    def text(self) -> str:
        """All of `texts` joined with newlines: what guardrails look at."""
        plain = self.plain_text
        return "\n".join(self.texts()) if plain is None else plain

    def characters(self) -> int:
        """Characters of everything that a provider is sent for it: texts, ids, and tools whole; joints not counted."""
        plain = self.plain_text
        if plain is not None:
            return len(plain)
        characters = count_sent(self.messages)
        if self.has_tools_or_format:
            characters += sum(map(len, tool_and_format_texts(self)))
        return characters


@value(slots=True)
class Prompt:
    """What is asked of whichever candidate: the messages in their final order and the sampling settings.

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
        """Characters of everything that a provider is sent: texts, ids, and tools whole; joints not counted."""
        return count_sent(self.messages) + sum(map(len, tool_and_format_texts(self)))


@value(slots=True)
class Usage:
    """Token counts, never characters. `estimated` where the provider sent none: four characters a token."""

    prompt_tokens: int
    completion_tokens: int
    estimated: bool = False

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def plus(self, other: Usage) -> Usage:
        """Both together: what a stream cost that two candidates carried."""
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.estimated or other.estimated,
        )


@value(slots=True)
class Reply:
    """A whole answer of a provider, in the contract's terms whichever wire it came over.

    `content` is None only where the model answered with tool calls alone. `model` is what the provider says answered,
    or the model asked for where it says nothing. `usage` is None where it sent none.
    """

    id: str
    model: str
    content: str | None
    finish_reason: FinishReason
    usage: Usage | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    # The model's reasoning as text, where the provider gave it. Never part of the content, never stored.
    reasoning: str | None = None

    def characters(self) -> int:
        """Characters of all that the model wrote; reasoning too, which providers count as completion."""
        written = len(self.content or "") + len(self.reasoning or "")
        return written + sum([len(call.name) + len(call.arguments) for call in self.tool_calls])


def estimate_tokens(characters: int) -> int:
    """Tokens in so many characters: four characters a token, rounded up (the contract's estimate)."""
    return -(-characters // 4)


def count_sent(messages: Sequence[Message]) -> int:
    """Characters of all that is sent of these messages: texts and ids; joints are not counted.

    The one count for caps, budgets, limits and estimates: what one of them leaves out is used and not paid for.
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
            # Nearly every message there is.
            characters += len(content)
        else:
            # Ids that no machine made are among the texts.
            ids = [call_id for call_id in message.ids() if is_machine_made(call_id)]
            characters += sum(map(len, message.texts())) + sum(map(len, ids))
    return characters


def is_machine_made(call_id: str) -> bool:
    """Whether an id is made of letters, digits and the signs of base64, paths and joints, as all providers make them.

    Gemini's hold a thought's signature, a thousand characters and more. Prose has spaces, commas or other letters.
    """
    return _MACHINE_MADE.fullmatch(call_id) is not None


def tool_and_format_texts(asked: ChatRequest | Prompt) -> list[str]:
    """Every string, key and number in the tools, the choice of one, and the answer's format: whole, for its size."""
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
