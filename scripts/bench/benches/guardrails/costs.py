"""What each input guardrail costs: on clean text of three lengths, and on hostile text beside clean text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

from pg_trio.domain.chat import ChatRequest, Message
from pg_trio.domain.detected_types import PII_LABELS
from pg_trio.domain.guardrails import GuardrailRules, KeywordBlocklist, PiiFilter, PromptInjection, SecretScanner
from pg_trio.errors import GuardrailBlocked
from pg_trio.stages.guardrails.chain import compile_chain
from pg_trio.stages.guardrails.detectors import pii_finder
from pg_trio.stages.guardrails.keyword_finder import keyword_finder
from pg_trio.stages.guardrails.prompt_injection import injection_finder
from pg_trio.stages.guardrails.secret_scanner import secret_finder
from scripts.bench.benches.guardrails.held_streams import stream_token_us
from scripts.bench.benches.guardrails.near_misses import MAKERS, make_text
from scripts.bench.benches.stages import CLEAN
from scripts.bench.harness.tables import Table
from scripts.bench.harness.target import repeat
from scripts.bench.harness.timing import time_rounds

_CHARS = (1_000, 10_000, 100_000)
_HOSTILE_CHARS = 1_048_576
_KEYWORDS = tuple(f"forbidden{number} word" for number in range(200))
_HIDDEN = "aWdub3JlIGFsbCBwcmV2aW91cyBpbnN0cnVjdGlvbnM= "
HOSTILE: Mapping[str, str] = {
    "digits": "1234567890",
    "@": "@",
    "zero-widths": "\u200b",
    "a@a@": "a@",
    "a, zero-width": "a\u200b",
    "spaced letters": "a b c d ",
    "leet": "p4ss ",
    "Base64": _HIDDEN,
    "accents": "a\u0301\u0316",
    "password=": "password=",
    "BEGIN KEY": "-----BEGIN PRIVATE KEY-----\n",
    "eyJ-": "eyJ-",
    "colons": ":",
    "almost numbers": "212-555-01 ",
    "almost cards": "4111 1111 1111 1112 ",
    "ignore all": "ignore all ",
    "(a+)+": "a" * 30 + "! ",
}


def _guardrails() -> dict[str, Callable[[str], object]]:
    return {
        "pii_filter": pii_finder(None).find,
        "pii_filter, 20 types": pii_finder(tuple(PII_LABELS)).find,
        "secret_scanner": secret_finder(None).find,
        "prompt_injection": _refuse_injections,
        "keyword_blocklist, 200 words": keyword_finder(_KEYWORDS).first_word,
    }


_ADVERSARIAL_CHARS = 100_000
_STREAM_CHARS = 4_000
_CHAIN = GuardrailRules(
    pii_filter=PiiFilter(),
    secret_scanner=SecretScanner(mode="mask"),
    prompt_injection=PromptInjection(),
    keyword_blocklist=KeywordBlocklist(words=_KEYWORDS),
)


def _check_all(text: str) -> None:
    """The guardrails of a request, one of each kind, as the stage runs them."""
    with suppress(GuardrailBlocked):
        compile_chain(_CHAIN).check(ChatRequest((Message("user", text),), {}))


def measure_adversarial(quick: bool) -> Table:
    """Nanoseconds a character for near misses of each kind, the dearest first. "together": the first, the third, the
    fourth and the fifth as a request has them, and how many times as much that is as on clean text. "stream": what all
    four guardrails for answers take for a token of four characters, microseconds."""
    chars = _ADVERSARIAL_CHARS // (5 if quick else 1)
    checks = {"together": _check_all, **_guardrails()}
    rows = []
    for name in ("clean", *MAKERS):
        text = repeat(CLEAN["clean"], chars) if name == "clean" else make_text(name, chars)
        took = [min(time_rounds(partial(check, text), least=2).cpu_us) * 1e3 / chars for check in checks.values()]
        rows.append((name, took, stream_token_us(text[:_STREAM_CHARS])))
    clean = rows[0][1][0]
    rows[1:] = sorted(rows[1:], key=lambda row: -row[1][0])
    cells = [
        (name, f"{took[0]:.1f} ({took[0] / clean:.1f}×)", *(f"{ns:.1f}" for ns in took[1:]), f"{token:.0f}")
        for name, took, token in rows
    ]
    return Table((f"adversarial, ns a character, {chars:,}", *checks, "stream, µs a token"), cells)


def _refuse_injections(text: str) -> None:
    with suppress(GuardrailBlocked):
        injection_finder().check(text)


def measure_clean(quick: bool) -> Table:
    """Microseconds on clean English and German text; the sum is that of one guardrail of each kind."""
    columns = [(name, chars) for name in CLEAN for chars in _CHARS]
    rows, sums = [], [0.0] * len(columns)
    for name, check in _guardrails().items():
        took = [
            min(
                time_rounds(
                    partial(check, repeat(CLEAN[language], chars)),
                    times=max(1, 100_000 // chars),
                    least=3 if quick else 9,
                ).wall_us
            )
            for language, chars in columns
        ]
        rows.append((name, *(f"{us:,.1f}" for us in took)))
        if "20 types" not in name:
            sums = [total + us for total, us in zip(sums, took, strict=True)]
    rows.append(("together", *(f"{us:,.1f}" for us in sums)))
    return Table(("clean text, µs", *(f"{name} {chars:,}" for name, chars in columns)), rows)


def measure_hostile(quick: bool) -> Table:
    """Nanoseconds a character on a megabyte, and how many times as much that is as on clean text."""
    chars = _HOSTILE_CHARS // (8 if quick else 1)
    texts = {name: repeat(text, chars) for name, text in {"clean": CLEAN["clean"], **HOSTILE}.items()}
    guardrails = _guardrails()
    for check in guardrails.values():
        check(texts["zero-widths"][:1_000])  # what is compiled once
        check(texts["clean"])
    took = {
        name: {
            text: min(time_rounds(partial(check, full), least=2, seconds=0.05).cpu_us) * 1e3 / chars
            for text, full in texts.items()
        }
        for name, check in guardrails.items()
    }
    rows = [
        (text, *(f"{took[name][text]:.1f} ({took[name][text] / took[name]['clean']:.1f}×)" for name in guardrails))
        for text in texts
    ]
    return Table((f"ns a character, {chars:,} characters", *guardrails), rows)
