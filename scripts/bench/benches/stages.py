"""Microseconds of each pure stage, on clean and on hostile text: reading, the guardrails, the schemas.

Hostile text may cost more than clean text. What must hold is that the cost grows no faster than the text: the last
column is the time for the whole text over the time for a quarter of it, and 4 means linear.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from uuid import UUID

import orjson

from pg_trio.config.settings import GatewaySettings
from pg_trio.domain.call import RequestHead
from pg_trio.domain.chat import ChatRequest
from pg_trio.domain.guardrails import ContentLength, GuardrailRules, KeywordBlocklist, PiiFilter, PromptInjection
from pg_trio.errors import GatewayError
from pg_trio.stages.guardrails import compile_chain
from pg_trio.stages.guardrails.chain import Chain
from pg_trio.stages.schemas.compiled import compile_schema
from pg_trio.surfaces.gateway.chat_request import read_chat_request
from scripts.bench.harness.cli import Options, Reports, say
from scripts.bench.harness.tables import Report, Table
from scripts.bench.harness.target import repeat
from scripts.bench.harness.timing import time_rounds

# fmt: off
CLEAN = {
    "clean": "The quick brown fox jumps over 12 lazy dogs, and asks for the report of March. ",
    "clean, German": "Für die Prüfung der Übergabe bitten wir um Rückmeldung, möglichst bis März. ",
}
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
RULES = {
    "pii_filter": PiiFilter(),
    "prompt_injection": PromptInjection(),
    "keyword_blocklist": KeywordBlocklist(words=tuple(f"forbidden{number}" for number in range(200))),
    "content_length": ContentLength(max=100_000_000),
}
_CONTENT = {"type": "object", "properties": {"content": {"type": "string", "pattern": "^(.|\\s)*$"}}}
_MESSAGES = {"messages": {"type": "array", "items": _CONTENT}}
CHAT_SCHEMA = {"type": "object", "required": ["messages"], "properties": _MESSAGES}
LIMITS, HEAD = GatewaySettings(), RequestHead(UUID(int=1), "p", "ask", [], None, [], 0.0, 0.0)


def make_body(text: str) -> bytes:
    return orjson.dumps({"messages": [{"role": "user", "content": text}]})


def read(body: bytes) -> ChatRequest:
    return read_chat_request(body, limits=LIMITS, head=HEAD)


def scan(chain: Chain, request: ChatRequest) -> None:
    """A refusal is a result like any other."""
    with suppress(GatewayError):
        chain.apply(request)


def run(options: Options) -> Reports:
    rows, budget_s = [], 0.02 if options.quick else 0.3
    clean = [(name, size) for name in CLEAN for size in (1_024, 10_240, *([] if options.quick else [1_048_576]))]
    hostile = [(name, 65_536 if options.quick else 1_048_576) for name in HOSTILE]
    for name, size in [*clean, *hostile]:
        is_clean, text = name in CLEAN, repeat({**CLEAN, **HOSTILE}[name], size)
        for stage, make_work in make_works(is_clean).items():
            whole_us = best_us(make_work(text), budget_s)
            ratio = "–" if is_clean else f"{whole_us / best_us(make_work(text[: size // 4]), budget_s):.1f}"
            rows.append((stage, name, f"{size:,}", f"{whole_us:,.1f}", f"{whole_us / size * 1024:.2f}", ratio))
            say(" ".join(rows[-1]))
    yield Report([Table(("stage", "text", "chars", "µs", "µs/KiB", "× for 4×"), rows)])


def make_works(is_clean: bool) -> dict[str, Callable[[str], Callable[[], object]]]:
    """What each stage does with a text; hostile text is for those that search it."""
    chains = {name: compile_chain(GuardrailRules(**{name: rule})) for name, rule in RULES.items()}  # type: ignore[arg-type]

    def scanning(chain: Chain) -> Callable[[str], Callable[[], object]]:
        return lambda text: partial(scan, chain, read(make_body(text)))

    if not is_clean:
        return {name: scanning(chains[name]) for name in ("pii_filter", "prompt_injection")}
    schema = compile_schema(CHAT_SCHEMA)
    named = {
        f"{name} (200)" if name == "keyword_blocklist" else name: scanning(chain) for name, chain in chains.items()
    }
    return {
        "read_request": lambda text: partial(read, make_body(text)),
        **named,
        "input_schema": lambda text: partial(schema.find_failure, read(make_body(text)).body),
    }


def best_us(work: Callable[[], object], budget_s: float) -> float:
    """Microseconds of the quickest of several runs: three at least, and as many as the time allows."""
    return min(time_rounds(work, least=3, seconds=budget_s).wall_us)
