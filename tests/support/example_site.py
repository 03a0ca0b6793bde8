"""The examples' own web server (docs/examples/server.py) in front of a gateway, on another origin."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import trio
from attrs import frozen

from pg_trio.simulator import Simulator
from pg_trio.simulator.simulated_provider import Received
from pg_trio.store.token_admin import TokenAdmin
from scripts.bench.harness.processes import find_free_port
from tests.support.browser import Page, open_browser
from tests.support.cutting_relay import CuttingRelay, open_relay
from tests.support.gateway import PROJECT, endpoint, project, start_gateway
from tests.support.site import Site, make_site

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
LIMIT_S = 30
# Words of several scripts, markup, and breaks.
TEXT = "Ça va? <b>not bold</b> & 🙂 日本語\n" + " ".join(f"word{number}" for number in range(60)) + "\nend."
LAST_TEXT = "[...document.querySelectorAll('pre.assistant')].at(-1)?.textContent"
RESUMABLE: dict[str, Any] = {"streaming_enabled": True, "resumable_streams": True, "orphan_grace_ms": 1000}


@frozen
class ExampleSite:
    """A page of the examples in a browser, the gateway behind a relay, and the provider."""

    simulator: Simulator
    relay: CuttingRelay
    page: Page
    port: int

    async def open(self, name: str) -> None:
        """Open a page, ready for a question."""
        # As the browser of a person has: without it, a busy machine's may lose typed text.
        await self.page.send("Emulation.setFocusEmulationEnabled", enabled=True)
        await self.page.go(f"http://localhost:{self.port}/{name}")
        # A page's own script disables it, once it is ready.
        await self.page.wait("[...document.querySelectorAll('button')].at(-1)?.disabled")

    async def ask(self, question: str) -> None:
        """Type and send a question."""
        await self.page.type("#question", question)
        await self.page.wait(f"document.querySelector('#question').value === {json.dumps(question)}")
        await self.page.click("Send")

    async def wait_text(self, text: str) -> None:
        """Wait until the last answer is this text."""
        await self.page.wait(f"{LAST_TEXT} === {json.dumps(text)}")

    async def wait_begun(self, words: int = 5) -> str:
        """Wait until the last answer has so many words; what it is then."""
        await self.page.wait(f"({LAST_TEXT} ?? '').split(/\\s+/).length > {words}")
        return str(await self.page.run(LAST_TEXT))

    async def wait_error(self, text: str) -> None:
        """Wait until the page's error has this text in it."""
        await self.page.wait(f"document.querySelector('#error').textContent.includes({json.dumps(text)})")

    async def open_tab(self, name: str, question: str) -> None:
        """Open a page in a second tab, and ask there."""
        url = json.dumps(f"http://localhost:{self.port}/{name}")
        await self.page.send("Runtime.evaluate", expression=f"window.tab = open({url})", userGesture=True)
        ready = "[...(window.tab.document?.querySelectorAll('button') ?? [])].at(-1)?.disabled"
        await self.page.wait(ready)
        await self.page.run(f"window.tab.document.querySelector('#question').value = {json.dumps(question)}")
        await self.page.run("window.tab.document.querySelector('button').click()")
        await self.page.wait("(window.tab.document.querySelector('pre.assistant')?.textContent ?? '').length > 20")

    async def ask_twice(self, name: str) -> str:
        """Ask two questions on a page, and wait for both answers; what was shown when the first one had begun."""
        self.say(pace="20ms")
        await self.open(name)
        await self.ask("Tell me")
        begun = await self.wait_begun()
        await self.wait_text(TEXT)
        self.say("second")
        await self.ask("More?")
        await self.wait_text("second")
        return begun

    async def ask_over_limit(self, name: str) -> None:
        """Ask two questions on a page whose endpoint answers one a minute, and see that the second one is refused."""
        self.say("first")
        await self.open(name)
        await self.ask("One")
        await self.wait_text("first")
        await self.ask("Two")
        await self.wait_error("(429)")

    async def stop_answer(self, name: str) -> Received:
        """Stop an answer in its course on a page; the provider's view of it, once its connection is closed."""
        self.say("word " * 5000, pace="20ms")
        await self.open(name)
        await self.ask("Go on")
        await self.wait_begun()
        await self.page.click("Stop")
        with trio.fail_after(20):
            return await self.simulator.wait_closed()

    def list_questions(self) -> list[list[str]]:
        """The texts of each request's messages, as the provider received them."""
        bodies = [request.body for request in self.simulator.requests]
        return [[message["content"] for message in body["messages"]] for body in bodies if isinstance(body, dict)]

    def say(self, content: str = TEXT, pace: str = "5ms", model: str = "support") -> None:
        """What the provider answers from now on."""
        self.simulator.behave(model, f"content={quote(content)}&pace={pace}")


def configure(origin: str, **settings: object) -> str:
    """A project whose pages are on this origin."""
    given: dict[str, Any] = {**RESUMABLE, **settings}
    return project(cors_origins=[origin]) + endpoint("support", **given)


@asynccontextmanager
async def open_example(
    nursery: trio.Nursery,
    folder: Path,
    *,
    every: int | None = None,
    pages: Path = EXAMPLES,
    origin: str | None = None,
    **settings: object,
) -> AsyncIterator[ExampleSite]:
    """A site whose page is open. `every`: see CuttingRelay. `origin`: the one that the project lists; its own unless
    given."""
    port = find_free_port()
    gateway = await start_gateway(nursery, folder, configure(origin or f"http://localhost:{port}", **settings))
    relay = await open_relay(nursery, gateway.port, every)
    token = gateway.make_token(scopes=("mint",))
    async with serve_pages(token, relay.port, port, pages), open_browser(folder) as page:
        yield ExampleSite(gateway.simulator, relay, page, port)


@asynccontextmanager
async def open_served_example(
    nursery: trio.Nursery, folder: Path, workers: int
) -> AsyncIterator[tuple[ExampleSite, Site]]:
    """The same with a gateway of several worker processes."""
    port = find_free_port()
    origins = f'cors_origins = ["http://localhost:{port}"]\n'
    endpoints = endpoint("support", "", **RESUMABLE)
    served_site = await make_site(nursery, folder, origins + endpoints, f"workers = {workers}")
    with TokenAdmin(served_site.data) as admin:
        _, token = admin.create(PROJECT, "pages", "live", ("mint",))
    served = await served_site.serve(nursery)
    relay = await open_relay(nursery, served.port)
    try:
        async with serve_pages(token, relay.port, port, EXAMPLES), open_browser(folder) as page:
            yield ExampleSite(served_site.simulator, relay, page, port), served_site
    finally:
        with trio.CancelScope(shield=True):
            await served.stop()


@asynccontextmanager
async def serve_pages(token: str, gateway_port: int, port: int, pages: Path) -> AsyncIterator[None]:
    """The examples' server, as a user starts it."""
    given = ["--gateway", f"http://127.0.0.1:{gateway_port}", "--project", str(PROJECT), "--endpoint", "support"]
    command = [sys.executable, str(EXAMPLES / "server.py"), *given, "--port", str(port), "--folder", str(pages)]
    environ = {**os.environ, "PG_TRIO_TOKEN": token}
    process = await trio.lowlevel.open_process(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, env=environ
    )
    assert process.stdout is not None
    try:
        with trio.fail_after(LIMIT_S):
            assert b"http://localhost" in await process.stdout.receive_some(1000)
        yield
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
