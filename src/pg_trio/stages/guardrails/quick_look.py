"""A first look at a short text: one scan for each rule of a chain says of nearly every text that all leave it alone.

Rules:
1. A text that is not clean here may be so all the same. Then the rules themselves decide, in their order. A property
   test holds that they leave alone each text that is clean here.
2. The text is encoded once, and a scan is the function below RE2's Python layer (linear.py).
3. Longer texts may be shortened before they are scanned (invisible_runs.py), so they have no first look.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import frozen

from pg_trio.domain.guardrails import ContentLength
from pg_trio.stages.guardrails.byte_finder import ByteFinder
from pg_trio.stages.guardrails.disguises import suspects_in
from pg_trio.stages.guardrails.invisible_runs import LEAST_CHARS
from pg_trio.stages.guardrails.keyword_finder import KeywordFinder
from pg_trio.stages.guardrails.prompt_injection import InjectionFinder


@frozen(slots=True, eq=False)
class QuickLook:
    """The scans of a chain. Texts of `_least_chars` to `_most_chars` can be clean."""

    _least_chars: int
    _most_chars: int
    _finders: tuple[ByteFinder, ...]
    # Finds disguises, too: in a text without one, keywords are plain.
    _scan_injection: Callable[[bytes], Sequence[int]] | None
    _scan_keywords: Callable[[bytes], bool] | None

    @classmethod
    def of(
        cls,
        finders: Sequence[ByteFinder],
        injection: InjectionFinder | None,
        keywords: KeywordFinder | None,
        length: ContentLength | None,
    ) -> QuickLook | None:
        """The first look of these rules; None for a rule that is not in force. None where one has no scan."""
        scan_keywords = None if keywords is None else keywords.scan
        if keywords is not None and scan_keywords is None:
            return None
        least_chars, most_chars = 0, LEAST_CHARS - 1
        if length is not None:
            least_chars = length.min or 0
            most_chars = most_chars if length.max is None else min(most_chars, length.max)
        in_use = tuple([finder for finder in finders if finder.detectors])
        return cls(least_chars, most_chars, in_use, None if injection is None else injection.scan, scan_keywords)

    def is_clean(self, text: str) -> bool:
        """Whether all rules leave the text alone. False: perhaps one does not."""
        if not self._least_chars <= len(text) <= self._most_chars:
            return False
        buffer = text.encode()
        for finder in self._finders:
            if finder.may_match(buffer):
                return False
        if self._scan_injection is not None:
            if self._scan_injection(buffer):
                return False
        elif self._scan_keywords is not None and suspects_in(text):
            return False
        return self._scan_keywords is None or not self._scan_keywords(text.casefold().encode())
