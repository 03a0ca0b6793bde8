"""The order in which candidates are asked, by the state of their breakers."""

from __future__ import annotations

import pytest

from pg_trio.racing.breaker import BreakerRules, Fault
from pg_trio.racing.breaker_board import BreakerBoard, BreakerOpen

# (credential, model), and what its calls do to the board in these tests.
Key = tuple[str, str]
A, B, C = ("one", "a"), ("two", "b"), ("three", "c")
A2 = ("one", "other")


def make_board() -> BreakerBoard[Key]:
    return BreakerBoard(lambda key: key, lambda key: key[0], BreakerRules())


def fail(board: BreakerBoard[Key], key: Key, now: float, fault: Fault = Fault.TARGET, *, times: int = 3) -> None:
    for _ in range(times):
        board.begin(key, now).failed(fault, now, 10.0 if fault is Fault.ASIDE else None)


def test_healthy_ones_keep_their_order() -> None:
    assert [A, B, C] == make_board().order([A, B, C], 0.0)


def test_open_target_is_last_resort() -> None:
    board = make_board()

    fail(board, A, 0.0)

    assert [B, C, A] == board.order([A, B, C], 1.0)


def test_set_aside_is_left_out() -> None:
    board = make_board()

    fail(board, A, 0.0, Fault.ASIDE, times=1)

    assert [B] == board.order([A, B], 1.0)
    assert [A, B] == board.order([A, B], 10.0)


def test_refused_key_leaves_out_all_its_targets() -> None:
    board = make_board()

    fail(board, A, 0.0, Fault.CREDENTIAL, times=1)

    assert [B] == board.order([A, A2, B], 1.0)


def test_target_fault_leaves_its_key_alone() -> None:
    board = make_board()

    fail(board, A, 0.0)

    assert [A2, A] == board.order([A, A2], 1.0)


def test_due_probe_keeps_its_place() -> None:
    board = make_board()
    fail(board, A, 0.0)

    assert [A, B] == board.order([A, B], 60.0)
    assert board.begin(A, 60.0).is_probe
    assert [B, A] == board.order([A, B], 60.0)


def test_one_probe_a_request() -> None:
    board = make_board()
    fail(board, A, 0.0)
    fail(board, B, 0.0)

    assert [A, C, B] == board.order([A, B, C], 60.0)


def test_somebody_is_always_asked() -> None:
    board = make_board()
    fail(board, A, 0.0, Fault.ASIDE, times=1)
    fail(board, B, 5.0, Fault.ASIDE, times=1)

    assert [A] == board.order([A, B], 6.0)


def test_nobody_is_asked_in_vain() -> None:
    board = make_board()
    fail(board, A, 0.0, Fault.ASIDE, times=1)
    fail(board, B, 5.0, Fault.ASIDE, times=1)

    with pytest.raises(BreakerOpen) as raised:
        board.order([A, B], 6.0, ends_at=9.9)

    assert 4.0 == raised.value.retry_after_s
    assert [A] == board.order([A, B], 6.0, ends_at=10.0)


def test_own_word_is_kept() -> None:
    board = make_board()

    board.begin(A, 0.0).failed(Fault.ASIDE, 0.0, retry_after_s=30.0)

    assert (30.0, 30.0) == (board.wait_s(A, 0.0), board.aside_s(A, 0.0))


def test_failing_target_is_not_set_aside() -> None:
    board = make_board()

    fail(board, A, 0.0)

    assert (60.0, 0.0) == (board.wait_s(A, 0.0), board.aside_s(A, 0.0))


@pytest.mark.parametrize("first_fault", [Fault.TARGET, Fault.CREDENTIAL])
def test_last_resort_is_no_probe(first_fault: Fault) -> None:
    board = make_board()
    later_fault = Fault.CREDENTIAL if first_fault is Fault.TARGET else Fault.TARGET
    for now, fault in ((0.0, first_fault), (30.0, later_fault)):
        fail(board, A, now, fault)

    # Of its two breakers one is due, the other not yet.
    assert not board.begin(A, 60.0).is_probe
    assert board.begin(A, 90.0).is_probe


def test_all_open_are_asked_soonest_first() -> None:
    board = make_board()
    fail(board, A, 5.0)
    fail(board, B, 0.0)

    assert [B, A] == board.order([A, B], 6.0)


def test_lone_candidate_fails_fast() -> None:
    board = make_board()
    fail(board, A, 0.0)

    with pytest.raises(BreakerOpen) as raised:
        board.order([A], 2.0)

    assert 3.0 == raised.value.retry_after_s
    assert [A] == board.order([A], 5.0)


def test_lone_candidate_waits_for_probe() -> None:
    board = make_board()
    fail(board, A, 0.0)

    probe = board.begin(A, 5.0, is_alone=True)

    assert probe.is_probe
    with pytest.raises(BreakerOpen):
        board.order([A], 5.0)
    probe.succeeded(6.0)
    assert [A] == board.order([A], 6.0)


def test_cancelled_probe_gives_both_places_back() -> None:
    board = make_board()
    fail(board, A, 0.0)
    fail(board, A2, 0.0, Fault.CREDENTIAL, times=1)

    board.begin(A, 60.0).cancelled()

    assert board.begin(A, 60.0).is_probe


def test_refused_key_says_nothing_of_its_target() -> None:
    board = make_board()
    fail(board, A, 0.0)
    board.begin(A, 60.0).failed(Fault.CREDENTIAL, 60.0)

    board.begin(A2, 120.0).succeeded(120.0)

    assert board.begin(A, 120.0).is_probe


def test_failed_target_says_nothing_of_its_key() -> None:
    board = make_board()
    fail(board, A, 0.0, Fault.CREDENTIAL, times=1)

    board.begin(A, 60.0).failed(Fault.TARGET, 60.0)

    assert board.begin(A2, 60.0).is_probe


def test_first_word_counts() -> None:
    board = make_board()
    permits = [board.begin(A, 0.0) for _ in range(3)]

    for permit in permits:
        permit.succeeded(0.0)
        permit.failed(Fault.TARGET, 0.0)
        permit.cancelled()

    assert [A, B] == board.order([A, B], 0.0)


def test_state_names_keys() -> None:
    board = make_board()
    fail(board, A, 0.0)

    assert [
        "target one/a: open by target, next in 60.0 s, 3 failed and 0 slow of 3",
        "credential one: closed, 0 failed and 0 slow of 0",
    ] == board.as_lines(0.0)
    assert {"target one/a", "credential one"} == set(board.as_dict(0.0))


def test_refused_key_gives_back_its_targets_probe() -> None:
    board = make_board()
    fail(board, A, 0.0)

    probe = board.begin(A, 60.0)
    probe.failed(Fault.CREDENTIAL, 61.0)

    assert probe.is_probe
    assert board.describe(A, 61.0)["model_breaker"]["probing"] is False  # type: ignore[index]
