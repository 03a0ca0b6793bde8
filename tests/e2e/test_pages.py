"""The pages in a real browser: logging in, live requests, a race's timeline, the playground, switches."""

from __future__ import annotations

import csv
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from attrs import frozen

from tests.support.browser import Page, needs_chromium, open_browser
from tests.support.gateway import PROJECT, Gateway, Operators, endpoint, project, start_gateway, start_pages
from tests.support.processes import wait_until

pytestmark = [pytest.mark.slow, needs_chromium]

SECOND = [{"credential": "sim", "model": "second"}]
CONFIGURATION = "\n".join(
    [
        project(),
        endpoint("ask", streaming_enabled=True, sessions_enabled=True),
        endpoint("hedged", failover=SECOND, hedge_after_ms=100, deadline_ms=5_000),
        endpoint("down"),
    ]
)
# What shows that a page has its content.
LOADED = {"/": ".card b", "/playground": "textarea"}
PATHS = ("/", "/live", "/playground", "/providers", "/endpoints", "/tokens", "/audit")
PICTURES = Path(__file__).parents[2] / "build" / "pages"


@frozen
class Site:
    """A gateway with its pages, and a browser that is logged in."""

    gateway: Gateway
    operators: Operators
    page: Page

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.operators.port}{path}"

    async def open(self, path: str) -> None:
        await self.page.go(self.url(path))
        await self.page.wait(f"location.pathname + location.search === {json.dumps(path)}")


@pytest.fixture
async def site(nursery: trio.Nursery, tmp_path: Path) -> AsyncIterator[Site]:
    gateway = await start_gateway(nursery, tmp_path, CONFIGURATION)
    operators = await start_pages(nursery, gateway)
    async with open_browser(tmp_path) as page:
        site = Site(gateway, operators, page)
        await page.go(site.url("/live"))
        await page.wait("document.querySelector('input').name === 'key'")
        await page.type("input", operators.operator)
        await page.key("Enter")
        await page.wait("location.pathname === '/live'")
        yield site
        assert [] == page.complaints


async def test_live_requests_arrive_and_open(site: Site) -> None:
    site.gateway.simulator.behave("hedged", "latency=2s")
    site.gateway.simulator.behave("second", "latency=150ms")
    await site.page.wait("document.querySelector('h1').textContent === 'Live'")

    answered = await site.gateway.call("hedged")
    row = f"document.querySelector('[data-testid=live-row][data-request-id=\"{answered.headers['x-request-id']}\"]')"
    await site.page.wait(f"!!{row}")
    await site.page.save_picture(PICTURES / "live.png")
    await site.page.run(f"{row}.querySelector('a').click()")

    await site.page.wait("document.querySelectorAll('[data-kind=attempt]').length === 2")
    bars = await site.page.run(
        "[...document.querySelectorAll('[data-testid=timeline-bar]')].map((bar) => ({ start: +bar.dataset.startMs,"
        " end: +bar.dataset.endMs, kind: bar.dataset.kind, outcome: bar.dataset.outcome,"
        " left: bar.getBoundingClientRect().left, width: bar.getBoundingClientRect().width }))"
    )
    frame = await site.page.run(
        "(({ left, width }) => ({ left, width }))(document.querySelector('[data-testid=timeline] .track')"
        ".getBoundingClientRect())"
    )
    deadline = await site.page.run(
        "document.querySelector('[data-testid=timeline-deadline]').getBoundingClientRect().left"
    )
    await site.page.save_picture(PICTURES / "request.png")
    attempts = [bar for bar in bars if bar["kind"] == "attempt"]
    assert ["lost", "won"] == [bar["outcome"] for bar in attempts]
    # The longest time is the deadline: 5,000 ms are the whole width.
    for bar in bars:
        assert abs(frame["left"] + frame["width"] * bar["start"] / 5_000 - bar["left"]) < 2
        assert abs(max(2, frame["width"] * (bar["end"] - bar["start"]) / 5_000) - bar["width"]) < 2
    assert abs(frame["left"] + frame["width"] - deadline) < 3


async def test_filter_shows_what_matches(site: Site) -> None:
    site.gateway.simulator.behave("down", "fault=status:401")
    await site.gateway.call("ask")
    await site.gateway.call("down")
    await site.page.wait("document.querySelectorAll('[data-testid=live-row]').length === 2")

    await site.page.type("[data-testid=live-filter]", "endpoint:down")

    await site.page.wait("document.querySelectorAll('[data-testid=live-row]').length === 1")
    assert "down" in await site.page.run("document.querySelector('[data-testid=live-row]').textContent")


async def read_whole(path: Path) -> str:
    """A downloaded file; the browser gives it its name once it is whole."""
    await wait_until(path.exists)
    return await trio.Path(path).read_text(encoding="utf-8")


async def test_exports_hold_what_the_filter_shows(site: Site, tmp_path: Path) -> None:
    site.gateway.simulator.behave("down", "fault=status:401")
    await site.gateway.call("ask")
    failed = (await site.gateway.call("down")).headers["x-request-id"]
    await site.page.wait("document.querySelectorAll('[data-testid=live-row]').length === 2")
    await site.page.type("[data-testid=live-filter]", "endpoint:down")
    await site.page.wait("document.querySelectorAll('[data-testid=live-row]').length === 1")
    await site.page.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path / "files"))

    await site.page.click("Export CSV")
    await site.page.click("Export JSON")
    table = list(csv.DictReader((await read_whole(tmp_path / "files" / "requests.csv")).splitlines()))
    lines = [json.loads(line) for line in (await read_whole(tmp_path / "files" / "requests.jsonl")).splitlines()]

    assert [(failed, "down", "502")] == [(one["request_id"], one["endpoint"], one["status"]) for one in table]
    assert [(failed, "down", 502)] == [(one["request_id"], one["endpoint"], one["status"]) for one in lines]


async def test_playground_asks_endpoints_side_by_side(site: Site) -> None:
    site.gateway.simulator.behave("ask", content="From the first")
    site.gateway.simulator.behave("hedged", content="From the second")
    await site.open(f"/playground?endpoint={PROJECT}/ask&endpoint={PROJECT}/hedged")
    await site.page.type("[data-testid=playground-message]", "Hello")

    await site.page.click("Send")

    await site.page.wait("document.querySelector('#said').textContent === 'Done.'")
    answers = "[...document.querySelectorAll('[data-testid=playground-answer]')].map((one) => one.textContent)"
    assert ["From the first", "From the second"] == await site.page.run(answers)
    await site.page.save_picture(PICTURES / "side-by-side.png")


async def test_playground_says_that_an_answer_is_cut(site: Site) -> None:
    site.gateway.simulator.behave("ask", "fault=cut:3")
    await site.open(f"/playground?endpoint={PROJECT}/ask")
    await site.page.type("[data-testid=playground-message]", "Hello")

    await site.page.click("Send")

    assert await site.page.wait("document.querySelector('#content .bad')?.textContent")


async def test_playground_streams_and_stops(site: Site) -> None:
    site.gateway.simulator.behave("ask", "tokens=200&pace=50ms")
    await site.open(f"/playground?endpoint={PROJECT}/ask")
    await site.page.type("[data-testid=playground-message]", "Count for me")

    await site.page.click("Send")
    await site.page.wait("document.querySelector('[data-testid=playground-answer]')?.textContent.length > 3")
    await site.page.click("Stop")

    with trio.fail_after(20):
        await site.gateway.simulator.wait_closed()
    await site.page.wait("document.querySelector('#content .bad').textContent.startsWith('Stopped')")
    await site.page.save_picture(PICTURES / "playground.png")


async def test_playground_shows_what_ran(site: Site) -> None:
    site.gateway.simulator.behave("ask", content="One two three")
    await site.open(f"/playground?endpoint={PROJECT}/ask")
    await site.page.type("[data-testid=playground-message]", "Hello")

    await site.page.click("Send")

    await site.page.wait("document.querySelector('[data-testid=playground-answer]')?.textContent === 'One two three'")
    await site.page.wait("!!document.querySelector('[data-testid=timeline]')")


async def test_switched_off_provider_answers_nothing(site: Site) -> None:
    await site.open("/providers")

    await site.page.click("openai")
    await site.page.wait("document.querySelector('#said').textContent === 'openai is off.'")

    refused = await site.gateway.call("ask")
    assert (503, "Provider 'openai' is disabled in this gateway.") == (refused.status, refused.json()["error"])
    await site.page.save_picture(PICTURES / "providers.png")


@pytest.mark.parametrize("path", PATHS)
async def test_every_page_loads_at_any_size_and_in_both_schemes(site: Site, path: str) -> None:
    await site.gateway.call("ask")
    for scheme in ("dark", "light"):
        await site.page.prefer(scheme)
        for width in (1280, 390):
            await site.page.resize(width, 800)
            await site.open(path)
            await site.page.wait("!!document.querySelector('#content').firstElementChild")
            await site.page.wait(f"!!document.querySelector({json.dumps(LOADED.get(path, '#content table'))})")
            await site.page.save_picture(PICTURES / f"{path.strip('/') or 'overview'}-{scheme}-{width}.png")
            assert await site.page.run("document.documentElement.scrollWidth <= innerWidth")


async def test_viewer_sees_and_changes_nothing(site: Site) -> None:
    await site.page.click("Log out")
    await site.page.wait("location.pathname === '/login'")
    await site.page.type("#key", site.operators.viewer)
    await site.page.key("Enter")
    await site.page.wait("location.pathname === '/'")

    await site.open("/providers")

    assert await site.page.wait("document.querySelector('[role=switch]')?.disabled")


AXE = Path(__file__).parents[1] / "clients" / "node" / "node_modules" / "axe-core" / "axe.min.js"


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed (scripts/clients)")
@pytest.mark.parametrize(
    "path", ["/login", "/", "/live", "/playground", "/providers", "/endpoints", "/tokens", "/audit"]
)
async def test_pages_can_be_used_by_everyone(site: Site, path: str) -> None:
    await site.gateway.call("ask")
    for scheme in ("dark", "light"):
        await site.page.prefer(scheme)
        await site.open(path)
        if path != "/login":
            await site.page.wait(f"!!document.querySelector({json.dumps(LOADED.get(path, '#content table'))})")
        await site.page.run(AXE.read_text())

        found = await site.page.run(
            "axe.run().then((result) => result.violations.filter((one) => ['serious', 'critical'].includes(one.impact))"
            ".map((one) => [one.id, one.nodes.map((node) => node.html).slice(0, 3)]))"
        )

        assert [] == found


async def test_keyboard_is_enough(site: Site) -> None:
    await site.open("/providers")
    await site.page.wait("!!document.querySelector('[role=switch]')")
    name = "document.activeElement.getAttribute('aria-label')"

    for _ in range(60):
        await site.page.key("Tab")
        if await site.page.run(name) == "openai":
            break
    await site.page.key("Enter")

    await site.page.wait("document.querySelector('#said').textContent === 'openai is off.'")
    assert 503 == (await site.gateway.call("ask")).status


async def test_rotated_token_is_shown_once(site: Site) -> None:
    await site.open("/tokens")
    before = site.gateway.token

    await site.page.click("Rotate test")
    shown = await site.page.wait("document.querySelector('#content .card code')?.textContent")
    site.gateway.token = shown

    assert before != shown
    assert 200 == (await site.gateway.call("ask")).status
    await site.open("/tokens")
    assert shown not in await site.page.run("document.body.textContent")


async def test_what_clients_wrote_is_only_text(site: Site) -> None:
    evil = "<img src=x onerror=alert(1)>"
    await site.gateway.call(
        "ask", {"message": evil, "session_id": evil}, ("x-request-id", "a<b>"), ("user-agent", evil)
    )
    await site.gateway.call(evil.replace(" ", "").replace("<", "%3C"))

    await site.open("/live")
    await site.page.wait("!!document.querySelector('[data-testid=live-row]')")

    assert 0 == await site.page.run("document.querySelectorAll('#content img').length")
