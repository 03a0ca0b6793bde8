"""The steps of `normal_text`: for each disguise, what gives it away and what it is replaced by.

A step is a whole new text at once, which is fast, or its edits one by one, for the place of a match. A property test
holds that both are the same.
"""

from __future__ import annotations

import binascii
import itertools
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import IntEnum
from functools import cache

from attrs import frozen

from pg_trio.stages.guardrails.linear import Pattern, PatternSet, compile_pattern
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
    patterns, buffer = _ascii_suspects() if text.isascii() else _all_suspects(), text.encode()
    indexes = patterns.find_indexes(buffer)
    # Nearly every text has none.
    if not indexes:
        return _NONE
    return frozenset(
        [Suspect(index) for index in indexes if index != Suspect.BASE64 or _long_run().search(buffer) is not None]
    )


# ── 1. Base64 ────────────────────────────────────────────────────────────────────────────────────────────────────────

# 24 characters: eighteen bytes. Shorter runs are words, names and numbers. Written text in Base64 has capitals: of
# letters, every second one begins with one, and so do spaces in two of three places.
_LEAST_RUN = 24
_DIGIT = r"[A-Za-z0-9+/_\-]"
_NOT_CAPITAL = r"[a-z0-9+/_\-]"
_BASE64 = re.compile(rf"{_DIGIT}{{{_LEAST_RUN},}}={{0,2}}")
_BASE64_PART = re.compile(rf"[A-Za-z0-9+_\-]{{{_LEAST_RUN},}}={{0,2}}")
# In no written text: control characters, and bytes that UTF-8 does not have.
_NEVER_WRITTEN = bytes(
    byte for byte in range(256) if (byte < 32 and byte not in b"\t\n\r") or byte in (0x7F, 0xC0, 0xC1) or byte > 0xF4
)
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
    if run == run.lower():
        return None
    digits = run.rstrip("=").translate(_URL_SAFE)[: most_chars * 4 // 3 // 4 * 4]
    try:
        raw = binascii.a2b_base64(digits + "=" * (-len(digits) % 4))
        # Random bytes have one of these nearly always, and an error takes ten times as long.
        if len(raw.translate(None, _NEVER_WRITTEN)) < len(raw):
            return None
        plain = raw.decode()
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
_PILED = rf"[^\W\d_][{MARKS}]+"
# Vietnamese has two accents on a letter; NFC composes these.
_MOST_MARKS = 3
# Chinese, Japanese, Korean, Thai, Lao, Burmese, Khmer: words are not separated, so each of these letters is by itself.
UNSPACED = r"\u0E00-\u109F\u1780-\u17FF\u2E80-\uA4CF\uAC00-\uD7AF\uF900-\uFAFF\uFF66-\uFFDC\U00020000-\U00031FFF"
_LETTER = rf"[^\W\d_{UNSPACED}]"
# Words with Latin letters and others.
_MIXED_WORD = (
    rf"(?<!{_LETTER})(?:[A-Za-z]+(?=[^\W\d_A-Za-z{UNSPACED}])|(?=[^\W\d_A-Za-z{UNSPACED}]+[A-Za-z])){_LETTER}+"
)
# A text's different letters are replaced one after the other, if there are no more.
_MOST_REPLACED = 24


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


def _unpile(piles: list[str]) -> list[str]:
    """Letters with their accents: composed, or without accents that no letter has."""
    # All at once: the line's ends keep the accents of one from the next, and so many take linear time.
    short = "\n".join([pile[: _MOST_MARKS + 1] for pile in piles])
    return [pile[0] for pile in unicodedata.normalize("NFC", short).split("\n")]


def _unconfuse(words: list[str]) -> list[str]:
    """Words of Latin letters and others that look so."""
    return _translated("\n".join(words), confusable_letters()).split("\n")


def _translated(text: str, table: Mapping[int, str]) -> str:
    """`text.translate`, which takes 40 ns a character beyond ASCII; one replacement of a letter takes 1."""
    there = [letter for letter in set(text) if ord(letter) in table]
    if len(there) > _MOST_REPLACED:
        return text.translate(table)
    for letter in there:
        text = text.replace(letter, table[ord(letter)])
    return text


# ── 3. and 4. letters ────────────────────────────────────────────────────────────────────────────────────────────────

# The same sign between all of them.
_SPACED = r"(?<![^\W_])[^\W\d_]([ ._*|/~+\-])[^\W\d_](?:\2[^\W\d_])+(?![^\W_])"
# At a word's start: a digit or a sign after letters, or before them.
_LEET_WORD = r"(?<![A-Za-z0-9@$!])(?:[A-Za-z]+[013457@$!]|[013457@$]+[A-Za-z])[A-Za-z0-9@$!]*"
LEET_LETTERS = str.maketrans("013457@$!", "oieastasi")
# As they are read; their letters alone; without hexadecimal digits.
_LEET_TABLES = (
    LEET_LETTERS,
    dict.fromkeys(map(ord, "0123456789@$!")),
    dict.fromkeys(map(ord, "0123456789ABCDEFabcdef")),
)
# Longer runs are no words: keys, hashes, Base64.
_LEET_CHARS, _MOST_LEET_CHARS = 3, 32


def _unleet(words: list[str]) -> list[str]:
    """Words with half letters at least: "4ll", "pr3v10us"; not "x86", "2024b" or hexadecimal numbers."""
    inner = [word.rstrip("!") for word in words]
    together = "\n".join(inner)
    plain, letters, others = (together.translate(table).split("\n") for table in _LEET_TABLES)
    return [
        new + word[len(new) :]
        if other and _LEET_CHARS <= len(new) <= _MOST_LEET_CHARS and 2 * len(letter) >= len(new)
        else word
        for word, new, letter, other in zip(words, plain, letters, others, strict=True)
    ]


# What a long run with a capital has in it: a capital behind another character, or else many characters behind its first
# capitals. It has few states beside other patterns; with the run's length, each place in random letters is another.
_MAYBE_BASE64 = (
    rf"{_NOT_CAPITAL}[A-Z]|[A-Z]{{{_LEAST_RUN // 2}}}|[A-Z]{_NOT_CAPITAL}{{{_LEAST_RUN - 3}}}"
    rf"|[A-Z]{{4}}{_NOT_CAPITAL}{{{_LEAST_RUN // 2 + 1}}}"
)


@cache
def _long_run() -> Pattern:
    """A long run with a capital. Each is counted from its start alone, not from each of its characters."""
    begun = [f"{_NOT_CAPITAL}{{{at}}}[A-Z]{_DIGIT}{{{_LEAST_RUN - 1 - at}}}" for at in range(_LEAST_RUN)]
    longer = f"{_NOT_CAPITAL}{{{_LEAST_RUN},}}[A-Z]"
    return compile_pattern(rf"(?:\A|[^A-Za-z0-9+/_\-])(?:{'|'.join((*begun, longer))})")


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


def _by_pattern(suspect: Suspect, written: str, replace: Callable[[list[str]], list[str]], joins: bool = False) -> Step:
    """What the pattern matches is replaced, all of it at once. Its groups are numbered from 2 on."""
    pattern = re.compile(f"({written})")
    stride = pattern.groups + 1

    def replace_some(words: list[str]) -> list[str]:
        distinct = list(set(words))
        if 2 * len(distinct) > len(words):
            return replace(words)
        table = dict(zip(distinct, replace(distinct), strict=True))
        return [table[word] for word in words]

    def apply(text: str) -> str:
        parts = pattern.split(text)
        if len(parts) == 1:
            return text
        parts[1::stride] = replace_some(parts[1::stride])
        for _ in range(2, stride):
            del parts[2::stride]
        return "".join(parts)

    def edits(text: str) -> Iterable[Edit]:
        spans = [found.span() for found in pattern.finditer(text)]
        new = replace_some([text[start:end] for start, end in spans]) if spans else []
        return [(start, end, word) for (start, end), word in zip(spans, new, strict=True)]

    return Step(suspect, apply, edits, joins)


DECODE = Step(Suspect.BASE64, _add_decoded, lambda text: [(len(text), len(text), "")])
FOLD_STEPS = (
    Step(Suspect.FOLDABLE, _fold, _fold_edits, joins=True),
    _by_pattern(Suspect.PILED, _PILED, _unpile),
    _by_pattern(Suspect.MIXED, _MIXED_WORD, _unconfuse),
)
ASCII_STEPS = (
    _by_pattern(Suspect.SPACED, _SPACED, lambda runs: [run[::2] for run in runs], joins=True),
    _by_pattern(Suspect.LEET, _LEET_WORD, _unleet),
)
SPACES = Step(None, _collapsed, _space_edits)
CASE = Step(None, str.casefold, _case_edits)
PLAIN_STEPS = (CASE, SPACES)

# In the order of `Suspect`. A step changes no text that its pattern does not match. Otherwise what is found in one part
# of a text would depend on other parts, which a stream may have sent long ago.
_ASCII_SUSPECTS = (
    _MAYBE_BASE64,
    r"(?:\b|_)[A-Za-z][ ._*|/~+\-][A-Za-z][ ._*|/~+\-][A-Za-z](?:\b|_)",
    # A digit or a sign inside a word, at its start, at its end. Exclamation marks alone at the end are none.
    r"[A-Za-z][013457@$!][0-9@$!]*[A-Za-z]|(?:\A|[^0-9A-Za-z@$!])[013457@$]+[A-Za-z][0-9@$!]*[A-Za-z]"
    r"|[A-Za-z]{2}(?:![0-9@$!]*[0-9@$]|[013457@$])",
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
