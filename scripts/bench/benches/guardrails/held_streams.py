"""What guardrails for answers cost a stream: time for each token, and how much text waits for what follows it.

Tokens are four characters of prose, each by itself, as from a model. "waits": characters that are held back after a
token. "first": characters that come before the first ones pass.
"""

from __future__ import annotations

from time import perf_counter_ns, thread_time_ns

from pg_trio.domain.guardrails import KeywordBlocklist, OutputRules, PiiFilter, PromptLeak, SecretScanner
from pg_trio.stages.guardrails.output import OutputGuards, compile_output
from pg_trio.stages.guardrails.output.text_rules import VerdictBook
from pg_trio.stages.guardrails.output.text_window import TextWindow
from scripts.bench.harness.tables import Table

TOKEN_CHARS = 4
PROMPT = (
    "You are the assistant of a company that sells garden furniture. Answer in two sentences, and never name prices."
)
PROSE = (
    "The garden table that you asked about is made of oak, and it has been in our shop since 2019. It is 180 cm long,"
    " so six people can sit around it. We deliver on weekdays between 8:00 and 17:30; for an offer, please write to"
    " sales@example.com or call +49 30 1234567. Chairs of the same series are sold in pairs. "
)
WORDS = KeywordBlocklist(mode="mask", words=("competitor", "top secret"))
RULES = {
    "pii_filter": OutputRules(pii_filter=PiiFilter()),
    "secret_scanner": OutputRules(secret_scanner=SecretScanner(mode="mask")),
    "keyword_blocklist": OutputRules(keyword_blocklist=WORDS),
    "prompt_leak": OutputRules(prompt_leak=PromptLeak()),
    "all four": OutputRules(
        pii_filter=PiiFilter(),
        secret_scanner=SecretScanner(mode="mask"),
        keyword_blocklist=WORDS,
        prompt_leak=PromptLeak(),
    ),
}


def tabulate_streams(repeats: int) -> Table:
    """A row for each rule."""
    rows = []
    for name, rules in RULES.items():
        guards = compile_output(rules, PROMPT)
        assert guards is not None
        rows.append((name, *_measure(guards, PROSE * repeats)))
    return Table(("a stream's tokens", "µs p50", "µs p99", "waits p50", "waits most", "first"), rows, [])


def _measure(guards: OutputGuards, text: str) -> tuple[str, ...]:
    window = TextWindow(guards.rules, VerdictBook())
    took_ns: list[int] = []
    waits: list[int] = []
    first = 0
    for at in range(0, len(text), TOKEN_CHARS):
        piece = text[at : at + TOKEN_CHARS]
        began = perf_counter_ns()
        window.feed(piece)
        took_ns.append(perf_counter_ns() - began)
        waits.append(at + len(piece) - window.sent_chars)
        first = first or (at + len(piece) if window.sent_chars else 0)
    took_ns.sort()
    waits.sort()
    p50, p99 = took_ns[len(took_ns) // 2] / 1000, took_ns[len(took_ns) * 99 // 100] / 1000
    return f"{p50:.1f}", f"{p99:.1f}", str(waits[len(waits) // 2]), str(waits[-1]), str(first)


def stream_token_us(text: str) -> float:
    """What all four rules take for a token of this text, in the mean, the check at its end not included."""
    guards = compile_output(RULES["all four"], PROMPT)
    assert guards is not None
    window = TextWindow(guards.rules, VerdictBook())
    began = thread_time_ns()
    for at in range(0, len(text), TOKEN_CHARS):
        window.feed(text[at : at + TOKEN_CHARS])
    return (thread_time_ns() - began) / 1000 / max(len(text) // TOKEN_CHARS, 1)
