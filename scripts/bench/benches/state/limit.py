"""What 4 workers admit together of a limit a minute, with every connection asking as fast as it is answered.

The moment of a take cannot be seen, only when a request was sent and when its answer had come. Both bars are therefore
on the safe side: in a window, only requests count that were sent and answered inside it, so what is found to be too
much is too much; what has come back since the first request was sent is the most that could be admitted.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections.abc import Sequence
from functools import partial

import trio
from attrs import frozen

from scripts.bench.benches.state.workers import SLUG, run_workers
from scripts.bench.harness.client import Caller
from scripts.bench.harness.site import RunningGateway, open_site

LIMIT = 600
WINDOW_S = 60.0
CONNECTIONS = 64
MISSING_BAR = 0.01
# Still hundreds of tries for each token; without the pause, tries would cost what the answers need.
PAUSE_S = 0.05
# When a request was sent, when its answer had come, and its status.
Asked = tuple[float, float, int]


@frozen
class LimitResult:
    """What was admitted. `possible`: the limit and what came back in `seconds`; `most_in_window`: of any 60 s."""

    seconds: float
    asked: int
    admitted: int
    possible: int
    most_in_window: int
    allowed_in_window: int
    other: int

    @property
    def missing(self) -> float:
        return 1 - self.admitted / self.possible

    @property
    def is_good(self) -> bool:
        """Never more than the limit and its refill, and at most 1 % fewer."""
        never_more = self.admitted <= self.possible and self.most_in_window <= self.allowed_in_window
        return never_more and self.missing <= MISSING_BAR and self.other == 0


def measure_limit(seconds: float) -> LimitResult:
    """Ask for so many seconds, beginning with an empty data directory."""
    answers: list[Asked] = []
    with open_site() as site, run_workers(site, "sim?tokens=1", rate_limit_per_minute=LIMIT) as gateway:
        trio.run(partial(_ask_all, gateway, time.monotonic() + seconds, answers))
    return judge(answers)


async def _ask_all(gateway: RunningGateway, until: float, answers: list[Asked]) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(CONNECTIONS):
            nursery.start_soon(_keep_asking, gateway, until, answers)


async def _keep_asking(gateway: RunningGateway, until: float, answers: list[Asked]) -> None:
    request = gateway.request(SLUG, {"message": "Hi"})
    async with await Caller.connect(gateway.port) as caller:
        while (sent := time.monotonic()) < until:
            answer = await caller.call(request)
            answers.append((sent, time.monotonic(), answer.status))
            if answer.status == 429:
                await trio.sleep(PAUSE_S)


def judge(answers: Sequence[Asked]) -> LimitResult:
    """What all requests say together."""
    admitted = sorted((sent, done) for sent, done, status in answers if status == 200)
    first, last = min(sent for sent, _, _ in answers), max(done for _, done, _ in answers)
    # Until the last request was sent: what came back later could not be taken.
    last_sent = max(sent for sent, _, _ in answers)
    return LimitResult(
        seconds=last - first,
        asked=len(answers),
        admitted=len(admitted),
        possible=LIMIT + math.floor((last_sent - first) * LIMIT / WINDOW_S),
        most_in_window=_most_in_window(admitted),
        allowed_in_window=2 * LIMIT,
        other=sum(status not in (200, 429) for _, _, status in answers),
    )


def _most_in_window(admitted: Sequence[tuple[float, float]]) -> int:
    """The most that were sent and answered within any 60 s."""
    most = 0
    for index, (start, _) in enumerate(admitted):
        done = sorted(done for _, done in admitted[index:])
        most = max(most, bisect_right(done, start + WINDOW_S))
    return most
