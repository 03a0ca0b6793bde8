"""Counts what the streams of one answer use: the open one, those before it, and the reasoning of lost candidates.

The numbers are what providers charge, so they count each candidate's own text, before any wrapper changes it.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field

from pg_trio.domain.assembler import Assembler
from pg_trio.domain.chat import Usage
from pg_trio.domain.events import Broken, Event, Finished, ReasoningDelta
from pg_trio.domain.project import Candidate
from pg_trio.errors import AttemptFailed


@define(slots=True, eq=False)
class StreamMeter:
    """Counts the streams of one answer, one after the other. `continues`: the next stream continues the text."""

    prompt_chars: int
    continues: bool
    # Of the open stream. It holds the text only if the next stream continues it.
    assembler: Assembler = field(init=False)
    # The streams before it: whose they were, and what they used.
    earlier: list[tuple[Candidate, Usage]] = field(factory=list, init=False)
    # Why the open stream broke.
    failure: AttemptFailed | None = field(default=None, init=False)
    # Characters of text from earlier streams, and the part of them at the end of the open stream's prompt.
    _relayed_chars: int = field(default=0, init=False)
    _continued_chars: int = field(default=0, init=False)
    # Characters of reasoning before a first token: of the candidate that speaks now, and of those that did not win.
    _heard_chars: int = field(default=0, init=False)
    _lost_chars: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self.assembler = Assembler(keeps_text=self.continues)

    def end(self, events: Sequence[Event]) -> Sequence[Event]:
        """The last events of the open stream, counted. `Finished` gets the usage of the whole answer."""
        last = events[-1]
        if isinstance(last, Broken):
            self.failure = last.failure
        elif isinstance(last, Finished) and (usage := self.usage) is not last.usage:
            # Not `evolve`, which takes five times as long: see domain/value.py.
            return [*events[:-1], Finished(last.finish_reason, usage, last.stop, last.is_stopped)]
        return events

    def hear(self, events: Sequence[Event]) -> None:
        """Count reasoning that the client receives before its candidate has a token."""
        self._heard_chars += sum(len(event.text) for event in events if isinstance(event, ReasoningDelta))

    def lose_heard(self) -> None:
        """Another candidate speaks: what was heard until now is lost."""
        self._lost_chars += self._heard_chars
        self._heard_chars = 0

    def begin(self, reasoned: int) -> None:
        """The open stream begins. Providers count its reasoning before the first token as completion, too."""
        self.assembler.characters += reasoned
        self.assembler.reasoned += reasoned
        self._heard_chars = 0

    def go_on(self, candidate: Candidate, text: str) -> None:
        """The open stream, of this candidate, is over, and another begins. `text` is at the end of its prompt."""
        relayed_chars = self.text_chars
        self.earlier.append((candidate, self.last_usage))
        self.assembler = self.assembler.go_on(keeps_what_came=self.continues)
        self.failure = None
        self._relayed_chars = relayed_chars
        self.prompt_chars += len(text) - self._continued_chars
        self._continued_chars = len(text)

    @property
    def text_chars(self) -> int:
        """Characters of text that all streams have sent."""
        return self._relayed_chars + self.assembler.characters - self.assembler.reasoned

    @property
    def text_so_far(self) -> str:
        """The text that the next stream continues; empty if it begins the answer anew."""
        return self.assembler.text_so_far() if self.continues else ""

    @property
    def usage(self) -> Usage:
        """The usage so far: the providers' counts, or an estimate."""
        usage = self.last_usage
        for _, earlier in self.earlier:
            usage = earlier.plus(usage)
        return usage

    @property
    def last_usage(self) -> Usage:
        """The same of the open stream alone."""
        return self.assembler.usage(self.prompt_chars)

    @property
    def lost_chars(self) -> int:
        """Characters of reasoning that the client received from candidates that did not win."""
        return self._lost_chars + self._heard_chars
