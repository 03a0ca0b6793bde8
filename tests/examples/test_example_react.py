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
        begun = await site.ask_twice(NAME)

        assert begun != TEXT
        assert TEXT.startswith(begun)
        assert [["Tell me"], ["Tell me", TEXT, "More?"]] == site.list_questions()
        assert [] == site.page.complaints
        assert {"OPTIONS", "POST"} == {line.partition(" ")[0] for line in site.relay.lines}


async def test_stop_closes_the_provider_s_connection(nursery: trio.Nursery, tmp_path: Path, pages: Path) -> None:
    async with open_example(nursery, tmp_path, pages=pages, resumable_streams=False) as site:
        call = await site.stop_answer(NAME)

        assert call.closed_early


async def test_error_can_be_read(nursery: trio.Nursery, tmp_path: Path, pages: Path) -> None:
    async with open_example(nursery, tmp_path, pages=pages, rate_limit_per_minute=1) as site:
        await site.ask_over_limit(NAME)

        assert 1 == len(site.simulator.requests)


async def test_unlisted_origin_gets_nothing(nursery: trio.Nursery, tmp_path: Path, pages: Path) -> None:
    async with open_example(nursery, tmp_path, pages=pages, origin="https://app.example.com") as site:
        await site.open(NAME)
        await site.ask("Tell me")
        await site.page.wait("document.querySelector('#error').textContent !== ''")

        assert [] == list(site.simulator.requests)
