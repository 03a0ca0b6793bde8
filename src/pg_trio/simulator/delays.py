"""Times of a behaviour: texts such as `200ms` and `lognormal:200ms:0.5`, and their draws of luck. Pure."""

from __future__ import annotations

import math
from random import Random
from typing import TypeAlias

from attrs import evolve, frozen

# One hour: longer than any time limit a test sets; a typing mistake (`200s` for `200ms`) still ends.
MAX_DURATION_S = 3_600.0

_UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


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
AT_ONCE = Fixed()


def parse_duration_s(text: str) -> float:
    """Seconds from `200ms`, `1.5s`, `50us` or `0`; ValueError otherwise."""
    if text == "0":
        return 0.0
    number = text.rstrip("mus")
    unit = text[len(number) :]
    if unit not in _UNITS_S or not is_decimal(number):
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
    if not is_decimal(sigma) or float(sigma) > 10:
        raise ValueError(f"{sigma!r} is no sigma; write a number from 0 to 10, such as 0.5")
    return LogNormal(median_s, float(sigma))


def parse_share(text: str) -> float:
    """A share 0–1 from `5%`; ValueError otherwise."""
    number = text.removesuffix("%")
    if number == text or not is_decimal(number) or float(number) > 100:
        raise ValueError(f"{text!r} is no share; write a percentage from 0% to 100%")
    return float(number) / 100


def is_decimal(text: str) -> bool:
    """Whether a text is a plain decimal number."""
    # Not float(): that takes "nan", "1e9", "1_0" and digits of other scripts too. 15: enough for any sane number.
    whole, _, fraction = text.partition(".")
    digits = whole + fraction
    return text.isascii() and digits.isdigit() and bool(whole) and len(text) <= 15 and not text.endswith(".")


def parse_count(text: str, low: int, high: int) -> int:
    """A whole number from `low` to `high`; ValueError otherwise."""
    if not (text.isascii() and text.isdigit() and len(text) <= 15 and low <= int(text) <= high):
        raise ValueError(f"{text!r} is no whole number from {low} to {high}")
    return int(text)
