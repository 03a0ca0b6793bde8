"""The budget stage: estimates, reservations, and months."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from attrs import evolve

from pg_trio.config.time_zone import find_zone
from pg_trio.domain.chat import ChatRequest, Message, Usage
from pg_trio.domain.embeddings import EmbeddingRequest
from pg_trio.domain.prices import NANO
from pg_trio.domain.project import Candidate, Credential, Endpoint
from pg_trio.errors import BudgetExhausted, BudgetWouldBeExceeded, TokenCapExceeded
from pg_trio.ledger.immediate import ImmediateSpend
from pg_trio.shared_memory.spend import LocalSpend
from pg_trio.stages.budget import Budget, Months, month_of, month_start
from tests.support.stages_now import BudgetNow

NOVEMBER = 1_763_800_000.0  # 2025-11-22


def endpoint(
    *, budget: str | None = None, rate: str | None = "1", output: int | None = 100, cap: int | None = None
) -> Endpoint:
    return Endpoint(
        uuid=UUID(int=2),
        slug="a",
        name="a",
        candidates=(Candidate(Credential("c", "openai", "http://127.0.0.1:1"), "m"),),
        monthly_budget_usd=None if budget is None else Decimal(budget),
        estimated_cost_per_1k_tokens_usd=None if rate is None else Decimal(rate),
        max_output_tokens=output,
        usage_hard_limit_tokens=cap,
    )


def request(characters: int) -> ChatRequest:
    return ChatRequest(messages=(Message("user", "x" * characters),), body={})


def budget(book: LocalSpend) -> BudgetNow:
    return BudgetNow(Budget(ImmediateSpend(book), lambda: NOVEMBER, default_output_tokens=1_000))


def read(book: LocalSpend) -> tuple[int, int]:
    return book.read(UUID(int=2).bytes, month_of(NOVEMBER))


def test_cap_looks_at_estimated_input() -> None:
    stage = budget(LocalSpend())
    stage.reserve(endpoint(cap=8000), request(32_000))

    with pytest.raises(TokenCapExceeded) as caught:
        stage.reserve(endpoint(cap=8000), request(49_997))

    expected = "Request exceeds endpoint per-request token limit: ~12500 tokens estimated, cap is 8000."
    assert expected == caught.value.text


def test_reservation_is_input_and_output_at_rate() -> None:
    book = LocalSpend()

    with budget(book).reserve(endpoint(budget="25"), request(400)):
        reserved = read(book)

    assert (0, NANO * 200 // 1000) == reserved
    assert (0, 0) == read(book)


def test_endpoints_own_prompt_and_template_are_reserved() -> None:
    book = LocalSpend()
    framed = evolve(endpoint(budget="25"), prompt="x" * 80, user_prompt_template="y" * 31 + "{{input}}")

    with budget(book).reserve(framed, request(400)):
        reserved = read(book)

    assert (0, NANO * (100 + 20 + 10 + 100) // 1000) == reserved


def test_input_is_reserved_for_each_candidate() -> None:
    book = LocalSpend()
    alone = endpoint(budget="25")
    three = evolve(alone, candidates=alone.candidates * 3)

    with budget(book).reserve(three, request(400)):
        reserved = read(book)

    assert (0, NANO * (3 * 100 + 100) // 1000) == reserved


@pytest.mark.parametrize(
    ("streams", "on_failure", "answers"), [(True, "restart", 2), (True, "error", 1), (False, "continue", 1)]
)
def test_answers_that_may_be_carried_on_are_reserved(streams: bool, on_failure: Any, answers: int) -> None:
    book = LocalSpend()
    alone = endpoint(budget="25")
    carried = evolve(alone, candidates=alone.candidates * 2, streaming_enabled=streams, on_stream_failure=on_failure)

    with budget(book).reserve(carried, evolve(request(400), stream=True)):
        reserved = read(book)

    assert (0, NANO * (2 * 100 + answers * 100) // 1000) == reserved


def test_input_alone_is_reserved_for_embeddings() -> None:
    book = LocalSpend()
    stage = Budget(ImmediateSpend(book), lambda: NOVEMBER, default_output_tokens=1_000)
    framed = evolve(endpoint(budget="25"), prompt="p" * 4_000, output_schema=True, output_repair_attempts=2)

    reservation = stage.reserve_nowait(stage.compile(framed).for_input(), EmbeddingRequest(("x" * 300, "y" * 100)))

    # 100 tokens at a dollar a thousand.
    assert reservation is not None
    assert (0, NANO // 10) == read(book)


def test_real_usage_is_settled() -> None:
    book = LocalSpend()

    with budget(book).reserve(endpoint(budget="25"), request(400)) as reservation:
        reservation.settle(Usage(90, 10))

    assert (NANO // 10, 0) == read(book)
    assert NANO // 10 == reservation.spent_nano_usd


def test_price_without_a_budget_is_reckoned() -> None:
    with budget(LocalSpend()).reserve(endpoint(), request(400)) as reservation:
        reservation.settle(Usage(90, 10))

    assert NANO // 10 == reservation.spent_nano_usd


def test_failure_gives_everything_back() -> None:
    book = LocalSpend()
    reservation = budget(book).reserve(endpoint(budget="25"), request(400))

    with pytest.raises(RuntimeError), reservation:
        raise RuntimeError

    assert (0, 0) == read(book)


def test_requests_at_once_never_pass_budget() -> None:
    book = LocalSpend()
    stage = budget(book)
    limited = endpoint(budget="0.50")  # 0.20 each
    held = [stage.reserve(limited, request(400)) for _ in range(2)]

    with pytest.raises(BudgetWouldBeExceeded):
        stage.reserve(limited, request(400))

    assert 2 == len(held)


@pytest.mark.parametrize("settled", [25_000_000_000, 25_004_000_000])
def test_refusal_says_what_was_spent(settled: int) -> None:
    book = LocalSpend(month_of(NOVEMBER), {UUID(int=2).bytes: settled})

    with pytest.raises(BudgetExhausted) as caught:
        budget(book).reserve(endpoint(budget="25"), request(400))

    spent = f"{settled / NANO:.4f}"
    expected = f"Endpoint monthly budget exhausted: ~${spent} spent, budget $25.00. Resets at the start of next month."
    assert expected == caught.value.text


@pytest.mark.parametrize(
    ("settled", "at_once", "parts"),
    [
        (24_800_000_000, 0, "~$24.8000 spent + ~$0.2500 estimated for this request"),
        (24_400_000_000, 2, "~$24.4000 spent + ~$0.5000 reserved + ~$0.2500 estimated for this request"),
        (0, 100, "~$25.0000 reserved + ~$0.2500 estimated for this request"),
    ],
)
def test_refusal_says_what_is_reserved(settled: int, at_once: int, parts: str) -> None:
    stage = budget(LocalSpend(month_of(NOVEMBER), {UUID(int=2).bytes: settled}))
    limited = endpoint(budget="25", output=150)  # 0.25 each
    for _ in range(at_once):
        stage.reserve(limited, request(400))

    with pytest.raises(BudgetWouldBeExceeded) as caught:
        stage.reserve(limited, request(400))

    start = "Endpoint monthly budget would be exceeded: "
    assert f"{start}{parts}, budget $25.00. Resets at the start of next month." == caught.value.text


def test_request_is_not_called_reserved_to_itself() -> None:
    stage = budget(LocalSpend())
    poor = endpoint(budget="0.30")
    other = endpoint(budget="0.30", output=5)

    with (
        stage.reserve(other, request(20)),
        stage.reserve(poor, request(400)) as reservation,
        pytest.raises(BudgetWouldBeExceeded) as caught,
    ):
        stage.add_history(poor, request(400), 400, reservation)

    assert "exceeded: ~$0.0100 reserved + ~$0.3000 estimated for this request, budget $0.30." in caught.value.text


def test_default_output_is_reserved_without_maximum() -> None:
    book = LocalSpend()

    with budget(book).reserve(endpoint(budget="25", output=None), request(0)):
        assert (0, NANO) == read(book)


@pytest.mark.parametrize("unchecked", [endpoint(budget=None), endpoint(budget="0.0001", rate=None)])
def test_check_needs_both_settings(unchecked: Endpoint) -> None:
    book = LocalSpend()

    with budget(book).reserve(unchecked, request(400_000)):
        assert (0, 0) == read(book)


def test_month_changes_on_the_second() -> None:
    months, last, first = Months(), 1_764_547_199.0, 1_764_547_200.0  # 2025-11-30 23:59:59 and a second later

    found = [months.find(at) for at in (last, first, first + 40 * 86_400, last)]

    assert [month_of(last), month_of(first), month_of(first + 40 * 86_400), month_of(last)] == found


# 2025-10-31 23:00 UTC: midnight in Berlin, an hour after clocks had gone back on the 26th.
BERLIN_NOVEMBER = 1_761_951_600.0


def test_month_changes_at_the_zones_midnight() -> None:
    zone = ZoneInfo("Europe/Berlin")
    months = Months(zone)

    found = [months.find(at) for at in (BERLIN_NOVEMBER - 1, BERLIN_NOVEMBER, BERLIN_NOVEMBER + 30 * 86_400 - 1)]

    assert [0, 1, 1] == [month - month_of(BERLIN_NOVEMBER - 1) for month in found]
    assert BERLIN_NOVEMBER == month_start(NOVEMBER, zone)
    assert found[1] + 1 == months.find(BERLIN_NOVEMBER + 30 * 86_400)


@pytest.mark.parametrize("name", ["Pacific/Kiritimati", "America/St_Johns", "Asia/Kathmandu", "Africa/Cairo", "UTC"])
def test_every_instant_is_in_one_month(name: str) -> None:
    zone, months = find_zone(name), Months(find_zone(name))

    for number in range(3 * 366 * 48):
        at = NOVEMBER + number * 1800
        assert month_of(at, zone) == months.find(at)
        assert month_start(at, zone) <= at


def test_budget_is_new_in_the_zones_month() -> None:
    book, clock = LocalSpend(), [BERLIN_NOVEMBER - 1]
    stage = BudgetNow(Budget(ImmediateSpend(book), lambda: clock[0], 1_000, ZoneInfo("Europe/Berlin")))
    limited = endpoint(budget="0.25")
    with stage.reserve(limited, request(400)) as reservation:
        reservation.settle(Usage(100, 100))

    with pytest.raises(BudgetWouldBeExceeded):
        stage.reserve(limited, request(400))
    clock[0] += 1

    with stage.reserve(limited, request(400)):
        assert (0, NANO * 200 // 1000) == book.read(UUID(int=2).bytes, month_of(NOVEMBER))


def test_months_are_utc() -> None:
    last, first = 1_764_547_199.0, 1_764_547_200.0  # 2025-11-30 23:59:59 and a second later

    assert 1 == month_of(first) - month_of(last)
    assert first == month_start(first + 86_400)


def test_history_is_reserved_and_given_back() -> None:
    book = LocalSpend()
    stage = budget(book)

    with stage.reserve(endpoint(budget="25"), request(400)) as reservation:
        stage.add_history(endpoint(budget="25"), request(400), 800, reservation)
        reserved = read(book)

    assert (0, NANO * 400 // 1000) == reserved
    assert (0, 0) == read(book)


def test_history_is_reserved_for_each_candidate() -> None:
    book, alone = LocalSpend(), endpoint(budget="25")
    stage, two = budget(book), evolve(alone, candidates=alone.candidates * 2)

    with stage.reserve(two, request(400)) as reservation:
        stage.add_history(two, request(400), 800, reservation)
        reserved = read(book)

    assert (0, NANO * (2 * (100 + 200) + 100) // 1000) == reserved


def test_history_that_does_not_fit_is_refused() -> None:
    book = LocalSpend()
    stage = budget(book)
    poor = endpoint(budget="0.3")

    with stage.reserve(poor, request(400)) as reservation:
        with pytest.raises(BudgetWouldBeExceeded):
            stage.add_history(poor, request(400), 404, reservation)
        stage.add_history(poor, request(400), 400, reservation)

    assert (0, 0) == read(book)


def test_cap_looks_at_history_too() -> None:
    stage = budget(LocalSpend())
    capped = endpoint(cap=10)
    reservation = stage.reserve(capped, request(20))
    stage.add_history(capped, request(20), 20, reservation)

    with pytest.raises(TokenCapExceeded) as caught:
        stage.add_history(capped, request(20), 21, reservation)

    assert 11 == caught.value.estimated_tokens


def test_month_begins_at_its_first_midnight_where_there_are_two() -> None:
    # Havana, 1 November 2015: at 05:00 UTC clocks went from one back to midnight.
    first_midnight, after_the_second = (datetime(2015, 11, 1, *at, tzinfo=UTC).timestamp() for at in ((4, 0), (5, 30)))

    assert first_midnight == month_start(after_the_second, ZoneInfo("America/Havana"))


def test_rounds_of_asking_again_are_reserved_with_what_each_is_sent() -> None:
    asked = evolve(endpoint(budget="25"), output_schema=True, output_repair_attempts=2)
    book = LocalSpend()

    with budget(book).reserve(asked, request(400)):
        reserved = read(book)

    # 100 in and 100 out, three times; the second is sent one answer (100) and what is said of it (256), the third two.
    assert (0, NANO * (3 * 200 + 356 + 2 * 356) // 1000) == reserved


def test_nothing_is_asked_again_without_a_schema() -> None:
    book = LocalSpend()

    with budget(book).reserve(evolve(endpoint(budget="25"), output_repair_attempts=2), request(400)):
        assert (0, NANO * 200 // 1000) == read(book)
