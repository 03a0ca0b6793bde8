"""A first candidate that is down and up by turns, down first: how many calls reach it in a minute.

Each rhythm has a provider of its own, since a provider's phases are counted from its start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import trio
from attrs import define, field

from scripts.bench.benches.race.faults import BOTH, BREAKER_CALLS, Kind, behaviour_of, find_fault
from scripts.bench.harness.cli import say
from scripts.bench.harness.client import CutShort, Hung, call, read_said
from scripts.bench.harness.gateway import Endpoint, Place
from scripts.bench.harness.site import Provider, RunningGateway
from scripts.bench.harness.tables import Table, spread

FULL_S, QUICK_S = 60.0, 20.0
RHYTHMS = ((1, 1), (5, 5), (15, 5))
_EVERY_S = 0.2
_HUNG_S = 35.0
_SETTINGS = {"deadline_ms": 30_000, "stream_deadline_ms": 30_000}


@define(eq=False)
class Flapping:
    """One rhythm, seconds down and up, and one kind of answer."""

    down_s: int
    up_s: int
    kind: Kind
    seconds: list[float] = field(factory=list)
    calls: int = 0
    wrong: list[str] = field(factory=list)

    @property
    def name(self) -> str:
        return f"{self.down_s} s down, {self.up_s} s up ({self.kind})"

    @property
    def credential(self) -> str:
        return f"flap-{self.down_s}-{self.up_s}"

    @property
    def slug(self) -> str:
        return f"{self.credential}-{self.kind}"

    @property
    def model(self) -> str:
        return f"{self.slug}?{behaviour_of('first')}&fault=status:503&flap={self.down_s}s:{self.up_s}s"

    def endpoint(self) -> Endpoint:
        other = Place("other", f"{self.slug}?{behaviour_of('other')}")
        return Endpoint(self.slug, [Place(self.credential, self.model), other], _SETTINGS)


def make_flappings() -> list[Flapping]:
    """All rhythms, plain and streamed."""
    return [Flapping(down_s, up_s, kind) for down_s, up_s in RHYTHMS for kind in BOTH]


async def run_flappings(
    gateway: RunningGateway, providers: Mapping[str, Provider], flappings: Sequence[Flapping], duration_s: float
) -> None:
    """All at once."""
    say(f"flapping: {duration_s:.0f} s …")
    async with trio.open_nursery() as nursery:
        for one in flappings:
            nursery.start_soon(_run_flapping, gateway, providers[one.credential], one, duration_s)


async def _run_flapping(gateway: RunningGateway, provider: Provider, one: Flapping, duration_s: float) -> None:
    """A request every 0.2 s from the beginning of a time down; what has reached the provider by the end."""
    period_s = one.down_s + one.up_s
    await trio.sleep(period_s - provider.view()["elapsed_s"] % period_s + 0.01)
    started_at = trio.current_time()
    for number in range(int(duration_s / _EVERY_S)):
        await trio.sleep_until(started_at + number * _EVERY_S)
        await _ask(gateway, one)
    one.calls = provider.count_calls()[one.model]
    if not 1 <= one.calls <= BREAKER_CALLS:
        one.wrong.append(f"{one.calls} calls reached it; {BREAKER_CALLS} may")
    say(f"flapping, {one.name}: {'; '.join(one.wrong) or 'passed'}")


async def _ask(gateway: RunningGateway, one: Flapping) -> None:
    request = gateway.request(one.slug, {"message": "Hello there", "stream": one.kind == "stream"})
    try:
        answer = await call(gateway.port, request, _HUNG_S)
        wrong = find_fault("either", "stop", answer.status, read_said(answer))
    except (Hung, CutShort, OSError, ValueError, KeyError) as exc:
        wrong = f"{type(exc).__name__}: {exc}"
    else:
        one.seconds.append(answer.seconds)
    if wrong:
        one.wrong.append(wrong)


def make_flapping_table(flappings: Sequence[Flapping]) -> Table:
    """A row for each rhythm and kind."""
    rows = [
        (
            one.name,
            str(len(one.seconds)),
            str(one.calls),
            " / ".join(spread(one.seconds, digits=3, shares=(0.5, 1.0))),
            "FAILED" if one.wrong else "passed",
        )
        for one in flappings
    ]
    head = ("primary flapping", "requests", "calls that reached it", "s to an answer, p50 / most", "verdict")
    return Table(head, rows)
