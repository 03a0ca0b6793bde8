"""How a simulated provider behaves: frozen values, the text grammar that makes them, and their draws of luck. Pure.

Rules:
1. The text is `option=value&option=value`; a word without `=` is a preset (`PRESETS`). docs/simulator.md has the table.
2. Texts overlay each other: what a text does not name keeps its value (default < by model < model's options < header).
3. A mistake is a ValueError that names the option and what would be right; nothing is guessed, nothing given twice.
4. Luck comes from a `Random` passed in, so the same seed and call number give the same answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from random import Random
from types import MappingProxyType
from typing import Literal, TypeAlias, cast, get_args
from urllib.parse import unquote

from attrs import evolve, field, frozen

from pg_trio.simulator.delays import AT_ONCE, Latency, parse_count, parse_duration_s, parse_latency, parse_share
from pg_trio.simulator.simulated_faults import MAX_TOKENS, SimulatedFault, parse_fault

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter"]


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

    latency: Latency = AT_ONCE
    pace: Latency = AT_ONCE
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
    return ReportedUsage(parse_count(prompt, 0, 10**9), parse_count(completion, 0, 10**9))


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
        "tokens": lambda value: {"tokens": parse_count(value, 0, MAX_TOKENS)},
        "content": lambda value: {"content": unquote(value)},
        "tool": lambda value: {"tool": _parse_tool(value)},
        "finish": lambda value: {"finish": _parse_finish(value)},
        "usage": lambda value: {"usage": _parse_usage(value)},
        "head": lambda value: {"early_head": _parse_head(value)},
        "pings": lambda value: {"pings": parse_count(value, 0, MAX_TOKENS)},
        "reasoning": lambda value: {"reasoning": parse_count(value, 0, MAX_TOKENS)},
        "stamps": lambda value: {"stamps": _parse_stamps(value)},
        "fault": lambda value: {"fault": None if value == "none" else parse_fault(value)},
        "retry_after": lambda value: {"retry_after_s": parse_count(value, 0, 10**9)},
        "fail_first": lambda value: {"fail_first": parse_count(value, 0, 10**9)},
        "fail_rate": lambda value: {"fail_rate": parse_share(value)},
        "flap": lambda value: {"flap": _parse_flap(value)},
    }
)
OPTION_NAMES: tuple[str, ...] = tuple(_OPTIONS)
