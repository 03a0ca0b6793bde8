"""The examples' pages in a real browser, on another origin than the gateway, with tokens that their server minted."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest
import trio

from tests.support.browser import needs_chromium
from tests.support.example_site import EXAMPLES, LAST_TEXT, TEXT, open_example, open_served_example

PAGES = ("chat-fetch.html", "chat-websocket.html")
MOST_LINES = 60


@pytest.mark.parametrize("name", PAGES)
def test_page_is_short_and_needs_nothing(name: str) -> None:
    page = (EXAMPLES / name).read_text(encoding="utf-8")

    script = page.partition('<script type="module">\n')[2].partition("</script>")[0].splitlines()
    assert len(script) <= MOST_LINES
    assert not re.search(r"stylesheet|src=|import ", page)


@needs_chromium
@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
async def test_answer_streams_to_another_origin(nursery: trio.Nursery, tmp_path: Path, name: str) -> None:
    async with open_example(nursery, tmp_path) as site:
        begun = await site.ask_twice(name)

        assert begun != TEXT
        assert TEXT.startswith(begun)
        assert [["Tell me"], ["Tell me", TEXT, "More?"]] == site.list_questions()
        assert [] == site.page.complaints
        kinds = {line.partition(" ")[0] for line in site.relay.lines}
        assert ({"OPTIONS", "POST"} if name == PAGES[0] else {"GET", "POST"}) == kinds
        assert not [line for line in site.relay.lines if "pg_" in line]


@needs_chromium
@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
async def test_error_can_be_read(nursery: trio.Nursery, tmp_path: Path, name: str) -> None:
    async with open_example(nursery, tmp_path, rate_limit_per_minute=1) as site:
        await site.ask_over_limit(name)

        assert 1 == len(site.simulator.requests)


@needs_chromium
@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
async def test_unlisted_origin_gets_nothing(nursery: trio.Nursery, tmp_path: Path, name: str) -> None:
    async with open_example(nursery, tmp_path, origin="https://app.example.com") as site:
        await site.open(name)
        await site.ask("Tell me")
        await site.wait_error("The gateway cannot be reached from this page.")

        assert [] == list(site.simulator.requests)


@needs_chromium
@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
async def test_reloaded_page_has_the_answer_once(nursery: trio.Nursery, tmp_path: Path, name: str) -> None:
    async with open_example(nursery, tmp_path) as site:
        site.say(pace="20ms")
        await site.open(name)
        await site.ask("Tell me")
        begun = await site.wait_begun()
        await site.page.send("Page.reload")
        await site.wait_text(TEXT)

        assert begun != TEXT
        assert 1 == len(site.simulator.requests)


@needs_chromium
@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
async def test_cut_network_leaves_the_answer_whole(nursery: trio.Nursery, tmp_path: Path, name: str) -> None:
    async with open_example(nursery, tmp_path, every=10) as site:
        site.say(pace="2ms")
        await site.open(name)
        await site.ask("Tell me")
        await site.wait_text(TEXT)

        assert site.relay.cuts >= 5
        assert 1 == len(site.simulator.requests)


@needs_chromium
@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
async def test_stop_closes_the_provider_s_connection(nursery: trio.Nursery, tmp_path: Path, name: str) -> None:
    async with open_example(nursery, tmp_path, orphan_grace_ms=60_000) as site:
        call = await site.stop_answer(name)
        await site.page.wait("document.querySelector('#stop').disabled")

        assert call.closed_early
        assert "" == await site.page.run("document.querySelector('#error').textContent")


@needs_chromium
@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
async def test_closed_tab_ends_the_answer_after_the_grace(nursery: trio.Nursery, tmp_path: Path, name: str) -> None:
    async with open_example(nursery, tmp_path, orphan_grace_ms=300) as site:
        site.say("word " * 5000, pace="20ms")
        await site.open(name)
        await site.open_tab(name, "Go on")
        await site.page.run("window.tab.close()")
        with trio.fail_after(20):
            call = await site.simulator.wait_closed()

        assert call.closed_early


@needs_chromium
@pytest.mark.slow
async def test_killed_worker_is_an_honest_error(nursery: trio.Nursery, tmp_path: Path) -> None:
    async with open_served_example(nursery, tmp_path, workers=2) as (site, gateway):
        site.say("word " * 5000, pace="10ms")
        await site.open("chat-fetch.html")
        await site.ask("Go on")
        await site.wait_begun()
        for pid in gateway.workers():
            os.kill(pid, signal.SIGKILL)
        await site.wait_error("The rest of this stream is not available.")

        assert ("word " * 5000).startswith(str(await site.page.run(LAST_TEXT)))
        assert 1 == len(site.simulator.requests)
