"""Reasoning that a model writes in its text, between tags: `<think>Hmm.</think>Hello`. It is read as reasoning.

Rules:
1. Only for providers whose row names a tag (`thinking_tag`), and only at the beginning of the text. A tag inside an
   answer is the answer's.
2. The text behind the tag is reasoning, up to the end tag or the text's end (the limit came first). White space behind
   each tag is left out.
3. If the provider also sends the reasoning in a field of its own (llama.cpp, `deepseek-legacy`), the one in the text is
   left out.
4. An answer that has only such reasoning is no answer, as without tags (see `openai_reply`, rule 2).

Sources, read 2026-11-29: perplexityai/api-discussion#245 (the content is "<think> reasoning tokens </think> valid
JSON", on purpose); docs.sambanova.ai, "Reasoning" ("shown within the <think> tags"); reference.langchain.com, ChatGroq,
`reasoning_format` (Groq's default is raw); vllm-project/vllm#13375 and ggml-org/llama.cpp, `--reasoning-format none`
(servers without a parser); vercel/ai#14720 and promptfoo/promptfoo#9587 (Bedrock, gpt-oss: `<reasoning>`).
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from attrs import evolve

from pg_trio.domain.chat import Reply
from pg_trio.domain.events import Broken, ContentDelta, Event, Finished, ReasoningDelta, ToolCallDelta
from pg_trio.domain.project import Candidate
from pg_trio.errors import AttemptFailed, UpstreamNonsense
from pg_trio.providers.openai_stream import OpenAIStreamReader

# Finish reasons that explain an answer without a text.
MAY_BE_EMPTY = ("length", "content_filter")
# More white space before a tag than any model writes.
MAX_SPACE = 64

# Where in the text we are. The two `space` are behind a tag, where white space is left out.
_Place: TypeAlias = Literal["start", "reasoning space", "reasoning", "text space", "text"]


class TextSplitter:
    """Splits one answer's text into reasoning and content. The text may come in pieces of any size."""

    __slots__ = ("_close", "_held", "_open", "_place")

    def __init__(self, tag: str) -> None:
        self._open, self._close = f"<{tag}>", f"</{tag}>"
        self._place: _Place = "start"
        # Text that may be the beginning of a tag.
        self._held = ""

    def is_done(self) -> bool:
        """Whether there was content, so that all that follows is content too."""
        return self._place == "text"

    def split(self, piece: str) -> tuple[str, str]:
        """(The reasoning, the content) that this piece adds; the reasoning is before the content."""
        text, self._held = self._held + piece, ""
        if self._place == "start":
            text = self._begin(text)
        reasoning = ""
        if self._place == "reasoning space":
            text = self._skip_space(text, "reasoning")
        if self._place == "reasoning":
            reasoning, text = self._read_reasoning(text)
        if self._place == "text space":
            text = self._skip_space(text, "text")
        return reasoning, text

    def close(self) -> tuple[str, str]:
        """(The reasoning, the content) that was held, at the text's end."""
        text, self._held = self._held, ""
        return (text, "") if self._place == "reasoning" else ("", text)

    def _begin(self, text: str) -> str:
        """The text behind the first tag, or all of it."""
        begun = text.lstrip()
        if len(text) - len(begun) <= MAX_SPACE:
            if begun.startswith(self._open):
                self._place = "reasoning space"
                return begun[len(self._open) :]
            if self._open.startswith(begun):
                self._held = text
                return ""
        self._place = "text"
        return text

    def _skip_space(self, text: str, then: _Place) -> str:
        text = text.lstrip()
        if text:
            self._place = then
        return text

    def _read_reasoning(self, text: str) -> tuple[str, str]:
        """(The reasoning, the text behind the tag that ends it.)"""
        end = text.find(self._close)
        if end >= 0:
            self._place = "text space"
            return text[:end], text[end + len(self._close) :]
        kept = len(text) - _tail_of(text, self._close)
        self._held = text[kept:]
        return text[:kept], ""


def _tail_of(text: str, tag: str) -> int:
    """How many characters at the text's end may be the beginning of the tag."""
    return next((length for length in range(len(tag) - 1, 0, -1) if text.endswith(tag[:length])), 0)


class TaggedStreamReader(OpenAIStreamReader):
    """Reads one stream of a provider whose models may reason in their text."""

    __slots__ = ("_has_calls", "_has_reasoning", "_splitter")

    def __init__(self, candidate: Candidate, tag: str) -> None:
        super().__init__(candidate)
        self._splitter = TextSplitter(tag)
        self._has_calls = False
        # Whether the provider sends reasoning in a field of its own.
        self._has_reasoning = False

    def feed(self, data: bytes) -> list[Event]:
        """The events that these bytes complete."""
        return self._sort(super().feed(data))

    def close(self, failure: AttemptFailed | None = None) -> list[Event]:
        """The last events; see `domain.adapter.StreamReader`."""
        return self._sort(super().close(failure))

    def _sort(self, events: list[Event]) -> list[Event]:
        if self._splitter.is_done():
            return events
        sorted_events: list[Event] = []
        for event in events:
            if isinstance(event, ContentDelta):
                self._add(self._splitter.split(event.text), sorted_events)
            elif isinstance(event, Finished):
                self._finish_with(event, sorted_events)
            else:
                if isinstance(event, ToolCallDelta):
                    self._has_calls = True
                elif isinstance(event, ReasoningDelta):
                    self._has_reasoning = self._has_reasoning or bool(event.text)
                sorted_events.append(event)
        return sorted_events

    def _finish_with(self, end: Finished, events: list[Event]) -> None:
        reasoning, content = self._splitter.close()
        self._add((reasoning, content), events)
        has_answer = content or self._has_calls or self._splitter.is_done()
        if has_answer or end.finish_reason in MAY_BE_EMPTY:
            events.append(end)
        else:
            events.append(Broken(UpstreamNonsense("the stream has neither content nor tool calls")))

    def _add(self, texts: tuple[str, str], events: list[Event]) -> None:
        reasoning, content = texts
        if reasoning:
            # Without a text it only shows that the model works (rule 3).
            events.append(ReasoningDelta("" if self._has_reasoning else reasoning))
        if content:
            events.append(ContentDelta(content))


def split_reply(reply: Reply, tag: str) -> Reply:
    """The answer with the reasoning of its text apart. Raises UpstreamNonsense if it has no more than that."""
    if not reply.content:
        return reply
    splitter = TextSplitter(tag)
    reasoning, content = splitter.split(reply.content)
    more_reasoning, more_content = splitter.close()
    content += more_content
    if content == reply.content:
        return reply
    if not content and not reply.tool_calls and reply.finish_reason not in MAY_BE_EMPTY:
        raise UpstreamNonsense("choices[0].message has neither content nor tool calls")
    return evolve(
        reply,
        content=None if reply.tool_calls and not content else content,
        reasoning=reply.reasoning or (reasoning + more_reasoning) or None,
    )
