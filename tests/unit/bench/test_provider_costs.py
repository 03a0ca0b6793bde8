"""The bench of adapters measures every wire that answers chats."""

from __future__ import annotations

import pytest

from pg_trio.domain.provider import PROVIDERS
from scripts.bench.benches.providers import MODELS, measure


def test_every_wire_has_a_row() -> None:
    assert {provider.wire for provider in PROVIDERS.values()} == set(MODELS)


@pytest.mark.parametrize("wire", MODELS)
def test_wire_is_measured(wire: str) -> None:
    costs = measure(wire, 1)

    assert {"request_us", "answer_us", "by_one_us", "by_16_us"} == set(costs)
    assert all(cost > 0 for cost in costs.values())
