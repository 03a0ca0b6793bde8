"""What each local guardrail of an endpoint finds in one text, one after the other: for `pg-trio guard`.

Rules:
1. Each rule is compiled as the stage compiles it, alone, and gets the text as the earlier ones left it.
2. A rule that refuses ends nothing here: the later ones get the text that it refused.
3. The time is the best of REPEATS checks, after one that is not counted: a gateway's rules are warm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from time import perf_counter
from typing import Any, TypeAlias

from attrs import frozen

from pg_trio.domain.chat import ChatRequest, Message, Reply
from pg_trio.domain.guardrails import (
    GuardrailRules,
    GuardrailVerdict,
    KeywordBlocklist,
    OutputRules,
    PiiFilter,
    PromptInjection,
    PromptLeak,
    ReversibleRedaction,
    SecretScanner,
)
from pg_trio.errors import GatewayError, GuardrailBlocked
from pg_trio.stages.guardrails.chain import compile_chain
from pg_trio.stages.guardrails.detection import Finder, Match
from pg_trio.stages.guardrails.detectors import pii_finder
from pg_trio.stages.guardrails.keyword_finder import keyword_finder
from pg_trio.stages.guardrails.output import compile_output
from pg_trio.stages.guardrails.output.prompt_leak import prompt_finder
from pg_trio.stages.guardrails.prompt_injection import injection_finder
from pg_trio.stages.guardrails.secret_scanner import secret_finder

REPEATS = 3
# The names of the rules, in the order in which they run (chain.py, output/output_guards.py).
INPUT_ORDER = (
    "secret_scanner",
    "reversible_redaction",
    "pii_filter",
    "prompt_injection",
    "keyword_blocklist",
    "content_length",
)
OUTPUT_ORDER = ("secret_scanner", "pii_filter", "keyword_blocklist", "prompt_leak", "content_length")


@frozen(slots=True)
class Inspection:
    """What one guardrail did with a text. `text` is the text as it leaves it.

    `places`: what it found, by offsets in code points of the text that it got; empty for rules without places.
    `refusal` is what a client would get.
    """

    guardrail: str
    text: str
    places: Sequence[Match] = ()
    verdicts: Sequence[GuardrailVerdict] = ()
    refusal: GatewayError | None = None
    took_us: float = 0.0


# A check of one text: the text as it leaves the rule, and the verdicts. Raises GuardrailBlocked.
Check: TypeAlias = Callable[[str], tuple[str, Sequence[GuardrailVerdict]]]


def inspect_request(rules: GuardrailRules, text: str) -> Iterator[Inspection]:
    """What the rules in force for requests find in a client's message."""
    for name in INPUT_ORDER:
        rule = getattr(rules, name)
        if rule is not None and rule.enabled:
            inspected = _inspect(name, _request_check(name, rule), _finder_of(rule, None), text)
            text = inspected.text
            yield inspected


def inspect_answer(rules: OutputRules, prompt: str | None, text: str) -> Iterator[Inspection]:
    """What the rules in force for answers find in one. `prompt` is the endpoint's own."""
    for name in OUTPUT_ORDER:
        rule = getattr(rules, name)
        if rule is not None and rule.enabled:
            inspected = _inspect(name, _answer_check(name, rule, prompt), _finder_of(rule, prompt), text)
            text = inspected.text
            yield inspected


def _inspect(name: str, check: Check, finder: Finder | None, text: str) -> Inspection:
    places = () if finder is None else tuple(finder.find(text))
    took_us = math.inf
    for repeat in range(1 + REPEATS):
        began = perf_counter()
        try:
            left, verdicts = check(text)
            refusal = None
        except GuardrailBlocked as error:
            left, verdicts, refusal = text, (), error.with_traceback(None)
        if repeat:
            took_us = min(took_us, (perf_counter() - began) * 1e6)
    return Inspection(name, left, places, tuple(verdicts), refusal, took_us)


def _request_check(name: str, rule: Any) -> Check:
    chain = compile_chain(GuardrailRules(**{name: rule}))

    def check(text: str) -> tuple[str, Sequence[GuardrailVerdict]]:
        request, verdicts, _ = chain.check(ChatRequest((Message("user", text),), {}))
        content = request.messages[0].content
        assert isinstance(content, str)
        return content, verdicts

    return check


def _answer_check(name: str, rule: Any, prompt: str | None) -> Check:
    guards = compile_output(OutputRules(**{name: rule}), prompt)

    def check(text: str) -> tuple[str, Sequence[GuardrailVerdict]]:
        if guards is None:
            # Nothing to look for: no words, or no prompt.
            return text, ()
        reply, verdicts = guards.check(Reply("", "", text, "stop"))
        return reply.content or "", verdicts

    return check


def _finder_of(rule: Any, prompt: str | None) -> Finder | None:
    """What finds the places of a rule; None for a rule without places."""
    match rule:
        case PiiFilter() | ReversibleRedaction():
            return pii_finder(rule.types, rule.custom_patterns)
        case SecretScanner():
            return secret_finder(rule.types)
        case KeywordBlocklist():
            return keyword_finder(rule.words, rule.match)
        case PromptInjection():
            return injection_finder(rule.allow, rule.score_threshold)
        case PromptLeak() if prompt is not None:
            return prompt_finder(prompt, rule.min_words)
    return None
