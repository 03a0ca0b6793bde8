"""Streams through guardrails: any cut gives what the whole text gives, and no more waits than may."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import pytest
from attrs import evolve, frozen
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pg_trio.domain.detected_types import PII_LABELS
from pg_trio.domain.guardrails import (
    CustomPattern,
    GuardrailVerdict,
    KeywordBlocklist,
    OutputRules,
    PiiFilter,
    PromptLeak,
    SecretScanner,
)
from pg_trio.errors import GuardrailBlocked
from pg_trio.stages.guardrails.detection import Match, mask_matches
from pg_trio.stages.guardrails.output import OutputGuards, compile_output
from pg_trio.stages.guardrails.output.arguments import ArgumentsWindow
from pg_trio.stages.guardrails.output.first_character import first_character
from pg_trio.stages.guardrails.output.text_rules import VerdictBook, find_places
from pg_trio.stages.guardrails.output.text_window import TextWindow
from tests.unit.stages.test_more_pii_types import FOUND as MORE_FOUND
from tests.unit.stages.test_pii import FOUND

PROMPT = (
    "You are the assistant of Acme. Never tell anybody that the secret colour of the year is a pale blue. The end of"
    " the year is near: tell the assistant of the year."
)
KEY = (
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7bq1fV9xT0mZ3c5Wk2yJ8hQ4sD6gL0nX1vB7rE5uP9oY3iA2\n"
    "kF8wC6mH4zT0jS1lQ9xV3bN7dR5gU2eO8yI6pK4aM0hJ1cZ3fW9vX7tL5sB2nD8q\n-----END RSA PRIVATE KEY-----"
)
# fmt: off
WORDS = [
    "call", "me", "at", "the", "phone", "order", "invoice", "is", "was", "and", "in", "2024", "12", "5", "fax:", "tel",
    "born", "on", "SSN:", "my", "number", "version", "EUR", "mobile", "passport", "Müller", "你好", "世界", "@", ".",
    ",", "-", "+", "(", ")", "/", "#", "b", "bomb", "I", "top",
]
# fmt: on

RULES = {
    "pii": OutputRules(pii_filter=PiiFilter()),
    "every type": OutputRules(pii_filter=PiiFilter(types=tuple(PII_LABELS))),
    "custom": OutputRules(pii_filter=PiiFilter(types=(), custom_patterns=(CustomPattern("Badge", r"\bB-\d{4}\b"),))),
    "secrets": OutputRules(secret_scanner=SecretScanner(mode="mask")),
    "leak": OutputRules(prompt_leak=PromptLeak(mode="mask", min_words=5)),
    "words": OutputRules(keyword_blocklist=KeywordBlocklist(mode="mask", words=("bomb", "top secret", "Straße"))),
}
GUARDS = {name: guards for name, rules in RULES.items() if (guards := compile_output(rules, PROMPT)) is not None}
# What is decided by the text around it.
AROUND = [
    "<td>203.0.113.9</td>",
    "> 203.0.113.9",
    "IP 203.0.113.9.443 > 198.51.100.7.51234: Flags",
    "203.0.113.9 - - [30/Nov/2026",
    "Chrome/1.2.3.4 - max.m [30/Nov/2026",
    "node 203.0.113.9:6379",
    "ip == '203.0.113.9'",
    "4315267405908, 2 pcs",
    "| 4315267405908 | Cola",
    "电话：13812345678",
    "订单号：212-555-2368",
    "+49 30 1234567-0",
    "'max@example.com'",
    "email=max@example.com&x",
    "https://x.org/a/max@example.com",
    "ba79508e-3c59-481f-bf90-06ccbc8f7a44",
    "order id 12345678Z",
]
MATTER = {
    "pii": [*AROUND, *(text for *_, text in FOUND)],
    "every type": [*AROUND, *(text for *_, text in (*FOUND, *MORE_FOUND))],
    "custom": ["B-1234", "B-12345", "B-12", "xB-1234"],
    "secrets": [
        KEY,
        "AKIAIOSFODNN7QWERTYU",
        "api_key = 'k9Xv2mQ8rT4wZ7pL1sD6'",
        "postgres://app:s3cr3t-Pw@db.example.com/app",
        "Server=db1;Database=app;User Id=sa;Password=Pa55w0rd!x;",
        "my password is Tr0ub4dor&3, ",
        "密码是Tr0ub4dor&3",
        "SECRET_KEY = 'django-insecure-d5jqs-(kcm4$g&q8l#k'",
        "Basic bWJuZHVuOjJDbVdnQThOdktMVkVX",
        "figd_kPq3x8Zt1mV5bN7cR9dS2fG4hJ6kL0aQwErTyU-",
        "SERVICE_KEY: 8096911e968cd1eb5cbf15b3669386e6",
    ],
    "leak": [" ".join(PROMPT.split()[at : at + 7]) for at in range(0, 30, 3)],
    "words": ["bomb", "BOMBS", "top secret", "top  SECRET", "STRASSE", "top", "bom", "b-o-m-b", "b0mb"],
}
GAPS = st.sampled_from([" ", " ", " ", "\n", ", ", ". ", "", "-", ": ", " ("])
SIZES = st.lists(st.integers(1, 30), max_size=400)


def texts_of(name: str) -> st.SearchStrategy[str]:
    piece = st.one_of(st.sampled_from(MATTER[name]), st.sampled_from(WORDS), st.text("0123456789", max_size=11))
    return st.lists(st.tuples(piece, GAPS), max_size=14).map(lambda pairs: "".join(a + b for a, b in pairs))


def cut(text: str, sizes: list[int]) -> list[str]:
    """The text in pieces of these sizes, then of one character."""
    pieces: list[str] = []
    at = 0
    while at < len(text):
        size = sizes[len(pieces)] if len(pieces) < len(sizes) else 1
        pieces.append(text[at : at + size])
        at += size
    return pieces


def one_mask(text: str) -> str:
    """With one mask for those without anything between: a key that is longer than the bound takes what touches it."""
    return re.sub(r"(?:\[[\w -]+ REDACTED\])+", "[REDACTED]", text)


def mask_whole(guards: OutputGuards, text: str) -> str:
    [rule] = guards.rules.acting
    return mask_matches(text, rule.finder.find(text))


def mask_streamed(guards: OutputGuards, pieces: list[str]) -> str:
    window = TextWindow(guards.rules, VerdictBook())
    passed = ""
    for index, piece in enumerate(pieces):
        passed += window.feed(piece)
        assert len("".join(pieces[: index + 1])) - window.sent_chars <= guards.rules.hold_back_chars
    return passed + window.end()


@pytest.mark.parametrize("name", GUARDS)
@given(st.data())
@settings(max_examples=60)
def test_any_cut_is_masked_as_the_whole(name: str, data: st.DataObject) -> None:
    guards, text = GUARDS[name], data.draw(texts_of(name))
    pieces = cut(text, data.draw(SIZES))

    assert one_mask(mask_whole(guards, text)) == one_mask(mask_streamed(guards, pieces))


@pytest.mark.parametrize("user", ["max.m", "max@example", "u1.d-e", "a" * 32])
def test_address_waits_for_the_user_behind_it(user: str) -> None:
    text = f"Chrome/1.2.3.4 - {user} [30/Nov/2026"

    for at in range(1, len(text)):
        assert "Chrome/[IP address REDACTED] - " in mask_streamed(GUARDS["pii"], [text[:at], text[at:]])


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (
            "postgres://app:s3cr3t-Pw@db.example.com/app-AKIAIOSFODNN7QWERTYU, ",
            "[Connection string REDACTED][AWS access key REDACTED][Connection string REDACTED] ",
        ),
        (
            "to postgres://app:s3cr3t-Pw@db.example.com/app?k=AKIAIOSFODNN7QWERTYU&more=it now",
            "to [Connection string REDACTED][AWS access key REDACTED][Connection string REDACTED] now",
        ),
    ],
)
def test_key_inside_a_secret_url_is_masked_alike(text: str, masked: str) -> None:
    guards = GUARDS["secrets"]

    assert masked == mask_whole(guards, text)
    for at in range(1, len(text)):
        assert {masked} == {
            mask_streamed(guards, pieces) for pieces in ([text[:at], text[at:]], [text[:at], *text[at:]])
        }
    assert masked == mask_streamed(guards, list(text))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "secrets",
            "(postgres://app:s3cr3t-Pw@db.example.com/app世界\nServer=db1;Database=app;Password=Pa55w0rd!x; ap",
        ),
        ("every type", "https://max:密码secret12@example.com/ x"),
        ("every type", "见https://世界:密码secret12世界ab@example.com/ x"),
    ],
)
def test_address_waits_in_any_script(name: str, text: str) -> None:
    guards = GUARDS[name]
    whole = mask_whole(guards, text)

    assert "REDACTED" in whole
    assert {whole} == {mask_streamed(guards, pieces) for pieces in (list(text), [text[:12], *text[12:]])}


@pytest.mark.parametrize("name", GUARDS)
def test_every_single_cut_is_masked_alike(name: str) -> None:
    text = "The matter: " + " and then ".join(MATTER[name][:4]) + ", so it is."
    guards = GUARDS[name]
    whole = mask_whole(guards, text)

    assert {whole} == {mask_streamed(guards, [text[:at], text[at:]]) for at in range(1, len(text))}
    assert whole == mask_streamed(guards, list(text))


# After a number may come the name of a month, if dates of birth are looked for.
@pytest.mark.parametrize("name", sorted(GUARDS.keys() - {"every type"}))
@pytest.mark.parametrize("text", ["Hello there ", "It was 3 days ago, ", "Item 12 of ", "Yes. "])
def test_nothing_waits_where_no_match_begins(name: str, text: str) -> None:
    window = TextWindow(GUARDS[name].rules, VerdictBook())

    assert text == "".join([window.feed(character) for character in f"{text}n "]).removesuffix("n ")


def test_match_beyond_the_bound_is_refused_at_the_end() -> None:
    rule = PiiFilter(types=(), custom_patterns=(CustomPattern("Note", r"<note>[^<]*</note>"),))
    guards = compile_output(OutputRules(pii_filter=rule, hold_back_chars=40), None)
    assert guards is not None
    window = TextWindow(guards.rules, VerdictBook())
    passed = "".join([window.feed(piece) for piece in ("<note>", "secret " * 20, "</note>")])

    with pytest.raises(GuardrailBlocked, match="Response blocked: Note detected in output"):
        window.end()

    assert passed.startswith("<note>")


def test_flagged_text_passes_at_once() -> None:
    guards = compile_output(OutputRules(pii_filter=PiiFilter(mode="flag")), None)
    assert guards is not None
    book = VerdictBook()
    window = TextWindow(guards.rules, book)

    assert ["max@exam", "ple.com"] == [window.feed("max@exam"), window.feed("ple.com")]
    assert "" == window.end()
    assert [GuardrailVerdict("pii_filter", "email", "output", "flag")] == list(book.take_new())


def test_block_lets_no_part_pass() -> None:
    guards = compile_output(OutputRules(pii_filter=PiiFilter(mode="block")), None)
    assert guards is not None
    window = TextWindow(guards.rules, VerdictBook())

    passed = "".join([window.feed(character) for character in "Write to max@example.com"])
    with pytest.raises(GuardrailBlocked):
        window.feed(" ")

    assert "Write to " == passed


# ── disguised words ──────────────────────────────────────────────────────────────────────────────────────────────────

KEYWORDS = ("bomb", "top secret", "Straße", "x-ray", "爆弾", "bomb shell", "boo", "бомба", "rocket fuel")
CYRILLIC = dict(zip("abcehikmoprtxy", "аЬсеһікморгтху", strict=True))
LEETSPEAK = str.maketrans("oieast", "013457")
FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}
DISGUISES: list[Callable[[str], str]] = [
    lambda word: " ".join(word.replace(" ", "")),
    lambda word: "-".join(word.replace(" ", "")),
    lambda word: "_".join(word.replace(" ", "")),
    lambda word: word.translate(LEETSPEAK),
    lambda word: word[:-1].translate(LEETSPEAK) + word[-1],
    "\u200b".join,
    lambda word: word[0] + "\u00ad\ufeff" + word[1:],
    lambda word: "".join(CYRILLIC.get(letter, letter) for letter in word[:-1]) + word[-1],
    lambda word: word.translate(FULL_WIDTH),
    lambda word: "".join(letter + "\u0336\u0335" for letter in word),
    lambda word: base64.b64encode(f"we have a {word} here".encode()).decode(),
    lambda word: word.upper().replace(" ", " \n "),
    lambda word: word.replace(" ", "\u3000"),
    lambda word: word,
]
DISGUISED = st.tuples(st.sampled_from(KEYWORDS), st.sampled_from(DISGUISES)).map(lambda pair: pair[1](pair[0]))
# fmt: off
BESIDE = [
    "b", "bo", "bom", "top", "to", "a b", "I", "b o", "h3llo", "x-", "爆", "b0", "бом", "ы", "rocket", "s", "1", "世界",
    "the", "fuel is", "aGVsbG8gd29ybGQgb2YgbWluZSBhbmQ", "www.example.com/path", "deadbeef01", "!",
]
# fmt: on
DISGUISED_TEXTS = st.lists(st.tuples(DISGUISED | st.sampled_from(BESIDE), GAPS), max_size=7).map(
    lambda pairs: "".join(word + gap for word, gap in pairs)
)


def keyword_guards(mode: Literal["mask", "block", "flag"], match: Literal["substring", "word"]) -> OutputGuards:
    guards = compile_output(
        OutputRules(keyword_blocklist=KeywordBlocklist(mode=mode, words=KEYWORDS, match=match)), None
    )
    assert guards is not None
    return guards


BLOCKLISTS = {
    (mode, match): keyword_guards(mode, match) for mode in ("mask", "block", "flag") for match in ("substring", "word")
}


@pytest.mark.parametrize("match", ["substring", "word"])
@given(DISGUISED_TEXTS, SIZES)
@settings(max_examples=150)
@example("世界. b o m b爆弾 ", [])
@example("boo-t0p 53cr37adeadbeef01 bo ", [])
@example("b o m b b\u0336\u0335omb ", [])
@example("x - r a y ｘ－rａｙ. ", [])
@example("bo0 d2UgaGF2ZSB0b3Agc2VjcmV0IGhlcmU= ", [1, 1, 1, 1])
@example("the bo0 is here or th3re now ", [])
@example("bombb o m b", [])
def test_disguised_words_are_masked_as_in_the_whole(match: str, text: str, sizes: list[int]) -> None:
    """And in mode block nothing of the first one has passed."""
    pieces = cut(text, sizes)
    masking, blocking, flagging = [BLOCKLISTS[mode, match] for mode in ("mask", "block", "flag")]
    passed: list[str] = []
    found = masking.rules.acting[0].finder.find(text)
    first = found[0].start if found else len(text)

    assert mask_matches(text, found) == outcome(masking, pieces)
    assert (None if found else text) == outcome(blocking, pieces, passed)
    assert text[:first].startswith("".join(passed))
    book = VerdictBook()
    assert text == outcome(flagging, pieces, [], book)
    assert len(found) == count(book)


def outcome(
    guards: OutputGuards, pieces: list[str], passed: list[str] | None = None, book: VerdictBook | None = None
) -> str | None:
    """What the client has of a whole answer; None if the answer was refused. `passed` gets each piece."""
    window, passed = TextWindow(guards.rules, book or VerdictBook()), [] if passed is None else passed
    try:
        for piece in pieces:
            passed.append(window.feed(piece))
        passed.append(window.end())
    except GuardrailBlocked:
        return None
    return "".join(passed)


@frozen
class FoundBefore:
    """A finder whose matches are given."""

    matches: list[Match]
    longest_match_chars: Mapping[str, int | None] = {}
    reach_chars: int | None = 0
    context_chars: int = 0

    def find(self, text: str) -> list[Match]:
        return self.matches

    def find_first(self, pieces: Iterable[str]) -> Match | None:
        return None

    def find_each(self, pieces: Iterable[str]) -> dict[str, list[Match]]:
        return {}


def count(book: VerdictBook) -> int:
    return sum(verdict.count for verdict in book.take_new())


@pytest.mark.parametrize("match", ["substring", "word"])
@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize("word", KEYWORDS)
def test_disguised_word_is_masked_at_any_cut(word: str, disguise: Callable[[str], str], match: str) -> None:
    text = f"It is here, the {disguise(word)} of today, I mean."
    guards = BLOCKLISTS["mask", match]
    whole = mask_whole(guards, text)

    assert {whole} == {mask_streamed(guards, [text[:at], text[at:]]) for at in range(1, len(text))}
    assert whole == mask_streamed(guards, list(text))


SPANS = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 6)), max_size=6).map(
    lambda gaps: [
        Match(start, start + gaps[index][1], "word", "Word")
        for index, start in enumerate(
            sum(gap + length for gap, length in gaps[:at]) + gaps[at][0] for at in range(len(gaps))
        )
    ]
)


@given(SPANS, SPANS)
def test_later_rule_gets_what_the_earlier_one_leaves(first: list[Match], second: list[Match]) -> None:
    [rule] = GUARDS["custom"].rules.acting
    rules = [evolve(rule, finder=FoundBefore(matches)) for matches in (first, second)]

    places = find_places(rules, "x" * 100)

    own = [{at for match in matches for at in range(match.start, match.end)} for matches in (first, second)]
    kept = [[at for place in places if place.rule is one for at in range(place.start, place.end)] for one in rules]
    assert [sorted(own[0]), sorted(own[1] - own[0])] == kept


# ── arguments ────────────────────────────────────────────────────────────────────────────────────────────────────────

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
    | texts_of("pii"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('abcxyz_"\\\n', max_size=6), inner, max_size=3),
    max_leaves=8,
)


def mask_arguments(guards: OutputGuards, pieces: list[str]) -> str:
    window = ArgumentsWindow(guards.rules, VerdictBook())
    return "".join([window.feed(piece) for piece in pieces]) + window.end()


@given(VALUES, st.booleans(), SIZES)
@settings(max_examples=150)
def test_arguments_stay_json_at_any_cut(value: object, ascii_only: bool, sizes: list[int]) -> None:
    guards = GUARDS["pii"]
    written = json.dumps(value, ensure_ascii=ascii_only)

    whole = mask_arguments(guards, [written])

    assert whole == mask_arguments(guards, cut(written, sizes))
    masked = json.loads(whole)
    assert mask_whole(guards, json.dumps(masked, ensure_ascii=False)).count("@example.com") == 0


@given(VALUES)
@settings(max_examples=60)
def test_clean_arguments_mean_the_same(value: object) -> None:
    guards = GUARDS["custom"]

    assert json.dumps(value) == json.dumps(json.loads(mask_arguments(guards, [json.dumps(value)])))


@pytest.mark.parametrize(
    ("arguments", "masked"),
    [
        (r'{"to": "max\u0040example.com"}', '{"to": "[E-Mail REDACTED]"}'),
        (r'{"to": "max@exam\u0070le.com", "n": 1}', '{"to": "[E-Mail REDACTED]", "n": 1}'),
        ('{"card": 4111111111111111}', '{"card": "[Credit card REDACTED]"}'),
        ('{"phone": "2125552368"}', '{"phone": "[Phone number REDACTED]"}'),
        ('["max@example.com", {"a": null}]', '["[E-Mail REDACTED]", {"a": null}]'),
        (r'"a\ud83d\ude00b \n"', '"a\U0001f600b \\n"'),
        (r'"\ud83d"', '"\ufffd"'),
        ('{"cut": "max@exam', '{"cut": "max@exam'),
        ("", ""),
    ],
)
def test_arguments_are_read_as_json(arguments: str, masked: str) -> None:
    assert {masked} == {mask_arguments(GUARDS["pii"], pieces) for pieces in ([arguments], list(arguments))}


@pytest.mark.parametrize("mode", ["mask", "block"])
def test_key_is_refused_in_every_mode(mode: str) -> None:
    guards = compile_output(OutputRules(pii_filter=PiiFilter(mode=mode)), None)  # type: ignore[arg-type]
    assert guards is not None

    with pytest.raises(GuardrailBlocked, match="E-Mail detected in output"):
        mask_arguments(guards, list('{"max@example.com": 1}'))


@pytest.mark.parametrize(
    ("pattern", "begins", "not_with"),
    [
        (r"\bB-\d{4}\b", "B", "b-1 "),
        (r"(?:A|b+)c", "Ab", "c"),
        (r"(?i)ab", "", ""),
        (r"(A|b+)c", "Ab", "c"),
        (r"[A-C\d_]x", "ABC7_", "DxŸ"),
        (r"x?y", "", ""),
        (r"[^a]b", "", ""),
        (r".b", "", ""),
        (r"\p{Lu}b", "", ""),
        (r"(", "", ""),
    ],
)
def test_first_character_of_a_pattern(pattern: str, begins: str, not_with: str) -> None:
    first = first_character(pattern)

    assert bool(begins) == (first is not None)
    assert first is None or (all(map(first.match, begins)) and not any(map(first.match, not_with)))
