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

from attrs import evolve, frozen

from pg_trio.domain.chat import ChatRequest, Message, Prompt
from pg_trio.domain.content import Part, Text
from pg_trio.domain.options import NO_OPTIONS, Options
from pg_trio.domain.project import Endpoint

PLACEHOLDER = "{{input}}"


@frozen(slots=True, eq=False)
class PromptPlan:
    """An endpoint's frame around a client's messages, and its own options, made once.

    `options` is what is asked of a provider where the client asks for nothing itself, as most requests do. Its limit of
    the answer is what was reserved, where something was; else the endpoint's own maximum.
    """

    system: tuple[Message, ...]
    template: str | None
    options: Options

    def apply(self, messages: tuple[Message, ...], request: ChatRequest) -> Prompt:
        """The prompt: `messages` (history, then the client's) in the frame, with the endpoint's settings.

        `messages` stands beside `request` because a session's stored turns are not in the request.
        """
        if self.template is not None:
            messages = _wrap_last_user_message(self.template, messages)
        if self.system:
            messages = self.system + messages
        options = self.options if request.options is NO_OPTIONS else self._merge(request.options)
        return Prompt(messages, options, request.tools, request.tool_choice)

    def _merge(self, asked: Options) -> Options:
        """What the client asks for, with the endpoint's own settings over it."""
        own = self.options
        if own is NO_OPTIONS:
            return asked
        effort, budget = own.reasoning_effort, own.thinking_budget_tokens
        if effort is None and budget is None:
            # One without the other, as it was set: the client's budget does not go with the endpoint's effort.
            effort, budget = asked.reasoning_effort, asked.thinking_budget_tokens
        return evolve(
            asked,
            response_format=own.response_format or asked.response_format,
            reasoning_effort=effort,
            thinking_budget_tokens=budget,
            temperature=asked.temperature if own.temperature is None else own.temperature,
            top_p=asked.top_p if own.top_p is None else own.top_p,
            max_output_tokens=asked.max_output_tokens if own.max_output_tokens is None else own.max_output_tokens,
        )


def compile_prompt(endpoint: Endpoint, output_limit_tokens: int | None = None) -> PromptPlan:
    """The endpoint's plan. `output_limit_tokens` None: nothing is reserved, and the endpoint's maximum holds."""
    options = evolve(
        NO_OPTIONS,
        temperature=endpoint.temperature,
        top_p=endpoint.top_p,
        max_output_tokens=output_limit_tokens or endpoint.max_output_tokens,
        response_format=endpoint.answer_format,
        reasoning_effort=endpoint.reasoning_effort,
        thinking_budget_tokens=endpoint.thinking_budget_tokens,
    )
    return PromptPlan(
        system=() if endpoint.prompt is None else (Message("system", endpoint.prompt),),
        template=endpoint.user_prompt_template,
        # By identity, it says that nothing is asked for.
        options=NO_OPTIONS if options == NO_OPTIONS else options,
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
