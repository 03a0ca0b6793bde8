"""Where a stream must wait for configured words, also disguised ones (keyword_finder.py).

Rules:
1. Each character has a skeleton: the letters that any disguise could make of it, nothing for signs and white space. A
   word's disguises all have the word's skeleton, and what a match begins with has the beginning of it. So text waits
   from the first place whose skeleton a word begins with. The word alone waits, too: what follows may belong to it.
2. The last run without a space waits, because Base64 and leetspeak are read as whole runs; and so do single letters
   with signs between them. A word of several words that may end in it waits with it.
3. What touches a place that waits may become a match when that is masked (`bomb` in "b o m bbomb"), so rules 1 and 2
   hold for the text before it, too.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from functools import lru_cache

from attrs import frozen

from pg_trio.stages.guardrails.disguises import LEET_LETTERS, folded_character
from pg_trio.stages.guardrails.look_alikes import confusable_letters
from pg_trio.stages.guardrails.output.holds import Hold, hold_run

# Between the letters of a word that is written with a sign between each two.
_SIGNS = " ._*|/~+-"
_CHAIN = re.compile(r"(?<![^\W_])[^\W\d_](?:[ ._*|/~+\-][^\W\d_])*[ ._*|/~+\-]?\Z")
# Cyrillic and Greek letters look like one Latin letter when they are small and like another one when they are large
# (И is N, и is u). So these are one letter here.
_ALIKE = str.maketrans("huvyr", "nnnnn")


# How often what touches a place that waits is looked at. Then all of the text waits, so that text made for it costs no
# more.
_MOST_ROUNDS = 8


def hold_words(words: Iterable[str], most_chars: int) -> Hold:
    """Where one of these words may begin. `most_chars`: how far back it is read; longer text does not wait anyway."""
    forms = [word for word in words if word]
    skeletons = sorted({_skeleton_of(form) for form in forms})
    return _WordHold(
        skeletons=skeletons,
        whole=frozenset(skeletons),
        lengths=sorted({len(skeleton) for skeleton in skeletons}),
        begins_with_sign=any(not skeleton_of_character(form[0]) for form in forms),
        most_chars=most_chars,
    ).hold


@frozen(slots=True, eq=False)
class _WordHold:
    """The skeletons of the words: in order, as a set, and their lengths in order."""

    skeletons: Sequence[str]
    whole: frozenset[str]
    lengths: Sequence[int]
    begins_with_sign: bool
    most_chars: int

    def hold(self, text: str, since: int) -> int:
        begin = max(since, len(text) - self.most_chars - 1)
        tail = text[begin:]
        held = self._hold_once(tail)
        for _ in range(_MOST_ROUNDS):
            before = self._hold_before(tail, held) if held else held
            if before == held:
                return begin + held
            held = before
        return begin

    def _hold_once(self, tail: str) -> int:
        held = min(hold_run(tail, 0), _hold_chain(tail), self._hold_skeleton(tail))
        while self.begins_with_sign and held and not skeleton_of_character(tail[held - 1]):
            held -= 1
        return held

    def _hold_before(self, tail: str, held: int) -> int:
        """With what touches that place, words that began before it and may end behind it, and single letters of which
        it has the last."""
        before = held if tail[held - 1].isspace() else self._hold_once(tail[:held])
        return min(before, self._hold_crossing(tail, held), _hold_chain(tail[: held + 1]))

    def _hold_skeleton(self, tail: str) -> int:
        """From the first place on whose skeleton a word begins with."""
        held, skeleton, skeletons = len(tail), "", self.skeletons
        for index in range(len(tail) - 1, -1, -1):
            for letter in reversed(skeleton_of_character(tail[index])):
                skeleton = letter + skeleton
                place = bisect_left(skeletons, skeleton)
                if place < len(skeletons) and skeletons[place].startswith(skeleton):
                    held = index
            if len(skeleton) >= self.lengths[-1]:
                break
        return held

    def _hold_crossing(self, tail: str, held: int) -> int:
        """From the start of a word that ends behind `held`."""
        longest = self.lengths[-1]
        behind = _skeleton_of(tail[held : held + longest])
        start, before = held, ""
        for index in range(held - 1, -1, -1):
            before = skeleton_of_character(tail[index]) + before
            if len(before) >= longest:
                break
            ends_behind = self.lengths[bisect_right(self.lengths, len(before)) :]
            if any((before + behind)[:length] in self.whole for length in ends_behind):
                start = index
        return start


def _hold_chain(tail: str) -> int:
    """From the single letters with signs between them at the end."""
    if tail.isascii():
        found = _CHAIN.search(tail)
        return len(tail) if found is None else found.start()
    places = [
        (index, part)
        for index, character in enumerate(tail)
        for part in folded_character(character)
        # An accent on a letter.
        if unicodedata.category(part) not in ("Mn", "Me")
    ]
    found = _CHAIN.search("".join([part for _, part in places]))
    return len(tail) if found is None else places[found.start()][0]


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
