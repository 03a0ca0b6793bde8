"""The rule `content_length` for answers: characters of the text and of the calls' arguments, as the client gets them.

Reasoning does not count. A stream ends where it passes the maximum; whether it reaches the minimum is known at its end.
"""

from __future__ import annotations

from typing import Literal

from attrs import frozen

from pg_trio.errors import InputTooLong, InputTooShort
from pg_trio.stages.guardrails.output.text_rules import VerdictBook

_NAME = "content_length"


@frozen(slots=True)
class LengthRule:
    """Both bounds are inclusive; None: no bound."""

    least_chars: int | None
    most_chars: int | None
    action: Literal["block", "flag"]


class AnswerLength:
    """The length of one answer."""

    __slots__ = ("_chars", "_rule")

    def __init__(self, rule: LengthRule) -> None:
        self._rule = rule
        self._chars = 0

    def anew(self) -> AnswerLength:
        """For an answer that replaces this one."""
        return AnswerLength(self._rule)

    def count(self, chars: int) -> None:
        """So many characters pass. Raises: InputTooLong."""
        self._chars += chars
        most = self._rule.most_chars
        if most is not None and self._chars > most and self._rule.action == "block":
            raise InputTooLong(self._chars, most, phase="output", rule="max")

    def end(self, book: VerdictBook) -> None:
        """The answer is complete. Raises: InputTooShort."""
        rule, chars = self._rule, self._chars
        if rule.most_chars is not None and chars > rule.most_chars:
            book.count(_NAME, "max", "flag")
        if rule.least_chars is None or chars >= rule.least_chars:
            return
        if rule.action == "block":
            raise InputTooShort(chars, rule.least_chars, phase="output", rule="min")
        book.count(_NAME, "min", "flag")
