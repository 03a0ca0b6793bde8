"""What an endpoint's plan has of the guardrails for answers, compiled from its rules."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from attrs import evolve, frozen

from pg_trio.domain.chat import Reply
from pg_trio.domain.detected_types import PUBLISHED_PII_TYPES
from pg_trio.domain.guardrails import (
    ContentLength,
    GuardrailVerdict,
    KeywordBlocklist,
    OutputRules,
    PiiFilter,
    PromptLeak,
    SecretScanner,
)
from pg_trio.errors import KeywordBlocked, PiiBlocked, PromptLeaked, SecretBlocked
from pg_trio.stages.guardrails.byte_finder import ByteFinder
from pg_trio.stages.guardrails.detection import Finder, Match
from pg_trio.stages.guardrails.detectors import pii_finder
from pg_trio.stages.guardrails.keyword_finder import keyword_finder
from pg_trio.stages.guardrails.output.answer_filter import AnswerFilter
from pg_trio.stages.guardrails.output.answer_length import LengthRule
from pg_trio.stages.guardrails.output.first_character import first_character
from pg_trio.stages.guardrails.output.holds import (
    Hold,
    hold_all,
    hold_characters,
    hold_from,
    hold_pii,
    hold_secrets,
)
from pg_trio.stages.guardrails.output.prompt_leak import prompt_finder
from pg_trio.stages.guardrails.output.text_rules import TextRule
from pg_trio.stages.guardrails.output.text_window import WindowRules
from pg_trio.stages.guardrails.output.whole_answer import check_reply
from pg_trio.stages.guardrails.output.word_holds import hold_words
from pg_trio.stages.guardrails.secret_scanner import secret_finder


@frozen(slots=True, eq=False)
class OutputGuards:
    """The compiled guardrails for an endpoint's answers."""

    rules: WindowRules
    length: LengthRule | None

    def check(self, reply: Reply) -> tuple[Reply, list[GuardrailVerdict]]:
        """The complete answer, masked, and the verdicts. Raises: GuardrailBlocked."""
        return check_reply(reply, self.rules, self.length)

    def open_stream(self, note: Callable[[GuardrailVerdict], None], *, shows_reasoning: bool) -> AnswerFilter:
        """The filter of one streamed answer."""
        return AnswerFilter(self.rules, self.length, note, shows_reasoning=shows_reasoning)

    def late_rules(self) -> Iterator[tuple[str, str, int | None]]:
        """The rules that may need more than a stream holds back: guardrail, rule, and how many characters it may need
        (None: no bound)."""
        for rule in self.rules.acting:
            for name, needed in rule.finder.longest_match_chars.items():
                if needed is None or needed > self.rules.hold_back_chars:
                    yield rule.guardrail, name, needed


_PUBLISHED = frozenset(PUBLISHED_PII_TYPES)
# Every match of the published types has one of these signs; every secret has so many characters without a space.
_PERSONAL = re.compile("[0-9@:]")
_SECRET = re.compile(r"\S{8}|-----BEGIN")


def compile_output(rules: OutputRules, prompt: str | None) -> OutputGuards | None:
    """The compiled rules; None if none is in force. Raises: ValueError for a rule that cannot be used."""
    most = rules.hold_back_chars
    compiled = [
        evolve(rule, context_chars=_context_of(rule.finder, most))
        for rule in _compile_rules(rules, prompt)
        if rule is not None
    ]
    length = _compile_length(rules.content_length)
    if not compiled and length is None:
        return None
    return OutputGuards(
        rules=WindowRules(
            acting=[rule for rule in compiled if rule.action != "flag"],
            flagging=[rule for rule in compiled if rule.action == "flag"],
            context_chars=max([rule.context_chars for rule in compiled], default=0),
            hold_back_chars=most,
        ),
        length=length,
    )


def _compile_rules(rules: OutputRules, prompt: str | None) -> list[TextRule | None]:
    most = rules.hold_back_chars
    return [
        _compile_secrets(rules.secret_scanner),
        _compile_pii(rules.pii_filter, most),
        _compile_keywords(rules.keyword_blocklist, most),
        _compile_leak(rules.prompt_leak, prompt),
    ]


def _context_of(finder: Finder, most: int) -> int:
    """What the rule reads before a match; and a match of which a part was sent is to be noticed.

    Of personal data no part is sent before it is decided, unless text was forced to pass, and then all is read.
    """
    if isinstance(finder, ByteFinder):
        return finder.context_chars * 3 // 2
    return finder.context_chars + min(most, most if finder.reach_chars is None else finder.reach_chars)


def _compile_secrets(rule: SecretScanner | None) -> TextRule | None:
    if rule is None or not rule.enabled:
        return None
    return TextRule("secret_scanner", rule.mode, secret_finder(rule.types), _refuse_secret, hold_secrets, _SECRET)


def _compile_keywords(rule: KeywordBlocklist | None, most: int) -> TextRule | None:
    if rule is None or not rule.enabled or not any(rule.words):
        return None
    finder = keyword_finder(rule.words, rule.match)
    hold = hold_words(finder.compared_forms, most)
    return TextRule("keyword_blocklist", rule.mode, finder, _refuse_word, hold)


def _compile_pii(rule: PiiFilter | None, most: int) -> TextRule | None:
    if rule is None or not rule.enabled:
        return None
    finder = pii_finder(rule.types, rule.custom_patterns)
    types = PUBLISHED_PII_TYPES if rule.types is None else rule.types
    holds: list[Hold] = [hold_pii(types)] if types else []
    widths = finder.longest_match_chars
    # One more: a pattern may look at the character behind its match.
    holds += [_hold_pattern(custom.pattern, (widths.get(custom.label) or most) + 1) for custom in rule.custom_patterns]
    if not holds:
        return None
    return TextRule(
        "pii_filter",
        rule.mode,
        finder,
        _refuse_pii,
        hold_all(holds),
        None if rule.custom_patterns or not _PUBLISHED.issuperset(types) else _PERSONAL,
    )


def _hold_pattern(pattern: str, count: int) -> Hold:
    first = first_character(pattern)
    return hold_characters(count) if first is None else hold_from(first, count)


def _compile_leak(rule: PromptLeak | None, prompt: str | None) -> TextRule | None:
    if rule is None or not rule.enabled or prompt is None:
        return None
    finder = prompt_finder(prompt, rule.min_words)
    if not finder.reach_chars:
        # The prompt has fewer words.
        return None
    # Words of one letter, and a sign between each two; without signs in scripts that have none.
    return TextRule("prompt_leak", rule.mode, finder, _refuse_leak, finder.hold, least_chars=rule.min_words)


def _compile_length(rule: ContentLength | None) -> LengthRule | None:
    if rule is None or not rule.enabled or (rule.min is None and rule.max is None):
        return None
    return LengthRule(rule.min, rule.max, rule.mode)


def _refuse_pii(match: Match) -> PiiBlocked:
    return PiiBlocked(match.label, phase="output", rule=match.rule)


def _refuse_secret(match: Match) -> SecretBlocked:
    return SecretBlocked(match.label, phase="output", rule=match.rule)


def _refuse_word(match: Match) -> KeywordBlocked:
    return KeywordBlocked(match.rule, phase="output", rule=match.rule)


def _refuse_leak(match: Match) -> PromptLeaked:
    return PromptLeaked(phase="output", rule=match.rule)
