"""A first candidate that is down and up by turns, down first: how many calls reach it in a minute.

Each rhythm has a provider of its own, since a provider's phases are counted from its start.
"""

from __future__ import annotations

from collections.abc import Sequence

import trio
from attrs import define, field

from scripts.bench._limits.command import format_table, say
from scripts.bench._race.client import CutShort, Hung, call, read_said
from scripts.bench._race.faults import BOTH, BREAKER_CALLS, Kind, behaviour_of, find_fault
from scripts.bench._race.report import quantile
from scripts.bench._race.site import Endpoint, Gateway, Place, Provider

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


async def run_flapping(gateway: Gateway, provider: Provider, flapping: Flapping, duration_s: float) -> None:
    """A request every 0.2 s from the beginning of a time down; what reached the provider by its end."""
    elapsed_s = provider.view()["elapsed_s"]
    assert isinstance(elapsed_s, float)
    period_s = flapping.down_s + flapping.up_s
    await trio.sleep(period_s - elapsed_s % period_s + 0.01)
    started_at = trio.current_time()
    for number in range(int(duration_s / _EVERY_S)):
        await trio.sleep_until(started_at + number * _EVERY_S)
        await _ask(gateway, flapping)
    flapping.calls = provider.count_calls().get(flapping.model, 0)
    if not 1 <= flapping.calls <= BREAKER_CALLS:
        flapping.wrong.append(f"{flapping.calls} calls reached it; {BREAKER_CALLS} may")
    say(f"flapping, {flapping.name}: {'; '.join(flapping.wrong) or 'passed'}")


async def _ask(gateway: Gateway, flapping: Flapping) -> None:
    request = gateway.request(flapping.slug, {"message": "Hello there", "stream": flapping.kind == "stream"})
    try:
        answer = await call(gateway.port, request, _HUNG_S)
        wrong = find_fault("either", "stop", answer.status, read_said(answer))
    except (Hung, CutShort, OSError, ValueError, KeyError) as exc:
        wrong = f"{type(exc).__name__}: {exc}"
    else:
        flapping.seconds.append(answer.seconds)
    if wrong:
        flapping.wrong.append(wrong)


def make_flapping_table(flappings: Sequence[Flapping]) -> str:
    """A line for each rhythm and kind."""
    header = ("primary flapping", "requests", "calls that reached it", "s to an answer, p50 / most", "verdict")
    lines = []
    for flapping in flappings:
        seconds = flapping.seconds or [float("inf")]
        lines.append(
            (
                flapping.name,
                str(len(flapping.seconds)),
                str(flapping.calls),
                f"{quantile(seconds, 0.5):.3f} / {max(seconds):.3f}",
                "FAILED" if flapping.wrong else "passed",
            )
        )
    return format_table(header, lines)
