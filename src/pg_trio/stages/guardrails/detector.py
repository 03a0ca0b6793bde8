"""A detector: a pattern finds candidates, and a check accepts or rejects them.

A pattern alone cannot express "a valid IBAN" or "after the word invoice" (RE2 has no look-around). So a check gets the
candidate with its surroundings, and returns where the match begins and ends, or None. After None the search continues
one byte later if candidates have a bounded length, or later (`resume`) if they are whole runs. Both ways are linear.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import cache
from itertools import islice

from attrs import field, frozen

from pg_trio.stages.guardrails.linear import Pattern, SplitPattern, compile_pattern, kept
from pg_trio.stages.guardrails.surroundings import Check, Span

# Where the search continues after a rejected candidate. Arguments: the text, the candidate's start and end.
Resume = Callable[[bytes, int, int], int]


# Where candidates begin that may be accepted, at this offset or later, in order: from, to. No other one is accepted.
Sift = Callable[[bytes, int], Iterable[tuple[int, int]]]
# With more rejected candidates a text is made of near misses: then they are sifted, not searched one by one.
_MOST_SINGLE = 64
# 4,096: the digits of so many numbers take 80 KB.
_MOST_AT_ONCE = 4096
# Where a sift leaves most candidates, so many times as many are searched before it is tried again.
_SINGLE_TIMES = 8


def in_batches(found: Iterator[re.Match[bytes]]) -> Iterator[list[re.Match[bytes]]]:
    """Lists of 64 to 4,096: the first are short, because a sift may be left after a few candidates."""
    size = _MOST_SINGLE
    while batch := list(islice(found, max(size, 1))):
        yield batch
        size = min(2 * max(size, 1), _MOST_AT_ONCE)


def _take(_buffer: bytes, start: int, end: int, _floor: int) -> Span:
    return start, end


def sift_by(pattern: re.Pattern[bytes], fits: Callable[[bytes], bool]) -> Sift:
    """A sift of candidates that a pattern of Python's `re` matches where the detector's does, by their text alone. That
    finds many of them faster than RE2 finds one by one."""

    def sift(buffer: bytes, start: int) -> Iterator[tuple[int, int]]:
        found = pattern.search(buffer, start)
        while found is not None:
            begin = found.start()
            if fits(found[0]):
                yield begin, begin + 1
            found = pattern.search(buffer, begin + 1)

    return sift


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
    # A simpler pattern that matches wherever `source` does, for a scan with other detectors: together, patterns that
    # count digits need more states than RE2's cache has.
    outline: str | None = None
    # A still simpler one, where the outline has too many states beside others. What it matches is asked again.
    hint: str | None = None
    split: SplitPattern | None = None
    # What decides about many candidates at once.
    sift: Sift | None = None
    _pattern: Pattern | SplitPattern = field(init=False)

    @_pattern.default
    def _compile(self) -> Pattern | SplitPattern:
        return self.split or compile_pattern(self.source)

    def may_match(self, buffer: bytes) -> bool:
        """Whether the outline matches."""
        return _outline(self.outline or self.source).search(buffer) is not None

    def find(self, buffer: bytes) -> tuple[int, int] | None:
        """Byte offsets of the first match."""
        return next(self.find_all(buffer), None)

    def find_all(self, buffer: bytes) -> Iterator[tuple[int, int]]:
        """Byte offsets of every match, in order."""
        walk = _Walk(self, buffer)
        if self.sift is None:
            return walk.search_on(None)
        return walk.search_or_sift(self.sift)


class _Walk:
    """The search of one text for one kind. `after`: where it goes on; `done`: the end of the last match."""

    __slots__ = ("_buffer", "_detector", "_search", "after", "done")

    def __init__(self, detector: Detector, buffer: bytes) -> None:
        self._detector = detector
        self._buffer = buffer
        # Kept, because the next candidate may be far behind many places that a sift names.
        self._search = kept(detector._pattern.over(buffer))
        self.after = self.done = 0

    def search_or_sift(self, sift: Sift) -> Iterator[tuple[int, int]]:
        """Candidates are searched one by one, and sifted after many that were rejected; searched again where a sift
        leaves most of them, which takes longer than none; and so on."""
        most = _MOST_SINGLE
        while True:
            begun = self.after
            is_over = yield from self.search_on(most)
            if is_over:
                return
            dense_bytes = (self.after - begun) * _MOST_SINGLE // max(most, 1)
            is_over = yield from self.sift_on(sift, 2 * dense_bytes)
            if is_over:
                return
            most = _MOST_SINGLE * _SINGLE_TIMES

    def search_on(self, most_rejected: int | None) -> Generator[tuple[int, int], None, bool]:
        """Until so many candidates have been rejected. Returns whether it is the text's end."""
        check, resume, buffer, search = self._detector.check, self._detector.resume, self._buffer, self._search
        rejected = 0
        while (found := search(self.after)) is not None:
            begin, end = found
            # An empty match (`\b` in a custom pattern) masks nothing, and would be found again and again.
            taken = check(buffer, begin, end, self.done) if end > begin else None
            if taken is not None:
                self.after = self.done = taken[1]
                yield taken
                continue
            self.after = resume(buffer, begin, end)
            rejected += 1
            if most_rejected is not None and rejected > most_rejected:
                return False
        return True

    def sift_on(self, sift: Sift, dense_bytes: int) -> Generator[tuple[int, int], None, bool]:
        """Until _MOST_SINGLE candidates have been rejected within so many bytes. Returns whether it is the text's end.

        Whether a candidate begins somewhere, and where it ends, depends on nothing before it; so leaving some out
        changes nothing for the others.
        """
        detector, rejected, begun = self._detector, 0, self.after
        for begin, stop in sift(self._buffer, self.after):
            at = max(begin, self.after)
            while at < stop:
                found = detector._pattern.match(self._buffer, at) if stop == begin + 1 else self._search(at)
                if found is None or found[0] >= stop:
                    break
                taken = detector.check(self._buffer, *found, self.done)
                if taken is not None:
                    at = self.after = self.done = taken[1]
                    yield taken
                    continue
                at = self.after = detector.resume(self._buffer, *found)
                rejected += 1
            if rejected > _MOST_SINGLE > 0:
                if self.after - begun < dense_bytes:
                    return False
                rejected, begun = 0, self.after
        return True


@cache
def _outline(source: str) -> Pattern:
    return compile_pattern(source)
