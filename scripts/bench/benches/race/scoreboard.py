"""Every fault against two candidates and a limit of 30 s: seconds to a good answer, and calls that reached the first.

All rows run at once, each with an endpoint and models of its own: no breaker knows of another row's failures. Then a
first candidate that is down and up by turns, down first: how many calls reach it in a minute. Each rhythm has a
provider of its own, since a provider's phases are counted from its start.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median

import trio
from attrs import asdict, define, evolve, field, frozen

from scripts.bench.benches.race.faults import BOTH, BREAKER_CALLS, FAULTS, Fault, Kind, Who, behaviour_of, find_fault
from scripts.bench.harness.cli import say
from scripts.bench.harness.client import run_crowd
from scripts.bench.harness.gateway import Endpoint
from scripts.bench.harness.site import Provider, RunningGateway, Site
from scripts.bench.harness.tables import Report, Table, spread

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
# Seconds down and up.
RHYTHMS = ((1, 1), (5, 5), (15, 5))
_FULL_FLAP_S, _QUICK_FLAP_S, _FLAP_EVERY_S = 60.0, 20.0, 0.2


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
_FLAPPING = Variant("flapping", _DEADLINE)


@define(eq=False)
class Row:
    """One fault, one kind of answer, one variant; `wrong` says what broke its verdict."""

    fault: Fault
    kind: Kind
    variant: Variant
    slug: str
    first_model: str
    credential: str = "first"
    seconds: list[float] = field(factory=list)
    calls: int | None = None
    wrong: list[str] = field(factory=list)

    @property
    def who(self) -> Who:
        """Who may answer: where streams are restarted, the client need not be told of their end."""
        return "other" if self.variant.restarts else self.fault.who

    def __str__(self) -> str:
        return f"{self.fault.name} ({self.kind}), {self.variant.name}"

    def endpoint(self) -> Endpoint:
        models = {self.credential: self.first_model, "other": f"{self.slug}?{behaviour_of('other')}"}
        return Endpoint(self.slug, models, self.variant.settings)

    async def ask(self, gateway: RunningGateway, who: Who) -> None:
        answer = await gateway.ask(self.slug, _HUNG_S, stream=self.kind == "stream")
        self.seconds.append(math.inf if answer.failure else answer.seconds)
        if answer.failure:
            self.wrong.append(answer.failure)
            return
        if answer.seconds > LIMIT_S + 0.5:
            self.wrong.append(f"{answer.seconds:.2f} s where the limit is {LIMIT_S:g} s")
        if wrong := find_fault(who, self.fault.finish_reason, answer.status, answer.said()):
            self.wrong.append(wrong)


def make_row(fault: Fault, kind: Kind, variant: Variant, slug: str, credential: str) -> Row:
    return Row(fault, kind, variant, slug, f"{slug}?{behaviour_of('first')}&{fault.behaviour}".rstrip("&"), credential)


def make_rows(quick: bool) -> list[Row]:
    """The rows in the table's order. A quick run leaves out the variant that waits for most of 30 s."""
    variants = [evolve(variant, slow_requests=min(variant.slow_requests, 4)) for variant in VARIANTS[1:]]
    return [
        make_row(fault, kind, variant, f"f{number}-{kind}-{index}", "refused" if fault.refused else "first")
        for number, fault in enumerate(FAULTS)
        for kind in fault.kinds
        for index, variant in enumerate(variants if quick else VARIANTS)
        if fault.who == "told" or not variant.restarts
    ]


def make_flappings() -> list[Row]:
    rows = []
    for down_s, up_s in RHYTHMS:
        name, behaviour = f"{down_s} s down, {up_s} s up", f"fault=status:503&flap={down_s}s:{up_s}s"
        fault, credential = Fault(name, behaviour, "either", most_calls=BREAKER_CALLS), f"flap-{down_s}-{up_s}"
        rows += [make_row(fault, kind, _FLAPPING, f"{credential}-{kind}", credential) for kind in BOTH]
    return rows


def run(site: Site, *, quick: bool) -> Report:
    rows, flappings = make_rows(quick), make_flappings()
    names = dict.fromkeys(row.credential for row in flappings)
    with (
        site.run_providers("first", *names, "other") as (providers, addresses),
        site.open_gateway(addresses, [row.endpoint() for row in [*rows, *flappings]]) as gateway,
    ):
        say(f"{len(rows)} rows …")
        trio.run(run_crowd, len(rows), lambda number: _run_row(gateway, rows[number], number * _APART_S))
        counts = providers["first"].count_calls()
        duration_s = _QUICK_FLAP_S if quick else _FULL_FLAP_S
        say(f"flapping: {duration_s:.0f} s …")
        flap = [(gateway, providers[row.credential], row, duration_s) for row in flappings]
        trio.run(run_crowd, len(flap), lambda number: _run_flapping(*flap[number]))
    for row in rows:
        if not row.fault.refused:
            row.calls = counts[row.first_model]
            judge_calls(row)
    wrong = [f"{row}: {text}" for row in [*rows, *flappings] for text in row.wrong]
    raw = [{**asdict(row, filter=lambda a, _: a.name != "variant"), "variant": row.variant.name} for row in rows]
    return Report([make_table(rows), make_flapping_table(flappings)], {"rows": raw, "flapping": flappings}, wrong)


async def _run_row(gateway: RunningGateway, row: Row, begin_after_s: float) -> None:
    await trio.sleep(begin_after_s)
    for _ in range(row.variant.slow_requests if row.fault.slow else row.variant.requests):
        await row.ask(gateway, row.who)
    if row.fault.pause_s:
        await trio.sleep(row.fault.pause_s)
        await row.ask(gateway, row.fault.after_pause)
    if row.wrong:
        say(f"{row}: {row.wrong[0]}")


async def _run_flapping(gateway: RunningGateway, provider: Provider, row: Row, duration_s: float) -> None:
    """A request every 0.2 s from the beginning of a time down; what has reached the provider by the end."""
    period_s = sum(RHYTHMS[[f"flap-{down_s}-{up_s}" for down_s, up_s in RHYTHMS].index(row.credential)])
    await trio.sleep(period_s - provider.view()["elapsed_s"] % period_s + 0.01)
    started_at = trio.current_time()
    for number in range(int(duration_s / _FLAP_EVERY_S)):
        await trio.sleep_until(started_at + number * _FLAP_EVERY_S)
        await row.ask(gateway, "either")
    row.calls = provider.count_calls()[row.first_model]
    if not 1 <= row.calls <= BREAKER_CALLS:
        row.wrong.append(f"{row.calls} calls reached it; {BREAKER_CALLS} may")
    say(f"{row}: {'; '.join(row.wrong) or 'passed'}")


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
    return Table(("fault", *variants, "verdict"), lines, (_LEGEND,))


def _format_cell(row: Row) -> str:
    first, *then = row.seconds
    rest = f"{median(then):.3f}" if then else "–"
    calls = "–" if row.calls is None else str(row.calls)
    return f"{first:.3f} / {rest} ({calls} of {len(row.seconds)})"


def make_flapping_table(flappings: Sequence[Row]) -> Table:
    rows = []
    for row in flappings:
        seconds, verdict = (
            " / ".join(spread(row.seconds, digits=3, shares=(0.5, 1.0))),
            "FAILED" if row.wrong else "passed",
        )
        rows.append((f"{row.fault.name} ({row.kind})", str(len(row.seconds)), str(row.calls), seconds, verdict))
    head = ("primary flapping", "requests", "calls that reached it", "s to an answer, p50 / most", "verdict")
    return Table(head, rows)
