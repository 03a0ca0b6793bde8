"""Configured words in a text, in any case and disguise.

Rules:
1. A text is compared as it is (case folded), and in its normal form if it is disguised (`normal_text`).
2. `word`: nothing that could belong to the word touches it. Scripts without spaces have no such limits.
3. Where two words overlap, the first and the longest one is the match.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal

from attrs import frozen

from pg_trio.stages.guardrails.detection import Match
from pg_trio.stages.guardrails.disguises import CASE
from pg_trio.stages.guardrails.invisible_runs import LEAST_CHARS, without_long_runs
from pg_trio.stages.guardrails.linear import Pattern, compile_pattern
from pg_trio.stages.guardrails.normal_text import Forms, NormalText, normal_forms, normalise

LABEL = "Keyword"
# What Python calls white space, beyond ASCII too.
_ANY_SPACE = r"[\s\x{B}\x{1C}-\x{1F}\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000}]+"
# 64 MiB: RE2's limit for the automaton of all words; about 20,000 words. More words are searched one by one.
SCAN_MEMORY_BYTES = 64 * 1024 * 1024
# In a stream, a disguised word is found if it has up to three signs or invisible characters after each letter.
_DISGUISED_TIMES = 4
_AROUND_CHARS = 2
# CJK, Thai, Lao, Burmese, Khmer: words are not separated.
_UNSPACED = (range(0x0E00, 0x1000), range(0x1000, 0x10A0), range(0x1780, 0x1800), range(0x2E80, 0xA4D0))
_UNSPACED_LATER = (range(0xAC00, 0xD7B0), range(0xF900, 0xFB00), range(0xFF66, 0xFFDD), range(0x20000, 0x32000))


@frozen(slots=True)
class _Word:
    """`configured` as the file has it; `folded` and `normal` as the two forms of a text may have it."""

    configured: str
    folded: str
    normal: tuple[str, ...]


@frozen(slots=True, eq=False)
class KeywordFinder:
    """The words, compiled."""

    _words: tuple[_Word, ...]
    _whole_words: bool
    _any_word: Pattern | None
    _has_spaces: bool
    context_chars: int = _AROUND_CHARS

    @property
    def longest_match_chars(self) -> Mapping[str, int | None]:
        """For each word: disguised, not encoded."""
        return {word.configured: _DISGUISED_TIMES * len(word.folded) + _AROUND_CHARS for word in self._words}

    @property
    def compared_forms(self) -> Iterable[str]:
        """The words as they are compared with a text, and with its normal form."""
        return dict.fromkeys(form for word in self._words for form in (word.folded, *word.normal))

    @property
    def reach_chars(self) -> int | None:
        """The widest of all words."""
        return max((width for width in self.longest_match_chars.values() if width is not None), default=0)

    def is_clean(self, text: str) -> bool:
        """Whether no word is in the text."""
        return self.first_word(text) is None

    def first_word(self, text: str, forms: Forms | None = None) -> str | None:
        """The first word in the configured order that is in the text, as configured. `forms`: see normal_text."""
        if len(text) >= LEAST_CHARS:
            text = without_long_runs(text)
        folded = text.casefold()
        # One scan for all words; one for each would cost 0.4 µs a kilobyte.
        may_be_plain = self._may_have_any(folded)
        if may_be_plain:
            form = self._normalise(text)
        else:
            form = forms[text] if forms is not None and text in forms else normalise(text)
            if form is None or not self._may_have_any(form.text):
                return None
        for word in self._words:
            if self._is_in(word.folded, folded) or (
                form is not None and any(self._is_in(normal, form.text) for normal in word.normal)
            ):
                return word.configured
        return None

    @property
    def scan(self) -> Callable[[bytes], bool] | None:
        """The scan that finds in a text, with its case folded, whether it has any of the words; None if there are no
        words, or too many for one scan."""
        return None if self._any_word is None else self._any_word.is_in

    def _may_have_any(self, text: str) -> bool:
        return self._any_word is None or self._any_word.is_in(text.encode())

    def find(self, text: str) -> list[Match]:
        """All matches."""
        short = without_long_runs(text)
        found = [] if short is not text and self.is_clean(short) else self._find_once(text)
        if found:
            # What touched a match may be a disguised word once that is masked: "bombb o m b".
            found = _without_overlaps(found + self._find_once(_fill(text, found)))
        return found

    def _find_once(self, text: str) -> list[Match]:
        folded = text.casefold()
        found: list[Match] = []
        # One scan for all words, because nearly no text has one.
        if self._may_have_any(folded):
            found += self._find_in(NormalText(folded, False, text, (CASE,)), [(word.folded,) for word in self._words])
        normal = self._normalise(text)
        if normal is not None and self._may_have_any(normal.text):
            found += self._find_in(normal, [word.normal for word in self._words])
        return _without_overlaps(found)

    def find_each(self, pieces: Iterable[str]) -> dict[str, list[Match]]:
        """The pieces that have a match."""
        distinct = list(dict.fromkeys(pieces))
        if self.first_word("\n".join(distinct)) is None:
            return {}
        found = ((piece, self.find(piece)) for piece in distinct)
        return {piece: matches for piece, matches in found if matches}

    def find_first(self, pieces: Iterable[str]) -> Match | None:
        """The first word in the configured order that is in any of them."""
        found = self.find_each(pieces)
        rules = {match.rule: match for matches in found.values() for match in matches}
        return next((rules[word.configured] for word in self._words if word.configured in rules), None)

    def _normalise(self, text: str) -> NormalText | None:
        return normalise(text, collapse=True) if self._has_spaces else normalise(text)

    def _is_in(self, word: str, text: str) -> bool:
        return word in text and (not self._whole_words or next(self._places(word, text), None) is not None)

    def _find_in(self, form: NormalText, words: Sequence[tuple[str, ...]]) -> list[Match]:
        spans: list[tuple[int, int]] = []
        rules: list[str] = []
        for word, compared in zip(self._words, words, strict=True):
            for one in compared:
                for start in self._places(one, form.text):
                    spans.append((start, start + len(one)))
                    rules.append(word.configured)
        placed = form.spans_in_original(spans)
        return [Match(start, end, rule, LABEL) for (start, end), rule in zip(placed, rules, strict=True)]

    def _places(self, word: str, text: str) -> Iterator[int]:
        start = text.find(word)
        while start >= 0:
            end = start + len(word)
            if not self._whole_words or not (_joins(text[start - 1 : start]) or _joins(text[end : end + 1])):
                yield start
                start = text.find(word, end)
            else:
                start = text.find(word, start + 1)


def keyword_finder(words: Iterable[str], match: Literal["substring", "word"] = "substring") -> KeywordFinder:
    """The words, compiled. Empty words are left out, because every text contains them."""
    kept = tuple(_Word(word, word.casefold(), _normal_words(word)) for word in words if word)
    has_spaces = any(" " in word.normal[0] for word in kept)
    forms = list(dict.fromkeys(form for word in kept for form in (word.folded, *word.normal)))
    return KeywordFinder(kept, match == "word", _one_scan(forms), has_spaces)


def _normal_words(word: str) -> tuple[str, ...]:
    """A word of invisible characters alone stays as it is."""
    return tuple([form if form.strip() else word.casefold() for form in normal_forms(word)])


def _joins(character: str) -> bool:
    """Whether this character beside a word would belong to it. At a text's ends there is none."""
    if character.isascii():
        return character.isalnum() or character == "_"
    return character.isalnum() and not any(ord(character) in block for block in (*_UNSPACED, *_UNSPACED_LATER))


def _fill(text: str, matches: Sequence[Match]) -> str:
    """The text with a control character, which belongs to no word, in the place of each match's."""
    parts: list[str] = []
    done = 0
    for match in matches:
        parts += (text[done : match.start], "\0" * (match.end - match.start))
        done = match.end
    return "".join((*parts, text[done:]))


def _without_overlaps(matches: list[Match]) -> list[Match]:
    matches.sort(key=lambda match: (match.start, -match.end))
    kept: list[Match] = []
    for match in matches:
        if not kept or match.start >= kept[-1].end:
            kept.append(match)
    return kept


def _one_scan(words: list[str]) -> Pattern | None:
    if not words:
        return None
    try:
        return compile_pattern("|".join(_quote(word) for word in words), max_mem_bytes=SCAN_MEMORY_BYTES)
    except ValueError:
        return None


def _quote(word: str) -> str:
    # Code points, because a word may contain RE2's special characters and \E. White space: any, because a text's may be
    # irregular.
    return "".join(_ANY_SPACE if gap else f"\\x{{{ord(letter):X}}}" for letter, gap in _with_gaps(word))


def _with_gaps(word: str) -> Iterator[tuple[str, bool]]:
    """Each character, and whether it is white space; runs of it once."""
    was_space = False
    for character in word:
        is_space = character.isspace()
        if not (is_space and was_space):
            yield character, is_space
        was_space = is_space
