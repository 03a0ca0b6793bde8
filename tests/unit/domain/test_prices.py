"""Prices as whole numbers: exact, rounded up once, cached and written input apart."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.domain.chat import Usage
from pg_trio.domain.prices import PriceRule, Rates, TokenPrice, to_nano_usd

PRICE = TokenPrice(Decimal("3"), Decimal("15"), Decimal("0.3"), Decimal("3.75"), "prices[0]")
LONG = TokenPrice(Decimal("6"), Decimal("22.5"), Decimal("0.6"), Decimal("7.5"), "prices[0]")
TIERED = evolve(PRICE, long_from=1_000, long=LONG)
money = st.decimals(0, 1_000_000, places=9)
prices = st.builds(TokenPrice, money, money, money, money, st.just("x"))


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    cached, written, fresh = (draw(st.integers(0, 10**9)) for _ in range(3))
    return Usage(
        fresh + cached + written, draw(st.integers(0, 10**9)), cached_tokens=cached, cache_write_tokens=written
    )


@pytest.mark.parametrize(
    ("usage", "nano_usd"),
    [
        (Usage(1, 0), 3_000),
        (Usage(0, 1), 15_000),
        (Usage(1_000_000, 1_000_000), 18_000_000_000),
        (Usage(100, 10, cached_tokens=60, cache_write_tokens=30), 10 * 3_000 + 60 * 300 + 30 * 3_750 + 10 * 15_000),
        (Usage(0, 0), 0),
    ],
)
def test_cost_is_of_each_kind(usage: Usage, nano_usd: int) -> None:
    assert nano_usd == to_nano_usd(Rates.of(PRICE).cost(usage))


def test_cost_is_rounded_up_never_lost() -> None:
    dust, flat = TokenPrice.flat(Decimal("0.0000000001")), TokenPrice.flat(Decimal("0.15"))

    assert 1 == to_nano_usd(Rates.of(dust).cost(Usage(1, 0)))
    assert 150_000 == to_nano_usd(Rates.of(flat).cost(Usage(0, 1)))
    assert 0 == to_nano_usd(Rates.of(flat).cost(Usage(0, 0)))


@pytest.mark.parametrize(
    ("usage", "nano_usd"),
    [
        (Usage(1_000, 10), 1_000 * 3_000 + 10 * 15_000),
        # All of its tokens cost more, not only those above.
        (Usage(1_001, 10), 1_001 * 6_000 + 10 * 22_500),
        # Cached input is part of what makes it long.
        (Usage(1_001, 0, cached_tokens=1_000), 1 * 6_000 + 1_000 * 600),
    ],
)
def test_long_input_has_its_own_price(usage: Usage, nano_usd: int) -> None:
    assert nano_usd == to_nano_usd(Rates.of(TIERED).cost(usage))


def test_finest_price_is_rounded_up_to_a_rate() -> None:
    assert 1 == Rates.of(TokenPrice.flat(Decimal("1e-999"))).input


@given(prices, usages())
def test_cost_is_exact(price: TokenPrice, usage: Usage) -> None:
    fresh = usage.prompt_tokens - usage.cached_tokens - usage.cache_write_tokens
    usd = (
        fresh * Fraction(price.input_usd_per_1m)
        + usage.cached_tokens * Fraction(price.cached_input_usd_per_1m)
        + usage.cache_write_tokens * Fraction(price.cache_write_usd_per_1m)
        + usage.completion_tokens * Fraction(price.output_usd_per_1m)
    )

    cost = Rates.of(price).cost(usage)

    assert type(cost) is int
    assert -(-usd * 1_000 // 1) == to_nano_usd(cost)


@given(prices, usages())
def test_dearest_input_is_never_passed(price: TokenPrice, usage: Usage) -> None:
    rates = Rates.of(price)

    assert rates.cost(usage) <= usage.prompt_tokens * rates.dearest_input + usage.completion_tokens * rates.output


@pytest.mark.parametrize(
    ("glob", "model", "holds"),
    [
        ("gpt-4o*", "gpt-4o-mini", True),
        ("gpt-4o", "gpt-4o-mini", False),
        ("*", "meta/llama:70b", True),
        ("GPT-*", "gpt-4o", False),
        ("o[34]-mini", "o3-mini", True),
    ],
)
def test_model_is_a_glob(glob: str, model: str, holds: bool) -> None:
    rule = PriceRule("openai", glob, PRICE)

    assert holds == rule.matches("openai", model)
    assert not rule.matches("azure", model)
