"""The guardrail `prompt_injection`: well-known phrases that try to take a model over.

A list of phrases is only a first hurdle: reworded attacks pass, as docs/guardrails.md says. The rules are in
`injection_rules`; tests/unit/stages/test_prompt_injection.py has attacks and everyday sentences.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect
from collections.abc import Iterator, Sequence
from functools import cache

from pg_trio.errors import InjectionBlocked
from pg_trio.stages.guardrails.injection_rules import GAP, LOOSE_GAP, RULES, HarmlessPlace
from pg_trio.stages.guardrails.linear import Pattern, compile_pattern

# Words after a match that mean papers, forms or people. "in this conversation" and "for the rest" still mean the model.
_ARTICLE = (
    rb"(?:(?:the|my|our|your|this|that|these|those|a|an|his|her|their|old|den|dem|der|die|das|diese[mnrs]?)"
    rb"[\s\xc2\xa0]+)"
)
_MODEL = (
    rb"(?:conversations?|chat|prompts?|system|context|developers?|messages?|session|openai|model|assistant|ai|now|moment"
    rb"|rest|beginning|start|task|you|me|us|above|here|everything|this|that|users?|instructions?|answer"
    rb"|gespr\xc3\xa4ch|unterhaltung|entwickler\w*|folgende\w*)"
)
_OBJECT = re.compile(
    rb"[\s\xc2\xa0]+(?:"
    rb"(?:(?:printed|given|written|listed|shown|stated|found)\s)?"
    rb"(?:on|in|at|from|for|about|regarding|concerning|of|by|to|zur|zum|im|auf|f\xc3\xbcr|von|aus|(?<=above\s)(?=the\s))"
    rb"\s*(?!" + _ARTICLE + rb"?(?:old |new )?" + _MODEL + rb"\b)" + _ARTICLE + rb"?\w+"
    rb"|(?:i|we|he|she|they|you)\s+(?:sent|wrote|mailed|posted|placed|printed|attached|enclosed)\b)",
    re.IGNORECASE,
)
# 100 bytes after a match are checked.
_BEHIND_BYTES = 100
_FENCE = re.compile(rb"```|~~~")


class InjectionScanner:
    """The compiled `prompt_injection` rule; one for all endpoints, because it has no settings."""

    def __init__(self) -> None:
        self._strict = _RuleSet([rule.pattern for rule in RULES])
        self._folding = _folding_table()
        self._foldable = _character_class(self._folding)
        self._invisible = _character_class([code for code, folded in self._folding.items() if not folded])

    def check(self, text: str) -> None:
        """Return if the text has no such phrase. Raises: InjectionBlocked."""
        buffer, rules = text.encode(), self._strict
        # Only text with full-width letters, invisible characters and similar ones needs the cleaned copy.
        if not text.isascii() and self._foldable.search(buffer) is not None:
            if self._invisible.search(buffer) is not None:
                rules = _loose_rules()
            buffer = text.translate(self._folding).encode()
        if rules.matches(buffer):
            raise InjectionBlocked(rule="pattern")


class _RuleSet:
    """Scans for all rules at once, and for each rule separately only if that scan finds something."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._any = compile_pattern("|".join(f"(?:{pattern})" for pattern in patterns), ignore_case=True)
        self._each = [compile_pattern(pattern, ignore_case=True) for pattern in patterns]

    def matches(self, buffer: bytes) -> bool:
        """Whether some rule has a match that its guard does not excuse."""
        if self._any.search(buffer) is None:
            return False
        fences = [found.start() for found in _FENCE.finditer(buffer)]
        for rule, pattern in zip(RULES, self._each, strict=True):
            for start, end in _find_all(pattern, buffer):
                if not _is_excused(rule.guard, buffer, start, end, fences):
                    return True
        return False


def _find_all(pattern: Pattern, buffer: bytes) -> Iterator[tuple[int, int]]:
    found = pattern.search(buffer)
    while found is not None:
        yield found
        found = pattern.search(buffer, found[1])


def _is_excused(guard: HarmlessPlace, buffer: bytes, start: int, end: int, fences: list[int]) -> bool:
    if guard is HarmlessPlace.OBJECT:
        return _OBJECT.match(buffer, end, end + _BEHIND_BYTES) is not None
    if guard is HarmlessPlace.CODE:
        in_fence = bisect(fences, start) % 2 == 1
        return in_fence or buffer[max(start - 8, 0) : start].rstrip()[-1:] in (b'"', b"'", b"`")
    return False


@cache
def injection_scanner() -> InjectionScanner:
    """The one scanner."""
    return InjectionScanner()


@cache
def _loose_rules() -> _RuleSet:
    """Rules for text whose invisible characters were removed; one may have been the only separator of two words."""
    return _RuleSet([rule.pattern.replace(GAP, LOOSE_GAP) for rule in RULES])


def _folding_table() -> dict[int, str]:
    """A table from characters that look like ASCII to ASCII (NFKC), and from invisible ones (category Cf) to nothing.

    One character at a time: NFKC of a whole text takes quadratic time if combining marks are out of order (0.4 s for 32
    KB), and composed accents would find nothing more here.
    """
    table = {}
    for code in _compatibility_codes():
        character = chr(code)
        folded = "" if unicodedata.category(character) == "Cf" else unicodedata.normalize("NFKC", character)
        if folded != character and folded.isascii():
            table[code] = folded
    return table


def _compatibility_codes() -> list[int]:
    # The basic plane without surrogates, mathematical and enclosed letters, and the invisible tags.
    return [*range(0x80, 0xD800), *range(0xE000, 0x10000), *range(0x1D400, 0x1F200), *range(0xE0000, 0xE0080)]


def _character_class(codes: Sequence[int] | dict[int, str]) -> Pattern:
    return compile_pattern("[" + "".join(f"\\x{{{code:X}}}" for code in codes) + "]")
