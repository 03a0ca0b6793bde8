"""Faults of a behaviour: what goes wrong, and the text that says so. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from attrs import frozen

from pg_trio.simulator.delays import parse_count, parse_duration_s

# 200,000: the largest `max_output_tokens` of the gateway's contract.
MAX_TOKENS = 200_000
# 1 GiB: past every body limit there is, and still a minute's work over loopback.
MAX_HUGE_BYTES = 1 << 30


@frozen(slots=True)
class SimulatedFault:
    """What goes wrong: the kind, and where it has an argument, `amount` (a number) or `variant` (a word) of it.

    `amount` is a status, a count of tokens or bytes, or seconds, as the kind has it (`FAULT_ARGUMENTS`).
    """

    kind: str
    amount: float = 0
    variant: str = ""

    @property
    def count(self) -> int:
        """The amount as a whole number."""
        return int(self.amount)


def _no_argument(kind: str, argument: str) -> SimulatedFault:
    if argument:
        raise ValueError(f"it takes no argument, got {argument!r}")
    return SimulatedFault(kind)


def _status(kind: str, argument: str) -> SimulatedFault:
    return SimulatedFault(kind, amount=parse_count(argument, 300, 599))


def _head_or_body(kind: str, argument: str) -> SimulatedFault:
    if argument not in ("", "head", "body"):
        raise ValueError(f"{argument!r} is no place; write {kind}:head or {kind}:body")
    return SimulatedFault(kind, variant=argument or "head")


def _stall(kind: str, argument: str) -> SimulatedFault:
    if argument.isdigit():
        return SimulatedFault(kind, amount=parse_count(argument, 0, MAX_TOKENS), variant="tokens")
    return _head_or_body(kind, argument)


def _truncate(kind: str, argument: str) -> SimulatedFault:
    if argument not in ("", "length", "chunked"):
        raise ValueError(f"{argument!r} is no framing; write truncate:length or truncate:chunked")
    return SimulatedFault(kind, variant=argument or "length")


def _after_tokens(kind: str, argument: str) -> SimulatedFault:
    return SimulatedFault(kind, amount=parse_count(argument or "1", 0, MAX_TOKENS))


def _cut(kind: str, argument: str) -> SimulatedFault:
    tokens, _, ending = argument.partition(":")
    if ending not in ("", "clean", "inside"):
        raise ValueError(f"{ending!r} is no ending; write cut:3, cut:3:clean or cut:3:inside")
    return SimulatedFault(kind, amount=parse_count(tokens or "1", 0, MAX_TOKENS), variant=ending)


def _malformed_chunk(kind: str, argument: str) -> SimulatedFault:
    if argument not in ("", "json", "http"):
        raise ValueError(f"{argument!r} is no layer; write malformed_chunk:json or malformed_chunk:http")
    return SimulatedFault(kind, variant=argument or "json")


def _drip(kind: str, argument: str) -> SimulatedFault:
    return SimulatedFault(kind, amount=parse_duration_s(argument or "10ms"))


def _huge(kind: str, argument: str) -> SimulatedFault:
    return SimulatedFault(kind, amount=parse_count(argument, 1, MAX_HUGE_BYTES))


# Every kind of fault and what reads its argument. docs/simulator.md says what each does; plan.py does it.
FAULT_ARGUMENTS: Mapping[str, Callable[[str, str], SimulatedFault]] = MappingProxyType(
    {
        "status": _status,
        "reset": _head_or_body,
        "hangup": _no_argument,
        "stall": _stall,
        "garbage": _no_argument,
        "notjson": _no_argument,
        "wrong_type": _no_argument,
        "error200": _no_argument,
        "nochoices": _no_argument,
        "empty": _no_argument,
        "truncate": _truncate,
        "drip": _drip,
        "huge": _huge,
        "dup": _no_argument,
        "cut": _cut,
        "no_done": _no_argument,
        "malformed_chunk": _malformed_chunk,
        "stream_error": _after_tokens,
    }
)
# What only a stream can suffer: a plain answer is good in spite of them.
STREAM_FAULTS: frozenset[str] = frozenset({"cut", "no_done", "malformed_chunk", "stream_error"})


def parse_fault(text: str) -> SimulatedFault:
    """A fault from `kind` or `kind:argument`; ValueError says which kinds there are, or what the argument must be."""
    kind, _, argument = text.partition(":")
    if kind == "refuse":
        raise ValueError("refuse: a process that listens cannot refuse; aim at a port where nothing listens")
    if kind not in FAULT_ARGUMENTS:
        raise ValueError(f"{kind!r} is no fault; there are {', '.join(FAULT_ARGUMENTS)} and none")
    try:
        return FAULT_ARGUMENTS[kind](kind, argument)
    except ValueError as error:
        raise ValueError(f"{kind}: {error}") from error
