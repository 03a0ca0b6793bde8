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

from functools import lru_cache

from attrs import evolve

from pg_trio.domain.chat import ChatRequest, Message, Prompt
from pg_trio.domain.content import Part, Text
from pg_trio.domain.options import NO_OPTIONS, Options
from pg_trio.domain.project import Endpoint

PLACEHOLDER = "{{input}}"
# As many as a configuration has endpoints at most, and some more for the limits that budgets set.
OPTIONS_KEPT = 16_384


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
    limit, asked = output_limit_tokens or endpoint.max_output_tokens, request.options
    return Prompt(
        messages=messages,
        options=(_endpoint_options(endpoint, limit) if asked is NO_OPTIONS else _merge_options(endpoint, asked, limit)),
        tools=request.tools,
        tool_choice=request.tool_choice,
    )


@lru_cache(maxsize=OPTIONS_KEPT)
def _endpoint_options(endpoint: Endpoint, output_limit_tokens: int | None) -> Options:
    """What the endpoint asks for by itself, made once: most clients ask for nothing."""
    options = _merge_options(endpoint, NO_OPTIONS, output_limit_tokens)
    # By identity, it says that nothing is asked for.
    return NO_OPTIONS if options == NO_OPTIONS else options


def _merge_options(endpoint: Endpoint, asked: Options, output_limit_tokens: int | None) -> Options:
    """What the client asks for, with the endpoint's own settings over it."""
    temperature, top_p = endpoint.temperature, endpoint.top_p
    effort, budget = endpoint.reasoning_effort, endpoint.thinking_budget_tokens
    if effort is None and budget is None:
        # One without the other, as it was set: the client's budget does not go with the endpoint's effort.
        effort, budget = asked.reasoning_effort, asked.thinking_budget_tokens
    return evolve(
        asked,
        response_format=endpoint.answer_format or asked.response_format,
        reasoning_effort=effort,
        thinking_budget_tokens=budget,
        temperature=asked.temperature if temperature is None else temperature,
        top_p=asked.top_p if top_p is None else top_p,
        max_output_tokens=asked.max_output_tokens if output_limit_tokens is None else output_limit_tokens,
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


def _wrap_parts(template: str, parts: tuple[Part, ...]) -> tuple[Part, ...]:
    texts = [part.text for part in parts if isinstance(part, Text)]
    if not texts:
        return parts
    wrapped: list[Part] = []
    for part in parts:
        if not isinstance(part, Text):
            wrapped.append(part)
        elif texts:
            wrapped.append(Text(_wrap_text(template, "\n".join(texts))))
            texts = []
    return tuple(wrapped)
