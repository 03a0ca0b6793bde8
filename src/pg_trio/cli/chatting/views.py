"""What the chat shows: answers on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any, Protocol

from attrs import define

from pg_trio.cli.chatting.harmless_text import make_harmless, make_one_line

PROMPT = "> "


class View(Protocol):
    """Shows a conversation. Texts are the gateway's, as they came."""

    def show_frame(self, frame: Mapping[str, Any]) -> None:
        """A frame came from the gateway."""

    def show_text(self, text: str) -> None:
        """More of the answer."""

    def show_note(self, text: str) -> None:
        """Something to know, on a line of its own."""

    def show_end(self, error: str | None) -> None:
        """The answer has ended; the error is why it failed."""

    def show_prompt(self) -> None:
        """A question may be typed now."""

    def end_prompt(self, *, is_typed: bool) -> None:
        """A line was typed, or the input has ended."""


@define(eq=False)
class TerminalView:
    """For people. `is_prompting`: a person is at standard input."""

    is_prompting: bool
    _is_within_line: bool = False
    # The terminal's cursor stands behind the prompt.
    _is_at_prompt: bool = False

    def show_frame(self, frame: Mapping[str, Any]) -> None:
        """See View: people read texts."""

    def show_text(self, text: str) -> None:
        """See View."""
        harmless = make_harmless(text)
        if harmless:
            print(harmless, end="", flush=True)
            self._is_within_line = not harmless.endswith("\n")

    def show_note(self, text: str) -> None:
        """See View. In a pipe, a note breaks no line of the answer."""
        if sys.stdout.isatty():
            self._end_line()
        print(make_one_line(text), file=sys.stderr, flush=True)

    def show_end(self, error: str | None) -> None:
        """See View."""
        self._end_line()
        if error is not None:
            print(f"pg-trio: {make_one_line(error)}", file=sys.stderr, flush=True)

    def show_prompt(self) -> None:
        """See View."""
        if self.is_prompting:
            print(PROMPT, end="", file=sys.stderr, flush=True)
            self._is_at_prompt = True

    def end_prompt(self, *, is_typed: bool) -> None:
        """See View."""
        # The terminal has shown the line's break.
        self._is_at_prompt = self._is_at_prompt and not is_typed
        self._end_line()

    def _end_line(self) -> None:
        if self._is_at_prompt:
            print(file=sys.stderr, flush=True)
            self._is_at_prompt = False
        if self._is_within_line:
            print(flush=True)
            self._is_within_line = False


class JsonView:
    """For programs: a frame a line. JSON's escapes keep control characters from terminals."""

    def show_frame(self, frame: Mapping[str, Any]) -> None:
        """See View."""
        print(json.dumps(frame), flush=True)

    def show_text(self, text: str) -> None:
        """See View: it is in a frame."""

    def show_note(self, text: str) -> None:
        """See View."""
        print(f"pg-trio: {make_one_line(text)}", file=sys.stderr, flush=True)

    def show_end(self, error: str | None) -> None:
        """See View."""
        if error is not None:
            self.show_note(error)

    def show_prompt(self) -> None:
        """See View: programs need none."""

    def end_prompt(self, *, is_typed: bool) -> None:
        """See View."""
