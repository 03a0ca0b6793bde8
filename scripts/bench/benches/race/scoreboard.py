"""Every fault against two candidates and a limit of 30 s: seconds to a good answer, and calls that reached the first.

All rows run at once, each with an endpoint and models of its own: no breaker knows of another row's failures.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import median

import trio
from attrs import asdict, define, evolve, field, frozen

from scripts.bench.benches.race import flapping
from scripts.bench.benches.race.faults import FAULTS, Fault, Kind, Who, behaviour_of, find_fault
from scripts.bench.harness.cli import say
from scripts.bench.harness.client import Answer, CutShort, Hung, call, read_said
from scripts.bench.harness.gateway import Endpoint, Place
from scripts.bench.harness.processes import HOST, find_free_ports
from scripts.bench.harness.site import Provider, RunningGateway, Site
from scripts.bench.harness.tables import Report, Table

LIMIT_S = 30.0
# The gateway may need a little more than its limit to say so; a client that waits longer calls it hung.
_HUNG_S = LIMIT_S + 5.0
_DEADLINE = {"deadline_ms": 30_000, "stream_deadline_ms": 30_000}
_LIMITS = {**_DEADLINE, "attempt_timeout_ms": 5_000, "first_token_timeout_ms": 5_000, "idle_timeout_ms": 5_000}
_LEGEND = (
    "seconds to an answer: the first request's / the others' median (calls that reached the failing one of requests)"
)
# Rows start this far apart: what is measured is a request, not a crowd of them.
_APART_S = 0.15


@frozen(slots=True)
class Variant:
    """How the endpoints are set, and how many requests a row has for each kind of fault."""

    name: str
    settings: Mapping[str, object]
    requests: int = 12
    slow_requests: int = 6
    restarts: bool = False


VARIANTS = (
    # One slow request: it takes most of the 30 s.
    Variant("the deadline alone", _DEADLINE, slow_requests=1),
    Variant("limits of 5 s", _LIMITS),
    # So few that the hedge budget's reserve of 20 pays for all slow rows.
    Variant("and hedge after 1 s", {**_LIMITS, "hedge_after_ms": 1_000}, slow_requests=3),
    Variant("and restart", {**_LIMITS, "on_stream_failure": "restart"}, restarts=True),
)


@define(eq=False)
class Row:
    """One fault, one kind of answer, one variant; `wrong` says what broke its verdict."""

    fault: Fault
    kind: Kind
    variant: Variant
    slug: str
    first_model: str
    seconds: list[float] = field(factory=list)
    calls: int | None = None
    wrong: list[str] = field(factory=list)

    @property
    def who(self) -> Who:
        """Who may answer: where streams are restarted, the client need not be told of their end."""
        return "other" if self.variant.restarts else self.fault.who

    @property
    def request_count(self) -> int:
        return self.variant.slow_requests if self.fault.slow else self.variant.requests

    def __str__(self) -> str:
        return f"{self.fault.name} ({self.kind}), {self.variant.name}"

    def endpoint(self) -> Endpoint:
        credential = "refused" if self.fault.refused else "first"
        candidates = [Place(credential, self.first_model), Place("other", f"{self.slug}?{behaviour_of('other')}")]
        return Endpoint(self.slug, candidates, self.variant.settings)


def make_rows(quick: bool) -> list[Row]:
    """The rows in the table's order. A quick run leaves out the variant that waits for most of 30 s."""
    variants = [evolve(variant, slow_requests=min(variant.slow_requests, 4)) for variant in VARIANTS[1:]]
    rows = []
    for number, fault in enumerate(FAULTS):
        for kind in fault.kinds:
            for index, variant in enumerate(variants if quick else VARIANTS):
                if variant.restarts and fault.who != "told":
                    continue
                slug = f"f{number}-{kind}-{index}"
                model = f"{slug}?{behaviour_of('first')}&{fault.behaviour}".rstrip("&")
                rows.append(Row(fault, kind, variant, slug, model))
    return rows


def run(site: Site, *, quick: bool) -> Report:
    """All rows at once, then the primaries that flap."""
    rows, flappings = make_rows(quick), flapping.make_flappings()
    with _open(site, [*rows, *flappings], [one.credential for one in flappings]) as (gateway, providers):
        trio.run(_run_rows, gateway, rows)
        counts = providers["first"].count_calls()
        duration_s = flapping.QUICK_S if quick else flapping.FULL_S
        trio.run(flapping.run_flappings, gateway, providers, flappings, duration_s)
    for row in rows:
        if not row.fault.refused:
            row.calls = counts[row.first_model]
            judge_calls(row)
    wrong = [f"{row}: {text}" for row in rows for text in row.wrong]
    wrong += [f"flapping, {one.name}: {text}" for one in flappings for text in one.wrong]
    raw_rows = [{**asdict(row, filter=lambda a, _: a.name != "variant"), "variant": row.variant.name} for row in rows]
    raw = {"rows": raw_rows, "flapping": flappings}
    return Report([make_table(rows), flapping.make_flapping_table(flappings)], raw, wrong)


@contextlib.contextmanager
def _open(
    site: Site, rows: Sequence[Row | flapping.Flapping], flapping_names: Sequence[str]
) -> Iterator[tuple[RunningGateway, Mapping[str, Provider]]]:
    (closed_port,) = find_free_ports(1)
    with site.run_providers("first", *dict.fromkeys(flapping_names), "other") as (providers, addresses):
        addresses["refused"] = f"http://{HOST}:{closed_port}/v1"
        with site.open_gateway(addresses, [row.endpoint() for row in rows]) as gateway:
            yield gateway, providers


async def _run_rows(gateway: RunningGateway, rows: Sequence[Row]) -> None:
    async with trio.open_nursery() as nursery:
        for row in rows:
            nursery.start_soon(_run_row, gateway, row)
            await trio.sleep(_APART_S)
        say(f"all {len(rows)} rows are under way …")


async def _run_row(gateway: RunningGateway, row: Row) -> None:
    for _ in range(row.request_count):
        await _ask(gateway, row, row.who)
    if row.fault.pause_s:
        await trio.sleep(row.fault.pause_s)
        await _ask(gateway, row, row.fault.after_pause)
    if row.wrong:
        say(f"{row}: {row.wrong[0]}")


async def _ask(gateway: RunningGateway, row: Row, who: Who) -> None:
    request = gateway.request(row.slug, {"message": "Hello there", "stream": row.kind == "stream"})
    try:
        answer = await call(gateway.port, request, _HUNG_S)
    except (Hung, CutShort, OSError) as exc:
        row.wrong.append(f"{type(exc).__name__}: {exc}")
        row.seconds.append(math.inf)
        return
    row.seconds.append(answer.seconds)
    if answer.seconds > LIMIT_S + 0.5:
        row.wrong.append(f"{answer.seconds:.2f} s where the limit is {LIMIT_S:g} s")
    if wrong := _find_fault(row.fault, who, answer):
        row.wrong.append(wrong)


def _find_fault(fault: Fault, who: Who, answer: Answer) -> str | None:
    try:
        said = read_said(answer)
    except (ValueError, KeyError, TypeError) as exc:
        return f"status {answer.status}, unreadable: {type(exc).__name__}: {exc}"
    return find_fault(who, fault.finish_reason, answer.status, said)


def judge_calls(row: Row) -> None:
    """A failing candidate gets few calls, and a candidate that answered is not asked again."""
    assert row.calls is not None
    requests = len(row.seconds)
    most = requests if row.fault.most_calls is None else row.fault.most_calls
    # The request after the pause may be a call of its own.
    most += bool(row.fault.pause_s)
    if row.calls > most:
        row.wrong.append(f"{row.calls} calls reached it; {most} of {requests} requests may")
    if row.fault.who == "first" and row.calls != requests:
        row.wrong.append(f"{row.calls} calls for {requests} requests: asked again without need")


def make_table(rows: Sequence[Row]) -> Table:
    """A row for each fault and kind; for each variant seconds to an answer, and calls that reached the first one."""
    variants = list(dict.fromkeys(row.variant.name for row in rows))
    lines = []
    for fault, kind in dict.fromkeys((row.fault.name, row.kind) for row in rows):
        own = [row for row in rows if (row.fault.name, row.kind) == (fault, kind)]
        cells = {row.variant.name: _format_cell(row) for row in own}
        verdict = "FAILED" if any(row.wrong for row in own) else "passed"
        lines.append((f"{fault} ({kind})", *(cells.get(name, "–") for name in variants), verdict))
    return Table(("fault", *variants, "verdict"), lines, notes=(_LEGEND,))


def _format_cell(row: Row) -> str:
    first, *then = row.seconds
    rest = f"{median(then):.3f}" if then else "–"
    calls = "–" if row.calls is None else str(row.calls)
    return f"{first:.3f} / {rest} ({calls} of {len(row.seconds)})"
