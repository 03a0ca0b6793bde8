"""A month's spend: what is reserved counts against the budget until it is settled. Held by both implementations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import pytest

from pg_trio.errors import StoreError
from pg_trio.shared_memory import spend as spend_module
from pg_trio.shared_memory.seats import SEATS, count_seats, is_abandoned
from pg_trio.shared_memory.segment_file import open_segment
from pg_trio.shared_memory.spend import MAX_NANO_USD, LocalSpend, SharedSpend, fill_spend

Spend = LocalSpend | SharedSpend
OpenSpend = Callable[[int, Mapping[bytes, int]], Spend]


@pytest.fixture(params=["local", "shared"])
def open_spend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenSpend]:
    """Opens spend that knows what was settled in a month."""
    if request.param == "local":
        yield LocalSpend
        return
    with ExitStack() as stack:

        def open_shared(month: int, settled: Mapping[bytes, int]) -> SharedSpend:
            fill = partial(fill_spend, month=month, settled=settled)
            segment = stack.enter_context(closing(open_segment(tmp_path / "shared.mem", slots=1024, fill=fill)))
            return SharedSpend(segment)

        yield open_shared


@pytest.fixture
def spend(open_spend: OpenSpend) -> Spend:
    return open_spend(0, {})


def test_reservations_count_against_budget(spend: Spend) -> None:
    answers = [spend.reserve(b"k", 1, 40, budget=100) for _ in range(3)]

    assert [None, None, (0, 80)] == answers
    assert (0, 80) == spend.read(b"k", 1)


def test_settling_gives_rest_back(spend: Spend) -> None:
    spend.reserve(b"k", 1, 40, budget=100)

    spend.settle(b"k", 1, 40, spent=25)

    assert (25, 0) == spend.read(b"k", 1)


def test_exactly_the_budget_fits(spend: Spend) -> None:
    assert spend.reserve(b"k", 1, 100, budget=100) is None


def test_new_month_starts_at_nothing(open_spend: OpenSpend) -> None:
    spend = open_spend(1, {b"k": 100})

    refused = spend.reserve(b"k", 1, 1, budget=100)
    allowed = spend.reserve(b"k", 2, 1, budget=100)

    assert ((100, 0), None) == (refused, allowed)
    assert (0, 1) == spend.read(b"k", 2)


def test_settling_past_month_changes_that_alone(spend: Spend) -> None:
    spend.reserve(b"k", 1, 40, budget=100)
    spend.reserve(b"k", 2, 10, budget=100)

    spend.settle(b"k", 1, 40, spent=35)

    assert [(35, 0), (0, 10)] == [spend.read(b"k", month) for month in (1, 2)]


@pytest.mark.parametrize(
    "months",
    [
        pytest.param((11, 12, 11, 12), id="set back over the start of a month"),
        pytest.param((11, 10, 11), id="set back at once"),
        pytest.param((11, 12, 11, 12, 11, 12), id="set back twice"),
        pytest.param((11, 131, 11), id="ten years ahead, and back"),
        pytest.param((11, 12, 132, 12, 13, 12, 13), id="ahead, back, and over a month's start"),
        pytest.param((11, 12, 13, 12, 13), id="in the third month"),
    ],
)
def test_clock_set_back_reopens_no_budget(spend: Spend, months: tuple[int, ...]) -> None:
    spent: dict[int, int] = {}
    for month in months:
        assert (spent.get(month, 0), 0) == spend.read(b"k", month)
        assert spend.reserve(b"k", month, 10, budget=100) is None
        spend.settle(b"k", month, 10, spent=7)
        spent[month] = spent.get(month, 0) + 7

    assert (spent[months[-1]], 0) == spend.reserve(b"k", months[-1], 100, budget=100)


def test_month_of_which_nothing_was_spent_hides_none(spend: Spend) -> None:
    spend.reserve(b"k", 11, 10, budget=100)
    spend.reserve(b"k", 12, 10, budget=100)
    spend.settle(b"k", 12, 10, spent=95)

    spend.settle(b"k", 11, 10, spent=0)

    assert (95, 0) == spend.read(b"k", 12)
    assert (95, 0) == spend.reserve(b"k", 12, 10, budget=100)


def test_third_month_is_forgotten_last(spend: Spend) -> None:
    for month in (1, 2, 3):
        spend.reserve(b"k", month, month, budget=100)

    assert [(0, 0), (0, 2), (0, 3)] == [spend.read(b"k", month) for month in (1, 2, 3)]


def test_settling_forgotten_month_changes_nothing(spend: Spend) -> None:
    for month in (1, 2, 3):
        spend.reserve(b"k", month, month, budget=100)

    spend.settle(b"k", 1, 1, spent=50)

    assert [(0, 0), (0, 2), (0, 3)] == [spend.read(b"k", month) for month in (1, 2, 3)]


def test_settling_unknown_key_changes_nothing(spend: Spend) -> None:
    spend.settle(b"k", 1, 40, spent=40)

    assert (0, 0) == spend.read(b"k", 1)


def test_keys_have_their_own_spend(spend: Spend) -> None:
    spend.reserve(b"a", 1, 40, budget=100)

    assert (0, 0) == spend.read(b"b", 1)


# ── shared alone ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def open_worker(tmp_path: Path) -> Iterator[Callable[[], SharedSpend]]:
    """Opens spend as one more worker does: with its own open file, so with its own locks."""
    with ExitStack() as stack:
        yield lambda: SharedSpend(stack.enter_context(closing(open_segment(tmp_path / "shared.mem", slots=1024))))


def test_workers_share_one_budget(open_worker: Callable[[], SharedSpend]) -> None:
    one, other = open_worker(), open_worker()
    one.reserve(b"k", 1, 60, budget=100)
    one.settle(b"k", 1, 60, spent=50)

    answers = [other.reserve(b"k", 1, 30, budget=100), one.reserve(b"k", 1, 30, budget=100)]

    assert [None, (50, 30)] == answers
    assert [(50, 30)] * 2 == [worker.read(b"k", 1) for worker in (one, other)]


def test_open_reservations_move_to_another_file(tmp_path: Path, open_worker: Callable[[], SharedSpend]) -> None:
    """Of two months, and of a key that was settled in part."""
    spend = open_worker()
    for month in (11, 12):
        spend.reserve(b"k", month, 60, budget=100)
    for amount in (30, 20):
        spend.reserve(b"other", 12, amount, budget=100)
    spend.settle(b"other", 12, 30, spent=30)

    with closing(open_segment(tmp_path / "next.mem", slots=1024)) as segment:
        spend.rebind(segment)
        moved = [spend.read(*asked) for asked in ((b"k", 11), (b"k", 12), (b"other", 12))]
        for key, month, amount in ((b"k", 11, 60), (b"k", 12, 60), (b"other", 12, 20)):
            spend.settle(key, month, amount, spent=amount)
        settled = [spend.read(*asked) for asked in ((b"k", 11), (b"k", 12), (b"other", 12))]

    assert [(0, 60), (0, 60), (0, 20)] == moved
    assert [(60, 0), (60, 0), (20, 0)] == settled


def test_forgotten_account_is_settled(open_worker: Callable[[], SharedSpend], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spend_module, "ACCOUNTS_KEPT", 1)
    spend = open_worker()
    for month in (11, 12):
        spend.reserve(b"k", month, 60, budget=100)
    spend.reserve(b"other", 12, 60, budget=100)

    for month in (11, 12):
        spend.settle(b"k", month, 60, spent=50)
    spend.settle(b"other", 12, 60, spent=10)

    assert [(50, 0), (50, 0), (10, 0)] == [spend.read(*asked) for asked in ((b"k", 11), (b"k", 12), (b"other", 12))]


def test_forgotten_account_without_a_reservation_is_settled(
    open_worker: Callable[[], SharedSpend], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An estimate may be nothing, and the answer cost something."""
    monkeypatch.setattr(spend_module, "ACCOUNTS_KEPT", 1)
    spend = open_worker()
    spend.reserve(b"k", 12, 0, budget=100)
    spend.reserve(b"other", 12, 60, budget=100)

    spend.settle(b"k", 12, 0, spent=3)

    assert [(3, 0), (0, 60)] == [spend.read(key, 12) for key in (b"k", b"other")]


def test_account_that_is_opened_again_knows_what_is_reserved(
    tmp_path: Path, open_worker: Callable[[], SharedSpend], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spend_module, "ACCOUNTS_KEPT", 1)
    spend = open_worker()
    for key in (b"k", b"other", b"k"):
        spend.reserve(key, 12, 40, budget=100)

    with closing(open_segment(tmp_path / "next.mem", slots=1024)) as segment:
        spend.rebind(segment)
        moved = [spend.read(key, 12) for key in (b"k", b"other")]

    assert [(0, 80), (0, 40)] == moved


def test_full_file_has_one_month(tmp_path: Path) -> None:
    # Two places of the guard, the log's row, the worker's: no slot is left for another month's.
    with closing(open_segment(tmp_path / "shared.mem", slots=4)) as segment:
        spend = SharedSpend(segment)
        answers = []
        for month in (11, 12, 13):
            answers.append(spend.reserve(b"k", month, 60, budget=100))
            spend.settle(b"k", month, 60, spent=50)
            answers.append(spend.reserve(b"k", month, 60, budget=100))
        spend.settle(b"k", 11, 60, spent=50)

        assert [None, (50, 0)] * 3 == answers
        assert [(0, 0), (50, 0)] == [spend.read(b"k", month) for month in (12, 13)]


def test_workers_share_both_months(open_worker: Callable[[], SharedSpend]) -> None:
    one, other = open_worker(), open_worker()
    for month in (11, 12):
        one.reserve(b"k", month, 60, budget=100)
        one.settle(b"k", month, 60, spent=50 + month)

    assert [(61, 0), (62, 0)] == [other.read(b"k", month) for month in (11, 12)]
    assert (61, 0) == other.reserve(b"k", 11, 40, budget=100)


def test_dead_worker_leaves_nothing_reserved_in_either_month(open_worker: Callable[[], SharedSpend]) -> None:
    one, other = open_worker(), open_worker()
    for month in (11, 12):
        one.reserve(b"k", month, 60, budget=100)
    one._segment.close()

    assert 1 == other.reap()
    assert [(0, 0)] * 2 == [other.read(b"k", month) for month in (11, 12)]


def test_leaving_gives_reservations_back(open_worker: Callable[[], SharedSpend]) -> None:
    one, other = open_worker(), open_worker()
    one.reserve(b"k", 1, 60, budget=100)
    one.settle(b"k", 1, 20, spent=7)

    one.close()

    assert ((7, 0), 0) == (other.read(b"k", 1), other.reap())


def test_freed_seat_is_taken_again(open_worker: Callable[[], SharedSpend]) -> None:
    one, other = open_worker(), open_worker()
    one.reserve(b"k", 1, 60, budget=100)
    one.settle(b"k", 1, 60, spent=7)
    one.close()
    heir = open_worker()

    heir.reserve(b"k", 1, 10, budget=100)

    assert [(7, 10)] * 2 == [worker.read(b"k", 1) for worker in (heir, other)]


def test_living_worker_is_not_reaped(open_worker: Callable[[], SharedSpend]) -> None:
    one, other = open_worker(), open_worker()
    one.reserve(b"k", 1, 60, budget=100)

    reaped = other.reap()

    assert (0, (0, 60)) == (reaped, other.read(b"k", 1))


def test_dead_worker_is_reaped_once(tmp_path: Path, open_worker: Callable[[], SharedSpend]) -> None:
    segment = open_segment(tmp_path / "shared.mem", slots=1024)
    one, other = SharedSpend(segment), open_worker()
    one.reserve(b"k", 1, 60, budget=100)
    segment.close()  # as the kernel does for a process that died: without giving anything back

    reaped = [other.reap(), other.reap()]

    assert ([1, 0], (0, 0)) == (reaped, other.read(b"k", 1))


def test_heir_gives_back_what_the_dead_one_held(tmp_path: Path, open_worker: Callable[[], SharedSpend]) -> None:
    segment = open_segment(tmp_path / "shared.mem", slots=1024)
    SharedSpend(segment).reserve(b"k", 1, 60, budget=100)
    segment.close()

    heir = open_worker()

    # No worker could reap it any more, because a living worker has its seat.
    assert (0, 0) == heir.read(b"k", 1)


def test_reaped_seat_is_taken_again(tmp_path: Path, open_worker: Callable[[], SharedSpend]) -> None:
    reaper, segment = open_worker(), open_segment(tmp_path / "shared.mem", slots=1024)
    SharedSpend(segment)
    segment.close()
    reaper.reap()

    open_worker()

    # Else so many deaths as there are seats would end in no start at all.
    with closing(open_segment(tmp_path / "shared.mem")) as looked_at:
        assert 2 == count_seats(looked_at)
        assert not any(is_abandoned(looked_at, number) for number in range(2))


def test_too_many_workers_are_refused(tmp_path: Path) -> None:
    with ExitStack() as stack:
        segments = [
            stack.enter_context(closing(open_segment(tmp_path / "shared.mem", slots=1024))) for _ in range(SEATS + 1)
        ]
        workers = [SharedSpend(segment) for segment in segments[:SEATS]]

        with pytest.raises(StoreError, match=f"{SEATS} workers have it open"):
            SharedSpend(segments[SEATS])

    assert SEATS == len(workers)


def test_sum_beyond_a_row_is_kept_at_most(
    open_worker: Callable[[], SharedSpend], caplog: pytest.LogCaptureFixture
) -> None:
    worker = open_worker()
    worker.reserve(b"k", 1, 1, budget=MAX_NANO_USD)

    worker.settle(b"k", 1, 1, spent=MAX_NANO_USD + 5)
    refused = worker.reserve(b"k", 1, 1, budget=MAX_NANO_USD * 2)

    assert (MAX_NANO_USD, 0) == refused
    assert ["more than a row holds" in message for message in caplog.messages] == [True]
