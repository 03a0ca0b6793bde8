"""What a stream lets pass of text with configured words is decided: all short texts of a few letters, and all that may
follow them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import pytest

from pg_trio.domain.guardrails import KeywordBlocklist, OutputRules
from pg_trio.stages.guardrails.detection import Match
from pg_trio.stages.guardrails.output import compile_output
from pg_trio.stages.guardrails.output.text_rules import TextRule

# What was passed of a text, and the matches in it.
_Passed = tuple[int, list[Match]]
MARK, ZERO_WIDTH, CYRILLIC_O, EXPLOSION = "\u0336", "\u200b", "\u043e", "\u7206"
# fmt: off
CASES = [
    # words, characters, length; the length again in slow tests
    (("bob",), ["b", "o", "0", " ", "-", "x"], 5, 6),
    (("bob", "bo b"), ["b", "o", " ", "-", ZERO_WIDTH, CYRILLIC_O], 5, 6),
    (("bo",), ["b", "o", "1", " ", "@", "."], 5, 6),
    (("ob",), ["b", "o", " "], 8, 10),
    (("bo", "bobo"), ["b", "0", " ", "-"], 6, 8),
    (("obo xo",), ["o", "x", " ", "0"], 7, 8),
    (("bob",), ["b", "o", " ", MARK, EXPLOSION, ZERO_WIDTH], 5, 6),
    ((f"{EXPLOSION}b", "bo"), [EXPLOSION, "b", "o", " ", "-", MARK], 5, 6),
    (("o-b", "c++"), ["o", "b", "-", "c", "+", " "], 5, 6),
    ((" bo ", "oo"), ["b", "o", " ", "\n", "x", "0"], 5, 6),
    ((f"б{CYRILLIC_O}", "bo"), ["б", CYRILLIC_O, "o", "b", " ", "3"], 5, 6),
    (("!!", "bo!", "bo1"), ["b", "o", "!", " ", "1", "-"], 5, 6),
]
# fmt: on


def rule_of(words: Sequence[str], match: Literal["substring", "word"]) -> TextRule:
    guards = compile_output(OutputRules(keyword_blocklist=KeywordBlocklist(words=tuple(words), match=match)), None)
    assert guards is not None
    return guards.rules.acting[0]


def passed_of(rule: TextRule, text: str, found: list[Match], since: int) -> _Passed:
    """As a window does it: not into a match."""
    held = max(rule.hold(text, since), since)
    held = next((match.start for match in found if match.start < held < match.end), held)
    return held, before(found, held)


def before(found: Sequence[Match], held: int) -> list[Match]:
    return [match for match in found if match.start < held]


def wrong_texts(rule: TextRule, characters: Sequence[str], length: int) -> Iterator[tuple[str, str]]:
    """A text of which a part has passed, and a longer one that has other matches in that part."""

    def visit(text: str, earlier: list[tuple[str, _Passed]]) -> Iterator[tuple[str, str]]:
        found = rule.finder.find(text)
        yield from [(begun, text) for begun, (held, matches) in earlier if before(found, held) != matches]
        if len(text) < length:
            sent = earlier[-1][1][0] if earlier else 0
            passed = [(text, passed_of(rule, text, found, since)) for since in {0, sent}]
            for character in characters:
                yield from visit(text + character, [*earlier, *passed])

    return visit("", [])


@pytest.mark.parametrize("match", ["substring", "word"])
@pytest.mark.parametrize(("words", "characters", "length", "_"), CASES)
def test_passed_text_is_decided(words: Sequence[str], characters: list[str], length: int, _: int, match: str) -> None:
    rule = rule_of(words, match)  # type: ignore[arg-type]

    assert None is next(wrong_texts(rule, characters, length), None)


@pytest.mark.slow
@pytest.mark.parametrize("match", ["substring", "word"])
@pytest.mark.parametrize(("words", "characters", "_", "length"), CASES)
def test_longer_passed_text_is_decided(
    words: Sequence[str], characters: list[str], _: int, length: int, match: str
) -> None:
    rule = rule_of(words, match)  # type: ignore[arg-type]

    assert None is next(wrong_texts(rule, characters, length), None)


@pytest.mark.parametrize(
    ("begun", "passed"),
    [
        ("the table i", "the table "),
        ("it is a ", "it is "),
        ("it is a t", "it is "),
        ("it is a ta", "it is a "),
        ("the top ", "the "),
        ("the top s", "the "),
        ("the top n", "the top "),
        ("bombb o m", ""),
        ("a tombb o m", "a "),
    ],
)
def test_text_waits_from_where_a_word_may_begin(begun: str, passed: str) -> None:
    rule = rule_of(["bomb", "top secret"], "substring")

    assert passed == begun[: rule.hold(begun, 0)]
