"""Messages that came as another wire's blocks, in the form that every server of OpenAI's wire takes.

1. Content that is all text is a string: some servers take no list (DeepSeek, older vLLM).
2. Tool messages have only text. Images and files in results of tools move to the user's next message, behind the
   results.

Source: OpenAI's openapi.yaml, ChatCompletionRequestToolMessageContentPart (text alone), read 2026-11.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve

from pg_trio.domain.chat import Message
from pg_trio.domain.content import Part, Text, parts_for_others


def make_plain(messages: Sequence[Message]) -> list[Message]:
    """The messages in that form. Adjacent texts are lines of one."""
    return [_as_string(message) for message in move_media(messages)]


def _as_string(message: Message) -> Message:
    content = message.content
    if not isinstance(content, tuple):
        return message
    parts = parts_for_others(content)
    texts = [part.text for part in parts if isinstance(part, Text)]
    return evolve(message, content="\n".join(texts)) if len(texts) == len(parts) else message


def move_media(messages: Sequence[Message]) -> list[Message]:
    """The messages, with the media of tool messages in a user's message behind them."""
    moved: list[Message] = []
    media: list[Part] = []
    for message in messages:
        if message.role == "tool":
            message = _without_media(message, media)  # noqa: PLW2901
        elif media:
            if message.role == "user":
                message = evolve(message, content=(*media, *_parts_of(message)))  # noqa: PLW2901
            else:
                moved.append(Message("user", tuple(media)))
            media = []
        moved.append(message)
    return [*moved, Message("user", tuple(media))] if media else moved


def _without_media(message: Message, media: list[Part]) -> Message:
    """The message with only its texts; the rest is added to `media`."""
    parts = _parts_of(message)
    texts = tuple([part for part in parts if isinstance(part, Text)])
    if len(texts) == len(parts):
        return message
    media += [part for part in parts if not isinstance(part, Text)]
    return evolve(message, content=texts or "")


def _parts_of(message: Message) -> tuple[Part, ...]:
    content = message.content
    if content is None:
        return ()
    return (Text(content),) if isinstance(content, str) else parts_for_others(content)
