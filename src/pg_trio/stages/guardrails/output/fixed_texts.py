"""Texts of an answer that come whole: names and ids of calls, and values of Anthropic's wire."""

from __future__ import annotations

from pg_trio.domain.json_value import JsonObject
from pg_trio.domain.native_fields import NATIVE_WORDS, native_texts
from pg_trio.stages.guardrails.output.text_rules import VerdictBook, find_places
from pg_trio.stages.guardrails.output.text_window import TextWindow, WindowRules
from pg_trio.stages.guardrails.pii_masks import UnmaskableError, mask_json


def check_fixed(text: str, rules: WindowRules, book: VerdictBook) -> None:
    """Check a text that no mask may change: a name, an id, a key. Raises: GuardrailBlocked, in mode mask too."""
    for place in find_places(rules.acting, text):
        raise place.rule.refuse(place.match)
    for rule in rules.flagging:
        for match in rule.finder.find(text):
            book.count(rule.guardrail, match.rule, rule.action)


def mask_native(value: JsonObject, rules: WindowRules, book: VerdictBook) -> JsonObject:
    """The value with every text in it masked; the same object if nothing was. Raises: GuardrailBlocked."""
    masks: dict[str, str] = {}
    for text in dict.fromkeys(native_texts(value)):
        window = TextWindow(rules, book)
        masked = window.feed(text) + window.end()
        if window.has_masked:
            masks[text] = masked
    if not masks:
        return value
    try:
        masked_value: JsonObject = mask_json(value, masks, NATIVE_WORDS)
    except UnmaskableError as key:
        check_fixed(key.text, rules, book)
        raise AssertionError("a key is masked for a match") from key
    return masked_value
