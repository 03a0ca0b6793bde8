"""The steps of `normal_text`: for each disguise, what gives it away and what it is replaced by.

A step is a whole new text at once, which is fast, or its edits one by one, for the place of a match. A property test
holds that both are the same.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum
from functools import cache

from attrs import frozen

from pg_trio.stages.guardrails.linear import PatternSet
from pg_trio.stages.guardrails.look_alikes import confusable_letters, enclosed_letters

# An edit: from, to, what stands there instead.
Edit = tuple[int, int, str]


class Suspect(IntEnum):
    """What gives a disguise away."""

    BASE64 = 0
    SPACED = 1
    LEET = 2
    FOLDABLE = 3
    MIXED = 4
    PILED = 5


_NONE: frozenset[Suspect] = frozenset()


@frozen(slots=True, eq=False)
class Step:
    """`suspect`: what the text must have, None for every text. `joins`: a shorter text means that separators went."""

    suspect: Suspect | None
    apply: Callable[[str], str]
    edits: Callable[[str], Iterable[Edit]]
    joins: bool = False


def suspects_in(text: str) -> frozenset[Suspect]:
    """What one scan finds."""
    patterns = _ascii_suspects() if text.isascii() else _all_suspects()
    indexes = patterns.find_indexes(text.encode())
    # Nearly every text has none.
    return frozenset([Suspect(index) for index in indexes]) if indexes else _NONE


# ── 1. Base64 ────────────────────────────────────────────────────────────────────────────────────────────────────────

# 24 characters: eighteen bytes. Shorter runs are words, names and numbers. Written text in Base64 has capitals: of
# letters, every second one begins with one, and so do spaces in two of three places.
_LEAST_RUN = 24
_DIGIT = r"[A-Za-z0-9+/_\-]"
_BASE64 = re.compile(rf"{_DIGIT}{{{_LEAST_RUN},}}={{0,2}}")
_BASE64_PART = re.compile(rf"[A-Za-z0-9+_\-]{{{_LEAST_RUN},}}={{0,2}}")
_CAPITAL = re.compile("[A-Z]")
# Of one text: more than any prompt that a person hides. The rest is not read.
_MOST_DECODED_CHARS = 64 * 1024
_MOST_RUNS = 16_384
_URL_SAFE = str.maketrans("-_", "+/")


def decode_runs(text: str) -> list[Edit]:
    """The decoded texts, each as an edit of its run."""
    decoded: list[Edit] = []
    left = _MOST_DECODED_CHARS
    for start, end in itertools.islice(_encoded_spans(text), _MOST_RUNS):
        # A part of a run that was decoded as a whole.
        if decoded and start < decoded[-1][1]:
            continue
        plain = _decode(text[start:end], left)
        if plain is not None:
            decoded.append((start, end, plain))
            left -= len(plain)
        if left <= 0:
            break
    return decoded


def _encoded_spans(text: str) -> Iterator[tuple[int, int]]:
    """Runs, each followed by its parts between slashes: Base64 may stand in a path."""
    for found in _BASE64.finditer(text):
        yield found.span()
        if "/" in found[0]:
            for part in _BASE64_PART.finditer(text, *found.span()):
                yield part.span()


def _decode(run: str, most_chars: int) -> str | None:
    if not _CAPITAL.search(run):
        return None
    raw = run.rstrip("=").translate(_URL_SAFE)[: most_chars * 4 // 3 // 4 * 4]
    try:
        plain = base64.b64decode(raw + "=" * (-len(raw) % 4)).decode()
    except (binascii.Error, ValueError):
        return None
    return plain if _is_written(plain) else None


def _is_written(plain: str) -> bool:
    """Whether it is written text: nothing unprintable, and a space or letters beyond ASCII."""
    shown = plain.replace("\n", " ").replace("\t", " ").replace("\r", " ")
    return shown.isprintable() and (" " in shown or not plain.isascii())


# Between the text and what was decoded: lines of their own, and a character that is in no word and no phrase, so that
# no match spans two of them.
DECODED_BREAK = "\n\0\n"


def _add_decoded(text: str) -> str:
    return DECODED_BREAK.join((text, *(plain for _, _, plain in decode_runs(text))))


# ── 2. characters ────────────────────────────────────────────────────────────────────────────────────────────────────

# The grapheme joiner, Hangul's fillers, Khmer's inherent vowels, Mongolian's selectors, Braille's blank.
_FILLERS = frozenset((0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180C, 0x180D, 0x180F, 0x2800, 0x3164, 0xFFA0))
_TAGS = {0xE0000 + code: chr(code) for code in range(0x20, 0x7F)}
_SELECTORS = (0xE0001, 0xE007F, *range(0xE0100, 0xE01F0))
# Removed by themselves before all else, because a text may consist of them; one after the other, because str.replace
# takes a sixth of the time of a pattern for all.
_COMMON_INVISIBLE = tuple(
    map(chr, (0xAD, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2065), *range(0x2066, 0x2070)))
) + tuple(map(chr, (*range(0xFE00, 0xFE10), 0xFEFF)))
MARKS = r"\u0300-\u036f\u0488\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff"
_PILED = re.compile(rf"[^\W\d_][{MARKS}]+")
# Vietnamese has two accents on a letter; NFC composes these.
_MOST_MARKS = 3
# Chinese, Japanese, Korean, Thai, Lao, Burmese, Khmer: words are not separated, so each of these letters is by itself.
UNSPACED = r"\u0E00-\u109F\u1780-\u17FF\u2E80-\uA4CF\uAC00-\uD7AF\uF900-\uFAFF\uFF66-\uFFDC\U00020000-\U00031FFF"
_WORD = re.compile(rf"[^\W\d_{UNSPACED}]+")
_LATIN = re.compile(r"[A-Za-z]")


@cache
def _folding() -> dict[int, str]:
    """From characters of compatibility to plain ones, and from invisible ones to nothing.

    One character at a time: NFKC of a whole text takes quadratic time if combining marks are out of order (0.4 s for
    32 KB).
    """
    table = enclosed_letters() | dict.fromkeys(_SELECTORS, "") | _TAGS
    for code in (*range(0x80, 0xD800), *range(0xE000, 0x10000), *range(0x1D400, 0x1F200)):
        character = chr(code)
        folded = "" if _is_invisible(code) else unicodedata.normalize("NFKC", character)
        if folded != character and (folded.isascii() or 0xFF00 <= code <= 0xFFEF):
            table.setdefault(code, folded)
    return table


def _is_invisible(code: int) -> bool:
    return code in _FILLERS or 0xFE00 <= code <= 0xFE0F or unicodedata.category(chr(code)) == "Cf"


def _fold(text: str) -> str:
    for character in _COMMON_INVISIBLE:
        if character in text:
            text = text.replace(character, "")
    return text if text.isascii() else text.translate(_folding())


def folded_character(character: str) -> str:
    """What rule 2 of `normal_text` makes of one character by itself."""
    return _folding().get(ord(character), character)


def _fold_edits(text: str) -> list[Edit]:
    table = _folding()
    return [
        (index, index + 1, table[ord(character)]) for index, character in enumerate(text) if ord(character) in table
    ]


def _unpiled(letters: str) -> str:
    """One letter and its accents: composed, or without accents that no letter has."""
    return unicodedata.normalize("NFC", letters[: _MOST_MARKS + 1])[:1]


def _unconfused(word: str) -> str:
    return word.translate(confusable_letters()) if not word.isascii() and _LATIN.search(word) else word


# ── 3. and 4. letters ────────────────────────────────────────────────────────────────────────────────────────────────

# The same sign between all of them.
_SPACED = re.compile(r"(?<![^\W_])[^\W\d_]([ ._*|/~+\-])[^\W\d_](?:\1[^\W\d_])+(?![^\W_])")
# At a word's start: a digit or a sign after letters, or before them.
_LEET_WORD = re.compile(r"(?<![A-Za-z0-9@$!])(?:[A-Za-z]+[013457@$!]|[013457@$]+[A-Za-z])[A-Za-z0-9@$!]*")
LEET_LETTERS = str.maketrans("013457@$!", "oieastasi")
_HEXADECIMAL = re.compile(r"[0-9A-Fa-f]+\Z")
# Longer runs are no words: keys, hashes, Base64.
_LEET_CHARS, _MOST_LEET_CHARS = 3, 32


def _unleeted(word: str) -> str:
    """Of words with half letters at least: "4ll", "pr3v10us"; not "x86", "2024b" or hexadecimal numbers."""
    inner = word.rstrip("!")
    if not _LEET_CHARS <= len(inner) <= _MOST_LEET_CHARS:
        return word
    letters = sum(character.isalpha() for character in inner)
    if _HEXADECIMAL.match(inner) or 2 * letters < len(inner):
        return word
    return inner.translate(LEET_LETTERS) + word[len(inner) :]


# ── the steps ────────────────────────────────────────────────────────────────────────────────────────────────────────

_SPACE = re.compile(r"\s+")


def _case_edits(text: str) -> list[Edit]:
    return [(index, index + 1, folded) for index, old in enumerate(text) if (folded := old.casefold()) != old]


def _collapsed(text: str) -> str:
    words = " ".join(text.split())
    if not words:
        return text and " "
    return f"{' ' if text[0].isspace() else ''}{words}{' ' if text[-1].isspace() else ''}"


def _space_edits(text: str) -> list[Edit]:
    return [(found.start(), found.end(), " ") for found in _SPACE.finditer(text)]


def _by_pattern(suspect: Suspect, pattern: re.Pattern[str], replace: Callable[[str], str], joins: bool = False) -> Step:
    return Step(
        suspect,
        lambda text: pattern.sub(lambda found: replace(found[0]), text),
        lambda text: [(found.start(), found.end(), replace(found[0])) for found in pattern.finditer(text)],
        joins,
    )


DECODE = Step(Suspect.BASE64, _add_decoded, lambda text: [(len(text), len(text), "")])
FOLD_STEPS = (
    Step(Suspect.FOLDABLE, _fold, _fold_edits, joins=True),
    _by_pattern(Suspect.PILED, _PILED, _unpiled),
    _by_pattern(Suspect.MIXED, _WORD, _unconfused),
)
ASCII_STEPS = (
    _by_pattern(Suspect.SPACED, _SPACED, lambda run: run[::2], joins=True),
    _by_pattern(Suspect.LEET, _LEET_WORD, _unleeted),
)
SPACES = Step(None, _collapsed, _space_edits)
CASE = Step(None, str.casefold, _case_edits)
PLAIN_STEPS = (CASE, SPACES)

# In the order of `Suspect`. A step changes no text that its pattern does not match. Otherwise what is found in one part
# of a text would depend on other parts, which a stream may have sent long ago.
_ASCII_SUSPECTS = (
    "|".join(f"{_DIGIT}{{{at}}}[A-Z]{_DIGIT}{{{_LEAST_RUN - 1 - at}}}" for at in range(_LEAST_RUN)),
    r"(?:\b|_)[A-Za-z][ ._*|/~+\-][A-Za-z][ ._*|/~+\-][A-Za-z](?:\b|_)",
    # A digit or a sign inside a word, at its start, at its end.
    r"[A-Za-z][013457@$!]+[A-Za-z]|(?:\A|[^0-9A-Za-z@$!])[013457@$]+[A-Za-z]{2}|[A-Za-z]{2}[013457@$]",
)


@cache
def _ascii_suspects() -> PatternSet:
    return PatternSet(_ASCII_SUSPECTS)


@cache
def suspect_patterns() -> tuple[str, ...]:
    """A pattern for each `Suspect`, for any text."""
    foldable = "".join(f"\\x{{{code:X}}}" for code in _folding())
    confusable = "".join(f"\\x{{{code:X}}}" for code in confusable_letters())
    marks = re.sub(r"\\u(....)", r"\\x{\1}", MARKS)
    # Letters, and numbers that Python counts as such.
    letter, other = r"[\pL\pN]", r"[A-Za-z\x{80}-\x{10FFFF}]*"
    spaced = rf"{letter}[ ._*|/~+\-]{letter}[ ._*|/~+\-]{letter}(?:\z|\PL)"
    return (
        _ASCII_SUSPECTS[0],
        f"{_ASCII_SUSPECTS[1]}|{spaced}",
        _ASCII_SUSPECTS[2],
        f"[{foldable}]",
        f"[A-Za-z]{other}[{confusable}]|[{confusable}]{other}[A-Za-z]",
        rf"{letter}[{marks}]",
    )


@cache
def _all_suspects() -> PatternSet:
    return PatternSet(suspect_patterns())
