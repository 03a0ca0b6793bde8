"""The guardrail `prompt_injection`: well-known phrases that try to take a model over.

A list of phrases is a first hurdle, not a proof: who rewords it passes, and docs/guardrails.md says so. The rules are
in `injection_rules`; tests/unit/stages/test_prompt_injection.py has attacks and everyday sentences for them.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect
from collections.abc import Iterator, Sequence
from functools import cache

from pg_trio.errors import InjectionBlocked
from pg_trio.stages.guardrails.injection_rules import GAP, LOOSE_GAP, RULES, Guard
from pg_trio.stages.guardrails.linear import Pattern, compile_pattern

# Behind a match: papers, forms, people. "in this conversation" and "for the rest" are still about the model.
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
# 100 bytes behind a match are looked at.
_BEHIND_BYTES = 100
_FENCE = re.compile(rb"```|~~~")


class InjectionScanner:
    """The `prompt_injection` rule, compiled; one for all endpoints, since nothing in it is configured."""

    def __init__(self) -> None:
        self._strict = _RuleSet([rule.pattern for rule in RULES])
        self._folding = _folding_table()
        self._foldable = _character_class(self._folding)
        self._invisible = _character_class([code for code, folded in self._folding.items() if not folded])

    def check(self, text: str) -> None:
        """Nothing, for text without such a phrase. Raises: InjectionBlocked."""
        buffer, rules = text.encode(), self._strict
        # Only text with full-width letters, invisible characters and the like pays for the copy without them.
        if not text.isascii() and self._foldable.search(buffer) is not None:
            if self._invisible.search(buffer) is not None:
                rules = _loose_rules()
            buffer = text.translate(self._folding).encode()
        if rules.matches(buffer):
            raise InjectionBlocked


class _RuleSet:
    """All rules in one scan; each by itself only in text where that scan finds something."""

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


def _is_excused(guard: Guard, buffer: bytes, start: int, end: int, fences: list[int]) -> bool:
    if guard is Guard.OBJECT:
        return _OBJECT.match(buffer, end, end + _BEHIND_BYTES) is not None
    if guard is Guard.CODE:
        in_fence = bisect(fences, start) % 2 == 1
        return in_fence or buffer[max(start - 8, 0) : start].rstrip()[-1:] in (b'"', b"'", b"`")
    return False


@cache
def injection_scanner() -> InjectionScanner:
    """The one scanner."""
    return InjectionScanner()


@cache
def _loose_rules() -> _RuleSet:
    """For text with invisible characters, which are taken out: one may be all that is between two words."""
    return _RuleSet([rule.pattern.replace(GAP, LOOSE_GAP) for rule in RULES])


def _folding_table() -> dict[int, str]:
    """Characters that read as ASCII, as that ASCII (NFKC); invisible ones (category Cf) as nothing.

    One character at a time: NFKC of a whole text takes quadratic time where combining marks are out of order (0.4 s
    for 32 KB), and composing accents would find nothing more here.
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
