"""Clients on Trio: one connection, when its answer came, what it says; and many of them at once or at a fixed rate."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Self

import httptools
import trio
from attrs import define, field, frozen

from scripts.bench.harness.processes import HOST

_RECEIVE_BYTES = 64 * 1024
_WATCH_EVERY_S = 0.01


class CutShort(Exception):
    """The connection ended before the answer did, or what came is not HTTP."""


@frozen(slots=True)
class Said:
    """What an answer says, plain or streamed. `error`: the text of an error, wherever in the answer it stood."""

    text: str
    finish_reason: str | None
    error: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the answer claims to be complete and good."""
        return self.error is None and self.finish_reason not in (None, "error")


@frozen(slots=True)
class Answer:
    """An answer; `seconds` from the request's first byte to its last.

    `failure`: why it is not whole, `hung` where it did not come in time; its status is 0 then.
    """

    status: int
    headers: Mapping[str, str] = field(factory=dict)
    body: bytes = b""
    seconds: float = 0.0
    failure: str = ""

    def said(self) -> Said:
        """What it says; a stream is read as a client of OpenAI's wire reads it."""
        try:
            if self.headers.get("content-type", "").startswith("text/event-stream"):
                return _read_stream(self.body.decode())
            body = json.loads(self.body)
            return Said(body["content"], body["finish_reason"]) if self.status == 200 else Said("", None, body["error"])
        except (ValueError, KeyError, TypeError) as error:
            return Said("", None, self.failure or f"unreadable: {type(error).__name__}: {error}")


async def call(port: int, request: bytes, limit_s: float) -> Answer:
    """The answer to one request on a connection of its own, or how it failed."""
    try:
        async with await Caller.connect(port) as caller:
            return await caller.call(request, limit_s)
    except (CutShort, OSError) as error:
        return Answer(0, failure=f"{type(error).__name__}: {error}")


async def run_crowd(count: int, work: Callable[[int], Awaitable[object]]) -> None:
    """So many clients at once, each with its number."""
    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(work, number)


async def run_paced(count: int, per_s: float, work: Callable[[float], Awaitable[object]]) -> None:
    """Open loop: a client begins at each of so many fixed times, and is told its own."""
    started_at = trio.current_time()
    async with trio.open_nursery() as nursery:
        for due_at in (started_at + number / per_s for number in range(count)):
            await trio.sleep_until(due_at)
            nursery.start_soon(work, due_at)


async def run_watched(clients: Callable[[], Awaitable[object]], late_s: list[float]) -> None:
    """The clients, and by how much this process wakes too late meanwhile: its own times are no better than that."""

    async def watch() -> None:
        while True:
            due_at = trio.current_time() + _WATCH_EVERY_S
            await trio.sleep_until(due_at)
            late_s.append(trio.current_time() - due_at)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await clients()
        nursery.cancel_scope.cancel()


class Caller:
    """A connection that is kept: one request after the other. Use it as a block."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream

    @classmethod
    async def connect(cls, port: int) -> Self:
        return cls(await trio.open_tcp_stream(HOST, port))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stream.aclose()

    async def call(self, request: bytes, limit_s: float = 60.0) -> Answer:
        """The answer to one request; a connection that hung cannot be used again. Raises: CutShort."""
        started_at, reader = time.monotonic(), AnswerReader()
        with trio.move_on_after(limit_s):
            try:
                await self._stream.send_all(request)
                while not reader.is_over:
                    reader.feed(await self._stream.receive_some(_RECEIVE_BYTES))
            except trio.BrokenResourceError as exc:
                raise CutShort(f"after {len(reader.body)} bytes: {exc.__cause__}") from exc
            return Answer(reader.status, reader.headers, bytes(reader.body), time.monotonic() - started_at)
        return Answer(0, seconds=time.monotonic() - started_at, failure="hung")


@define(eq=False)
class AnswerReader:
    """Takes the bytes of one answer; llhttp decides where it ends and calls the `on_…` methods."""

    status: int = 0
    headers: dict[str, str] = field(factory=dict)
    body: bytearray = field(factory=bytearray)
    is_over: bool = False
    _parser: Any = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        """Raises: CutShort for the connection's end (no bytes), and for bytes that are not HTTP."""
        if not data:
            raise CutShort(f"after {len(self.body)} bytes")
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as exc:
            raise CutShort(f"no HTTP: {exc}") from exc

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.is_over = True


def _read_stream(body: str) -> Said:
    text, finish_reason, error = "", None, None
    *events, rest = body.split("\n\n")
    if rest or events[-1] != "data: [DONE]":
        error = "the stream does not end with [DONE]"
    for event in events[:-1]:
        lines = [line for line in event.split("\n") if not line.startswith(":")]
        if not lines:
            continue
        data = json.loads(lines[-1].removeprefix("data: "))
        if lines[0] == "event: error":
            error = data["error"]
        if data.get("meta", {}).get("join", {}).get("mode") == "restart":
            # The text that follows replaces the text that came before.
            text, finish_reason = "", None
        for choice in data.get("choices", []):
            text += choice["delta"].get("content") or ""
            finish_reason = choice["finish_reason"] or finish_reason
    return Said(text, finish_reason, error)
