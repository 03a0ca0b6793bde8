"""Prices of tokens: as configured, and as whole numbers for calculation.

Rules:
1. Money is never a float. Prices are decimals, in US dollars for a million tokens. Rates are whole numbers: a rate of
   SCALE is one nano-dollar (a billionth of a US dollar) for a token.
2. All rounding is upwards. A rate is rounded to its last digit (a trillionth of a dollar for a million tokens). A sum
   is rounded to the nano-dollar once, at its end.
3. Input that the provider read from its cache, or wrote to it, has its own price instead of the input's price.
4. Some models cost more for a request with a long input, for all of its tokens. Then a price has a second one (`long`).
"""

from __future__ import annotations

from decimal import ROUND_CEILING, Context, Decimal, localcontext
from fnmatch import fnmatchcase

from attrs import field, frozen

from pg_trio.domain.chat import Usage

NANO = 1_000_000_000

# A dollar for a million tokens is 1,000 nano-dollars a token. A rate has nine more digits.
SCALE = 1_000_000_000
_RATE_OF_A_DOLLAR = 1_000 * SCALE
# Enough digits for the highest price and the finest rate together. Finer values are rounded up.
_EXACT = Context(prec=60, rounding=ROUND_CEILING)

# `TokenPrice.source` of the endpoint's flat rate.
FLAT_RATE = "endpoint"


@frozen(slots=True)
class TokenPrice:
    """The prices of a model's tokens, in US dollars for a million.

    `source` names the origin of the price, for the log and for people: `prices[2]`, `endpoint`, `list 2026-11`.
    `long` is the price of a request with more than `long_from` tokens of input; None if all requests cost the same.
    """

    input_usd_per_1m: Decimal
    output_usd_per_1m: Decimal
    cached_input_usd_per_1m: Decimal
    cache_write_usd_per_1m: Decimal
    source: str
    long_from: int = 0
    long: TokenPrice | None = None

    @classmethod
    def flat(cls, usd_per_1k: Decimal) -> TokenPrice:
        """The endpoint's own rate for a thousand tokens of any kind."""
        usd_per_1m = usd_per_1k * 1_000
        return cls(usd_per_1m, usd_per_1m, usd_per_1m, usd_per_1m, FLAT_RATE)


@frozen(slots=True)
class PriceRule:
    """A price and the models that it applies to. `model` is a case-sensitive glob (`*`, `?`, `[…]`)."""

    provider: str
    model: str
    price: TokenPrice

    def matches(self, provider: str, model: str) -> bool:
        """Whether the price applies to this model of this provider."""
        return provider == self.provider and fnmatchcase(model, self.model)


@frozen(slots=True)
class Rates:
    """A price as whole numbers. A rate of SCALE is one nano-dollar for a token."""

    input: int
    output: int
    cached_input: int
    cache_write: int
    source: str
    long_from: int = 0
    long: Rates | None = None
    # The highest cost of a token of input, cached or not.
    dearest_input: int = field(init=False)

    @dearest_input.default
    def _find_dearest_input(self) -> int:
        return max(self.input, self.cached_input, self.cache_write)

    @classmethod
    def of(cls, price: TokenPrice) -> Rates:
        """The price's rates."""
        return cls(
            input=_to_rate(price.input_usd_per_1m),
            output=_to_rate(price.output_usd_per_1m),
            cached_input=_to_rate(price.cached_input_usd_per_1m),
            cache_write=_to_rate(price.cache_write_usd_per_1m),
            source=price.source,
            long_from=price.long_from,
            long=None if price.long is None else cls.of(price.long),
        )

    def cost(self, usage: Usage) -> int:
        """The cost of the usage, in nano-dollars times SCALE. Callers sum it and round the sum (`to_nano_usd`)."""
        if self.long is not None and usage.prompt_tokens > self.long_from:
            return self.long.cost(usage)
        cached, written = usage.cached_tokens, usage.cache_write_tokens
        cost = usage.completion_tokens * self.output
        if not (cached or written):
            return cost + usage.prompt_tokens * self.input
        fresh = max(0, usage.prompt_tokens - cached - written)
        return cost + fresh * self.input + cached * self.cached_input + written * self.cache_write


def to_nano_usd(cost: int) -> int:
    """A sum of costs (`Rates.cost`) in nano-dollars, rounded up."""
    return -(-cost // SCALE)


def _to_rate(usd_per_1m: Decimal) -> int:
    with localcontext(_EXACT):
        return int((usd_per_1m * _RATE_OF_A_DOLLAR).to_integral_value(ROUND_CEILING))
