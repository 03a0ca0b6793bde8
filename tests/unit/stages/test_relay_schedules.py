"""The relay under random schedules: in any order of events, the client can tell how the stream ended."""

from __future__ import annotations

import math
from typing import Any

import trio
from attrs import frozen
from hypothesis import example, given
from hypothesis import strategies as st
from trio.testing import MockClock

from pg_trio.domain.events import Broken, Event, Finished, ReasoningDelta
from pg_trio.errors import ClientLeft, GatewayError, ProviderCallFailed, UpstreamBroken
from pg_trio.stages.relay.watch import LAST_WRITE_S
from tests.unit.stages.test_relay import OPENED, FakeClient, FakeRescue, FakeSource, relay, text

# Few values, so that clocks often run out in the same moment.
TIMES = st.sampled_from([0.0, 0.5, 1.0, 2.0, 4.0, 9.5, 10.0, 11.0, 30.0])


@frozen
class Schedule:
    """What happens in one stream."""

    reasons: list[tuple[float, int, str]]
    first_after_s: float
    is_refused: bool
    pieces: list[tuple[float, str]]
    is_cut: bool
    write_s: float
    idle_s: float
    head_after_s: float
    ends_in_s: float
    is_rescued: bool


SCHEDULES = st.builds(
    Schedule,
    reasons=st.lists(st.tuples(TIMES, st.integers(0, 1), st.text("hm", min_size=1, max_size=3)), max_size=4),
    first_after_s=TIMES,
    is_refused=st.booleans(),
    pieces=st.lists(st.tuples(TIMES, st.text("ab", max_size=3)), min_size=1, max_size=5),
    is_cut=st.booleans(),
    write_s=st.sampled_from([0.0, 0.0, 0.5, 1.0, 3.0, 100.0]),
    idle_s=st.sampled_from([1.0, 5.0, 30.0]),
    head_after_s=st.sampled_from([0.5, 4.0, 15.0, math.inf]),
    ends_in_s=st.sampled_from([2.0, 10.0, 20.0, 600.0]),
    is_rescued=st.booleans(),
)


def script_of(pieces: list[tuple[float, str]], end: Event) -> list[float | list[Event]]:
    script: list[float | list[Event]] = [[OPENED, text("first ")]]
    for after_s, piece in pieces:
        script += [after_s, [text(piece) if piece else ReasoningDelta("hm")]]
    return [*script, [end]]


async def play(schedule: Schedule) -> tuple[list[str], str]:
    """What the client took, and how the relay ended: `returned`, or what was raised."""
    last = Broken(UpstreamBroken("cut")) if schedule.is_cut else Finished("stop")
    source, loser = FakeSource(script_of(schedule.pieces, last)), FakeSource([])
    rescuer = FakeSource([[OPENED, text("rescued")], [Finished("stop")]])
    rescue = FakeRescue(
        [rescuer],
        mode="restart" if schedule.is_rescued else None,
        reasons=[(after_s, (source, loser)[who], said) for after_s, who, said in schedule.reasons],
        first_after_s=schedule.first_after_s,
    )
    client = FakeClient(write_s=schedule.write_s)
    running = relay(
        ProviderCallFailed("HTTP 503") if schedule.is_refused else source,
        client,
        idle_s=schedule.idle_s,
        ends_in_s=schedule.ends_in_s,
        head_after_s=schedule.head_after_s,
        rescue=rescue,
    )
    if not running.relay.takes_reasoning:
        rescue.reasons.clear()
    # As the request's own deadline acts until the relay takes it over.
    with trio.CancelScope(deadline=running.ends_at) as request:

        def take_deadline() -> int:
            request.deadline = math.inf
            return 1

        running.relay._watch.take_deadline = take_deadline
        ended = await end_of(running)
    return [what for _, what in client.taken], "deadline" if request.cancelled_caught else ended


async def end_of(running: Any) -> str:
    try:
        await running.run()
    except (GatewayError, ClientLeft) as error:
        return type(error).__name__
    return "returned"


@given(SCHEDULES)
# The answer fails in the moment in which the head is due.
@example(
    Schedule(
        reasons=[],
        first_after_s=0.5,
        is_refused=True,
        pieces=[(0.0, "")],
        is_cut=False,
        write_s=0.0,
        idle_s=1.0,
        head_after_s=0.5,
        ends_in_s=2.0,
        is_rescued=False,
    )
)
def test_every_schedule_ends_honestly(schedule: Schedule) -> None:
    async def run() -> None:
        began = trio.current_time()
        with trio.fail_after(5_000):
            taken, ended = await play(schedule)

        ends = [what for what in taken if what.startswith(("finish", "fail"))]
        if ended == "returned":
            assert [taken[-1]] == ends, "one end, and nothing behind it"
        else:
            assert [] == ends
        if ended in ("deadline", "ProviderCallFailed"):
            assert [] == taken, "an ordinary answer follows, so nothing may be out"
        if taken and taken[-1].startswith("finish") and not schedule.is_cut:
            assert "first " in "".join(taken)
        # The end's own write may take LAST_WRITE_S more than the write that the deadline found under way.
        assert trio.current_time() - began <= schedule.ends_in_s + 2 * LAST_WRITE_S + 0.001

    trio.run(run, clock=MockClock(autojump_threshold=0))
