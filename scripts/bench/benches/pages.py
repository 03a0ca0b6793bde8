"""How long each page takes from a cold cache, with a large log, in a real browser: until its own content is seen.

The gateway, the browser and its profile are on this machine. Milliseconds since the navigation began. Exit status 1 if
the median of a page is above a second. Needs Chromium (scripts/system-packages).
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import trio

from scripts.bench.harness.cli import Options, Parser, Reports, positive, say
from scripts.bench.harness.gateway import PG_TRIO, set_up_full
from scripts.bench.harness.machine import find_tool
from scripts.bench.harness.processes import HOST, find_free_port, run_pinned, wait_said
from scripts.bench.harness.site import open_site
from scripts.bench.harness.store_files import fill_log
from scripts.bench.harness.tables import Report, Table
from tests.support.browser import Page, open_browser

LIMIT_MS = 1_000.0
# What shows that a page has its content.
CONTENT = {
    "/": "#content .card b",
    "/live": "#content tbody tr",
    "/playground": "#content textarea",
    "/providers": "#content tbody tr",
    "/endpoints": "#content tbody tr",
    "/tokens": "#content tbody tr",
    "/audit": "#content table",
}
_HEAD = ("page", "median ms", "worst ms")


def add_options(parser: Parser) -> None:
    parser.add_argument("--rows", type=positive, help="rows in the log (default 200,000, quick 20,000)")
    parser.add_argument("--times", type=positive, help="how often each page is loaded (default 9, quick 2)")


def run(options: Options) -> Reports:
    rows, times = options.rows or (20_000 if options.quick else 200_000), options.times or (2 if options.quick else 9)
    find_tool("chromium")
    with open_site() as site:
        files = set_up_full(site.folder, f"http://{HOST}:1/v1")
        say(f"writing {rows:,} rows")
        fill_log(files.data_dir, rows, until=time.time())
        key = _make_operator(files.configuration)
        admin = f"{HOST}:{find_free_port()}"
        command = [*files.make_lane_command(find_free_port())[:-1], admin]
        with run_pinned("gateway", command, core=site.cores.both, log=site.folder / "log") as gateway:
            wait_said(gateway, "serves on")
            took_ms = trio.run(_load_all, f"http://{admin}", key, times, site.folder)
    table = [(path, f"{median(took):,.0f}", f"{max(took):,.0f}") for path, took in took_ms.items()]
    wrong = [f"{path}: {median(took):,.0f} ms" for path, took in took_ms.items() if median(took) > LIMIT_MS]
    yield Report([Table(_HEAD, table)], {"took_ms": took_ms}, wrong)


def _make_operator(configuration: Path) -> str:
    command = [PG_TRIO, "operator", "create", "--config", str(configuration), "--name", "bench"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


async def _load_all(url: str, key: str, times: int, folder: Path) -> dict[str, list[float]]:
    took_ms: dict[str, list[float]] = {path: [] for path in CONTENT}
    async with open_browser(folder) as page:
        await page.go(f"{url}/login")
        await page.type("#key", key)
        await page.key("Enter")
        await page.wait("location.pathname === '/'")
        await page.send("Network.setCacheDisabled", cacheDisabled=True)
        for path in _in_turns(times):
            took_ms[path].append(await _load(page, url, path))
    return took_ms


def _in_turns(times: int) -> Iterator[str]:
    for turn in range(times):
        for path in CONTENT:
            say(f"turn {turn + 1} of {times}: {path}")
            yield path


async def _load(page: Page, url: str, path: str) -> float:
    """Milliseconds from the beginning of the navigation until the page's content is painted."""
    await page.send("Page.navigate", url="about:blank")
    await page.go(f"{url}{path}")
    await page.wait(f"location.pathname === '{path}' && !!document.querySelector('{CONTENT[path]}')")
    return float(await page.run("new Promise((done) => requestAnimationFrame(() => done(performance.now())))"))
