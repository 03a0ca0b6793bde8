"""The filter of a streamed answer's events (sources/filtered_source.py): text passes masked, as soon as it is decided.

Rules:
1. The answer's text is one text, its reasoning another one, the arguments of each call a third. A text waits while its
   own deltas come; before an event of another kind it is passed on, so that events keep their order. It is not passed
   on if it may be more of what was passed on so before, and content never waits the less for reasoning: some providers
   send both in each chunk.
2. A block of reasoning that was changed loses its signature, which holds for the text as it was. Reasoning that the
   client does not get loses its text.
3. Log-probabilities have the tokens as they were, so they are left out.
4. Blocks and citations of Anthropic's wire are checked as a whole; their keys, types and encrypted parts stay.
5. After a change of candidates, an answer that goes on is the same text; one that begins anew is a new one, and what
   waited is dropped with it. What was sent of it is checked as at an answer's end.
6. An answer's opening waits for the first event behind it that passes: it would send the head, and a refusal could be
   no ordinary answer any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import evolve

from pg_trio.domain.chat import is_machine_made
from pg_trio.domain.events import (
    ContentDelta,
    Event,
    Finished,
    Joined,
    NativeBlock,
    NativeNote,
    Opened,
    ReasoningDelta,
    ToolCallDelta,
)
from pg_trio.domain.guardrails import GuardrailVerdict
from pg_trio.stages.guardrails.output.answer_length import AnswerLength, LengthRule
from pg_trio.stages.guardrails.output.arguments import ArgumentsWindow
from pg_trio.stages.guardrails.output.fixed_texts import check_fixed, mask_native
from pg_trio.stages.guardrails.output.text_rules import VerdictBook
from pg_trio.stages.guardrails.output.text_window import TextWindow, WindowRules


class AnswerFilter:
    """One answer. `note` gets each verdict when it is made. `shows_reasoning`: the client gets reasoning."""

    def __init__(
        self,
        rules: WindowRules,
        length: LengthRule | None,
        note: Callable[[GuardrailVerdict], None],
        *,
        shows_reasoning: bool = True,
    ) -> None:
        self._rules = rules
        self._note = note
        self._shows_reasoning = shows_reasoning
        self._book = VerdictBook()
        self._length = None if length is None else AnswerLength(length)
        # The opening, while nothing has passed; None from then on.
        self._opening: list[Event] | None = []
        # Characters of text that the client has, also of a stream that another one replaces.
        self._sent_chars = 0
        self._begin()

    def _begin(self) -> None:
        self._content = TextWindow(self._rules, self._book)
        self._reasoning = TextWindow(self._rules, self._book)
        self._calls: dict[int, ArgumentsWindow] = {}
        # The place of the call under way; -1 outside of one.
        self._call = -1

    def take(self, events: Sequence[Event]) -> Sequence[Event]:
        """The events to pass on for these. Raises: GuardrailBlocked."""
        passed: list[Event] = []
        try:
            for event in events:
                self._take_one(event, passed)
        finally:
            for verdict in self._book.take_new():
                self._note(verdict)
        if passed and self._opening is not None:
            passed, self._opening = [*self._opening, *passed], None
        return passed

    def work_chars(self, events: Sequence[Event]) -> int:
        """How much text `take` reads for these events: theirs, and again each text that ends with them."""
        chars = 0
        for event in events:
            if isinstance(event, ContentDelta):
                chars += len(event.text)
            elif isinstance(event, ReasoningDelta):
                chars += len(event.text) if event.signature is None else self._reasoning.come_chars
            elif isinstance(event, ToolCallDelta):
                chars += len(event.arguments)
                if '"' in event.arguments and event.index in self._calls:
                    chars += self._calls[event.index].open_chars
            elif isinstance(event, Finished | Joined):
                chars += self._content.come_chars + self._reasoning.come_chars
                chars += sum(window.open_chars for window in self._calls.values())
        return chars

    def _take_one(self, event: Event, passed: list[Event]) -> None:
        if isinstance(event, ContentDelta):
            self._leave_reasoning(passed)
            self._leave_call(passed)
            self._pass_content(self._content.feed(event.text), passed)
        elif isinstance(event, ToolCallDelta):
            self._take_call(event, passed)
        elif isinstance(event, ReasoningDelta):
            self._take_reasoning(event, passed)
        elif isinstance(event, NativeBlock | NativeNote):
            self._take_native(event, passed)
        elif isinstance(event, Finished):
            self._end(passed)
            passed.append(event)
        elif isinstance(event, Joined):
            if event.mode != "continue":
                self._drop()
                self._begin()
                self._length = None if self._length is None else self._length.anew()
            passed.append(evolve(event, characters=self._sent_chars))
        elif isinstance(event, Opened) and self._opening is not None and not passed:
            self._opening.append(event)
        else:
            passed.append(event)

    # ── text and reasoning ───────────────────────────────────────────────────────────────────────────────────────────

    def _pass_content(self, text: str, passed: list[Event]) -> None:
        if text:
            if self._length is not None:
                self._length.count(len(text))
            self._sent_chars += len(text)
            passed.append(ContentDelta(text))

    def _take_reasoning(self, event: ReasoningDelta, passed: list[Event]) -> None:
        self._leave_call(passed)
        if event.data is not None:
            passed.append(event)
        elif not self._shows_reasoning:
            passed.append(ReasoningDelta("", None if event.signature is None else ""))
        elif event.signature is None:
            text = self._reasoning.feed(event.text) if event.text else ""
            if text or not event.text:
                # An empty delta says that the model reasons.
                passed.append(ReasoningDelta(text))
        else:
            window, self._reasoning = self._reasoning, TextWindow(self._rules, self._book)
            text = window.feed(event.text) + window.end()
            passed.append(ReasoningDelta(text, "" if window.has_masked else event.signature))

    def _leave_content(self, passed: list[Event]) -> None:
        if self._content.waits:
            self._pass_content(self._content.flush(), passed)

    def _leave_reasoning(self, passed: list[Event]) -> None:
        text = self._reasoning.flush()
        if text:
            passed.append(ReasoningDelta(text))

    # ── calls ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _take_call(self, event: ToolCallDelta, passed: list[Event]) -> None:
        self._leave_content(passed)
        self._leave_reasoning(passed)
        if event.index != self._call:
            self._leave_call(passed)
            self._call = event.index
        window = self._calls.get(event.index)
        if window is None:
            window = self._calls[event.index] = ArgumentsWindow(self._rules, self._book)
        arguments = self._counted(window.feed(event.arguments))
        if event.id is not None:
            check_fixed(event.name or "", self._rules, self._book)
            if not is_machine_made(event.id):
                # A model may have written it. As in a request: clients send it back, and no mask may change it.
                check_fixed(event.id, self._rules, self._book)
            passed.append(evolve(event, arguments=arguments))
        elif arguments:
            passed.append(ToolCallDelta(event.index, None, None, arguments))

    def _leave_call(self, passed: list[Event]) -> None:
        if self._call >= 0:
            index, self._call = self._call, -1
            self._pass_arguments(index, self._calls[index].flush(), passed)

    def _pass_arguments(self, index: int, arguments: str, passed: list[Event]) -> None:
        if arguments:
            passed.append(ToolCallDelta(index, None, None, self._counted(arguments)))

    def _counted(self, arguments: str) -> str:
        if self._length is not None:
            self._length.count(len(arguments))
        return arguments

    # ── other events ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _take_native(self, event: NativeBlock | NativeNote, passed: list[Event]) -> None:
        self._leave_content(passed)
        self._leave_reasoning(passed)
        self._leave_call(passed)
        if isinstance(event, NativeBlock):
            event = NativeBlock(mask_native(event.block, self._rules, self._book))
        elif event.citation is not None:
            event = NativeNote(mask_native(event.citation, self._rules, self._book))
        passed.append(event)

    def _drop(self) -> None:
        self._reasoning.drop()
        self._content.drop()
        for window in self._calls.values():
            window.drop()

    def _end(self, passed: list[Event]) -> None:
        text = self._reasoning.end()
        if text:
            passed.append(ReasoningDelta(text))
        self._pass_content(self._content.end(), passed)
        for index, window in self._calls.items():
            self._pass_arguments(index, window.end(), passed)
        if self._length is not None:
            self._length.end(self._book)
