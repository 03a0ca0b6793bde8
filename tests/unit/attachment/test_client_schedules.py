"""Clients that come and go in any order: what one reads together is the output without a gap, or the work has ended."""

from __future__ import annotations

from functools import partial

import trio
from attrs import define, frozen
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from pg_trio.attachment import Outlives, OutputCut, OutputDropped, OwnedAttachment, OwnedWork, follow
from tests.unit.attachment.test_attachments import Teller, running

GRACE_S = 4.0
# Few values, so that a grace often ends in the moment in which a client comes back.
TIMES = st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.5, 4.0, 4.5])


@frozen
class Schedule:
    """A client's visits (seconds that it stays, seconds until it is back), its pace, and what is kept."""

    visits: list[tuple[float, float]]
    takes_s: float
    letters: str
    keep_bytes: int
    stops_after: int | None


SCHEDULES = st.builds(
    Schedule,
    visits=st.lists(st.tuples(TIMES, TIMES), max_size=6),
    takes_s=st.sampled_from([0.0, 0.3, 2.0]),
    letters=st.text("abc", max_size=12),
    keep_bytes=st.sampled_from([0, 3, 100]),
    stops_after=st.none() | st.integers(0, 5),
)


@define
class Visitor:
    """Reads from the place to which it has come, one visit after the other."""

    schedule: Schedule
    got: str = ""
    is_whole: bool = False

    async def take(self, part: bytes) -> None:
        await trio.sleep(self.schedule.takes_s)
        self.got += part.decode()

    async def play(self, work: Teller) -> None:
        async with running() as works:
            serve = partial(OwnedAttachment(works, "one", self.take).serve, work)
            for number, (stays_s, away_s) in enumerate([*self.schedule.visits, (1_000.0, 0.0)]):
                try:
                    with trio.move_on_after(stays_s):
                        await serve()
                        self.is_whole = True
                except (OutputCut, OutputDropped):
                    break
                if self.is_whole or (owned := works.find("one")) is None:
                    break
                if self.schedule.stops_after == number:
                    owned.stop()
                serve = partial(self.come_back, owned)
                await trio.sleep(away_s)
            await trio.sleep(GRACE_S)
            await wait_all_tasks_blocked()
            assert work.ended, "a work runs on without a client"
            assert works.kept_bytes <= self.schedule.keep_bytes

    async def come_back(self, owned: OwnedWork[bytes]) -> None:
        await follow(owned, self.take, len(self.got))


@given(SCHEDULES)
def test_no_schedule_leaves_a_gap_or_a_stray(schedule: Schedule) -> None:
    policy = Outlives(GRACE_S, 60.0, schedule.keep_bytes)
    visitor, work = Visitor(schedule), Teller(schedule.letters, policy)

    trio.run(visitor.play, work, clock=MockClock(autojump_threshold=0))

    assert schedule.letters.startswith(visitor.got)
    if visitor.is_whole:
        assert (schedule.letters, "done") == (visitor.got, work.ended)
    else:
        assert not always_comes_back_in_time(schedule)


def always_comes_back_in_time(schedule: Schedule) -> bool:
    """Whether nothing ends the work before its time. A client that leaves at once leaves before the work's policy."""
    absences, keeps_all = [away_s for _, away_s in schedule.visits], schedule.keep_bytes == 100
    stays = not schedule.visits or schedule.visits[0][0] > 0
    return stays and keeps_all and schedule.stops_after is None and max(absences, default=0.0) < GRACE_S
