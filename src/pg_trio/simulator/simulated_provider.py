"""A simulator's state and its routes: what it received, how it behaves, what it answers. No socket here."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

import trio
from attrs import define, evolve, field, frozen

from pg_trio.domain.chat import Json
from pg_trio.simulator.behaviour import GOOD, PRESETS, Behaviour, parse_behaviour
from pg_trio.simulator.chat_call import ChatCall, RefusedCall, read_json_object
from pg_trio.simulator.chat_completion import Occasion
from pg_trio.simulator.plan import Plan, Send, error_answer, json_answer, render
from pg_trio.simulator.request_reader import ReaderLimits
from pg_trio.simulator.view import describe
from pg_trio.simulator.wire_routes import find_route, read_call, read_key

# After this many different model names, new ones share one count: a client cannot grow the process by inventing names.
MAX_COUNTED_MODELS = 10_000
OTHER_MODELS = "(other models)"
VIEW_PATH = "/requests"


@frozen(slots=True)
class Behaviours:
    """How a simulator behaves, by model name, and `default` for the rest. Texts: the grammar of docs/simulator.md.

    With `api_key`, calls need it as their bearer. The last `keep_requests` requests are kept for inspection.
    """

    default: Behaviour | str = GOOD
    by_model: Mapping[str, Behaviour | str] = field(factory=dict)
    seed: int = 0
    api_key: str | None = field(default=None, repr=False)
    keep_requests: int = 1_000
    limits: ReaderLimits = field(factory=ReaderLimits)


@define(slots=True, eq=False)
class SimulatedConnection:
    """A client's connection, by number from 1. `closed_at` is Trio time, None while it is open."""

    number: int
    closed_at: float | None = None


@define(slots=True, eq=False)
class Received:
    """A request as it arrived, and how its answer went. Times are Trio's; header names are in lower case.

    `body` is the parsed JSON, None where it is none. `fault` is the kind that struck, if one did. `closed_early`: the
    client went before its answer was complete. `answered_at`: when the last step of the answer was done, its last byte
    handed to the system or the fault carried out; None where that did not happen (yet).
    """

    number: int
    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    raw_body: bytes = field(repr=False)
    arrived_at: float
    connection: SimulatedConnection
    body: Json = None
    model: str | None = None
    said: str = ""
    stream: bool = False
    fault: str | None = None
    answered_at: float | None = None
    closed_early: bool = False

    @property
    def closed_at(self) -> float | None:
        """When the connection that carried it closed, None while it is open."""
        return self.connection.closed_at


class Simulator:
    """A running simulated provider: where it is, what it received, and how it behaves from now on."""

    def __init__(self, behaviours: Behaviours, base_url: str, on_done: Callable[[Received], None] | None) -> None:
        self.base_url = base_url
        self.requests: deque[Received] = deque(maxlen=behaviours.keep_requests)
        self.counts: Counter[str] = Counter()
        self.received_count = 0
        self.connection_count = 0
        self.open_connections = 0
        self._behaviours = behaviours
        self._on_done = on_done
        self._default = _parsed(behaviours.default)
        self._by_model = {model: _parsed(behaviour) for model, behaviour in behaviours.by_model.items()}
        self._started_at = trio.current_time()
        self._changed = trio.lowlevel.ParkingLot()

    # ── for tests and the program that runs it ──

    def url_of(self, wire: str) -> str:
        """The base URL under which a provider of this wire would be configured."""
        return self.base_url.removesuffix("/v1") + {"google": "/v1beta", "cohere": "/v2"}.get(wire, "/v1")

    def behave(self, model: str, behaviour: Behaviour | str = GOOD, **changes: Any) -> None:
        """From the next call on, this model behaves so; `changes` are `Behaviour`'s fields, over what is given."""
        self._by_model[model] = evolve(_parsed(behaviour), **changes)

    async def wait_request(self, number: int = 1) -> Received:
        """Wait until this many requests arrived since the start; the one of that number (it must still be kept)."""
        while self.received_count < number:
            await self._changed.park()
        return self.requests[number - self.received_count - 1]

    async def wait_closed(self, request: Received | None = None) -> Received:
        """Wait until the connection of this request (default: the latest) is closed; the request."""
        waited_for = self.requests[-1] if request is None else request
        while waited_for.connection.closed_at is None:
            await self._changed.park()
        return waited_for

    async def wait_answered(self, request: Received) -> Received:
        """Wait until the request's answer was written whole, or its connection is closed; the request."""
        while request.answered_at is None and request.connection.closed_at is None:
            await self._changed.park()
        return request

    async def wait_no_connections(self) -> None:
        """Wait until no client is connected."""
        while self.open_connections:
            await self._changed.park()

    def elapsed_s(self) -> float:
        """Seconds since the start, by which a `flap` goes."""
        return trio.current_time() - self._started_at

    # ── for connections ──

    def open_connection(self) -> SimulatedConnection:
        """Count a new connection."""
        self.connection_count += 1
        self.open_connections += 1
        return SimulatedConnection(self.connection_count)

    def close_connection(self, connection: SimulatedConnection) -> None:
        """Note that a connection is closed."""
        connection.closed_at = trio.current_time()
        self.open_connections -= 1
        self._changed.unpark_all()

    def receive(self, request: Received) -> None:
        """Note a request, unless it only asks what was noted."""
        if _is_view(request):
            return
        self.received_count += 1
        request.number = self.received_count
        self.requests.append(request)
        self._changed.unpark_all()

    def finish(self, request: Received, *, closed_early: bool) -> None:
        """Note how a request's answer ended."""
        if _is_view(request):
            return
        request.closed_early = closed_early
        if not closed_early:
            request.answered_at = trio.current_time()
        self._changed.unpark_all()
        if self._on_done is not None:
            self._on_done(request)

    def plan(self, request: Received) -> Plan:
        """The answer to any request."""
        found = find_route(request.method, request.path)
        try:
            if found is None:
                return self._route(request)
            wire, model = found
            self._authenticate(request, wire)
            return self._chat(request, wire, model)
        except RefusedCall as refusal:
            return (Send(error_answer(refusal, wire="openai" if found is None else found[0])),)

    def _route(self, request: Received) -> Plan:
        route = (request.method, request.path.partition("?")[0])
        if route == ("GET", "/v1/models"):
            self._authenticate(request)
            return (Send(json_answer(self._models())),)
        if route == ("GET", VIEW_PATH):
            self._authenticate(request)
            return (Send(json_answer(describe(self, _read_after(request.path)))),)
        raise RefusedCall(404, f"Invalid URL ({route[0]} {route[1][:200]}).")

    def _authenticate(self, request: Received, wire: str = "openai") -> None:
        key = self._behaviours.api_key
        if key is None or read_key(wire, request.headers) == key:
            return
        if wire.startswith("google"):
            # Google says so with a 400, and a reason in the error's details.
            raise RefusedCall(400, "API key not valid. Please pass a valid API key.", code="API_KEY_INVALID")
        raise RefusedCall(401, "Incorrect API key provided.", code="invalid_api_key")

    def _chat(self, request: Received, wire: str, model: str | None) -> Plan:
        body = read_json_object(request.headers.get("content-type", ""), request.raw_body)
        request.body = body
        call: ChatCall = read_call(wire, request.path, request.headers, body, model)
        request.model, request.said, request.stream = call.model, call.said, call.stream
        number = self._count(call.model)
        behaviour = self._choose(call.model, request.headers.get("x-simulate", ""))
        elapsed_s = request.arrived_at - self._started_at
        occasion = Occasion(self._behaviours.seed, call.model, number, elapsed_s, int(time.time()))
        answer = render(behaviour, call, occasion)
        request.fault = answer.fault.kind if answer.fault else None
        return answer.steps

    def _count(self, model: str) -> int:
        counted = model if model in self.counts or len(self.counts) < MAX_COUNTED_MODELS else OTHER_MODELS
        self.counts[counted] += 1
        return self.counts[counted]

    def _choose(self, model: str, header: str) -> Behaviour:
        name, _, options = model.partition("?")
        installed = self._by_model.get(model)
        if installed is None:
            installed = self._overlay("model", options, self._by_model.get(name, self._default))
        return self._overlay("X-Simulate", header, installed)

    def _overlay(self, where: str, text: str, base: Behaviour) -> Behaviour:
        if not text:
            return base
        try:
            return parse_behaviour(text, base)
        except ValueError as error:
            raise RefusedCall(400, f"Behaviour in {where}: {error}.", param=where, code="invalid_behaviour") from error

    def _models(self) -> Json:
        names = ["sim", *(f"sim?{preset}" for preset in PRESETS), *self._by_model]
        models = [{"id": name, "object": "model", "created": 0, "owned_by": "simulator"} for name in names]
        return {"object": "list", "data": models}


def _is_view(request: Received) -> bool:
    return request.method == "GET" and request.path.partition("?")[0] == VIEW_PATH


def _read_after(path: str) -> int:
    text = parse_qs(path.partition("?")[2]).get("after", ["0"])[0]
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise RefusedCall(400, "'after' must be a whole number.", param="after")
    return int(text)


def _parsed(behaviour: Behaviour | str) -> Behaviour:
    return parse_behaviour(behaviour) if isinstance(behaviour, str) else behaviour
