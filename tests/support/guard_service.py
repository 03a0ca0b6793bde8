"""A service that guardrails ask, over real sockets: a webhook, or a server of moderations. It may misbehave."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import h11
import trio
from attrs import define, field, frozen

WAIT_S = 20
# A byte in so many seconds: a body that never ends within a test.
DRIP_S = 0.01

Mode = Literal["answer", "hang", "hang_in_body", "drip", "close", "huge", "early_end"]


@frozen
class Asked:
    """One request as it came; header names in lower case. `left` is set when the gateway closed it without its
    answer."""

    path: str
    headers: Mapping[str, str]
    raw: bytes
    connection: int
    left: trio.Event = field(factory=trio.Event)

    @property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.raw)
        return body

    def is_signed(self, secret: str) -> bool:
        """Whether the signature is that of the body as it came."""
        right = hmac.new(secret.encode(), self.raw, hashlib.sha256).hexdigest()
        return hmac.compare_digest(f"sha256={right}", self.headers.get("x-pg-signature", ""))


Decide = Callable[[Asked], Any]


def allow(asked: Asked) -> Any:
    """A webhook that finds nothing."""
    return {"action": "allow"}


def block(reason: str) -> Decide:
    """A webhook that blocks for this reason."""
    return lambda asked: {"action": "block", "reason": reason}


def replace(old: str, new: str) -> Decide:
    """A webhook that replaces a part of each text."""
    return lambda asked: {"action": "replace", "texts": [text.replace(old, new) for text in asked.body["texts"]]}


def moderate(*flagged: str, word: str = "") -> Decide:
    """A server of moderations that flags these categories, in the texts that have the word."""

    def decide(asked: Asked) -> Any:
        results = []
        for text in asked.body["input"]:
            found = flagged if word in text else ()
            categories = {name: name in found for name in ("hate", "violence", *flagged)}
            results.append({"flagged": bool(found), "categories": categories, "category_scores": {}})
        return {"id": "modr-1", "model": "omni-moderation-latest", "results": results}

    return decide


@define(eq=False)
class GuardService:
    """What has been asked so far. `decide` makes the answer's JSON, or gives its bytes; `status` and `mode` hold for
    the requests that come from then on. With a `gate` every answer waits until it is set."""

    port: int = 0
    decide: Decide = allow
    status: int = 200
    mode: Mode = "answer"
    headers: Sequence[tuple[str, str]] = ()
    gate: trio.Event | None = None
    asked: list[Asked] = field(factory=list)
    connections: int = 0
    _grown: trio.Event = field(factory=trio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/check"

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def wait_asked(self, count: int = 1) -> Asked:
        """Wait until so many requests have come; returns the last of them."""
        with trio.fail_after(WAIT_S):
            while len(self.asked) < count:
                await self._grown.wait()
        return self.asked[count - 1]

    async def wait_left(self, asked: Asked) -> None:
        """Wait until the gateway has closed the request's connection without its answer."""
        with trio.fail_after(WAIT_S):
            await asked.left.wait()

    def take(self, asked: Asked) -> None:
        self.asked.append(asked)
        grown, self._grown = self._grown, trio.Event()
        grown.set()


async def serve_guard_service(*, task_status: trio.TaskStatus[GuardService]) -> None:
    """Answer until cancelled."""
    service = GuardService()
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, partial(_serve, service), 0, host="127.0.0.1"))
        service.port = listeners[0].socket.getsockname()[1]
        task_status.started(service)


async def _serve(service: GuardService, stream: trio.SocketStream) -> None:
    service.connections += 1
    number = service.connections
    try:
        while (asked := await _read(stream, number)) is not None:
            service.take(asked)
            if not await _answer(service, asked, stream):
                return
    except trio.BrokenResourceError:
        return


async def _read(stream: trio.SocketStream, connection: int) -> Asked | None:
    """The next request; None if the connection ends."""
    parser, body = h11.Connection(h11.SERVER), b""
    head: h11.Request | None = None
    while True:
        event = parser.next_event()
        if event is h11.NEED_DATA:
            parser.receive_data(await stream.receive_some(65536))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            assert head is not None
            headers = {name.decode(): value.decode() for name, value in head.headers}
            return Asked(head.target.decode(), headers, body, connection)
        else:
            return None


async def _answer(service: GuardService, asked: Asked, stream: trio.SocketStream) -> bool:
    """Answer one request; whether the connection goes on."""
    mode, decide, status, headers = service.mode, service.decide, service.status, service.headers
    if mode == "close":
        return False
    if mode == "hang":
        return await _wait_left(asked, stream)
    if service.gate is not None and not await _passes_gate(service.gate, asked, stream):
        return False
    decided = decide(asked)
    body = decided if isinstance(decided, bytes) else json.dumps(decided).encode()
    length = len(body) if mode == "answer" else 1 << 40
    lines = [f"HTTP/1.1 {status} Status", f"Content-Length: {length}", *(f"{name}: {value}" for name, value in headers)]
    await stream.send_all("\r\n".join([*lines, "", ""]).encode())
    if mode == "answer":
        await stream.send_all(body)
        return True
    if mode == "early_end":
        await stream.send_all(body[:1])
        return False
    try:
        if mode == "hang_in_body":
            await stream.send_all(b"{")
            return await _wait_left(asked, stream)
        while True:
            await stream.send_all(b" " if mode == "drip" else b" " * 65536)
            if mode == "drip":
                await trio.sleep(DRIP_S)
    except trio.BrokenResourceError:
        asked.left.set()
        return False


async def _wait_left(asked: Asked, stream: trio.SocketStream) -> bool:
    try:
        while await stream.receive_some():
            pass
    except trio.BrokenResourceError:
        pass
    asked.left.set()
    return False


async def _passes_gate(gate: trio.Event, asked: Asked, stream: trio.SocketStream) -> bool:
    """Wait for the gate; False if the gateway left before."""
    passed = False
    async with trio.open_nursery() as nursery:

        async def wait_gate() -> None:
            nonlocal passed
            await gate.wait()
            passed = True
            nursery.cancel_scope.cancel()

        nursery.start_soon(wait_gate)
        await _wait_left(asked, stream)
        nursery.cancel_scope.cancel()
    return passed
