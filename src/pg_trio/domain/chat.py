"""What is said: messages, requests, prompts, replies. Values only; nothing here is filled in later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias
from uuid import UUID

from attrs import frozen

Json: TypeAlias = Any  # what a JSON parser gives: dict, list, str, int, float, bool, None
JsonObject: TypeAlias = Mapping[str, Json]
Role: TypeAlias = Literal["system", "user", "assistant", "tool"]
FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter", "error"]

ROLES: frozenset[str] = frozenset({"system", "user", "assistant", "tool"})


@frozen(slots=True)
class ToolCall:
    """A function call that the model asks for. `arguments` is the JSON text as the model wrote it, unparsed."""

    id: str
    name: str
    arguments: str


@frozen(slots=True)
class Message:
    """One message. `content` is text, OpenAI content parts (`{"type": "text", "text": …}`, images, …), or None
    where an assistant only called tools."""

    role: Role
    content: str | tuple[JsonObject, ...] | None
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None

    def texts(self) -> list[str]:
        """Every piece of text in it, in order: the content's (text parts only) and the tool calls' arguments."""
        content = self.content
        if isinstance(content, str):
            texts = [content]
        elif content is None:
            texts = []
        else:
            texts = [part["text"] for part in content if part["type"] == "text"]
        if self.tool_calls:
            texts.extend(call.arguments for call in self.tool_calls)
        return texts


@frozen(slots=True)
class ChatRequest:
    """A client's request body, understood. `body` is the JSON object as it was sent (for `input_schema`)."""

    messages: tuple[Message, ...]
    body: JsonObject
    endpoint: str | None = None
    stream: bool = False
    session_id: UUID | None = None
    tools: tuple[JsonObject, ...] = ()
    tool_choice: Json = None

    def text(self) -> str:
        """All message text joined with newlines: what guardrails and the token estimate look at."""
        messages = self.messages
        if len(messages) == 1 and isinstance(messages[0].content, str) and not messages[0].tool_calls:
            return messages[0].content
        return "\n".join(text for message in messages for text in message.texts())


@frozen(slots=True)
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


@frozen(slots=True)
class Usage:
    """Token counts, never characters. `estimated` where the provider sent none: four characters a token."""

    prompt_tokens: int
    completion_tokens: int
    estimated: bool = False

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@frozen(slots=True)
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


def estimate_tokens(characters: int) -> int:
    """Tokens in so many characters: four characters a token, rounded up (the contract's estimate)."""
    return -(-characters // 4)


def count_characters(messages: Sequence[Message]) -> int:
    """Characters in all text of the messages; what joins them is not counted."""
    return sum(len(text) for message in messages for text in message.texts())
