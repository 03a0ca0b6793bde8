"""A budget with prices: what is reserved at most, what is settled, and that no month is overspent."""

from __future__ import annotations

import contextlib
from decimal import Decimal
from uuid import UUID

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.domain.chat import ChatRequest, Message, Usage
from pg_trio.domain.prices import NANO, TokenPrice
from pg_trio.domain.project import Candidate, Credential, Endpoint
from pg_trio.errors import BudgetExhausted, BudgetWouldBeExceeded
from pg_trio.ledger.immediate import ImmediateSpend
from pg_trio.shared_memory.spend import LocalSpend
from pg_trio.stages.budget import DEAREST, Budget, month_of
from tests.support.stages_now import BudgetNow

NOVEMBER = 1_763_800_000.0
KEY = UUID(int=2)

CHEAP = TokenPrice(Decimal("0.5"), Decimal("2"), Decimal("0.05"), Decimal("0.5"), "prices[0]")
DEAR = TokenPrice(Decimal("3"), Decimal("15"), Decimal("0.3"), Decimal("3.75"), "list 2026-08")
LONG = TokenPrice(Decimal("6"), Decimal("22.5"), Decimal("0.6"), Decimal("7.5"), "list 2026-08")
TIERED = evolve(DEAR, long_from=1_000, long=LONG)


def candidate(name: str) -> Candidate:
    return Candidate(Credential(name, "openai", "http://127.0.0.1:1"), "m")


A, B = candidate("a"), candidate("b")


def endpoint(*prices: TokenPrice | None, budget: str | None = "25", output: int = 100) -> Endpoint:
    return Endpoint(
        uuid=KEY,
        slug="a",
        name="a",
        candidates=(A, B)[: len(prices)],
        prices=prices,
        monthly_budget_usd=None if budget is None else Decimal(budget),
        max_output_tokens=output,
    )


def request(characters: int) -> ChatRequest:
    return ChatRequest(messages=(Message("user", "x" * characters),), body={})


def stage(book: LocalSpend) -> BudgetNow:
    return BudgetNow(Budget(ImmediateSpend(book), lambda: NOVEMBER, default_output_tokens=1_000))


def read(book: LocalSpend) -> tuple[int, int]:
    return book.read(KEY.bytes, month_of(NOVEMBER))


def test_dearest_prices_are_reserved_for_each_candidate() -> None:
    book = LocalSpend()

    with stage(book).reserve(endpoint(CHEAP, DEAR), request(400)):
        reserved = read(book)

    # The dearest input is what is written to the cache.
    assert (0, 2 * 100 * 3_750 + 100 * 15_000) == reserved


def test_long_input_is_reserved_at_its_own_price() -> None:
    reserved = []
    for characters in (4_000, 4_004):
        book = LocalSpend()
        with stage(book).reserve(endpoint(TIERED), request(characters)):
            reserved.append(read(book))

    assert [(0, 1_000 * 3_750 + 100 * 15_000), (0, 1_001 * 7_500 + 100 * 22_500)] == reserved


def test_dearest_for_a_long_input_is_of_all_candidates() -> None:
    """The one without a price for it has its only one, which may be the dearest."""
    book, very_dear = LocalSpend(), evolve(CHEAP, output_usd_per_1m=Decimal(50))

    with stage(book).reserve(endpoint(very_dear, TIERED), request(4_004)):
        reserved = read(book)

    assert (0, 2 * 1_001 * 7_500 + 100 * 50_000) == reserved


def test_history_that_may_make_the_input_long_is_reserved_at_its_price() -> None:
    book, priced = LocalSpend(), endpoint(TIERED)
    budget = stage(book)

    with budget.reserve(priced, request(4_000)) as reservation:
        budget.add_history(priced, request(4_000), 40, reservation)
        reserved = read(book)

    assert (0, 1_000 * 3_750 + 100 * 15_000 + 10 * 7_500) == reserved


def test_rounds_after_answers_that_do_not_match_may_make_the_input_long() -> None:
    """The second round is also sent the first answer (100 tokens) and what is said of it (256)."""
    reserved = []
    for characters in (4 * 644, 4 * 645):
        book = LocalSpend()
        asked = evolve(endpoint(TIERED), output_schema=True, output_repair_attempts=1)
        with stage(book).reserve(asked, request(characters)):
            reserved.append(read(book))

    assert [
        (0, (2 * 644 + 356) * 3_750 + 2 * 100 * 15_000),
        (0, (2 * 645 + 356) * 7_500 + 2 * 100 * 22_500),
    ] == reserved


def test_long_input_is_settled_at_its_own_price() -> None:
    book = LocalSpend()

    with stage(book).reserve(endpoint(TIERED), request(400)) as reservation:
        reservation.settle(Usage(1_001, 50), A)

    assert (1_001 * 6_000 + 50 * 22_500, 0) == read(book)


def test_history_is_reserved_at_the_dearest_input() -> None:
    book, priced = LocalSpend(), endpoint(CHEAP, DEAR)
    budget = stage(book)

    with budget.reserve(priced, request(400)) as reservation:
        budget.add_history(priced, request(400), 40, reservation)
        reserved = read(book)

    assert (0, 2 * 110 * 3_750 + 100 * 15_000) == reserved


def test_winner_is_settled_at_its_own_price() -> None:
    book = LocalSpend()

    with stage(book).reserve(endpoint(CHEAP, DEAR), request(400)) as reservation:
        reservation.settle(Usage(100, 50, cached_tokens=80), A)

    assert (20 * 500 + 80 * 50 + 50 * 2_000, 0) == read(book)
    assert "prices[0]" == reservation.price


def test_lost_try_is_settled_at_its_own_price_and_the_row_has_the_winner_s() -> None:
    book = LocalSpend()

    with stage(book).reserve(endpoint(CHEAP, DEAR), request(400)) as reservation:
        reservation.settle(Usage(100, 0), B)
        reservation.settle(Usage(100, 50), A)

    assert (100 * 3_000 + 100 * 500 + 50 * 2_000, 0) == read(book)
    assert "prices[0]" == reservation.price


def test_candidate_without_a_price_has_the_dearest() -> None:
    book = LocalSpend()

    with stage(book).reserve(endpoint(CHEAP, None), request(400)) as reservation:
        reservation.settle(Usage(100, 50), B)

    assert (100 * 500 + 50 * 2_000, 0) == read(book)
    assert DEAREST == reservation.price


def test_without_a_budget_an_unknown_price_stays_unknown() -> None:
    with stage(LocalSpend()).reserve(endpoint(CHEAP, None, budget=None), request(400)) as reservation:
        reservation.settle(Usage(100, 50), B)

    assert (None, None) == (reservation.spent_nano_usd, reservation.price)


def test_budget_without_a_price_does_not_act() -> None:
    book = LocalSpend()

    with stage(book).reserve(endpoint(None, budget="0.000001"), request(400_000)) as reservation:
        reservation.settle(Usage(100, 50), A)

    assert (0, 0) == read(book)


# ── never overspent ──────────────────────────────────────────────────────────────────────────────────────────────────

money = st.decimals(0, 1_000, places=6)
token_prices = st.builds(TokenPrice, money, money, money, money, st.just("prices[0]"))


@st.composite
def real_usage(draw: st.DrawFn, characters: int, output: int) -> Usage:
    """What a provider may count within what was estimated."""
    prompt = draw(st.integers(0, -(-characters // 4)))
    cached = draw(st.integers(0, prompt))
    written = draw(st.integers(0, prompt - cached))
    return Usage(prompt, draw(st.integers(0, output)), cached_tokens=cached, cache_write_tokens=written)


@given(st.data())
def test_month_is_never_overspent(data: st.DataObject) -> None:
    prices = data.draw(st.lists(st.none() | token_prices, min_size=2, max_size=2).filter(any))
    limited = endpoint(
        *prices, budget=str(data.draw(st.decimals(0, 10, places=3))), output=data.draw(st.integers(1, 99))
    )
    budget_nano_usd = int((limited.monthly_budget_usd or 0) * NANO)
    book = LocalSpend()
    budget = stage(book)
    for _ in range(data.draw(st.integers(1, 6))):
        characters = data.draw(st.integers(0, 4_000))
        held = []
        for _ in range(data.draw(st.integers(1, 4))):
            with contextlib.suppress(BudgetExhausted, BudgetWouldBeExceeded):
                held.append(budget.reserve(limited, request(characters)))
        settled, reserved = read(book)
        assert settled + reserved <= budget_nano_usd
        for reservation in held:
            with reservation:
                if data.draw(st.booleans()):
                    # A lost hedge, and the winner.
                    reservation.settle(Usage(-(-characters // 4), 0), B)
                if data.draw(st.booleans()):
                    reservation.settle(data.draw(real_usage(characters, limited.max_output_tokens or 0)), A)
            assert reservation.spent_nano_usd is None or type(reservation.spent_nano_usd) is int

    settled, reserved = read(book)

    assert 0 == reserved
    assert settled <= budget_nano_usd


def test_reservation_of_a_stream_that_is_carried_on_covers_both() -> None:
    book = LocalSpend()
    carried = evolve(endpoint(CHEAP, DEAR), streaming_enabled=True, on_stream_failure="restart")

    with stage(book).reserve(carried, evolve(request(400), stream=True)) as reservation:
        _, reserved = read(book)
        reservation.settle(Usage(100, 100), B)
        reservation.settle(Usage(100, 100), A)

    assert read(book)[0] <= reserved
