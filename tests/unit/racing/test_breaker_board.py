"""The order in which candidates are asked, by the state of their breakers."""

from __future__ import annotations

import pytest

from pg_trio.racing.breaker import BreakerRules, Fault
from pg_trio.racing.breaker_board import BreakerBoard, Standing

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

    fail(board, A, 0.0, Fault.CREDENTIAL, times=2)

    assert [B] == board.order([A, A2, B], 1.0)


def test_key_that_is_refused_once_is_asked_again() -> None:
    board = make_board()

    fail(board, A, 0.0, Fault.CREDENTIAL, times=1)
    board.begin(A2, 1.0).succeeded(1.0)
    fail(board, A, 2.0, Fault.CREDENTIAL, times=1)

    assert [A, A2, B] == board.order([A, A2, B], 3.0)


def test_refused_key_is_out_for_a_minute_each_time_also_alone() -> None:
    board = make_board()
    fail(board, A, 0.0, Fault.CREDENTIAL, times=2)

    board.begin(A, 60.0).failed(Fault.CREDENTIAL, 60.0)

    assert [] == board.order([A], 119.0)
    assert [A] == board.order([A], 120.0)


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


def test_nobody_is_asked_where_all_asked_for_a_pause() -> None:
    board = make_board()
    fail(board, A, 0.0, Fault.ASIDE, times=1)
    fail(board, B, 5.0, Fault.ASIDE, times=1)

    assert [] == board.order([A, B], 6.0)
    assert [A] == board.order([A, B], 10.0)


def test_own_word_is_kept() -> None:
    board = make_board()

    board.begin(A, 0.0).failed(Fault.ASIDE, 0.0, 30.0, "HTTP 429: slow down")

    assert Standing(Fault.ASIDE, 30.0, False, "HTTP 429: slow down") == board.standing(A, 0.0)


def test_longer_pause_counts_also_where_it_is_open() -> None:
    board = make_board()
    first, second, third = [board.begin(A, 0.0) for _ in range(3)]

    first.failed(Fault.ASIDE, 0.0, 10.0)
    late = board.begin(A, 1.0)
    late.failed(Fault.ASIDE, 1.0, 20.0)
    shorter = board.begin(A, 2.0)
    shorter.failed(Fault.ASIDE, 2.0, 3.0)

    assert 19.0 == board.standing(A, 2.0).wait_s
    for permit in (second, third):
        permit.cancelled()


def test_last_word_of_a_target_is_kept() -> None:
    board = make_board()
    for said in ("HTTP 500: one", "HTTP 503: two", "HTTP 502: three"):
        board.begin(A, 0.0).failed(Fault.TARGET, 0.0, None, said)

    assert Standing(Fault.TARGET, 60.0, False, "HTTP 502: three") == board.standing(A, 0.0)
    assert Standing(Fault.TARGET, 5.0, False, "HTTP 502: three") == board.standing(A, 0.0, is_alone=True)


def test_nothing_stands_in_the_way_of_a_healthy_one() -> None:
    assert Standing(Fault.NOBODY, 0.0, False, "") == make_board().standing(A, 0.0)


def break_off(board: BreakerBoard[Key], times: int) -> None:
    """Streams that are cut after their first token, one after the other."""
    for _ in range(times):
        permit = board.begin(A, 0.0)
        permit.succeeded(0.0)
        permit.broke_off(0.0, "the stream was cut")


def test_cut_stream_is_one_failure_and_three_open() -> None:
    board = make_board()

    break_off(board, 2)
    after_two = board.order([A], 0.0)
    break_off(board, 1)

    assert ([A], []) == (after_two, board.order([A], 0.0))
    assert "the stream was cut" == board.standing(A, 0.0).said


def test_streams_that_are_cut_far_apart_are_in_a_row() -> None:
    board = make_board()

    for now in (0.0, 1000.0, 2000.0):
        permit = board.begin(A, now)
        permit.succeeded(now)
        permit.broke_off(now + 300, "cut")

    assert [] == board.order([A], 2300.0)


def test_answer_between_cut_streams_ends_their_row() -> None:
    board = make_board()

    for now in (0.0, 1000.0, 2000.0, 3000.0):
        permit = board.begin(A, now)
        permit.succeeded(now)
        permit.broke_off(now, "cut")
        board.begin(A, now).succeeded(now)

    assert [A] == board.order([A], 3000.0)


def test_probe_that_is_cut_counts_in_the_closed_state() -> None:
    board = make_board()
    fail(board, A, 0.0)

    for _ in range(3):
        probe = board.begin(A, 60.0)
        probe.succeeded(60.0)
        probe.broke_off(60.0, "cut")

    assert [] == board.order([A], 60.0)


@pytest.mark.parametrize("first_fault", [Fault.TARGET, Fault.CREDENTIAL])
def test_last_resort_is_no_probe(first_fault: Fault) -> None:
    board = make_board()
    later_fault = Fault.CREDENTIAL if first_fault is Fault.TARGET else Fault.TARGET
    for now, fault in ((0.0, first_fault), (30.0, later_fault)):
        fail(board, A, now, fault, times=2 if fault is Fault.CREDENTIAL else 3)

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

    assert [] == board.order([A], 2.0)
    assert 3.0 == board.standing(A, 2.0, is_alone=True).wait_s
    assert [A] == board.order([A], 5.0)


def test_lone_candidate_waits_for_probe() -> None:
    board = make_board()
    fail(board, A, 0.0)

    probe = board.begin(A, 5.0, is_alone=True)

    assert probe.is_probe
    assert [] == board.order([A], 5.0)
    probe.succeeded(6.0)
    assert [A] == board.order([A], 6.0)


def test_cancelled_probe_gives_both_places_back() -> None:
    board = make_board()
    fail(board, A, 0.0)
    fail(board, A2, 0.0, Fault.CREDENTIAL, times=2)

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
    fail(board, A, 0.0, Fault.CREDENTIAL, times=2)

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
