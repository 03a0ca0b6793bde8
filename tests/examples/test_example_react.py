"""The React example with the Vercel AI SDK's useChat against /v1, bundled here and tried in a real browser."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import trio

from tests.support.browser import needs_chromium
from tests.support.example_site import EXAMPLES, TEXT, open_example

MODULES = Path(__file__).parents[1] / "clients" / "node" / "node_modules"
ESBUILD = MODULES / ".bin" / "esbuild"
pytestmark = [
    pytest.mark.slow,
    needs_chromium,
    pytest.mark.skipif(not ESBUILD.exists(), reason="the Node modules are not installed (./scripts/clients)"),
]
NAME = "index.html"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example with its bundle."""
    folder = tmp_path_factory.mktemp("react")
    shutil.copy(EXAMPLES / "react" / NAME, folder)
    command = [str(ESBUILD), str(EXAMPLES / "react" / "chat.jsx"), "--bundle", "--format=esm", "--jsx=automatic"]
    subprocess.run(
        [*command, f"--outfile={folder / 'chat.js'}", '--define:process.env.NODE_ENV="production"'],
        check=True,
        timeout=60,
        env={**os.environ, "NODE_PATH": str(MODULES)},
    )
    return folder


async def test_answer_streams(nursery: trio.Nursery, tmp_path: Path, pages: Path) -> None:
    async with open_example(nursery, tmp_path, pages=pages) as site:
        site.say(pace="20ms")
        await site.open(NAME)
        await site.ask("Tell me")
        begun = await site.wait_begun()
        await site.wait_text(TEXT)
        site.say("second")
        await site.ask("More?")
        await site.wait_text("second")

        assert begun != TEXT
        assert TEXT.startswith(begun)
        asked = site.simulator.requests[1].body
        assert isinstance(asked, dict)
        assert ["Tell me", TEXT, "More?"] == [message["content"] for message in asked["messages"]]
        assert [] == site.page.complaints
        assert {"OPTIONS", "POST"} == {line.partition(" ")[0] for line in site.relay.lines}


async def test_stop_closes_the_provider_s_connection(nursery: trio.Nursery, tmp_path: Path, pages: Path) -> None:
    async with open_example(nursery, tmp_path, pages=pages, resumable_streams=False) as site:
        site.say("word " * 5000, pace="20ms")
        await site.open(NAME)
        await site.ask("Go on")
        await site.wait_begun()
        await site.page.click("Stop")
        with trio.fail_after(20):
            call = await site.simulator.wait_closed()

        assert call.closed_early


async def test_error_can_be_read(nursery: trio.Nursery, tmp_path: Path, pages: Path) -> None:
    async with open_example(nursery, tmp_path, pages=pages, rate_limit_per_minute=1) as site:
        site.say("first")
        await site.open(NAME)
        await site.ask("One")
        await site.wait_text("first")
        await site.ask("Two")
        await site.wait_error("(429)")


async def test_unlisted_origin_gets_nothing(nursery: trio.Nursery, tmp_path: Path, pages: Path) -> None:
    async with open_example(nursery, tmp_path, pages=pages, origin="https://app.example.com") as site:
        await site.open(NAME)
        await site.ask("Tell me")
        await site.page.wait("document.querySelector('#error').textContent !== ''")

        assert [] == list(site.simulator.requests)
