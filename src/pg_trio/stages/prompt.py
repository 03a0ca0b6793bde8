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

from attrs import evolve, field, frozen

from pg_trio.domain.chat import ChatRequest, Message, Prompt
from pg_trio.domain.content import Part, Text
from pg_trio.domain.options import NO_OPTIONS, Options
from pg_trio.domain.project import Endpoint

PLACEHOLDER = "{{input}}"


@frozen(slots=True, eq=False)
class PromptPlan:
    """An endpoint's frame around a client's messages, and its own settings of sampling and length, made once.

    `output_limit_tokens` is what is reserved for an answer, where something is; else the endpoint's own maximum.
    `options` is what is asked of a provider where the client asks for nothing itself, as most requests do.
    """

    system: tuple[Message, ...]
    template: str | None
    temperature: float | None
    top_p: float | None
    output_limit_tokens: int | None
    options: Options = field(init=False, repr=False)

    @options.default
    def _make_options(self) -> Options:
        if self.temperature is None and self.top_p is None and self.output_limit_tokens is None:
            return NO_OPTIONS
        return Options(self.temperature, self.top_p, self.output_limit_tokens)

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
        if self.options is NO_OPTIONS:
            return asked
        return evolve(
            asked,
            temperature=asked.temperature if self.temperature is None else self.temperature,
            top_p=asked.top_p if self.top_p is None else self.top_p,
            max_output_tokens=(
                asked.max_output_tokens if self.output_limit_tokens is None else self.output_limit_tokens
            ),
        )


def compile_prompt(endpoint: Endpoint, output_limit_tokens: int | None = None) -> PromptPlan:
    """The endpoint's plan. `output_limit_tokens` None: nothing is reserved, and the endpoint's maximum holds."""
    return PromptPlan(
        system=() if endpoint.prompt is None else (Message("system", endpoint.prompt),),
        template=endpoint.user_prompt_template,
        temperature=endpoint.temperature,
        top_p=endpoint.top_p,
        output_limit_tokens=output_limit_tokens or endpoint.max_output_tokens,
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
