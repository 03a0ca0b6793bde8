"""The stage `prompt`: the client's messages become what is asked of a provider.

Rules:
1. The endpoint's prompt is a system message before everything else, the client's own system messages included.
2. The template wraps the last user message and no other: earlier ones are history, wrapped or not when they were new.
3. What is put in for `{{input}}` is never scanned again: a client who writes `{{input}}` sends those nine characters.
4. In a message of parts, its text parts, joined with newlines, are the input; the wrapped text stands where the first
   of them stood, and images and the like stay where they are. A message without any text is left alone: there is
   nothing to wrap, and a template around nothing would put words into the client's mouth.
"""

from __future__ import annotations

from attrs import evolve

from pg_trio.domain.chat import ChatRequest, JsonObject, Message, Prompt
from pg_trio.domain.project import Endpoint

PLACEHOLDER = "{{input}}"


def apply_prompt(
    endpoint: Endpoint, messages: tuple[Message, ...], request: ChatRequest, output_limit_tokens: int | None = None
) -> Prompt:
    """The prompt of this endpoint: `messages` (history, then the client's) in its frame, and its sampling settings.

    `messages` stands beside `request` because a session's stored turns are not in the request. `output_limit_tokens` is
    what was reserved for the answer, where something was; else the endpoint's own maximum holds.
    """
    if endpoint.user_prompt_template is not None:
        messages = _wrap_last_user_message(endpoint.user_prompt_template, messages)
    if endpoint.prompt is not None:
        messages = (Message("system", endpoint.prompt), *messages)
    return Prompt(
        messages=messages,
        temperature=endpoint.temperature,
        top_p=endpoint.top_p,
        max_output_tokens=output_limit_tokens or endpoint.max_output_tokens,
        tools=request.tools,
        tool_choice=request.tool_choice,
        parallel_tool_calls=request.parallel_tool_calls,
        response_format=request.response_format,
        reasoning_effort=request.reasoning_effort,
    )


def _wrap_last_user_message(template: str, messages: tuple[Message, ...]) -> tuple[Message, ...]:
    for index in range(len(messages) - 1, -1, -1):
        if messages[index].role == "user":
            return (*messages[:index], _wrap_message(template, messages[index]), *messages[index + 1 :])
    return messages


def _wrap_message(template: str, message: Message) -> Message:
    content = message.content
    if isinstance(content, str):
        return evolve(message, content=_wrap_text(template, content))
    if content is None:
        return message
    return evolve(message, content=_wrap_parts(template, content))


def _wrap_text(template: str, text: str) -> str:
    # str.replace goes over the template once, from left to right; what it puts in is not looked at again.
    return template.replace(PLACEHOLDER, text)


def _wrap_parts(template: str, parts: tuple[JsonObject, ...]) -> tuple[JsonObject, ...]:
    texts = [part["text"] for part in parts if part["type"] == "text"]
    if not texts:
        return parts
    wrapped: list[JsonObject] = []
    for part in parts:
        if part["type"] != "text":
            wrapped.append(part)
        elif texts:
            wrapped.append({"type": "text", "text": _wrap_text(template, "\n".join(texts))})
            texts = []
    return tuple(wrapped)
