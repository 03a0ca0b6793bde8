"""A detector: a pattern finds candidates, and a check accepts or rejects them.

A pattern alone cannot express "a valid IBAN" or "after the word invoice" (RE2 has no look-around). So a check gets the
candidate with its surroundings, and returns where the match begins and ends, or None. After None the search continues
one byte later if candidates have a bounded length, or later (`resume`) if they are whole runs. Both ways are linear.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from attrs import field, frozen

from pg_trio.stages.guardrails.linear import Pattern, compile_pattern
from pg_trio.stages.guardrails.surroundings import Check, Span

# Where the search continues after a rejected candidate. Arguments: the text, the candidate's start and end.
Resume = Callable[[bytes, int, int], int]


def _take(_buffer: bytes, start: int, end: int, _floor: int) -> Span:
    return start, end


def next_byte(_buffer: bytes, start: int, _end: int) -> int:
    """The usual one."""
    return start + 1


@frozen(slots=True, eq=False)
class Detector:
    """One kind of data. `source` is its pattern; `longest_match_chars` is as `detection.Finder` says."""

    rule: str
    label: str
    source: str
    check: Check = _take
    resume: Resume = next_byte
    longest_match_chars: int | None = None
    _pattern: Pattern = field(init=False)

    @_pattern.default
    def _compile(self) -> Pattern:
        return compile_pattern(self.source)

    def find(self, buffer: bytes) -> tuple[int, int] | None:
        """Byte offsets of the first match."""
        return next(self.find_all(buffer), None)

    def find_all(self, buffer: bytes) -> Iterator[tuple[int, int]]:
        """Byte offsets of every match, in order."""
        search, check, resume = self._pattern.search, self.check, self.resume
        done = 0
        found = search(buffer)
        while found is not None:
            begin, end = found
            # An empty match (`\b` in a custom pattern) masks nothing, and would be found again and again.
            taken = check(buffer, begin, end, done) if end > begin else None
            if taken is None:
                found = search(buffer, resume(buffer, begin, end))
                continue
            yield taken
            done = taken[1]
            found = search(buffer, done)
