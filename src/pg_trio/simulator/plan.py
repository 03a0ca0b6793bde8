"""What the socket is to do for an answer: a few kinds of steps, planned without a socket. Pure.

A plan that ends without `Close` or `Reset` leaves the connection open for the next request. `Stall` ends a plan too:
nothing comes after it but the client's going away. A stream's steps are made as they are taken: what stamps its tokens
with the time relies on it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from http import HTTPStatus
from itertools import chain
from random import Random
from types import MappingProxyType
from typing import TypeAlias

import orjson
from attrs import evolve, frozen

from pg_trio.domain.chat import Json
from pg_trio.simulator.behaviour import Behaviour
from pg_trio.simulator.chat_call import ChatCall, RefusedCall
from pg_trio.simulator.chat_completion import STAMP, Completion, Occasion, complete
from pg_trio.simulator.simulated_faults import SimulatedFault
from pg_trio.simulator.wires import WIRES, Wire

# 64 KiB a piece of a huge body: what a socket's buffer takes at once.
HUGE_PIECE_BYTES = 64 * 1024
LAST_CHUNK = b"0\r\n\r\n"
# A comment, which every client of an event stream passes over.
PING = b": ping\n\n"
# Where a huge answer's filler goes. From Unicode's private use area: nobody's text.
FILLER_MARK = "\ue5cb"


@frozen(slots=True)
class Send:
    """Write these bytes, in one write where the socket takes them."""

    data: bytes


@frozen(slots=True)
class Wait:
    """Write nothing for this long."""

    seconds: float


@frozen(slots=True)
class Stall:
    """Write nothing any more, for as long as the client stays."""


@frozen(slots=True)
class Close:
    """End the connection in order (FIN)."""


@frozen(slots=True)
class Reset:
    """Tear the connection down (RST)."""


Step: TypeAlias = Send | Wait | Stall | Close | Reset
Plan: TypeAlias = Iterable[Step]


# ── HTTP ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def http_head(status: int, content_type: str, framing: str, more: str = "") -> bytes:
    """The head of an answer; `framing` is the header line that says where the body ends."""
    # Unassigned codes (520–527 are Cloudflare's) have no phrase of their own.
    phrase = HTTPStatus(status).phrase if status in _KNOWN_STATUSES else "Simulated"
    return f"HTTP/1.1 {status} {phrase}\r\nContent-Type: {content_type}\r\n{framing}\r\n{more}\r\n".encode("ascii")


_KNOWN_STATUSES = frozenset(int(status) for status in HTTPStatus)
_JSON_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


def whole_answer(status: int, content_type: str, body: bytes, more: str = "") -> bytes:
    """Head and body, ready for one write."""
    return http_head(status, content_type, f"Content-Length: {len(body)}", more) + body


def json_answer(data: Json) -> bytes:
    """A 200 with a JSON body, ready for one write."""
    body = orjson.dumps(data)
    return _JSON_HEAD % len(body) + body


def http_chunk(data: bytes) -> bytes:
    """One chunk of the chunked transfer coding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def error_answer(refusal: RefusedCall, more: str = "", wire: str = "openai") -> bytes:
    """A wire's error object with its status, ready for one write."""
    body = orjson.dumps(WIRES[wire].error_object(refusal))
    return whole_answer(refusal.status, "application/json", body, more)


# ── a call's plan ────────────────────────────────────────────────────────────────────────────────────────────────────


@frozen(slots=True)
class PlannedAnswer:
    """The steps to do, once, and the fault that is in them."""

    steps: Plan
    fault: SimulatedFault | None = None


def render(behaviour: Behaviour, call: ChatCall, occasion: Occasion) -> PlannedAnswer:
    """The answer to this call. The same arguments give the same steps."""
    random = occasion.random() if behaviour.is_random else _UNUSED
    fault = behaviour.find_fault(occasion.number, occasion.elapsed_s, random)
    completion = complete(behaviour, call, occasion)
    return PlannedAnswer(_steps(behaviour, call, completion, random, fault), fault)


def _steps(
    behaviour: Behaviour, call: ChatCall, completion: Completion, random: Random, fault: SimulatedFault | None
) -> Plan:
    if fault is not None and fault.kind in _INSTEAD:
        return _delayed(behaviour, random, _INSTEAD[fault.kind](behaviour, fault, call.wire))
    if fault is not None and fault.kind == "stall" and fault.variant == "head":
        return (Stall(),)
    if fault is not None and fault.kind == "empty":
        completion = evolve(completion, pieces=(), tool=None, is_empty=True)
    answer = _stream if call.stream else _plain
    steps: Plan = answer(behaviour, call, completion, random, fault)
    if fault is None:
        return steps
    if fault.kind == "drip":
        return _drip(steps, fault.amount)
    return _twice(steps) if fault.kind == "dup" else steps


# Handed where nothing is drawn: seeding a Random costs as much as the rest of the plan.
_UNUSED = Random(0)  # noqa: S311


def _delayed(behaviour: Behaviour, random: Random, steps: Plan) -> Plan:
    latency_s = behaviour.latency.draw_s(random)
    return chain((Wait(latency_s),), steps) if latency_s > 0 else steps


# ── faults that come instead of an answer, plain or streamed ─────────────────────────────────────────────────────────


def _status(behaviour: Behaviour, fault: SimulatedFault, wire: str) -> Plan:
    refusal = RefusedCall(
        fault.count, f"Simulated failure with status {fault.count}.", code=_STATUS_CODES.get(fault.count)
    )
    retry_after_s = behaviour.retry_after_s
    more = f"Retry-After: {retry_after_s}\r\n" if retry_after_s is not None else ""
    # RFC 9110 section 15.4.5: a 304 has no body, and a client does not wait for one.
    if fault.count == 304:
        return (Send(http_head(304, "application/json", "Content-Length: 0", more)),)
    return (Send(error_answer(refusal, more, wire)),)


_STATUS_CODES: Mapping[int, str] = MappingProxyType(
    {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}
)


def _hangup(behaviour: Behaviour, fault: SimulatedFault, wire: str) -> Plan:
    return (Close(),)


def _garbage(behaviour: Behaviour, fault: SimulatedFault, wire: str) -> Plan:
    return (Send(b"\x16\x03\x01\x00garbage \xff\xfe not HTTP at all\r\n\r\n"), Close())


def _notjson(behaviour: Behaviour, fault: SimulatedFault, wire: str) -> Plan:
    return (Send(whole_answer(200, "application/json", b'{"id": "chatcmpl-1", "choices": [oops')),)


def _wrong_type(behaviour: Behaviour, fault: SimulatedFault, wire: str) -> Plan:
    page = b"<!doctype html><title>Sign in</title><h1>Welcome to the airport's network</h1>\n"
    return (Send(whole_answer(200, "text/html; charset=utf-8", page)),)


def _error200(behaviour: Behaviour, fault: SimulatedFault, wire: str) -> Plan:
    refusal = RefusedCall(500, "Simulated error behind a status of 200.")
    return (Send(json_answer(WIRES[wire].error_object(refusal))),)


_INSTEAD: Mapping[str, Callable[[Behaviour, SimulatedFault, str], Plan]] = MappingProxyType(
    {
        "status": _status,
        "hangup": _hangup,
        "garbage": _garbage,
        "notjson": _notjson,
        "wrong_type": _wrong_type,
        "error200": _error200,
    }
)


# ── plain answers ────────────────────────────────────────────────────────────────────────────────────────────────────


def _plain(
    behaviour: Behaviour, call: ChatCall, completion: Completion, random: Random, fault: SimulatedFault | None
) -> Plan:
    total_s = behaviour.latency.draw_s(random)
    # A plain answer takes what its tokens take: a provider sends it when the last one is there.
    if behaviour.pace != _NO_PACE:
        total_s += sum(behaviour.pace.draw_s(random) for _ in completion.pieces[1:])
    steps = _plain_steps(WIRES[call.wire], completion, fault)
    return chain((Wait(total_s),), steps) if total_s > 0 else steps


_NO_PACE = Behaviour().pace


def _plain_steps(wire: Wire, completion: Completion, fault: SimulatedFault | None) -> Plan:
    if fault is None:
        return (Send(json_answer(wire.plain_object(completion))),)
    if fault.kind == "reset" and fault.variant == "head":
        return (Reset(),)
    if fault.kind == "huge":
        return _huge_plain(wire, completion, fault.count)
    data = wire.hollow_object(completion) if fault.kind == "nochoices" else wire.plain_object(completion)
    return _interrupted(json_answer(data), fault)


def _interrupted(answer: bytes, fault: SimulatedFault) -> Plan:
    """The answer up to the middle of its body and then the fault's end, or whole if the fault interrupts nothing."""
    head, _, body = answer.partition(b"\r\n\r\n")
    half = body[: len(body) // 2]
    begun = Send(head + b"\r\n\r\n" + half)
    if fault.kind == "reset":
        return (begun, Reset())
    if fault.kind == "stall":
        return (begun, Stall())
    if fault.kind == "truncate" and fault.variant == "length":
        return (begun, Close())
    if fault.kind == "truncate":
        return (Send(http_head(200, "application/json", _CHUNKED) + http_chunk(half)), Close())
    return (Send(answer),)


_CHUNKED = "Transfer-Encoding: chunked"


def _huge_plain(wire: Wire, completion: Completion, size: int) -> Iterator[Step]:
    data = wire.plain_object(evolve(completion, pieces=(FILLER_MARK,), tool=None))
    before, after = orjson.dumps(data).split(FILLER_MARK.encode(), 1)
    filler = max(size - len(before) - len(after), 0)
    yield Send(_JSON_HEAD % (len(before) + filler + len(after)) + before)
    yield from (Send(piece) for piece in _filler_pieces(filler))
    yield Send(after)


def _filler_pieces(size: int) -> Iterator[bytes]:
    piece = b"x" * HUGE_PIECE_BYTES
    for _ in range(size // HUGE_PIECE_BYTES):
        yield piece
    if size % HUGE_PIECE_BYTES:
        yield piece[: size % HUGE_PIECE_BYTES]


# ── streams ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _stream(
    behaviour: Behaviour, call: ChatCall, completion: Completion, random: Random, fault: SimulatedFault | None
) -> Iterator[Step]:
    """Head and role with the first token (or before the wait for it), a write a token, the closing events."""
    kind, wire = fault.kind if fault else "", WIRES[call.wire]
    if kind == "reset" and fault and fault.variant == "head":
        yield from _delayed(behaviour, random, (Reset(),))
        return
    opening = http_head(200, "text/event-stream; charset=utf-8", _CHUNKED, "Cache-Control: no-cache\r\n")
    if kind != "nochoices" and (first := wire.opening_event(completion)):
        opening += http_chunk(first)
    if behaviour.early_head:
        yield Send(opening)
        opening = b""
    tokens = _stream_tokens(wire, completion, fault)
    preamble = (*((PING,) * behaviour.pings), *wire.reasoning_events(completion))
    for index, data in enumerate((*preamble, *tokens)):
        seconds = (behaviour.pace if index else behaviour.latency).draw_s(random)
        if seconds > 0:
            yield Wait(seconds)
        yield Send(opening + http_chunk(_stamped(data) if behaviour.stamps else data))
        opening = b""
    if opening:
        yield Send(opening)
    yield from _stream_end(wire, completion, fault, include_usage=call.include_usage)


def _stamped(data: bytes) -> bytes:
    return data.replace(_STAMP_BYTES, b"%d " % time.monotonic_ns())


_STAMP_BYTES = STAMP.encode()


def _stream_tokens(wire: Wire, completion: Completion, fault: SimulatedFault | None) -> Iterable[bytes]:
    """The token events that the fault lets through."""
    events = tuple(wire.token_events(completion))
    if fault is None:
        return events
    if fault.kind in ("cut", "stream_error") or (fault.kind == "stall" and fault.variant == "tokens"):
        return events[: fault.count]
    if fault.kind in ("reset", "stall", "truncate", "malformed_chunk"):
        return events[: (len(events) + 1) // 2]
    if fault.kind == "nochoices":
        return (wire.hollow_event(completion),)
    return _huge_events(wire, completion, fault.count) if fault.kind == "huge" else events


def _huge_events(wire: Wire, completion: Completion, size: int) -> Iterator[bytes]:
    """The same block of content in pieces, made as they are taken: a generator, not a list of megabytes."""
    one_piece = evolve(completion, pieces=(FILLER_MARK, FILLER_MARK), tool=None)
    first, following = wire.token_events(one_piece)
    for number, piece in enumerate(_filler_pieces(size)):
        yield (following if number else first).replace(FILLER_MARK.encode(), piece)


def _stream_end(
    wire: Wire, completion: Completion, fault: SimulatedFault | None, *, include_usage: bool
) -> Iterator[Step]:
    """What follows the last token: the good end, or the fault's."""
    closing, done = wire.closing_events(completion, include_usage=include_usage), wire.done
    kind = fault.kind if fault else ""
    if fault is None or kind in ("empty", "huge", "drip", "dup"):
        yield Send(http_chunk(closing + done) + LAST_CHUNK)
    elif kind == "nochoices":
        yield Send((http_chunk(done) if done else b"") + LAST_CHUNK)
    elif kind == "no_done":
        yield Send(http_chunk(closing) + LAST_CHUNK)
    elif kind == "stream_error":
        error = wire.error_event(RefusedCall(500, "Simulated error in the middle of a stream."))
        yield Send(http_chunk(error) + LAST_CHUNK)
    elif kind == "malformed_chunk" and fault.variant == "json":
        yield Send(http_chunk(b'data: {"id":"chatcmpl-1","choices":[{"delta":oops\n\n' + closing + done) + LAST_CHUNK)
    elif kind == "malformed_chunk":
        yield from (Send(b"this is no chunk size\r\n"), Close())
    elif kind == "cut" and fault.variant == "clean":
        yield Send(LAST_CHUNK)
    elif kind == "cut" and fault.variant == "inside":
        event_bytes = closing.partition(b"\n\n")[0].rpartition(b"\n")[2]
        yield from (Send(http_chunk(event_bytes[: len(event_bytes) // 2])), Close())
    elif kind in ("cut", "truncate"):
        # A cut in the middle of a chunk would be a fault of HTTP alone; this one leaves whole events and no end.
        yield Close()
    else:
        yield Reset() if kind == "reset" else Stall()


# ── faults over any steps ────────────────────────────────────────────────────────────────────────────────────────────


def _drip(steps: Plan, interval_s: float) -> Iterator[Step]:
    for step in steps:
        if not isinstance(step, Send):
            yield step
            continue
        for index in range(len(step.data)):
            yield Wait(interval_s)
            yield Send(step.data[index : index + 1])


def _twice(steps: Plan) -> Iterator[Step]:
    answer = b"".join(step.data for step in steps if isinstance(step, Send))
    yield Send(answer + answer)
