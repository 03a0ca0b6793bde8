"""The stage `prompt`: build the provider's prompt from the client's messages.

Rules:
1. The endpoint's prompt is a system message before everything else, the client's own system messages included.
2. The template wraps only the last user message. Earlier user messages are history and stay as they are.
3. The text that replaces `{{input}}` is not scanned again. A client's `{{input}}` stays as these nine characters.
4. In a message of parts, the input is its text parts, joined with newlines. The wrapped text replaces the first text
   part; other parts (images) keep their places. A message without text is not wrapped, because the template alone
   would be a text that the client never sent.
"""

from __future__ import annotations

from attrs import evolve, frozen

from pg_trio.domain.chat import ChatRequest, Message, Prompt
from pg_trio.domain.content import Part, Text
from pg_trio.domain.options import NO_OPTIONS, Options, limit_answer
from pg_trio.domain.project import Endpoint

PLACEHOLDER = "{{input}}"


@frozen(slots=True, eq=False)
class PromptPlan:
    """An endpoint's frame around a client's messages, and its options, made once.

    `options` are used if the client sets none, as in most requests. Their limit of the answer is the reserved number of
    tokens, or without a reservation the endpoint's own maximum.
    """

    system: tuple[Message, ...]
    template: str | None
    options: Options
    # The most tokens that an answer may have, whatever the client asks for.
    ceiling_tokens: int | None = None
    passes_unknown: bool = False

    def apply(self, messages: tuple[Message, ...], request: ChatRequest) -> Prompt:
        """The prompt: `messages` (history, then the client's) in the frame, with the endpoint's settings.

        `messages` is its own argument because a session's stored turns are not in `request`.
        """
        if self.template is not None:
            messages = _wrap_last_user_message(self.template, messages)
        if self.system:
            messages = self.system + messages
        asked = request.options
        if request.unknown is not None and self.passes_unknown:
            asked = evolve(asked, more={**request.unknown, **(asked.more or {})})
        options = self.options if asked is NO_OPTIONS else self._merge(asked)
        return Prompt(messages, options, request.tools, request.tool_choice, request.native)

    def _merge(self, asked: Options) -> Options:
        """The client's options, overridden by the endpoint's own settings."""
        own = self.options
        if own is NO_OPTIONS:
            return asked
        effort, budget = own.reasoning_effort, own.thinking_budget_tokens
        if effort is None and budget is None:
            # Both come from the same side: the client's budget must not be combined with the endpoint's effort.
            effort, budget = asked.reasoning_effort, asked.thinking_budget_tokens
        return evolve(
            asked,
            response_format=own.response_format or asked.response_format,
            reasoning_effort=effort,
            thinking_budget_tokens=budget,
            temperature=asked.temperature if own.temperature is None else own.temperature,
            top_p=asked.top_p if own.top_p is None else own.top_p,
            max_output_tokens=limit_answer(asked.max_output_tokens, self.ceiling_tokens, own.max_output_tokens),
        )


def compile_prompt(endpoint: Endpoint, output_limit_tokens: int | None = None) -> PromptPlan:
    """The endpoint's plan. With `output_limit_tokens=None` nothing is reserved, and the endpoint's maximum holds."""
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
        # Adapters compare it by identity to see that no option is set.
        options=NO_OPTIONS if options == NO_OPTIONS else options,
        ceiling_tokens=endpoint.max_output_tokens,
        passes_unknown=endpoint.pass_unknown_fields,
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
    # str.replace scans the template once, from left to right, and never the text that it inserts.
    return template.replace(PLACEHOLDER, text)


def _wrap_parts(template: str, parts: tuple[Part, ...]) -> tuple[Part, ...]:
    texts = [part.text for part in parts if isinstance(part, Text)]
    if not texts:
        return parts
    # Native fields of the last text stay: a mark for a cache stands at the end of what it marks.
    native = next((part.native for part in reversed(parts) if isinstance(part, Text) and part.native), None)
    wrapped: list[Part] = []
    for part in parts:
        if not isinstance(part, Text):
            wrapped.append(part)
        elif texts:
            wrapped.append(Text(_wrap_text(template, "\n".join(texts)), native))
            texts = []
    return tuple(wrapped)
