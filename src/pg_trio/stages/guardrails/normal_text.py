"""The normal form of a text, in which disguised words are plain; and where each character came from.

Rules, in this order:
1. Text in Base64 is decoded, if it is text, and stands at the end.
2. Compatibility characters (full-width, mathematical, circled; the tags of Unicode) are the plain ones; letters of
   other scripts that look like Latin ones are Latin, in words with Latin letters. Invisible characters and piled
   accents go.
3. Letters with a sign between each two (`i g n o r e`, `b-o-m-b`) are a word.
4. Digits and signs inside words are the letters they resemble (`1gn0re`).
5. Case is folded, and each run of white space is one space.

One scan says which steps a text needs: nearly none does. It only spares work: what a step makes of a word depends on
the word and what touches it, never on the rest of the text. Each step is linear. Where the characters came from is
worked out only for a text with a match.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from attrs import frozen

from pg_trio.stages.guardrails.disguises import (
    ASCII_STEPS,
    CASE,
    DECODE,
    DECODED_BREAK,
    FOLD_STEPS,
    PLAIN_STEPS,
    SPACES,
    Edit,
    Step,
    Suspect,
    decode_runs,
    suspects_in,
)

# Where a character came from: the offsets of what it stands for.
_Place = tuple[int, int]


@frozen(slots=True, eq=False)
class NormalText:
    """The normal form. `was_joined`: letters or invisible characters went, so words may have lost their spaces."""

    text: str
    was_joined: bool
    _original: str
    _steps: tuple[Step, ...]

    def spans_in_original(self, spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Where these spans were. What was decoded has the whole encoded run."""
        # Case alone, and no letter became two: every character is where it was.
        if not spans or (self._steps == (CASE,) and len(self.text) == len(self._original)):
            return list(spans)
        places = _trace(self._original, self._steps)
        return [_cover(places[start:stop]) for start, stop in spans]


# The normal forms of a request's texts, as far as one guardrail has made them for the next one.
Forms: TypeAlias = dict[str, NormalText | None]


def normalise(text: str, *, collapse: bool = False) -> NormalText | None:
    """The normal form; None if nothing in the text is disguised (its case and white space may still be irregular).

    `collapse`: also if its white space is irregular.
    """
    suspects = suspects_in(text)
    if not suspects and (not collapse or SPACES.apply(text) == text):
        return None
    steps, normal, was_joined = _undisguise(text, suspects)
    if normal == text and not collapse:
        return None
    for step in PLAIN_STEPS:
        normal = step.apply(normal)
    return NormalText(normal, was_joined, text, (*steps, *PLAIN_STEPS))


def _undisguise(text: str, suspects: frozenset[Suspect]) -> tuple[list[Step], str, bool]:
    """The steps of rules 1 to 4 that this text needs, what they make of it, and whether one joined words."""
    steps: list[Step] = []
    was_joined = False
    for step in (DECODE, *FOLD_STEPS, *ASCII_STEPS):
        if step.suspect in suspects:
            changed = step.apply(text)
            if changed != text:
                was_joined = was_joined or (step.joins and len(changed) < len(text))
                text = changed
                steps.append(step)
                # A step makes letters of what was none, so the text is looked at again.
                suspects = suspects_in(text)
    return steps, text, was_joined


def normal_forms(word: str) -> list[str]:
    """A configured word by rules 2 and 5, and by all but the first: the normal form of a text has either."""
    folded = _apply(FOLD_STEPS, word)
    return list(dict.fromkeys(_apply(PLAIN_STEPS, form) for form in (folded, _apply(ASCII_STEPS, folded))))


def _apply(steps: Iterable[Step], text: str) -> str:
    for step in steps:
        text = step.apply(text)
    return text


def _trace(text: str, steps: Iterable[Step]) -> list[_Place]:
    """For each character of the normal form, where it came from."""
    places = [(index, index + 1) for index in range(len(text))]
    for step in steps:
        if step is DECODE:
            for start, end, plain in decode_runs(text):
                # What separates it came from the same run.
                places += [(start, end)] * (len(DECODED_BREAK) + len(plain))
            text = step.apply(text)
        else:
            text, places = _apply_edits(text, places, step.edits(text))
    return places


def _apply_edits(text: str, places: list[_Place], edits: Iterable[Edit]) -> tuple[str, list[_Place]]:
    parts: list[str] = []
    traced: list[_Place] = []
    done = 0
    for start, end, new in edits:
        parts += (text[done:start], new)
        traced += places[done:start]
        traced += places[start:end] if len(new) == end - start else [_cover(places[start:end])] * len(new)
        done = end
    parts.append(text[done:])
    traced += places[done:]
    return "".join(parts), traced


def _cover(places: Sequence[_Place]) -> _Place:
    return min(start for start, _ in places), max(end for _, end in places)
