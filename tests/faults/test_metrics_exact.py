"""Totals in `/metrics` equal what was sent, although workers are killed and the configuration is reloaded."""

from __future__ import annotations

import os
import random
import re
import signal
from pathlib import Path

import h11
import trio
from attrs import define, field

from tests.support.crowd import CUT, Crowd
from tests.support.gateway import endpoint
from tests.support.metrics_text import OPENMETRICS, Scrape, scrape
from tests.support.processes import is_running, wait_until
from tests.support.site import make_site

# How long until every worker has written its gauges again, on a loaded machine.
GAUGES_LIMIT_S = 30.0

WORKERS = 4
KILLS, KILL_EVERY_S = 8, 3.0
SCRAPE_EVERY_S = 0.2
CLIENTS = 12
ENDPOINTS = endpoint("plain") + endpoint("limited", rate_limit_per_minute=30) + endpoint("unused")


@define
class Scraper:
    """Scrapes all the time. `fallen` are counters that were lower than in a scrape before."""

    port: int
    last: Scrape | None = None
    scrapes: int = 0
    fallen: list[str] = field(factory=list)

    async def run(self) -> None:
        while True:
            try:
                new = await scrape(self.port, *([("accept", OPENMETRICS)] if self.scrapes % 2 else []))
            except* (OSError, h11.RemoteProtocolError, trio.BrokenResourceError):
                # The worker that was asked was killed.
                new = None
            if new is not None:
                self.note(new)
            await trio.sleep(SCRAPE_EVERY_S)

    def note(self, new: Scrape) -> None:
        self.scrapes += 1
        known = {} if self.last is None else self.last.counters()
        now = new.counters()
        self.fallen += [f"{key}: {value} to {now.get(key)}" for key, value in known.items() if now.get(key, 0) < value]
        self.last = new


async def test_totals_are_what_was_sent(nursery: trio.Nursery, tmp_path: Path) -> None:
    site = await make_site(nursery, tmp_path, ENDPOINTS, f'workers = {WORKERS}\nadmin_bind = "127.0.0.1:0"')
    served = await site.serve(nursery)
    pages = re.search(r"pages: http://127\.0\.0\.1:(\d+)", served.output)
    assert pages is not None
    crowd, scraper, chosen = Crowd(served.port), Scraper(int(pages[1])), random.Random(7)

    async with trio.open_nursery() as scraping:
        scraping.start_soon(scraper.run)
        async with trio.open_nursery() as clients:
            for number in range(CLIENTS):
                clients.start_soon(crowd.ask, site.token, "limited" if number % 4 == 0 else "plain")
            await crowd.wait_answers(100)
            for number in range(KILLS):
                pids = [pid for pid in site.workers() if is_running(pid)]
                os.kill(chosen.choice(pids), signal.SIGKILL)
                if number == KILLS // 2:
                    served.process.send_signal(signal.SIGHUP)
                await trio.sleep(KILL_EVERY_S)
            await served.wait_output("reloaded: every worker is new|reload refused")
            await crowd.wait_answers(100)
            crowd.is_over = True
        await wait_until(lambda: all(map(is_running, site.workers())))
        scraping.cancel_scope.cancel()
    last = await scrape(scraper.port)
    with trio.fail_after(GAUGES_LIMIT_S):
        # Workers write their gauges at intervals: one may still tell of its last request.
        while last.sum("pg_trio_requests_active"):
            await trio.sleep(0.1)
            last = await scrape(scraper.port)
    assert 0 == await served.stop()

    assert scraper.scrapes > 20
    assert [] == scraper.fallen
    assert {CUT, 200, 429} == {one.status for one in crowd.ended}, "no kill hit a call"
    for slug in ("plain", "limited"):
        answered, cut = len(crowd.of(slug)), len(crowd.of(slug, CUT))
        counted = last.sum("pg_trio_requests_total", endpoint=slug, status="200")
        # Of a call that was cut, a client cannot tell how far it came.
        assert answered <= counted <= answered + cut
    limited, cut = len(crowd.of("limited", 429)), len(crowd.of("limited", CUT))
    assert limited <= last.sum("pg_trio_rate_limit_rejections_total", endpoint="limited") <= limited + cut
    assert [] == [labels for labels in last.labels("pg_trio_requests_total") if labels["endpoint"] == "unused"]
    assert {"0", "1", "2", "3"} == {labels["worker"] for labels in last.labels("pg_trio_requests_active")}
    assert 0 == last.sum("pg_trio_requests_active")
