"""A finder over UTF-8 bytes: detectors in order, each blind to what an earlier one matched.

Rules:
1. A match never spans two pieces. All pieces are scanned together, with a byte between them that no pattern matches, so
   that a scan's fixed cost is paid once a request and not for each of a hundred thousand pieces.
2. What one detector matched is filled with 0xFF for the next ones: it is in no UTF-8 text, matches no pattern, and is a
   word boundary, as are the brackets of a mask.
3. One scan for all patterns says which detector matches first; those before it are not asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from attrs import field, frozen

from pg_trio.stages.guardrails.detection import Match
from pg_trio.stages.guardrails.detector import Detector
from pg_trio.stages.guardrails.invisible_runs import LEAST_CHARS, without_long_runs
from pg_trio.stages.guardrails.linear import PatternSet
from pg_trio.stages.guardrails.surroundings import WINDOW_BYTES

_FILLER = b"\xff"
_NOT_FILLED = re.compile(rb"[^\xff]+")
# Between pieces: in no UTF-8 text either, and a word boundary.
_SEPARATOR = b"\xfe"

# A check reads a window before its candidate, and a candidate may begin with a telephone's word and what follows it.
CONTEXT_CHARS = 2 * WINDOW_BYTES

# Byte offsets, and the index of the detector.
_Found = tuple[int, int, int]


@frozen(slots=True, eq=False)
class ByteFinder:
    """Detectors, compiled for one scan.

    `scans_at_once` False: a pattern may match at a piece's start or end. `reads_runs`: a pattern may match a long run
    of invisible characters.
    """

    detectors: tuple[Detector, ...]
    scans_at_once: bool = True
    reads_runs: bool = False
    context_chars: int = CONTEXT_CHARS
    _prefilter: PatternSet = field(init=False)

    @_prefilter.default
    def _compile(self) -> PatternSet:
        return PatternSet([one.hint or one.outline or one.source for one in self.detectors])

    @property
    def reach_chars(self) -> int | None:
        """The widest of all rules."""
        widths = list(self.longest_match_chars.values())
        return None if None in widths else max((width for width in widths if width is not None), default=0)

    @property
    def longest_match_chars(self) -> Mapping[str, int | None]:
        """The widest of each rule."""
        bounds: dict[str, int | None] = {}
        for detector in self.detectors:
            own, other = detector.longest_match_chars, bounds.get(detector.rule, 0)
            bounds[detector.rule] = None if own is None or other is None else max(own, other)
        return bounds

    def is_clean(self, text: str) -> bool:
        """Whether one scan already says that there is no match. False: perhaps there is one."""
        if len(text) >= LEAST_CHARS and not self.reads_runs:
            text = without_long_runs(text)
        if not self.detectors:
            return True
        return not self.may_match(text.encode())

    def may_match(self, buffer: bytes) -> bool:
        """Whether a detector may match in the text. There must be one, at least."""
        indexes = self._prefilter.find_indexes(buffer)
        return bool(indexes) and self._first_of(indexes, buffer) is not None

    def _first(self, buffer: bytes) -> int | None:
        """The first detector that may match; None if there is none."""
        return self._first_of(self._prefilter.find_indexes(buffer), buffer)

    def _first_of(self, indexes: Sequence[int], buffer: bytes) -> int | None:
        for index in sorted(indexes):
            if self.detectors[index].hint is None or self.detectors[index].may_match(buffer):
                return index
        return None

    def _is_long_and_clean(self, text: str) -> bool:
        """Whether the text is clean, if it consists of invisible characters."""
        short = text if self.reads_runs else without_long_runs(text)
        return short is not text and self.is_clean(short)

    def find(self, text: str) -> list[Match]:
        """All matches."""
        if self._is_long_and_clean(text):
            return []
        buffer = text.encode()
        return self._matches(buffer, self._scan(buffer))

    def find_each(self, pieces: Iterable[str]) -> dict[str, list[Match]]:
        """The pieces that have a match."""
        distinct = list(dict.fromkeys(pieces))
        if not self.scans_at_once:
            found = ((piece, self.find(piece)) for piece in distinct)
            return {piece: matches for piece, matches in found if matches}
        distinct = [piece for piece in distinct if not self._is_long_and_clean(piece)]
        encoded = [piece.encode() for piece in distinct]
        spans = self._scan(_SEPARATOR.join(encoded))
        return self._by_piece(distinct, encoded, spans) if spans else {}

    def find_first(self, pieces: Iterable[str]) -> Match | None:
        """A match of the first detector, in their order, that matches anywhere; its offsets are those of its piece."""
        buffers = [piece.encode() for piece in pieces if not self._is_long_and_clean(piece)]
        if self.scans_at_once:
            buffers = [_SEPARATOR.join(buffers)]
        suspects = [buffer for buffer in buffers if self._first(buffer) is not None]
        for index, detector in enumerate(self.detectors):
            for buffer in suspects:
                found = detector.find(buffer)
                if found is not None:
                    return self._in_its_piece(buffer, (*found, index))
        return None

    def _in_its_piece(self, buffer: bytes, span: _Found) -> Match:
        start, end, index = span
        begin = buffer.rfind(_SEPARATOR, 0, start) + 1
        piece = buffer[begin:].partition(_SEPARATOR)[0]
        return self._matches(piece, [(start - begin, end - begin, index)])[0]

    def _scan(self, buffer: bytes) -> list[_Found]:
        first = self._first(buffer) if self.detectors else None
        if first is None:
            return []
        found: list[_Found] = []
        # Detectors before the first matching one need no scan, because nothing has been filled yet.
        for index in range(first, len(self.detectors)):
            # Twice: a number that was rejected because of the number after it may be accepted once that is filled.
            for _ in range(2):
                spans = list(self.detectors[index].find_all(buffer))
                if not spans:
                    break
                found += [(start, end, index) for span in spans for start, end in _unfilled(buffer, span)]
                buffer = _fill(buffer, spans)
        found.sort()
        return found

    def _by_piece(
        self, pieces: Sequence[str], encoded: Sequence[bytes], spans: Sequence[_Found]
    ) -> dict[str, list[Match]]:
        matched: dict[str, list[Match]] = {}
        begin, index = 0, 0
        for piece, buffer in zip(pieces, encoded, strict=True):
            end, own = begin + len(buffer), []
            while index < len(spans) and spans[index][0] < end:
                start, stop, detector = spans[index]
                own.append((start - begin, stop - begin, detector))
                index += 1
            if own:
                matched[piece] = self._matches(buffer, own)
            begin = end + len(_SEPARATOR)
        return matched

    def _matches(self, buffer: bytes, spans: Sequence[_Found]) -> list[Match]:
        if not spans:
            return []
        offsets = spans if buffer.isascii() else _in_characters(buffer, spans)
        return [
            Match(start, end, self.detectors[index].rule, self.detectors[index].label) for start, end, index in offsets
        ]


def _unfilled(buffer: bytes, span: tuple[int, int]) -> list[tuple[int, int]]:
    """The parts of a match that no earlier detector has: the rest of a URL may have a key in it."""
    if buffer.find(_FILLER, *span) < 0:
        return [span]
    return [part.span() for part in _NOT_FILLED.finditer(buffer, *span)]


def _fill(buffer: bytes, spans: Sequence[tuple[int, int]]) -> bytes:
    pieces: list[bytes] = []
    done = 0
    for start, end in spans:
        pieces += (buffer[done:start], _FILLER * (end - start))
        done = end
    pieces.append(buffer[done:])
    return b"".join(pieces)


def _in_characters(buffer: bytes, spans: Sequence[_Found]) -> list[_Found]:
    """The same spans in code points. A span that begins or ends inside a character (a custom pattern with \\C) takes
    the whole character."""
    counted, chars, done = [], 0, 0
    for begin, stop, index in spans:
        start, end = _character_start(buffer, begin), _character_end(buffer, stop)
        if start < done:
            continue
        chars += len(buffer[done:start].decode())
        begin_chars = chars
        chars += len(buffer[start:end].decode())
        counted.append((begin_chars, chars, index))
        done = end
    return counted


def _character_start(buffer: bytes, offset: int) -> int:
    while buffer[offset] & 0xC0 == 0x80:
        offset -= 1
    return offset


def _character_end(buffer: bytes, offset: int) -> int:
    while offset < len(buffer) and buffer[offset] & 0xC0 == 0x80:
        offset += 1
    return offset
