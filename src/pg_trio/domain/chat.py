"""Messages, requests, prompts and replies. Values only; no field is filled in later."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal, TypeAlias
from uuid import UUID

from attrs import field

from pg_trio.domain.content import Part, texts_of_parts
from pg_trio.domain.json_value import Json, JsonObject, json_texts
from pg_trio.domain.native_fields import NativeRequest, NativeStop, NativeTurn, native_texts
from pg_trio.domain.options import NO_OPTIONS, Options
from pg_trio.domain.tools import ForeignTool, ForeignToolChoice, Tool, ToolCall, ToolChoice
from pg_trio.domain.value import value

__all__ = ["Json", "JsonObject", "ToolCall", "json_texts"]

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]
FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter", "error"]

ROLES: frozenset[str] = frozenset({"system", "user", "assistant", "tool"})

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
class Reasoning:
    """A block of a model's reasoning in an assistant's turn, for the provider that wants to see it again.

    `signature` and `data` (a block that the provider encrypted) are opaque to us. Shape and rules: Anthropic, Messages
    API, extended thinking.
    """

    text: str
    signature: str | None = None
    data: str | None = None
    native: JsonObject | None = None


@value(slots=True)
class Message:
    """One message. `content` is text, content parts, or None if an assistant only called tools."""

    role: Role
    content: str | tuple[Part, ...] | None
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    reasoning: tuple[Reasoning, ...] = ()
    native: NativeTurn | None = None

    def texts(self) -> list[str]:
        """Every piece of free text in it that a provider is sent: the name, what the content's parts say (refusals and
        file names included), the tool calls' names and arguments, reasoning, and ids that may be prose."""
        content = self.content
        texts = [] if self.name is None else [self.name]
        if isinstance(content, str):
            texts.append(content)
        elif content is not None:
            texts += texts_of_parts(content)
        for call in self.tool_calls:
            texts += (call.name, call.arguments)
            if call.native is not None:
                texts += native_texts(call.native)
        if self.reasoning:
            texts += [block.text for block in self.reasoning if block.text]
        if self.native is not None:
            texts += self._native_texts(self.native)
        if self.tool_calls or self.tool_call_id is not None:
            texts += [call_id for call_id in self.ids() if not is_machine_made(call_id)]
        return texts

    def _native_texts(self, turn: NativeTurn) -> list[str]:
        texts = [text for block in self.reasoning if block.native is not None for text in native_texts(block.native)]
        return texts + turn.texts()

    def ids(self) -> list[str]:
        """The ids that connect tool calls with their results."""
        ids = [call.id for call in self.tool_calls]
        return ids if self.tool_call_id is None else [*ids, self.tool_call_id]


NO_QUOTES: Mapping[int, str] = MappingProxyType({})


@value(slots=True)
class SessionTerms:
    """How a request uses a session.

    Without `ChatRequest.session_id`, a request `starts` a session on an endpoint with sessions, or has none. `new_id`
    is the id of a session that it starts; None: a random one. `resumed_tag` is the name of the last message of a
    resumed session; None: any. The first `instructions` of the request's messages hold for this answer alone: they are
    sent before the session's messages, and not stored. `keeps_turn`: whether the turn is stored, with its answer under
    the name `tag`.

    `quotes`: the contents of these messages (by their places in the request) are those of the session's answers with
    these tags. A request that only quotes from its session, and does not `resume` it, starts another one.
    """

    starts: bool = True
    new_id: UUID | None = None
    resumed_tag: str | None = None
    instructions: int = 0
    keeps_turn: bool = True
    tag: str | None = None
    quotes: Mapping[int, str] = NO_QUOTES
    resumes: bool = True


USUAL_TERMS = SessionTerms()
NO_NEW_SESSION = SessionTerms(starts=False)


@value(slots=True)
class ChatRequest:
    """A client's request body, parsed. `body` is the JSON object as it was sent (for `input_schema`).

    `endpoint` is a slug that the body names, `model` the model that it names in place of one. `unknown` are the body's
    fields that the surface does not know, where a provider of the surface's own wire may know them; None without any.
    """

    messages: tuple[Message, ...]
    body: JsonObject
    endpoint: str | None = None
    stream: bool = False
    session_id: UUID | None = None
    tools: tuple[Tool | ForeignTool, ...] = ()
    tool_choice: ToolChoice | ForeignToolChoice | None = None
    options: Options = NO_OPTIONS
    model: str | None = None
    session_terms: SessionTerms = USUAL_TERMS
    unknown: JsonObject | None = None
    # The further fields of a request that came in a provider's own dialect.
    native: NativeRequest | None = None
    # The text of a request that has a single text message and nothing else, as most have; None for other requests.
    plain_text: str | None = field(init=False, repr=False, eq=False)

    @plain_text.default
    def _find_plain_text(self) -> str | None:
        messages = self.messages
        if len(messages) != 1 or self.holds_more:
            return None
        message = messages[0]
        if message.name is not None or message.tool_call_id is not None or message.tool_calls or message.reasoning:
            return None
        return message.content if isinstance(message.content, str) else None

    @property
    def holds_more(self) -> bool:
        """Whether it has fields besides the messages that carry text: tools, the answer's format, unknown fields."""
        if self.tools or self.tool_choice is not None or self.unknown is not None or self.native is not None:
            return True
        return self.options is not NO_OPTIONS and self.options.holds_text

    def texts(self) -> list[str]:
        """Every piece of free text in it that a provider receives: the messages' texts, then the tools'."""
        texts = [text for message in self.messages for text in message.texts()]
        return texts + self.more_texts() if self.holds_more else texts

    def more_texts(self) -> list[str]:
        """The strings, keys and numbers of `tools`, `tool_choice`, `response_format` and the other fields with text,
        without the words of OpenAI's own format."""
        texts = tool_and_format_texts(self)
        if self.unknown is not None:
            texts += json_texts(self.unknown)
        return [text for text in texts if text not in TOOL_WORDS]

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
        if self.holds_more:
            characters += sum(map(len, tool_and_format_texts(self)))
            if self.unknown is not None:
                characters += sum(map(len, json_texts(self.unknown)))
        return characters


@value(slots=True)
class Prompt:
    """What is asked of whichever candidate: the messages in their final order, the tools, and how to answer."""

    messages: tuple[Message, ...]
    options: Options = NO_OPTIONS
    tools: tuple[Tool | ForeignTool, ...] = ()
    tool_choice: ToolChoice | ForeignToolChoice | None = None
    native: NativeRequest | None = None

    def characters(self) -> int:
        """Characters of everything that a provider receives: texts, ids, and complete tools; separators are not
        counted."""
        return count_sent(self.messages) + sum(map(len, tool_and_format_texts(self)))


@value(slots=True)
class Usage:
    """Token counts, never characters. `estimated` if the provider sent no counts: four characters a token.

    `prompt_tokens` counts all input: `cached_tokens` (read from the provider's cache) and `cache_write_tokens` are
    parts of it. `completion_tokens` counts reasoning too, of which there are `reasoning_tokens`.
    """

    prompt_tokens: int
    completion_tokens: int
    estimated: bool = False
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def plus(self, other: Usage) -> Usage:
        """The sum of both, for a stream that two candidates carried."""
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.estimated or other.estimated,
            self.cached_tokens + other.cached_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
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
    # The same in blocks, where the provider wants to see them again in a tool round.
    reasoning_blocks: tuple[Reasoning, ...] = ()
    # OpenAI's object about the tokens of the content, if the client asked for it and the wire has it.
    logprobs: JsonObject | None = None
    # What the provider says about the end besides the finish reason.
    stop: NativeStop | None = None
    # The blocks of the content, if they are more than the fields above say (domain.native_content).
    native_content: tuple[JsonObject, ...] = ()

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
            and not message.reasoning
            and message.native is None
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
    texts = [text for tool in asked.tools for text in tool.texts()]
    if asked.tool_choice is not None:
        texts += asked.tool_choice.texts()
    options, native = asked.options, asked.native
    if native is not None:
        # They restate the options.
        return texts + native.texts()
    if options is NO_OPTIONS:
        return texts
    wanted = options.response_format
    if wanted is not None:
        texts += json_texts(wanted.raw)
    return texts + options.texts()
