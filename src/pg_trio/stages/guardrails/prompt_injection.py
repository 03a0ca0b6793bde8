"""The guardrail `prompt_injection`: phrases that try to take a model over, and signs of them that add up.

The rules are data: `injection_rules`. A text is read as it is, and in its normal form if it is disguised
(`normal_text`). A list of phrases is only a first hurdle: reworded attacks pass, as docs/guardrails.md says.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache

from attrs import frozen

from pg_trio.domain.guardrails import PromptInjection
from pg_trio.errors import InjectionBlocked
from pg_trio.stages.guardrails.detection import Match
from pg_trio.stages.guardrails.disguises import suspect_patterns
from pg_trio.stages.guardrails.injection_rule import HarmlessPlace, InjectionRule
from pg_trio.stages.guardrails.injection_rules import RULES
from pg_trio.stages.guardrails.invisible_runs import LEAST_CHARS, without_long_runs
from pg_trio.stages.guardrails.linear import Pattern, PatternSet, compile_pattern
from pg_trio.stages.guardrails.normal_text import Forms, NormalText, normalise

LABEL = "Prompt injection"
# Signs further apart than this many characters belong to different texts: half a page of a book, a whole jailbreak.
SIGN_WINDOW_CHARS = 3_000
# The sum of scores is compared a little lower, because 0.3 + 0.3 + 0.4 is less than 1 in binary.
_ROUNDING = 1e-9
# 128 MiB: RE2's limit for the automaton of all rules; it needs a tenth.
_SCAN_MEMORY_BYTES = 128 * 1024 * 1024

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
# What makes the model one, before "an AI without rules".
_BECOMING = re.compile(
    rb"(?i)\b(?:bist|sei|als|werde|spiel[a-z]*|simulier[a-z]*|stell|tu|verhalte?|antworte|agier[a-z]*|handle?|benimm"
    rb"|rolle|ab[\s\xa0\xc2]+(?:jetzt|sofort))\b[^.\n]{0,80}\Z"
)
# 100 bytes before or after a match are checked.
_BESIDE_BYTES = 100
_FENCE = re.compile(rb"```|~~~")


@frozen(slots=True, eq=False)
class InjectionFinder:
    """A `prompt_injection` rule, compiled."""

    _allowed: frozenset[str]
    _threshold: float
    _rules: _RuleSet
    context_chars: int = SIGN_WINDOW_CHARS

    @property
    def longest_match_chars(self) -> Mapping[str, int | None]:
        """No bound: signs add up over a text."""
        return {rule.id: None for rule in RULES if rule.id not in self._allowed}

    @property
    def reach_chars(self) -> int | None:
        """No bound."""
        return None

    @property
    def scan(self) -> Callable[[bytes], Sequence[int]]:
        """The scan that finds nothing in nearly every text: no rule matches, and nothing is disguised."""
        return self._rules.scan

    def check(self, text: str, forms: Forms | None = None) -> None:
        """Return if the text is harmless. Its normal form is kept in `forms`, if it is made.

        Raises: InjectionBlocked with the strongest rule.
        """
        if len(text) >= LEAST_CHARS:
            text = without_long_runs(text)
        buffer = text.encode()
        indexes = self._rules.scan(buffer)
        if not indexes:
            if forms is not None:
                # The scan looks for disguises, too: nothing in the text is disguised.
                forms[text] = None
            return
        found, _ = self._reach_either(text, buffer, indexes, forms)
        if found:
            raise InjectionBlocked(rule=max(found, key=lambda match: _SCORES[match.rule]).rule)

    def judge(self, text: str) -> list[Match]:
        """The matches of the first place where the scores reach the threshold; none if the text is harmless."""
        short = without_long_runs(text)
        if short is not text and not self.judge(short):
            return []
        buffer = text.encode()
        found, form = self._reach_either(text, buffer, self._rules.scan(buffer))
        if form is None:
            return found
        places = form.spans_in_original([(match.start, match.end) for match in found])
        return [Match(start, end, match.rule, LABEL) for (start, end), match in zip(places, found, strict=True)]

    def _reach_either(
        self, text: str, buffer: bytes, indexes: Sequence[int], forms: Forms | None = None
    ) -> tuple[list[Match], NormalText | None]:
        """The matches in the text, or else in its normal form, which then comes with them."""
        found = self._reach(buffer, indexes, self._rules)
        # The scan looks for disguises too, behind the rules.
        if found or not any(index >= len(RULES) for index in indexes):
            return found, None
        form = normalise(text)
        if forms is not None:
            forms[text] = form
        if form is None:
            return [], None
        rules, plain = _rules(loose=form.was_joined), form.text.encode()
        return self._reach(plain, rules.scan(plain), rules), form

    def find(self, text: str) -> list[Match]:
        """The same as `judge`, without overlaps."""
        kept: list[Match] = []
        for match in sorted(self.judge(text)):
            if not kept or match.start >= kept[-1].end:
                kept.append(match)
        return kept

    def find_each(self, pieces: Iterable[str]) -> dict[str, list[Match]]:
        """The pieces that are refused."""
        found = ((piece, self.find(piece)) for piece in dict.fromkeys(pieces))
        return {piece: matches for piece, matches in found if matches}

    def find_first(self, pieces: Iterable[str]) -> Match | None:
        """A match of the first piece that is refused."""
        return next((matches[0] for matches in self.find_each(pieces).values()), None)

    def _reach(self, buffer: bytes, indexes: Sequence[int], rules: _RuleSet) -> list[Match]:
        named = [RULES[index] for index in sorted(indexes) if index < len(RULES)]
        named = [rule for rule in named if rule.id not in self._allowed]
        if not named or sum(rule.score for rule in named) < self._threshold - _ROUNDING:
            return []
        found = sorted(match for rule in named for match in rules.matches_of(rule, buffer))
        return _in_characters(buffer, self._first_window(found))

    def _first_window(self, found: Sequence[Match]) -> list[Match]:
        """The matches of the first window in which the scores of different rules reach the threshold."""
        counts: Counter[str] = Counter()
        first, score = 0, 0.0
        for last, match in enumerate(found):
            score += _SCORES[match.rule] if not counts[match.rule] else 0
            counts[match.rule] += 1
            while found[first].start < match.start - SIGN_WINDOW_CHARS:
                counts[found[first].rule] -= 1
                score -= _SCORES[found[first].rule] if not counts[found[first].rule] else 0
                first += 1
            if score >= self._threshold - _ROUNDING:
                return list(found[first : last + 1])
        return []


# 1,024: as many as compiled chains.
@lru_cache(maxsize=1024)
def injection_finder(allow: tuple[str, ...] = (), score_threshold: float = 1.0) -> InjectionFinder:
    """The compiled rule. Raises: ValueError for an id in `allow` that no rule has."""
    for rule_id in allow:
        if rule_id not in _SCORES:
            raise ValueError(f"allow: no rule is named {rule_id!r}")
    return InjectionFinder(frozenset(allow), score_threshold, _rules(loose=False))


class InjectionScanner:
    """A `prompt_injection` rule, compiled."""

    def __init__(self, rule: PromptInjection) -> None:
        self.finder = injection_finder(rule.allow, rule.score_threshold)
        self.check = self.finder.check


def injection_scanner() -> InjectionFinder:
    """The scanner of all rules with the default threshold."""
    return injection_finder()


_SCORES = {rule.id: rule.score for rule in RULES}


class _RuleSet:
    """One scan says which rules match somewhere; only these are searched for their places."""

    def __init__(self, patterns: Sequence[str]) -> None:
        # Case counts for disguises: the long s is one, and would be every s.
        together = [*patterns, *(f"(?-i:{pattern})" for pattern in suspect_patterns())]
        self._any = PatternSet(together, ignore_case=True, max_mem_bytes=_SCAN_MEMORY_BYTES)
        self._patterns = dict(zip((rule.id for rule in RULES), patterns, strict=True))
        self._each: dict[str, Pattern] = {}
        # The indexes of rules that match somewhere, where a match may be excused; beyond them, those of disguises.
        self.scan = self._any.find_indexes

    def matches_of(self, rule: InjectionRule, buffer: bytes) -> Iterator[Match]:
        """The rule's matches that are not excused; byte offsets."""
        pattern = self._each.get(rule.id)
        if pattern is None:
            pattern = self._each[rule.id] = compile_pattern(self._patterns[rule.id], ignore_case=True)
        fences = [found.start() for found in _FENCE.finditer(buffer)] if rule.guard is HarmlessPlace.CODE else []
        found = pattern.search(buffer)
        while found is not None:
            if not _is_excused(rule.guard, buffer, found, fences):
                yield Match(*found, rule.id, LABEL)
            found = pattern.search(buffer, max(found[1], found[0] + 1))


def _is_excused(guard: HarmlessPlace, buffer: bytes, span: tuple[int, int], fences: list[int]) -> bool:
    start, end = span
    if guard is HarmlessPlace.OBJECT:
        return _OBJECT.match(buffer, end, end + _BESIDE_BYTES) is not None
    if guard is HarmlessPlace.CODE:
        in_fence = bisect(fences, start) % 2 == 1
        return in_fence or buffer[max(start - 8, 0) : start].rstrip()[-1:] in (b'"', b"'", b"`")
    if guard is HarmlessPlace.TOLD:
        return _BECOMING.search(buffer[max(start - _BESIDE_BYTES, 0) : start]) is None
    return False


def _in_characters(buffer: bytes, found: list[Match]) -> list[Match]:
    if not found or buffer.isascii():
        return found
    first = found[0].start
    before, window = len(buffer[:first].decode()), buffer[first : max(match.end for match in found)]
    return [
        Match(
            before + len(window[: match.start - first].decode()),
            before + len(window[: match.end - first].decode()),
            match.rule,
            LABEL,
        )
        for match in found
    ]


@cache
def _rules(*, loose: bool) -> _RuleSet:
    return _RuleSet([rule.loose_pattern if loose else rule.pattern for rule in RULES])
