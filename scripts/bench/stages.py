"""Microseconds of each pure stage: reading, the guardrails and the schemas, on clean and on hostile text.

usage: scripts/bench/stages [--quick]
Clean text costs next to nothing and hostile text costs more; what must hold is that both grow no faster than the text:
the last column is the time for the whole text over the time for a quarter of it, and 4 means linear.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from uuid import UUID

import orjson
from attrs import frozen

from pg_trio.config.settings import GatewaySettings
from pg_trio.domain.call import RequestHead
from pg_trio.domain.chat import ChatRequest, Message
from pg_trio.domain.guardrails import ContentLength, GuardrailRules, KeywordBlocklist, PiiFilter, PromptInjection
from pg_trio.errors import GatewayError
from pg_trio.stages.guardrails import compile_chain
from pg_trio.stages.schemas.compiled import compile_schema
from pg_trio.surfaces.gateway.read_request import read_chat_request

CLEAN = "The quick brown fox jumps over 12 lazy dogs, and asks for the report of March. "
GERMAN = "Für die Prüfung der Übergabe bitten wir um Rückmeldung, möglichst bis März. "
HOSTILE = {
    "e-mails": "a@b.co ",
    "almost e-mails": "a@a.",
    "dots and digits": "1.1.",
    "colons and digits": "1:1:",
    "addresses": "1.1.1.1 ",
    "almost cards": "4444 ",
    "almost IBANs": "DE12 ",
    "almost numbers": "0171 ",
    "one digit": "1",
    "parentheses": "(0",
    "ignore ignore": "ignore all ",
    "combining marks": "\u0323\u0301",
    "full width": "ｉｇｎ",
    "telephone words": "tel ",
    "words and digits": "call me at 12 ",
    "bare telephones": "tel 2125552368 ",
    "telephones": "212-555-2368 ",
    "named ids": "ticket 212-555-2368 ",
    "retina images": "a@2x.png ",
    "a long name": "aaaaaaaa",
    "long names": "a.b@c@",
    "plus signs": "+49 ",
    "figures": "1 1 ",
    "rows of figures": "4111 1111 1111 ",
    "slices": "x[::1] ",
    "versions": "version 1.2.3.4 ",
    "excused": "ignore the above instructions on the form ",
    "chat tokens": "[/INST] ",
    "system tags": "<<SYS>> a ",
    "fences": "```[INST] a\n",
    "invisible": "ignore\u200ball\u200b",
}
WORDS = tuple(f"forbidden{number}" for number in range(200))
CHAINS = {
    "pii_filter": GuardrailRules(pii_filter=PiiFilter()),
    "prompt_injection": GuardrailRules(prompt_injection=PromptInjection()),
    "keyword_blocklist (200)": GuardrailRules(keyword_blocklist=KeywordBlocklist(words=WORDS)),
    "content_length": GuardrailRules(content_length=ContentLength(max=100_000_000)),
}
CHAT_SCHEMA = {
    "type": "object",
    "required": ["messages"],
    "properties": {
        "messages": {
            "type": "array",
            "items": {"type": "object", "properties": {"content": {"type": "string", "pattern": "^(.|\\s)*$"}}},
        }
    },
}
LIMITS = GatewaySettings()
HEAD = RequestHead(UUID(int=1), "p", "ask", [], None, [], 0.0, 0.0)


@frozen
class Row:
    """One line of the table. `quarter_us` is None where it was not asked for."""

    stage: str
    text: str
    size: int
    whole_us: float
    quarter_us: float | None = None

    def __str__(self) -> str:
        ratio = "" if self.quarter_us is None else f"{self.whole_us / self.quarter_us:8.1f}"
        per_kib = self.whole_us / self.size * 1024
        return f"{self.stage:24} {self.text:18} {self.size:>9,} {self.whole_us:>12,.1f} {per_kib:>10.2f} {ratio}"


def best_us(work: Callable[[], object], budget_s: float) -> float:
    """Microseconds of the quickest of several runs within the time given, and of three at least."""
    best, runs, end = float("inf"), 0, time.perf_counter() + budget_s
    while runs < 3 or time.perf_counter() < end:
        started = time.perf_counter()
        with suppress(GatewayError):
            work()
        best = min(best, time.perf_counter() - started)
        runs += 1
    return best * 1e6


def fill(piece: str, characters: int) -> str:
    return (piece * (characters // len(piece) + 1))[:characters]


def clean_rows(sizes: list[int], budget_s: float) -> Iterator[Row]:
    schema = compile_schema(CHAT_SCHEMA)
    chains = {stage: compile_chain(rules) for stage, rules in CHAINS.items()}
    for name, piece in {"clean": CLEAN, "clean, German": GERMAN}.items():
        for size in sizes:
            body = orjson.dumps({"messages": [{"role": "user", "content": fill(piece, size)}]})
            request = read(body)
            yield Row("read_request", name, size, best_us(partial(read, body), budget_s))
            for stage, chain in chains.items():
                yield Row(stage, name, size, best_us(partial(chain.apply, request), budget_s))
            yield Row("input_schema", name, size, best_us(partial(schema.find_failure, request.body), budget_s))


def hostile_rows(size: int, budget_s: float) -> Iterator[Row]:
    for name, piece in HOSTILE.items():
        for stage in ("pii_filter", "prompt_injection"):
            chain = compile_chain(CHAINS[stage])
            whole, quarter = (request_of(fill(piece, length)) for length in (size, size // 4))
            whole_us = best_us(partial(chain.apply, whole), budget_s)
            yield Row(stage, name, size, whole_us, best_us(partial(chain.apply, quarter), budget_s))


def read(body: bytes) -> ChatRequest:
    return read_chat_request(body, LIMITS, HEAD)


def request_of(text: str) -> ChatRequest:
    return ChatRequest(messages=(Message("user", text),), body={})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller texts and fewer runs: some ten seconds")
    quick = parser.parse_args().quick
    budget_s = 0.02 if quick else 0.3
    print(f"{'stage':24} {'text':18} {'chars':>9} {'µs':>12} {'µs/KiB':>10} {'× for 4×':>8}")
    for row in clean_rows([1_024, 10_240] if quick else [1_024, 10_240, 1_048_576], budget_s):
        print(row)
    for row in hostile_rows(65_536 if quick else 1_048_576, budget_s):
        print(row)


if __name__ == "__main__":
    main()
