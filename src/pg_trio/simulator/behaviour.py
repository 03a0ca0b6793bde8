"""How a simulated provider behaves: frozen values, the text grammar that makes them, and their draws of luck. Pure.

Rules:
1. The text is `option=value&option=value`; a word without `=` is a preset (`PRESETS`). docs/simulator.md has the table.
2. Texts overlay each other: what a text does not name keeps its value (default < by model < model's options < header).
3. A mistake is a ValueError that names the option and what would be right; nothing is guessed, nothing given twice.
4. Luck comes from a `Random` passed in, so the same seed and call number give the same answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from random import Random
from types import MappingProxyType
from typing import Literal, TypeAlias, cast, get_args
from urllib.parse import unquote

from attrs import evolve, field, frozen

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter"]

# One hour: longer than any time limit a test sets; a typing mistake (`200s` for `200ms`) still ends.
MAX_DURATION_S = 3_600.0
# 200,000: the largest `max_output_tokens` of the gateway's contract.
MAX_TOKENS = 200_000
# 1 GiB: past every body limit there is, and still a minute's work over loopback.
MAX_HUGE_BYTES = 1 << 30

_UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


# ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@frozen(slots=True)
class Fixed:
    """Always the same."""

    seconds: float = 0.0

    def draw_s(self, random: Random) -> float:
        return self.seconds

    @property
    def is_random(self) -> bool:
        return False


@frozen(slots=True)
class LogNormal:
    """Half of the draws are under `median_s`; `sigma` is the spread of the logarithm (0.5 is a usual provider).

    With a `slow_share` (0–1), that share of the draws takes `slow_s` instead.
    """

    median_s: float
    sigma: float
    slow_share: float = 0.0
    slow_s: float = 0.0

    def draw_s(self, random: Random) -> float:
        if self.slow_share and random.random() < self.slow_share:
            return self.slow_s
        # Bounded, so that an unlucky draw of a wild sigma cannot hold a connection for days.
        return min(random.lognormvariate(math.log(self.median_s), self.sigma), MAX_DURATION_S)

    @property
    def is_random(self) -> bool:
        return True


@frozen(slots=True)
class HeavyTail:
    """Mostly `usual_s`; a `share` (0–1) of the draws takes `slow_s`."""

    usual_s: float
    share: float
    slow_s: float

    def draw_s(self, random: Random) -> float:
        return self.slow_s if random.random() < self.share else self.usual_s

    @property
    def is_random(self) -> bool:
        return True


Latency: TypeAlias = Fixed | LogNormal | HeavyTail


def parse_duration_s(text: str) -> float:
    """Seconds from `200ms`, `1.5s`, `50us` or `0`; ValueError otherwise."""
    if text == "0":
        return 0.0
    number = text.rstrip("mus")
    unit = text[len(number) :]
    if unit not in _UNITS_S or not _is_decimal(number):
        raise ValueError(f"{text!r} is no duration; write 200ms, 1.5s, 50us or 0")
    seconds = float(number) * _UNITS_S[unit]
    if seconds > MAX_DURATION_S:
        raise ValueError(f"{text!r} is longer than {MAX_DURATION_S:g}s")
    return seconds


def parse_latency(text: str) -> Latency:
    """A latency from `200ms`, `lognormal:200ms:0.5[:5%:3s]` or `tail:200ms:5%:3s`; ValueError otherwise."""
    match text.split(":"):
        case [duration]:
            return Fixed(parse_duration_s(duration))
        case ["lognormal", median, sigma]:
            return _parse_lognormal(median, sigma)
        case ["lognormal", median, sigma, share, slow]:
            return evolve(_parse_lognormal(median, sigma), slow_share=parse_share(share), slow_s=parse_duration_s(slow))
        case ["tail", usual, share, slow]:
            return HeavyTail(parse_duration_s(usual), parse_share(share), parse_duration_s(slow))
        case _:
            raise ValueError(f"{text!r} is no latency; write 200ms, lognormal:200ms:0.5 or tail:200ms:5%:3s")


def _parse_lognormal(median: str, sigma: str) -> LogNormal:
    median_s = parse_duration_s(median)
    if median_s <= 0:
        raise ValueError("a log-normal median must be over 0")
    if not _is_decimal(sigma) or float(sigma) > 10:
        raise ValueError(f"{sigma!r} is no sigma; write a number from 0 to 10, such as 0.5")
    return LogNormal(median_s, float(sigma))


def parse_share(text: str) -> float:
    """A share 0–1 from `5%`; ValueError otherwise."""
    number = text.removesuffix("%")
    if number == text or not _is_decimal(number) or float(number) > 100:
        raise ValueError(f"{text!r} is no share; write a percentage from 0% to 100%")
    return float(number) / 100


def _is_decimal(text: str) -> bool:
    # Not float(): that takes "nan", "1e9", "1_0" and digits of other scripts too. 15: enough for any sane number.
    whole, _, fraction = text.partition(".")
    digits = whole + fraction
    return text.isascii() and digits.isdigit() and bool(whole) and len(text) <= 15 and not text.endswith(".")


def _parse_count(text: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 15 and low <= int(text) <= high):
        raise ValueError(f"{text!r} is no whole number from {low} to {high}")
    return int(text)


# ── faults ───────────────────────────────────────────────────────────────────────────────────────────────────────────


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
    return SimulatedFault(kind, amount=_parse_count(argument, 300, 599))


def _head_or_body(kind: str, argument: str) -> SimulatedFault:
    if argument not in ("", "head", "body"):
        raise ValueError(f"{argument!r} is no place; write {kind}:head or {kind}:body")
    return SimulatedFault(kind, variant=argument or "head")


def _stall(kind: str, argument: str) -> SimulatedFault:
    if argument.isdigit():
        return SimulatedFault(kind, amount=_parse_count(argument, 0, MAX_TOKENS), variant="tokens")
    return _head_or_body(kind, argument)


def _truncate(kind: str, argument: str) -> SimulatedFault:
    if argument not in ("", "length", "chunked"):
        raise ValueError(f"{argument!r} is no framing; write truncate:length or truncate:chunked")
    return SimulatedFault(kind, variant=argument or "length")


def _after_tokens(kind: str, argument: str) -> SimulatedFault:
    return SimulatedFault(kind, amount=_parse_count(argument or "1", 0, MAX_TOKENS))


def _cut(kind: str, argument: str) -> SimulatedFault:
    tokens, _, ending = argument.partition(":")
    if ending not in ("", "clean", "inside"):
        raise ValueError(f"{ending!r} is no ending; write cut:3, cut:3:clean or cut:3:inside")
    return SimulatedFault(kind, amount=_parse_count(tokens or "1", 0, MAX_TOKENS), variant=ending)


def _malformed_chunk(kind: str, argument: str) -> SimulatedFault:
    if argument not in ("", "json", "http"):
        raise ValueError(f"{argument!r} is no layer; write malformed_chunk:json or malformed_chunk:http")
    return SimulatedFault(kind, variant=argument or "json")


def _drip(kind: str, argument: str) -> SimulatedFault:
    return SimulatedFault(kind, amount=parse_duration_s(argument or "10ms"))


def _huge(kind: str, argument: str) -> SimulatedFault:
    return SimulatedFault(kind, amount=_parse_count(argument, 1, MAX_HUGE_BYTES))


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


# ── the behaviour ────────────────────────────────────────────────────────────────────────────────────────────────────


@frozen(slots=True)
class ReportedUsage:
    """The counts that an answer reports, independent of its content."""

    prompt_tokens: int
    completion_tokens: int


@frozen(slots=True)
class CalledTool:
    """The tool an answer calls; `arguments` is the JSON text as it goes on the wire."""

    name: str
    arguments: str = "{}"


@frozen(slots=True)
class Flap:
    """The fault is on for `on_s`, off for `off_s`, and so on from the simulator's start."""

    on_s: float
    off_s: float

    def is_on(self, elapsed_s: float) -> bool:
        return elapsed_s % (self.on_s + self.off_s) < self.on_s


@frozen(slots=True)
class Behaviour:
    """How a model answers. `latency` is until the first token, `pace` between tokens; a plain answer takes both.

    `tokens` None: as long as the echo of the prompt. `usage` True: the true counts; False: none at all.
    `content` replaces the echo, `stamps` a stream's by times. `fail_first`, `fail_rate` and `flap` each narrow when
    `fault` strikes; all must agree.
    """

    latency: Latency = Fixed()
    pace: Latency = Fixed()
    tokens: int | None = None
    content: str | None = None
    tool: CalledTool | None = None
    finish: FinishReason = "stop"
    usage: bool | ReportedUsage = True
    early_head: bool = False
    pings: int = 0
    reasoning: int = 0
    stamps: bool = False
    fault: SimulatedFault | None = None
    retry_after_s: int | None = None
    fail_first: int | None = None
    fail_rate: float | None = None
    flap: Flap | None = None
    is_random: bool = field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(
            self, "is_random", self.latency.is_random or self.pace.is_random or self.fail_rate is not None
        )
        narrowing = {"fail_first": self.fail_first, "fail_rate": self.fail_rate, "flap": self.flap}
        for name, value in narrowing.items():
            if value is not None and self.fault is None:
                raise ValueError(f"{name}: it needs a fault beside it")
        if self.retry_after_s is not None and (self.fault is None or self.fault.kind != "status"):
            raise ValueError("retry_after: it needs fault=status:NNN beside it")

    def find_fault(self, call_number: int, elapsed_s: float, random: Random) -> SimulatedFault | None:
        """The fault that strikes this call (numbered from 1), or None."""
        # The random draw always comes first, so that later draws do not depend on the clock.
        is_unlucky = self.fail_rate is None or random.random() < self.fail_rate
        is_early = self.fail_first is None or call_number <= self.fail_first
        is_on = self.flap is None or self.flap.is_on(elapsed_s)
        return self.fault if is_unlucky and is_early and is_on else None


GOOD = Behaviour()

# Named behaviours, for a model name one can remember: `sim?slow`.
PRESETS: Mapping[str, str] = MappingProxyType(
    {
        "fast": "latency=0&pace=0",
        "typical": "latency=lognormal:400ms:0.4&pace=lognormal:15ms:0.3&tokens=80",
        "slow": "latency=3s&pace=60ms&tokens=80",
        "tail": "latency=tail:200ms:5%:3s&tokens=40",
        "flaky": "fault=status:503&fail_rate=20%",
        "down": "fault=status:503",
        "limited": "fault=status:429&retry_after=2",
        "silent": "fault=stall",
    }
)


# A text with a fault replaces its base's fault with all that narrowed it: those options belonged to the old one.
_WITHOUT_OLD_FAULT: dict[str, object] = {"retry_after_s": None, "fail_first": None, "fail_rate": None, "flap": None}


@lru_cache(maxsize=1024)
def parse_behaviour(text: str, base: Behaviour = GOOD) -> Behaviour:
    """`base` with the text's options laid over it.

    Raises: ValueError that names the option and says what would be right.
    """
    changes: dict[str, object] = {}
    seen: set[str] = set()
    for part in text.split("&") if text else []:
        name, equals, value = part.partition("=")
        if name in seen:
            raise ValueError(f"{name}: given twice")
        seen.add(name)
        changes |= _parse_option(name, value) if equals else _parse_preset(name)
    if "fault" in changes:
        changes = _WITHOUT_OLD_FAULT | changes
    # attrs' evolve takes any field by name; _OPTIONS holds only real ones.
    return evolve(base, **changes)  # type: ignore[arg-type]


def _parse_preset(name: str) -> dict[str, object]:
    if name not in PRESETS:
        presets = ", ".join(PRESETS)
        raise ValueError(f"{name!r} is no preset; there are {presets}. An option is written name=value")
    changes: dict[str, object] = {}
    for part in PRESETS[name].split("&"):
        option, _, value = part.partition("=")
        changes |= _parse_option(option, value)
    return changes


def _parse_option(name: str, value: str) -> dict[str, object]:
    if name not in _OPTIONS:
        raise ValueError(f"{name!r} is no option; there are {', '.join(_OPTIONS)}")
    try:
        return _OPTIONS[name](value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _parse_usage(value: str) -> bool | ReportedUsage:
    if value in ("on", "off"):
        return value == "on"
    prompt, colon, completion = value.partition(":")
    if not colon:
        raise ValueError(f"{value!r} is no usage; write on, off or PROMPT:COMPLETION such as 38:87")
    return ReportedUsage(_parse_count(prompt, 0, 10**9), _parse_count(completion, 0, 10**9))


def _parse_tool(value: str) -> CalledTool:
    name, colon, arguments = value.partition(":")
    if not name:
        raise ValueError("it needs a name; write get_weather or get_weather:%7B%22city%22:%22Bonn%22%7D")
    return CalledTool(unquote(name), unquote(arguments) if colon else "{}")


def _parse_finish(value: str) -> FinishReason:
    if value not in get_args(FinishReason):
        raise ValueError(f"{value!r} is no finish reason; there are {', '.join(get_args(FinishReason))}")
    return cast("FinishReason", value)


def _parse_stamps(value: str) -> bool:
    if value not in ("on", "off"):
        raise ValueError(f"{value!r} is no choice; write on or off")
    return value == "on"


def _parse_head(value: str) -> bool:
    if value not in ("early", "late"):
        raise ValueError(f"{value!r} is no time; write early or late")
    return value == "early"


def _parse_flap(value: str) -> Flap:
    on, colon, off = value.partition(":")
    if not colon:
        raise ValueError(f"{value!r} is no rhythm; write ON:OFF such as 5s:10s")
    flap = Flap(parse_duration_s(on), parse_duration_s(off))
    if flap.on_s + flap.off_s <= 0:
        raise ValueError("one of the two must be over 0")
    return flap


_OPTIONS: Mapping[str, Callable[[str], dict[str, object]]] = MappingProxyType(
    {
        "latency": lambda value: {"latency": parse_latency(value)},
        "pace": lambda value: {"pace": parse_latency(value)},
        "tokens": lambda value: {"tokens": _parse_count(value, 0, MAX_TOKENS)},
        "content": lambda value: {"content": unquote(value)},
        "tool": lambda value: {"tool": _parse_tool(value)},
        "finish": lambda value: {"finish": _parse_finish(value)},
        "usage": lambda value: {"usage": _parse_usage(value)},
        "head": lambda value: {"early_head": _parse_head(value)},
        "pings": lambda value: {"pings": _parse_count(value, 0, MAX_TOKENS)},
        "reasoning": lambda value: {"reasoning": _parse_count(value, 0, MAX_TOKENS)},
        "stamps": lambda value: {"stamps": _parse_stamps(value)},
        "fault": lambda value: {"fault": None if value == "none" else parse_fault(value)},
        "retry_after": lambda value: {"retry_after_s": _parse_count(value, 0, 10**9)},
        "fail_first": lambda value: {"fail_first": _parse_count(value, 0, 10**9)},
        "fail_rate": lambda value: {"fail_rate": parse_share(value)},
        "flap": lambda value: {"flap": _parse_flap(value)},
    }
)
OPTION_NAMES: tuple[str, ...] = tuple(_OPTIONS)
