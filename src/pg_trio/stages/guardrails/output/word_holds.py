"""Where a stream must wait for configured words, also disguised ones (keyword_finder.py).

Rules:
1. Each character has a skeleton: the letters that any disguise could make of it, nothing for signs and white space. A
   match has the skeleton of its word. So places with the skeleton of a word are the only ones that may match.
2. What a text's disguises are is decided run by run, where a run ends at white space and at a letter of a script
   without spaces; but single letters with signs between them (`b o m b`) are one word over many runs. So the last run
   waits, and so do single letters that it may continue.
3. From some place on, the text is not decided. A place that may match and reaches or touches it is not decided either,
   nor are its run and the single letters beside it. A single letter behind a word becomes one only when the word is
   masked: `bombb o m b`. So rule 3 is repeated until it finds no more.

tests/unit/stages/test_word_holds.py tries all texts of a few letters, with all that may follow.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import groupby

from attrs import frozen

from pg_trio.stages.guardrails.disguises import LEET_LETTERS, MARKS, folded_character
from pg_trio.stages.guardrails.look_alikes import confusable_letters
from pg_trio.stages.guardrails.output.holds import Hold

# Between the letters of a word that is written with a sign between each two.
_SIGNS = " ._*|/~+-"
# Read backwards from a place on: a sign, and single letters with signs between them.
_CHAIN = re.compile(r"([ ._*|/~+\-]?)([^\W\d_](?:[ ._*|/~+\-][^\W\d_])*)")
# A run, read backwards. Letters of scripts without spaces stand alone, if no disguise makes other letters of them.
_ALONE = r"\u0E00-\u109F\u3041-\u3096\u30A1-\u30FA\u3400-\u9FFF\uAC00-\uD7A3\U00020000-\U00031FFF"
_RUN = re.compile(rf"[^\s{_ALONE}]*")
_MARK = re.compile(f"[{MARKS}]")
# A run of letters with a sign between each two has three of them.
_CHAIN_LETTERS = 3
# Cyrillic and Greek letters look like one Latin letter when they are small and like another one when they are large
# (И is N, и is u). So these are one letter here.
_ALIKE = str.maketrans("huvyr", "nnnnn")
# How often rule 3 is repeated. Then all of the text waits, so that text made for it costs no more.
_MOST_ROUNDS = 8

# A place that may match: from, to. One that more text may go on with ends behind the text.
_Place = tuple[int, int]


def hold_words(words: Iterable[str], most_chars: int) -> Hold:
    """Where one of these words may begin. `most_chars`: how far back it is read; longer text does not wait anyway."""
    forms = [word for word in words if word]
    skeletons = sorted({_skeleton_of(form) for form in forms} - {""})
    by_lead = groupby(sorted(skeletons, key=_lead), key=_lead)
    return _WordHold(
        skeletons=skeletons,
        whole=frozenset(skeletons),
        lengths={lead: tuple(sorted({len(skeleton) for skeleton in some})) for lead, some in by_lead},
        has_only_signs=any(not _skeleton_of(form) for form in forms),
        begins_with_sign=any(not skeleton_of_character(form[0]) for form in forms),
        ends_with_sign=any(not skeleton_of_character(form[-1]) for form in forms),
        most_chars=most_chars,
    ).hold


def _lead(skeleton: str) -> str:
    return skeleton[:2]


@frozen(slots=True)
class _Tail:
    """The end of a text without what is invisible. `origins`: where each character was; then the text's length."""

    text: str
    origins: Sequence[int]


@frozen(slots=True, eq=False)
class _WordHold:
    """The words' skeletons: in order, as a set, and the lengths of those that begin with two letters (or are one)."""

    skeletons: Sequence[str]
    whole: frozenset[str]
    lengths: Mapping[str, Sequence[int]]
    has_only_signs: bool
    begins_with_sign: bool
    ends_with_sign: bool
    most_chars: int

    def hold(self, text: str, since: int) -> int:
        begin = max(since, len(text) - self.most_chars - 1)
        tail = _tail_of(text[begin:])
        held = begin + tail.origins[self._hold_tail(tail.text)]
        # Also signs that are invisible.
        while (self.begins_with_sign or self.has_only_signs) and held > begin and _is_sign(text[held - 1]):
            held -= 1
        return held

    def _hold_tail(self, tail: str) -> int:
        held = _run_start(tail, len(tail))
        places = self._places(tail) if held else ()
        for _ in range(_MOST_ROUNDS if held else 0):
            before = min([start for start, end in places if start < held <= end], default=held)
            before = min(_chain_start(tail, held, places), _run_start(tail, before))
            if before == held:
                return held
            held = before
        return 0

    def _places(self, tail: str) -> list[_Place]:
        """Where the skeleton of a word is, or its beginning at the end of the text; in order."""
        letters = [(letter, index) for index, one in enumerate(tail) for letter in skeleton_of_character(one)]
        skeleton = "".join([letter for letter, _ in letters])
        found: list[_Place] = []
        for at, (letter, start) in enumerate(letters):
            if self._begins_word(skeleton[at : at + self.most_chars]):
                found.append((start, len(tail) + 1))
            for length in (*self.lengths.get(letter, ()), *self.lengths.get(skeleton[at : at + 2], ())):
                stop = at + length
                if stop <= len(letters) and skeleton[at:stop] in self.whole:
                    found.append((start, letters[stop - 1][1] + 1))
        return [self._with_signs(tail, place) for place in found] if self.ends_with_sign else found

    def _begins_word(self, rest: str) -> bool:
        place = bisect_left(self.skeletons, rest)
        return place < len(self.skeletons) and self.skeletons[place].startswith(rest)

    def _with_signs(self, tail: str, place: _Place) -> _Place:
        start, end = place
        while end < len(tail) and not skeleton_of_character(tail[end]):
            end += 1
        return start, end


def _is_sign(character: str) -> bool:
    return not skeleton_of_character(character)


def _run_start(tail: str, place: int) -> int:
    found = _RUN.match(tail[:place][::-1])
    assert found is not None  # the pattern matches the empty text
    return place - found.end()


def _chain_start(tail: str, held: int, places: Sequence[_Place]) -> int:
    """From the single letters on that may go on at this place; the place if there are none."""
    found = _CHAIN.match(tail[:held][::-1])
    if found is None:
        return held
    start = held - found.end()
    if start and (tail[start - 1].isalnum() and not any(end == start for _, end in places)):
        # Not single: the end of a word that stays.
        start += 2
    letters = (held - len(found[1]) - start + 1) // 2
    return start if letters + _most_letters(tail, held, bool(found[1]), places) >= _CHAIN_LETTERS else held


def _most_letters(tail: str, held: int, has_sign: bool, places: Sequence[_Place]) -> int:
    """How many single letters may follow: three if many may."""
    next_ = tail[held : held + 2]
    if not next_:
        return _CHAIN_LETTERS
    if not has_sign:
        # The letters end here, or a sign follows; what touches them may be masked.
        return _CHAIN_LETTERS if next_[0] in _SIGNS or any(start == held for start, _ in places) else 0
    if not next_[0].isalpha():
        return 0
    goes_on = len(next_) == 1 or not next_[1].isalnum() or any(start == held + 1 for start, _ in places)
    return _CHAIN_LETTERS if goes_on else 1


def _tail_of(text: str) -> _Tail:
    if text.isascii():
        return _Tail(text, range(len(text) + 1))
    characters: list[str] = []
    origins: list[int] = []
    for index, character in enumerate(text):
        for part in folded_character(character):
            # An accent on a letter.
            if not (_MARK.match(part) and characters and characters[-1].isalnum()):
                characters.append(part)
                origins.append(index)
    return _Tail("".join(characters), (*origins, len(text)))


def _skeleton_of(text: str) -> str:
    return "".join(map(skeleton_of_character, text))


# 4,096: more characters than texts in a few languages have.
@lru_cache(maxsize=4096)
def skeleton_of_character(character: str) -> str:
    """The letters that a disguise may make of it; empty for what may stand between letters."""
    letters = folded_character(character).translate(confusable_letters()).casefold()
    letters = unicodedata.normalize("NFKD", letters).translate(confusable_letters()).casefold()
    return "".join([_plain(letter) for letter in letters])


def _plain(letter: str) -> str:
    if letter in _SIGNS or letter.isspace() or unicodedata.category(letter) in ("Mn", "Me", "Cf"):
        return ""
    return letter.translate(LEET_LETTERS).translate(_ALIKE)
