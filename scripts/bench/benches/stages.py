"""Microseconds of each pure stage, on clean and on hostile text: reading, the guardrails, the schemas.

Hostile text may cost more than clean text. What must hold is that the cost grows no faster than the text: the last
column is the time for the whole text over the time for a quarter of it, and 4 means linear.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from uuid import UUID

import orjson

from pg_trio.config.settings import GatewaySettings
from pg_trio.domain.call import RequestHead
from pg_trio.domain.chat import ChatRequest, Message
from pg_trio.domain.guardrails import ContentLength, GuardrailRules, KeywordBlocklist, PiiFilter, PromptInjection
from pg_trio.errors import GatewayError
from pg_trio.stages.guardrails import compile_chain
from pg_trio.stages.schemas.compiled import compile_schema
from pg_trio.surfaces.gateway.chat_request import read_chat_request
from scripts.bench.harness.cli import say
from scripts.bench.harness.tables import Report, Table
from scripts.bench.harness.timing import time_rounds

CLEAN = {
    "clean": "The quick brown fox jumps over 12 lazy dogs, and asks for the report of March. ",
    "clean, German": "Für die Prüfung der Übergabe bitten wir um Rückmeldung, möglichst bis März. ",
}
# fmt: off
HOSTILE = {
    "e-mails": "a@b.co ", "almost e-mails": "a@a.", "dots and digits": "1.1.", "colons and digits": "1:1:",
    "addresses": "1.1.1.1 ", "almost cards": "4444 ", "almost IBANs": "DE12 ", "almost numbers": "0171 ",
    "one digit": "1", "parentheses": "(0", "ignore ignore": "ignore all ", "combining marks": "\u0323\u0301",
    "full width": "ｉｇｎ", "telephone words": "tel ", "words and digits": "call me at 12 ",
    "bare telephones": "tel 2125552368 ", "telephones": "212-555-2368 ", "named ids": "ticket 212-555-2368 ",
    "retina images": "a@2x.png ", "a long name": "aaaaaaaa", "long names": "a.b@c@", "plus signs": "+49 ",
    "figures": "1 1 ", "rows of figures": "4111 1111 1111 ", "slices": "x[::1] ", "versions": "version 1.2.3.4 ",
    "excused": "ignore the above instructions on the form ", "chat tokens": "[/INST] ", "system tags": "<<SYS>> a ",
    "fences": "```[INST] a\n", "invisible": "ignore\u200ball\u200b",
}
# fmt: on
CHAINS = {
    "pii_filter": GuardrailRules(pii_filter=PiiFilter()),
    "prompt_injection": GuardrailRules(prompt_injection=PromptInjection()),
    "keyword_blocklist (200)": GuardrailRules(
        keyword_blocklist=KeywordBlocklist(words=tuple(f"forbidden{number}" for number in range(200)))
    ),
    "content_length": GuardrailRules(content_length=ContentLength(max=100_000_000)),
}
_CONTENT = {"type": "object", "properties": {"content": {"type": "string", "pattern": "^(.|\\s)*$"}}}
CHAT_SCHEMA = {
    "type": "object",
    "required": ["messages"],
    "properties": {"messages": {"type": "array", "items": _CONTENT}},
}
LIMITS = GatewaySettings()
HEAD = RequestHead(UUID(int=1), "p", "ask", [], None, [], 0.0, 0.0)


def run(options: Namespace) -> Iterator[Report]:
    """Clean text of several sizes, then hostile text of one."""
    budget_s = 0.02 if options.quick else 0.3
    rows = []
    for row in clean_rows([1_024, 10_240] if options.quick else [1_024, 10_240, 1_048_576], budget_s):
        say(" ".join(row))
        rows.append(row)
    for row in hostile_rows(65_536 if options.quick else 1_048_576, budget_s):
        say(" ".join(row))
        rows.append(row)
    yield Report([Table(("stage", "text", "chars", "µs", "µs/KiB", "× for 4×"), rows)])


def best_us(work: Callable[[], object], budget_s: float) -> float:
    """Microseconds of the quickest of several runs: three at least, and as many as the time allows."""

    def call() -> None:
        with suppress(GatewayError):
            work()

    return min(time_rounds(call, least=3, seconds=budget_s).wall_us)


def make_row(stage: str, text: str, size: int, whole_us: float, quarter_us: float | None = None) -> tuple[str, ...]:
    """A row; without a quarter it has no ratio."""
    ratio = "–" if quarter_us is None else f"{whole_us / quarter_us:.1f}"
    return stage, text, f"{size:,}", f"{whole_us:,.1f}", f"{whole_us / size * 1024:.2f}", ratio


def clean_rows(sizes: list[int], budget_s: float) -> Iterator[tuple[str, ...]]:
    schema = compile_schema(CHAT_SCHEMA)
    for name, piece in CLEAN.items():
        for size in sizes:
            body = orjson.dumps({"messages": [{"role": "user", "content": fill(piece, size)}]})
            read = partial(read_chat_request, body, limits=LIMITS, head=HEAD)
            request = read()
            works: dict[str, Callable[[], object]] = {"read_request": read}
            works |= {stage: partial(compile_chain(rules).apply, request) for stage, rules in CHAINS.items()}
            works["input_schema"] = partial(schema.find_failure, request.body)
            for stage, work in works.items():
                yield make_row(stage, name, size, best_us(work, budget_s))


def hostile_rows(size: int, budget_s: float) -> Iterator[tuple[str, ...]]:
    chains = [(stage, compile_chain(CHAINS[stage])) for stage in ("pii_filter", "prompt_injection")]
    for name, piece in HOSTILE.items():
        whole, quarter = (
            ChatRequest(messages=(Message("user", fill(piece, length)),), body={}) for length in (size, size // 4)
        )
        for stage, chain in chains:
            times = [best_us(partial(chain.apply, request), budget_s) for request in (whole, quarter)]
            yield make_row(stage, name, size, *times)


def fill(piece: str, characters: int) -> str:
    return (piece * (characters // len(piece) + 1))[:characters]
