"""What each trick of the hot path is worth: beside its plain twin, and as a share of a request.

A trick is code that is harder to read than its plain twin and does the same. Both are timed by turns in one process;
the least of many rounds counts, because other processes only add time. The worth is the difference, times the uses of
one request, over a request's CPU time; and the same for bytecodes, which do not depend on the machine but do not see C
code. A trick that saves less than 3 % of both goes (docs/decisions/014-tricks-and-states.md).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from types import FrameType
from typing import Any, NamedTuple
from uuid import UUID

import attrs
import re2
import trio
from attrs import frozen

from pg_trio.config.settings import ServerSettings
from pg_trio.domain.chat import ChatRequest
from pg_trio.domain.guardrails import ContentLength, GuardrailRules, KeywordBlocklist, PiiFilter, PromptInjection
from pg_trio.racing.deadline import Deadline, LastingScope
from pg_trio.racing.deadline_keeper import DeadlineKeeper
from pg_trio.server.http1.head import read_head
from pg_trio.server.http1.incoming import Incoming
from pg_trio.server.http1.response import Response
from pg_trio.stages.guardrails import compile_chain
from pg_trio.stages.guardrails.chain import Chain
from pg_trio.stages.guardrails.linear import Pattern, compile_pattern
from scripts.bench.benches.stages import CLEAN, make_body, read, scan
from scripts.bench.harness.cli import Options, Reports, say
from scripts.bench.harness.tables import Report, Table

# One request with every stage on: CPU time (docs/performance.md, "CPU µs/req") and bytecodes (scripts/bench/steps).
REQUEST_US, REQUEST_STEPS = 187.0, 8_830
# The least that a trick must save.
BAR_PERCENT = 3.0
TEXT = CLEAN["clean"] * 3
# As OpenAI's Python SDK sends it.
HEAD = (
    b"POST /api/11111111-1111-4111-8111-111111111111/summarize HTTP/1.1\r\nhost: 127.0.0.1:8000\r\n"
    b"accept-encoding: gzip, deflate\r\nconnection: keep-alive\r\naccept: application/json\r\n"
    b"content-type: application/json\r\nuser-agent: OpenAI/Python 2.8.1\r\nx-stainless-lang: python\r\n"
    b"x-stainless-package-version: 2.8.1\r\nx-stainless-os: Linux\r\nx-stainless-arch: x64\r\n"
    b"x-stainless-runtime: CPython\r\nx-stainless-runtime-version: 3.11.7\r\nx-stainless-async: false\r\n"
    b"authorization: Bearer pgt_0123456789abcdef0123456789abcdef0123456789abcdef\r\n"
    b"x-stainless-retry-count: 0\r\nx-stainless-read-timeout: 600\r\ncontent-length: 312\r\n\r\n"
)
FIELDS = {
    "content-type": "application/json",
    "x-request-id": str(UUID(int=1)),
    "x-pg-provider": "openai",
    "x-pg-model": "gpt-4o-mini",
    "x-pg-attempts": "1",
    "server-timing": "auth;dur=0.1, read;dur=0.1, provider;dur=200.1",
}
FIELDS_TEMPLATE = "".join(f"{name}: %b\r\n" for name in FIELDS).encode()
FIELD_VALUES = tuple(value.encode() for value in FIELDS.values())
BODY = b"x" * 300
# The guardrails of `scripts/bench/steps`.
RULES = GuardrailRules(
    pii_filter=PiiFilter(),
    prompt_injection=PromptInjection(),
    keyword_blocklist=KeywordBlocklist(words=("alpha", "beta", "gamma")),
    content_length=ContentLength(max=10_000_000),
)
# `@value` classes that a request makes, of about so many fields (pg_trio/domain/value.py).
VALUES, VALUE_FIELDS = 20, 8
# Over which bytecodes are counted.
STEP_USES = 20
Timed = Callable[[int], float]


@frozen
class Trick:
    """`trick` and `plain` take a count and give the seconds that so many uses took; `uses`: of one request."""

    name: str
    uses: float
    plain: Timed
    trick: Timed


def calls(work: Callable[[], object]) -> Timed:

    def timed(count: int) -> float:
        numbers = range(count)
        began = time.perf_counter()
        for _ in numbers:
            work()
        return time.perf_counter() - began

    return timed


# ── the tricks, and their plain twins ────────────────────────────────────────────────────────────────────────────────


def make_head_trick() -> Trick:
    """A head of the same bytes as the one before is recalled, not read again."""
    incoming = Incoming(ServerSettings())
    incoming.find_head(HEAD)
    plain = partial(read_head, HEAD, max_head_bytes=65_536, max_header_count=100)
    return Trick("known head (server/http1/head.py)", 1, calls(plain), calls(partial(incoming.find_head, HEAD)))


def make_value_trick() -> Trick:
    """Values are frozen for the type checker only."""
    names = [f"field{number}" for number in range(VALUE_FIELDS)]
    plain = partial(attrs.make_class("Plain", names, frozen=True, slots=True), *names)
    trick = partial(attrs.make_class("Trick", names, slots=True), *names)
    return Trick("values (domain/value.py)", VALUES, calls(plain), calls(trick))


def make_answer_trick() -> Trick:
    """The fields of a whole answer are one formatting operation, instead of a list that ASGI's message checks."""

    def plain() -> None:
        fields = [(name.encode(), value.encode()) for name, value in FIELDS.items()]
        response = Response("POST", "1.1")
        response.start({"type": "http.response.start", "status": 200, "headers": fields})
        response.part(BODY, more=False, keep_alive=True)

    def trick() -> None:
        Response("POST", "1.1").whole(200, FIELDS_TEMPLATE % FIELD_VALUES, BODY, keep_alive=True)

    return Trick("byte template (surfaces/http_answer.py)", 1, calls(plain), calls(trick))


def make_search_trick() -> Trick:
    """RE2's own search, below the library's Python layer."""
    words, data = r"\b(?:forbidden|words)\b", TEXT.encode()
    plain, trick = partial(re2.compile(words.encode()).search, data), partial(compile_pattern(words).search, data)
    name = "RE2's private members (guardrails/linear.py), clean text"
    return Trick(name, count_searches(compile_chain(RULES), read(make_body(TEXT))), calls(plain), calls(trick))


def make_hostile_trick() -> Trick:
    """The same in a list of e-mail addresses, where the library's layer makes a generator and a match each time.

    The work is not a request's but that of scanning the text: `uses` makes the saving a share of it.
    """
    data = b"a@b.co " * 1_000
    plain = partial(re2.compile(rb"@b").search, data, 400)
    trick = partial(compile_pattern(r"@b").search, data, 400)
    chain, request = compile_chain(RULES), read(make_body("a@b.co " * 4_500))
    searches = count_searches(chain, request)
    scan_us = min(calls(partial(scan, chain, request))(1) for _ in range(5)) * 1e6
    name = f"the same, a list of e-mails ({searches} searches, share of the scan)"
    return Trick(name, searches * REQUEST_US / scan_us, calls(plain), calls(trick))


def count_searches(chain: Chain, request: ChatRequest) -> int:
    """How many searches the guardrails make in a request."""
    searched, search = list[int](), Pattern.search

    def counted(self: Pattern, text: bytes, pos: int = 0) -> tuple[int, int] | None:
        searched.append(pos)
        return search(self, text, pos)

    Pattern.search = counted  # type: ignore[method-assign]
    try:
        scan(chain, request)
    finally:
        Pattern.search = search  # type: ignore[method-assign]
    return len(searched)


def time_task(work: Callable[[int], Awaitable[float]], count: int) -> float:
    """Seconds that a task measured itself."""
    return trio.run(work, count)


def make_scope_trick() -> Trick:
    """One cancel scope a connection for the deadlines of its requests, instead of one scope a request."""

    async def plain(count: int) -> float:
        return time_deadlines(count, None)

    async def trick(count: int) -> float:
        with LastingScope() as lasting:
            return time_deadlines(count, lasting)

    return Trick("lasting scope (racing/deadline.py)", 1, partial(time_task, plain), partial(time_task, trick))


def make_keeper_trick() -> Trick:
    """A connection's next deadline is noted, not set in Trio."""

    async def plain(count: int) -> float:
        with LastingScope() as lasting:
            return time_deadlines(count, lasting)

    async def trick(count: int) -> float:
        with LastingScope(DeadlineKeeper()) as lasting:
            return time_deadlines(count, lasting)

    name = "kept deadline (racing/deadline_keeper.py)"
    return Trick(name, 1, partial(time_task, plain), partial(time_task, trick))


def time_deadlines(count: int, lasting: LastingScope | None) -> float:
    """Seconds that the deadlines of so many requests take."""
    began, at = time.perf_counter(), trio.current_time() + 600.0
    for _ in range(count):
        with Deadline(lasting=lasting) as deadline:
            deadline.move(at)
    return time.perf_counter() - began


TRICKS = (
    make_head_trick,
    make_value_trick,
    make_answer_trick,
    make_search_trick,
    make_hostile_trick,
    make_scope_trick,
    make_keeper_trick,
)


# ── measuring ────────────────────────────────────────────────────────────────────────────────────────────────────────


def count_steps(run: Timed) -> float:
    """Bytecodes of one use, without those around the loop."""
    counts = []
    for uses in (STEP_USES, 2 * STEP_USES):
        counted = 0

        def step(frame: FrameType, event: str, _: object) -> Any:
            nonlocal counted
            frame.f_trace_opcodes = True
            counted += event == "opcode"
            return step

        sys.settrace(step)
        try:
            run(uses)
        finally:
            sys.settrace(None)
        counts.append(counted)
    return (counts[1] - counts[0]) / STEP_USES


class Worth(NamedTuple):
    """What a trick saves: the twins' microseconds a use, and what all uses of a request save of it."""

    plain_us: float
    trick_us: float
    saved_us: float
    saved_us_percent: float
    saved_steps: float
    saved_steps_percent: float


def measure(trick: Trick, rounds: int, count: int) -> Worth:
    seconds = [(trick.plain(count), trick.trick(count)) for _ in range(rounds)]
    plain_us, trick_us = (min(times) / count * 1e6 for times in zip(*seconds, strict=True))
    us, steps = plain_us - trick_us, count_steps(trick.plain) - count_steps(trick.trick)
    us, steps = us * trick.uses, steps * trick.uses
    return Worth(plain_us, trick_us, us, 100 * us / REQUEST_US, steps, 100 * steps / REQUEST_STEPS)


def run(options: Options) -> Reports:
    rounds, count = (3, 200) if options.quick else (30, 4_000)
    rows, raw = list[tuple[str, ...]](), {}
    for trick in (make() for make in TRICKS):
        worth = measure(trick, rounds, count)
        figures = "{:.2f}|{:.2f}|{:.1f}|{:.1f} %|{:.0f}|{:.1f} %".format(*worth).split("|")
        stays = max(worth.saved_us_percent, worth.saved_steps_percent) >= BAR_PERCENT
        rows.append((trick.name, f"{trick.uses:g}", *figures, "stays" if stays else "goes"))
        say(" ".join(rows[-1]))
        raw[trick.name] = worth._asdict() | {"uses": trick.uses}
    saved = ("saved µs", "of a request", "bytecodes saved", "of a request")
    yield Report([Table(("trick", "uses", "plain µs", "trick µs", *saved, "verdict"), rows)], raw)
