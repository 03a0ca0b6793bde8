"""A chat's client over a WebSocket, with trio-websocket: frames as JSON, every wait with a limit."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import trio
from attrs import define
from trio_websocket import ConnectionClosed, ConnectionRejected, WebSocketConnection, wrap_client_stream

from tests.support.gateway import PROJECT, Gateway

# Longer than anything a test waits for.
LIMIT_S = 20
LAST_FRAMES = ("done", "error", "cancelled")


@define
class Ended:
    """How the server ended a socket, after these frames."""

    code: int | None
    frames: list[dict[str, Any]]


@define
class ChatClient:
    """One open socket."""

    ws: WebSocketConnection
    stream: trio.SocketStream

    async def send(self, frame: object) -> None:
        """Send a frame; text and bytes as they are."""
        await self.ws.send_message(frame if isinstance(frame, str | bytes) else json.dumps(frame))

    async def ask(self, answer_id: str, message: str = "Hello there", **fields: object) -> None:
        """Send a message."""
        await self.send({"type": "message", "id": answer_id, "message": message, **fields})

    async def read(self) -> dict[str, Any]:
        """The next frame."""
        with trio.fail_after(LIMIT_S):
            frame: dict[str, Any] = json.loads(await self.ws.get_message())
            return frame

    async def read_until(self, *kinds: str, id: str | None = None) -> list[dict[str, Any]]:
        """Frames up to the first of these kinds (and of this id)."""
        frames = []
        while True:
            frames.append(await self.read())
            if frames[-1]["type"] in kinds and (id is None or frames[-1].get("id") == id):
                return frames

    async def answer(self, answer_id: str, message: str = "Hello there", **fields: object) -> list[dict[str, Any]]:
        """Ask, and the frames of the answer."""
        await self.ask(answer_id, message, **fields)
        frames = await self.read_until(*LAST_FRAMES, id=answer_id)
        return [frame for frame in frames if frame.get("id") == answer_id]

    async def read_end(self) -> Ended:
        """The frames until the server closes, and its code."""
        frames = []
        try:
            while True:
                frames.append(await self.read())
        except ConnectionClosed as closed:
            return Ended(None if closed.reason is None else closed.reason.code, frames)


def socket_path(slug: str = "a", project: UUID = PROJECT) -> str:
    """The path of an endpoint's WebSocket. A slug with a `?` is a path with a query."""
    path, _, query = slug.partition("?")
    return f"/api/{project}/{path}/ws?{query}" if query else f"/api/{project}/{path}/ws"


@asynccontextmanager
async def open_socket(
    gateway: Gateway,
    slug: str = "a",
    *headers: tuple[str, str],
    token: str | None = None,
    protocols: tuple[str, ...] = (),
    is_ready: bool = True,
) -> AsyncIterator[ChatClient]:
    """A socket with the token in its header; "": no header. `is_ready`: read the first frame, which must be `ready`."""
    token = gateway.token if token is None else token
    fields = [*headers, *([("Authorization", f"Bearer {token}")] if token else [])]
    sent = [(name.encode(), text.encode()) for name, text in fields]
    stream = await trio.open_tcp_stream("127.0.0.1", gateway.port)
    async with stream, trio.open_nursery() as nursery:
        with trio.fail_after(LIMIT_S):
            ws = await wrap_client_stream(
                nursery,
                stream,
                f"127.0.0.1:{gateway.port}",
                socket_path(slug),
                subprotocols=protocols,
                extra_headers=sent,
            )
        client = ChatClient(ws, stream)
        if is_ready and token:
            assert "ready" == (await client.read())["type"]
        try:
            yield client
        finally:
            with trio.move_on_after(2, shield=True):
                await ws.aclose()
            nursery.cancel_scope.cancel()


async def refused(gateway: Gateway, slug: str = "a", *headers: tuple[str, str], **options: Any) -> tuple[int, Any]:
    """The status and the body of a handshake that is refused."""
    found: list[tuple[int, Any]] = []
    try:
        async with open_socket(gateway, slug, *headers, **options):
            raise AssertionError("it was accepted")
    except* ConnectionRejected as group:
        for error in group.exceptions:
            assert isinstance(error, ConnectionRejected)
            found.append((error.status_code, json.loads(error.body) if error.body else None))
    return found[0]


def texts(frames: list[dict[str, Any]]) -> str:
    """The answer's text in its frames."""
    return "".join(frame["content"] for frame in frames if frame["type"] == "delta")


def seqs(frames: list[dict[str, Any]]) -> list[int]:
    """The numbers of an answer's frames."""
    return [frame["seq"] for frame in frames if "seq" in frame]
