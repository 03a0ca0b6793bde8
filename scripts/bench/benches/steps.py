"""How many bytecodes a request takes, function by function, with every stage on, or with none (`--plain`).

With `--tokens`: how many a streamed token takes that comes alone, with its share of a stream of 60. With `--first`: the
first request of each connection. With `--refused`: a request that a full gateway turns away on a kept connection.

Rules
1. A count of steps does not depend on what else the machine does, so a change of one percent shows; a time would not.
   It says nothing about C code and the kernel: read it beside the CPU time of `scripts/bench/peers`.
2. Counted is what runs below the connection that serves the request: lane, application, pipeline, transport, and Trio's
   functions that those call. The event loop itself, background tasks and the log's thread are not counted.
3. One request after the other over one connection, the first ones uncounted: caches are full, nothing waits.
4. `--observed` says what observes: `metrics` as by default, `all` with every request traced too, or `nothing`.
5. A stage takes 20 µs by its clock. The counter makes stages forty times as slow, so each request would be the first of
   its kind to the metrics (`STAGE_PATTERN`), where without the counter one in three hundred is.
6. `--refused` counts what runs below the doorkeeper's look at a connection, of a gateway that has no room.
Needs nginx, but for `--refused`.
"""

from __future__ import annotations

import http.client
import json
import socket
import sys
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from itertools import count
from types import CodeType, FrameType
from typing import Any, cast
from uuid import UUID

import trio
from attrs import evolve
from hypercorn.config import Config

from pg_trio.app import create_app, make_door
from pg_trio.config import load_settings
from pg_trio.config.settings import ServerSettings
from pg_trio.domain.verdict import Verdict
from pg_trio.recorder import record, recorder
from pg_trio.server.http1.connection import LaneConnection
from pg_trio.server.http1.doorkeeper import Doorkeeper, _Parked
from pg_trio.server.http1.incoming import Incoming
from pg_trio.server.http1.types import ASGIApplication
from pg_trio.server.serving import serve_app
from pg_trio.web.asgi import GatewayRoutes, refuse_path
from scripts.bench.harness.cli import Options, Parser, Reports, positive
from scripts.bench.harness.gateway import SWITCHED_ON, Endpoint, GatewayFiles, set_up, set_up_full
from scripts.bench.harness.processes import HOST
from scripts.bench.harness.site import open_site
from scripts.bench.harness.tables import Report, Table
from scripts.bench.harness.target import MODEL, QUESTION, StreamOrder, Target

_ROOT = LaneConnection._serve_requests.__code__  # what serves one request after the other
_STAGE_S = 20e-6
_WARM_REQUESTS, _WARM_STREAMS = 300, 3
# Each token comes alone: the gateway takes some 60 µs for one, and this counter slows it down forty times.
_STREAM = StreamOrder(streams=1, tokens=60, pace_us=20_000)


class StepCounter:
    """Counts bytecodes below `root`, between `start` and `stop`, in the thread that calls them."""

    def __init__(self, root: CodeType) -> None:
        self._root = root
        self.calls: Counter[CodeType] = Counter()
        self.own: Counter[CodeType] = Counter()
        self.inclusive: Counter[CodeType] = Counter()

    def start(self) -> None:
        """Count every function that is called or resumed from here on."""
        sys.settrace(self._enter)

    def stop(self) -> None:
        sys.settrace(None)

    def _enter(self, frame: FrameType, event: str, _: Any) -> Callable[..., Any] | None:
        below = self._find_callers(frame)
        if below is None:
            return None
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        self.calls[frame.f_code] += 1
        return partial(self._step, below)

    def _step(self, below: frozenset[CodeType], frame: FrameType, event: str, _: Any) -> Callable[..., Any]:
        if event == "opcode":
            self.own[frame.f_code] += 1
            self.inclusive.update(below)
        return partial(self._step, below)

    def _find_callers(self, frame: FrameType | None) -> frozenset[CodeType] | None:
        """The function and those that called it, down from the root; None where the root is not among them."""
        codes = []
        while frame is not None:
            codes.append(frame.f_code)
            if frame.f_code is self._root:
                return frozenset(codes)
            frame = frame.f_back
        return None


def add_options(parser: Parser) -> None:
    parser.add_argument("--requests", type=positive, help="how many are counted (default 100, quick 20)")
    parser.add_argument("--plain", action="store_true", help="an endpoint that uses no stage")
    parser.add_argument("--v1", action="store_true", help="of Chat Completions on /v1, not of the Gateway API")
    parser.add_argument("--chat", action="store_true", help="of the body of --v1 on the Gateway API, not of one text")
    parser.add_argument("--tokens", action="store_true", help="of streamed tokens, not of whole answers")
    parser.add_argument("--first", action="store_true", help="of the first request of each connection")
    parser.add_argument("--refused", action="store_true", help="of requests that a full gateway refuses")
    parser.add_argument("--observed", choices=("nothing", "metrics", "all"), default="metrics")
    parser.add_argument("--top", type=positive, default=50, help="how many functions are shown (default 50)")


def run(options: Options) -> Reports:
    requests = options.requests or (20 if options.quick else 100)
    if options.tokens:
        yield _count_tokens(max(5, requests // 4), options)
        return
    if options.refused:
        yield _count_refusals(requests, options)
        return
    with open_site("nginx") as site, site.run_upstream() as upstream:
        files = set_up_full(site.make_folder("gateway"), upstream.base_url, plain=options.plain)
        target, ask = partial(_name_target, files, options), _ask_first if options.first else _ask
        counter = trio.run(_measure, files, target, requests, options.observed, ask)
    switched_on = "an endpoint that uses no stage" if options.plain else SWITCHED_ON
    table = _tabulate(counter, "request", requests, options.top, f"{requests} requests, {switched_on}")
    yield Report([table], {"bytecodes_a_request": counter.inclusive[_ROOT] / requests})


def _count_tokens(streams: int, options: Options) -> Report:
    with open_site() as site, site.run_source() as source:
        endpoint = Endpoint("relay", {"source": MODEL})
        files = set_up(site.make_folder("gateway"), {"source": source.base_url}, [endpoint])
        target = partial(_name_stream, files, options.v1)
        counter = trio.run(_measure, files, target, streams, options.observed, _ask)
    tokens = streams * _STREAM.tokens
    note = f"{streams} streams of {_STREAM.tokens} tokens, each {_STREAM.pace_us} µs after the last"
    table = _tabulate(counter, "token", tokens, options.top, note)
    return Report([table], {"bytecodes_a_token": counter.inclusive[_ROOT] / tokens})


def _name_stream(files: GatewayFiles, v1: bool, port: int) -> Target:
    plain = files.openai_target(port, QUESTION, "relay") if v1 else files.target(port, "relay", {"message": QUESTION})
    return plain.ask_stream(0, _STREAM)


def _tabulate(counter: StepCounter, unit: str, count: int, top: int, note: str) -> Table:
    rows = [
        (_name(code), f"{counter.own[code] / count:,.0f}", f"{steps / count:,.0f}", f"{calls / count:.1f}")
        for code, steps in counter.inclusive.most_common(top)
        if (calls := counter.calls[code])
    ]
    return Table((f"bytecodes a {unit}", "own", "with what it calls", "entered"), rows, notes=(note,))


def _name_target(files: GatewayFiles, options: Options, port: int) -> Target:
    if not options.v1 and not options.chat:
        return files.target(port, "support", {"message": QUESTION})
    chat = files.openai_target(port, QUESTION)
    return chat if options.v1 else evolve(chat, path=files.target(port, "openai", {}).path)


async def _measure(
    files: GatewayFiles,
    target: Callable[[int], Target],
    requests: int,
    observed: str,
    ask: Callable[[Target, int, StepCounter], None],
) -> StepCounter:
    settings = load_settings(files.configuration)
    # Where no collector listens: what waits for it is dropped.
    endpoint = f"http://{HOST}:9" if observed == "all" else ""
    observe = evolve(settings.observe, metrics=observed != "nothing", otlp_endpoint=endpoint)
    counter, shutdown, settings = StepCounter(_ROOT), trio.Event(), evolve(settings, observe=observe)
    app, config = cast(ASGIApplication, create_app(settings).asgi_app), Config()
    config.bind = [f"{HOST}:0"]
    record.perf_counter = recorder.perf_counter = count(step=_STAGE_S).__next__  # type: ignore[attr-defined] # rule 5
    async with trio.open_nursery() as nursery:
        (address,) = await nursery.start(partial(serve_app, app, config, settings.server, shutdown=shutdown))
        asked = target(int(address.rpartition(":")[2]))
        await trio.to_thread.run_sync(ask, asked, requests, counter)
        shutdown.set()
    return counter


def _ask(target: Target, requests: int, counter: StepCounter) -> None:
    """Ask from a thread of its own, whose steps are not counted."""
    request = target.as_bytes()
    with socket.create_connection((HOST, target.port), timeout=60) as client:

        def ask_each(count: int) -> None:
            for _ in range(count):
                client.sendall(request)
                answer = http.client.HTTPResponse(client)
                answer.begin()
                body = answer.read()
                if answer.status != 200:
                    raise ConnectionError(f"the gateway answered {answer.status}: {body[:300]!r}")

        ask_each(_WARM_STREAMS if b'"stream"' in request else _WARM_REQUESTS)
        trio.from_thread.run_sync(counter.start)
        ask_each(requests)
        trio.from_thread.run_sync(counter.stop)


def _ask_first(target: Target, requests: int, counter: StepCounter) -> None:
    """The same with a connection for each request; the one before it is still open, as in a pool."""
    request, open_ones = target.as_bytes(), deque[socket.socket](maxlen=2)
    for number in range(_WARM_REQUESTS + requests):
        if number == _WARM_REQUESTS:
            trio.from_thread.run_sync(counter.start)
        if len(open_ones) == open_ones.maxlen:
            open_ones.popleft().close()
        client = socket.create_connection((HOST, target.port), timeout=60)
        open_ones.append(client)
        client.sendall(request)
        answer = http.client.HTTPResponse(client)
        answer.begin()
        if answer.status != 200:
            raise ConnectionError(f"the gateway answered {answer.status}: {answer.read(300)!r}")
        answer.read()
    trio.from_thread.run_sync(counter.stop)
    for client in open_ones:
        client.close()


class _FullGateway:
    """An application that has no room, and a connection of its server."""

    retry_after_s, longest_wait_s, verdict, room = 1, 2.0, Verdict.REFUSE, 0
    newcomers, deadline = 0, 0.0

    def __init__(self) -> None:
        self.incoming = Incoming(ServerSettings())

    def note_shed(self, count: int) -> None:
        """Nothing to count."""

    def join_line(self, handed_over: int) -> bool:
        """There is no room."""
        return False

    def leave_line(self) -> None:
        """Nobody waits."""

    def let_in(self) -> int:
        """Nobody waits."""
        return 0

    def note_in_line(self, now: float) -> None:
        """Nobody waits."""

    def note_turned_away(self, now: float, *, keep_alive: bool) -> None:
        """The next request comes."""


def _count_refusals(requests: int, options: Options) -> Report:
    body = json.dumps({"message": QUESTION}).encode()
    head = f"POST /api/{UUID(int=0)}/support HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer pg_live_{'x' * 43}\r\n"
    request = f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    full, look, counter = _FullGateway(), Doorkeeper.look_around, StepCounter(Doorkeeper.look_around.__code__)
    routes = GatewayRoutes(refuse_path)
    client, server = socket.socketpair()
    with client, server, Doorkeeper(make_door(full, routes), ServerSettings()) as doorkeeper:
        doorkeeper.watch(_Parked(full, server, cast(trio.lowlevel.Task, None)))
        for number in range(1 + requests):
            client.sendall(request)
            if number:
                counter.start()
            look(doorkeeper, 0.0)
            counter.stop()
            if not client.recv(65536).startswith(b"HTTP/1.1 503 "):
                raise ConnectionError("the doorkeeper did not refuse")
    table = _tabulate(counter, "refusal", requests, options.top, f"{requests} requests to a full gateway")
    return Report([table], {"bytecodes_a_refusal": counter.inclusive[look.__code__] / requests})


def _name(code: CodeType) -> str:
    """The function's file, from its package on, and its name."""
    path = code.co_filename
    for folder in ("/site-packages/", "/src/", "/lib/"):
        path = path.rpartition(folder)[2]
    return f"{path} {code.co_qualname}"
