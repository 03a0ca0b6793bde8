"""What 4 workers admit together of a limit a minute, with every connection asking as fast as it is answered.

The moment of a take cannot be seen, only when a request was sent and when its answer had come. Both bars are therefore
on the safe side: in a window, only requests count that were sent and answered inside it, so what is found to be too
much is too much; what has come back since the first request was sent is the most that could be admitted.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import trio
from attrs import frozen

from scripts.bench.harness.client import Caller, run_crowd
from scripts.bench.harness.gateway import READY, Endpoint, set_up
from scripts.bench.harness.site import RunningGateway, Site, open_site

WORKERS, CONNECTIONS, LIMIT, WINDOW_S = 4, 64, 600, 60.0
MISSING_BAR = 0.01
# Still hundreds of tries for each token; without the pause, tries would cost what the answers need.
PAUSE_S = 0.05
ENDPOINT, SLUG = "6f1c0000-0000-4000-8000-0000000000aa", "e"
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
    def is_good(self) -> bool:
        """Never more than the limit and its refill, and at most 1 % fewer."""
        never_more = self.admitted <= self.possible and self.most_in_window <= self.allowed_in_window
        return never_more and 1 - self.admitted / self.possible <= MISSING_BAR and self.other == 0


@contextmanager
def run_workers(site: Site, model: str, **settings: object) -> Iterator[RunningGateway]:
    """A gateway of four workers on both cores with one endpoint, an empty data directory, and a simulator."""
    with site.run_provider("simulator", seed=1) as simulator:
        addresses = {READY: simulator.base_url, "sim": simulator.base_url}
        files = set_up(
            site.make_folder("gateway"), addresses, [Endpoint(SLUG, {"sim": model}, {"uuid": ENDPOINT, **settings})]
        )
        with site.run_gateway(files, workers=WORKERS, cores=site.cores.both) as gateway:
            yield gateway


def measure_limit(seconds: float) -> LimitResult:
    answers: list[Asked] = []
    with open_site() as site, run_workers(site, "sim?tokens=1", rate_limit_per_minute=LIMIT) as gateway:
        request, until = gateway.request(SLUG, {"message": "Hi"}), time.monotonic() + seconds

        async def keep_asking(_: int) -> None:
            async with await Caller.connect(gateway.port) as caller:
                while (sent := time.monotonic()) < until:
                    status = (await caller.call(request)).status
                    answers.append((sent, time.monotonic(), status))
                    if status == 429:
                        await trio.sleep(PAUSE_S)

        trio.run(run_crowd, CONNECTIONS, keep_asking)
    return judge(answers)


def judge(answers: Sequence[Asked]) -> LimitResult:
    admitted = sorted((sent, done) for sent, done, status in answers if status == 200)
    first = min(sent for sent, _, _ in answers)
    # Until the last request was sent: what came back later could not be taken.
    last_sent = max(sent for sent, _, _ in answers)
    return LimitResult(
        seconds=max(done for _, done, _ in answers) - first,
        asked=len(answers),
        admitted=len(admitted),
        possible=LIMIT + math.floor((last_sent - first) * LIMIT / WINDOW_S),
        most_in_window=_most_in_window(admitted),
        allowed_in_window=2 * LIMIT,
        other=sum(status not in (200, 429) for _, _, status in answers),
    )


def _most_in_window(admitted: Sequence[tuple[float, float]]) -> int:
    """The most that were sent and answered within any 60 s."""
    done = [sorted(done for _, done in admitted[index:]) for index in range(len(admitted))]
    return max((bisect_right(own, start + WINDOW_S) for own, (start, _) in zip(done, admitted, strict=True)), default=0)
