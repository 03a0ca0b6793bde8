"""A real browser for tests: Chromium over its DevTools protocol.

Console errors, uncaught exceptions and reports of the security policy are collected: `Page.complaints`.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import define, field
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket_url

from tests.support.wire import read_response

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (scripts/system-packages)")
# Longer than anything a page does on a loaded machine; a test that hangs fails here and says where.
PATIENCE_S = 30.0
_OPTIONS = (
    "--headless=new",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--remote-debugging-port=0",
)


@define(eq=False)
class Page:
    """One tab."""

    _socket: WebSocketConnection
    complaints: list[str] = field(factory=list)
    _answers: dict[int, dict[str, Any]] = field(factory=dict)
    _changed: trio.Condition = field(factory=trio.Condition)
    _count: int = 0

    async def send(self, method: str, **parameters: object) -> dict[str, Any]:
        """The result of one command of the protocol."""
        self._count += 1
        number = self._count
        with trio.fail_after(PATIENCE_S):
            await self._socket.send_message(json.dumps({"id": number, "method": method, "params": parameters}))
            async with self._changed:
                while number not in self._answers:
                    await self._changed.wait()
        answer = self._answers.pop(number)
        assert "error" not in answer, (method, answer)
        result: dict[str, Any] = answer["result"]
        return result

    async def listen(self) -> None:
        """Read what the browser says, until the tab is gone."""
        while True:
            try:
                said = json.loads(await self._socket.get_message())
            except ConnectionClosed:
                return
            if "id" in said:
                async with self._changed:
                    self._answers[said["id"]] = said
                    self._changed.notify_all()
            else:
                self._note(said["method"], said["params"])

    def _note(self, method: str, parameters: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.complaints.append(str(details.get("exception", {}).get("description", details["text"])))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.complaints.append(f"{parameters['entry']['text']} {parameters['entry'].get('url', '')}")
        elif method == "Runtime.consoleAPICalled" and parameters["type"] == "error":
            self.complaints.append(json.dumps(parameters["args"])[:500])

    async def go(self, url: str) -> None:
        """Load a page, and wait until its document and modules are loaded."""
        await self.send("Page.navigate", url=url)
        await self.wait("document.readyState === 'complete'")

    async def run(self, script: str) -> Any:
        """The value of an expression in the page; a promise is awaited."""
        result = await self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    async def wait(self, condition: str) -> Any:
        """The value of the expression, once it is true."""
        with trio.fail_after(PATIENCE_S):
            while True:
                result = await self.send("Runtime.evaluate", expression=condition, returnByValue=True)
                if value := result["result"].get("value"):
                    return value
                await trio.sleep(0.02)

    async def type(self, selector: str, text: str) -> None:
        """Write into a field as a person would, by keys."""
        await self.wait(f"!!document.querySelector({json.dumps(selector)})")
        await self.run(f"document.querySelector({json.dumps(selector)}).focus()")
        await self.send("Input.insertText", text=text)

    async def click(self, name: str, within: str = "document") -> None:
        """Click the button, the link or the switch of that name."""
        found = (
            f"[...{within}.querySelectorAll('button, a, [role=switch], summary')]"
            f".find((one) => (one.getAttribute('aria-label') ?? one.textContent).trim() === {json.dumps(name)})"
        )
        await self.wait(f"!!({found}) && !({found}).disabled")
        await self.run(f"({found}).click()")

    async def key(self, name: str) -> None:
        """Press a key: `Tab`, `Enter`, …"""
        code = {"Tab": 9, "Enter": 13, " ": 32}[name]
        text = {"Enter": "\r", " ": " "}.get(name)
        pressed = {"key": name, "code": name, "windowsVirtualKeyCode": code}
        await self.send("Input.dispatchKeyEvent", type="keyDown", **pressed, **({"text": text} if text else {}))
        await self.send("Input.dispatchKeyEvent", type="keyUp", **pressed)

    async def resize(self, width: int, height: int) -> None:
        """The size of the window, as a phone's."""
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 700
        )

    async def prefer(self, scheme: str) -> None:
        """`dark` or `light`."""
        await self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    async def save_picture(self, path: Path) -> None:
        """A screenshot, for people."""
        picture = await self.send("Page.captureScreenshot", captureBeyondViewport=True)
        _write(path, base64.b64decode(picture["data"]))


@asynccontextmanager
async def open_browser(folder: Path) -> AsyncIterator[Page]:
    """A browser with one tab; `folder` is for its profile."""
    assert CHROMIUM is not None
    profile = folder / "chromium"
    own = [f"--user-data-dir={profile}", *(["--no-sandbox"] if os.geteuid() == 0 else []), "about:blank"]
    with (folder / "chromium.log").open("wb") as log:
        command = [CHROMIUM, *_OPTIONS, *own]
        process = await trio.lowlevel.open_process(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        port = await _read_port(profile / "DevToolsActivePort")
        async with open_websocket_url(await _find_tab(port)) as socket, trio.open_nursery() as nursery:
            page = Page(socket)
            nursery.start_soon(page.listen)
            for domain in ("Page", "Runtime", "Log", "Network"):
                await page.send(f"{domain}.enable")
            yield page
            nursery.cancel_scope.cancel()
    finally:
        process.kill()
        with trio.CancelScope(shield=True), trio.move_on_after(PATIENCE_S):
            await process.wait()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


async def _read_port(path: Path) -> int:
    with trio.fail_after(PATIENCE_S):
        while not _read(path):  # noqa: ASYNC110  # another process writes it
            await trio.sleep(0.02)
    return int(_read(path).split()[0])


def _read(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""


async def _find_tab(port: int) -> str:
    asked = f"GET /json/list HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n".encode()
    with trio.fail_after(PATIENCE_S):
        while True:
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(asked)
                tabs = (await read_response(stream, "GET")).json()
            found = [tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page"]
            if found:
                return str(found[0])
            await trio.sleep(0.02)
