"""Which figures scripts/bench/race takes for broken promises."""

from __future__ import annotations

import pytest
from attrs import evolve

from scripts.bench.benches import race
from scripts.bench.benches.race import breaker, chaos, deadlines, hedging, scoreboard, storm, streams
from scripts.bench.benches.race.faults import FAULTS
from scripts.bench.harness.cli import read_options
from scripts.bench.harness.client import Answer
from scripts.bench.harness.tables import Found

# ── scoreboard ───────────────────────────────────────────────────────────────────────────────────────────────────────


def row(fault_name: str, *, requests: int, calls: int) -> scoreboard.Row:
    (fault,) = (fault for fault in FAULTS if fault.name == fault_name)
    made = scoreboard.Row(fault, "plain", scoreboard.VARIANTS[1], "f0", "f0?")
    made.seconds, made.calls = [0.1] * requests, calls
    scoreboard.judge_calls(made)
    return made


def test_too_many_calls_are_hammering() -> None:
    assert not row("lasting 503", requests=12, calls=4).wrong
    assert ["5 calls reached it; 4 of 12 requests may"] == row("lasting 503", requests=12, calls=5).wrong


def test_filtered_answer_is_asked_for_once() -> None:
    assert not row("content filter", requests=12, calls=12).wrong
    assert ["13 calls reached it; 12 of 12 requests may"] == row("content filter", requests=12, calls=13).wrong[:1]


def test_failed_row_is_named_in_the_table() -> None:
    good, bad = row("lasting 503", requests=12, calls=3), row("one 500", requests=12, calls=13)

    table = scoreboard.make_table([good, bad])

    assert ["13 calls reached it; 12 of 12 requests may"] == bad.wrong
    assert ["passed", "FAILED"] == [cells[-1] for cells in table.rows]


# ── hedging ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def setting(tail_s: float, calls: int, *, failed: int = 0) -> dict[str, float]:
    seconds = [0.2] * 3_600 + [tail_s] * 400
    return hedging.summarise(seconds[failed:], 4_000, calls)


@pytest.mark.parametrize(
    ("adaptive", "words"),
    [
        (setting(0.6, 4_239), ""),
        (setting(0.61, 4_240), "p99 falls 4.9 times; the bar is 5"),
        (setting(0.6, 4_241), "6.0% more calls; the bar is 6.0%"),
        (setting(0.6, 4_200, failed=1), "1 requests failed"),
    ],
)
def test_hedging_keeps_its_bars(adaptive: dict[str, float], words: str) -> None:
    wrong = hedging.judge({"no hedge": [setting(3.0, 4_000)], "adaptive": [adaptive]})

    assert words in "".join(wrong)
    assert bool(words) == bool(wrong)


def test_open_breaker_costs_little() -> None:
    alone, close, far = ({"failed": 0.0, "p50": ms} for ms in (1.0, 10.9, 11.1))

    assert [] == breaker.judge({"alone": alone, "silent": close})
    assert ["silent: 10.1 ms added at p50; the bar is 10"] == breaker.judge({"alone": alone, "silent": far})


def test_breaker_adds_to_the_endpoint_alone() -> None:
    alone, down = (breaker.summarise([Answer(200, {}, b"", seconds)] * 3) for seconds in (0.001, 0.0035))

    table = breaker.make_table({"alone": alone, "silent": down})

    assert [("–", "–"), ("2.50", "2.50")] == [tuple(row[-2:]) for row in table.rows]


# ── deadlines ────────────────────────────────────────────────────────────────────────────────────────────────────────

LATE = deadlines.Result("both silent", 100, "504", 3.0)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (evolve(LATE, ended="told", overrun_ms=9.9), ""),
        (evolve(LATE, ended="hung"), "1 times both silent: hung"),
        (evolve(LATE, ended="200: late and so it goes"), "1 times both silent: 200: late"),
        (evolve(LATE, overrun_ms=-0.1), "1 deadlines passed before their time"),
        (evolve(LATE, overrun_ms=10.1), "overrun p99 is 10.1 ms"),
    ],
)
def test_deadlines_hold(other: deadlines.Result, words: str) -> None:
    wrong = deadlines.judge([*[LATE] * 98, other, other])[:1]

    assert words.replace("1 times", "2 times").replace("1 deadlines", "2 deadlines") in "".join(wrong)
    assert bool(words) == bool(wrong)


# ── storm ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def clients(**changes: object) -> storm.Clients:
    made = storm.Clients(closed_ms={"silent": [2.0] * 99 + [80.0]}, files_before=21, files_after=21)
    made.slots_left, made.credential_slots_left = 200, 60
    for name, value in changes.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        ({"closed_ms": {"silent": [2.0] * 9 + [80.0]}}, "closed after 80.0 ms at p99"),
        ({"unclosed": 1}, "1 upstream calls never closed"),
        ({"files_after": 22}, "files grew from 21 to 22"),
        ({"slots_left": 199}, "199 of 200 slots are left"),
        ({"credential_slots_left": 59}, "59 of a credential's 60 slots are left"),
        ({"refused": {"silent: 502": 2}}, "2 clients were refused, silent: 502"),
    ],
)
def test_leaving_clients_leave_nothing(changes: dict[str, object], words: str) -> None:
    wrong = storm.judge_clients(clients(**changes))

    assert words in "".join(wrong)
    assert bool(words) == bool(wrong)


def test_cancelled_races_leave_nothing() -> None:
    held = {"tasks": 9, "files": 20, "attempts": 0}
    races: dict[str, object] = dict.fromkeys(("unopened", "before", "after", "closed"), held)

    assert [] == storm.judge_races({**races, "after": {**held, "files": 60}})
    assert ["races: attempts grew from 0 to 1"] == storm.judge_races({**races, "after": {**held, "attempts": 1}})
    assert ["races: files grew from 20 to 21"] == storm.judge_races({**races, "closed": {**held, "files": 21}})


# ── streams ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_stream_that_stands_still_is_named() -> None:
    found: Found = {"good": [{"stall_ms_max": 99.0}], "still": [{"stall_ms_max": 101.0}]}

    assert ["still: a stream stood still for 101 ms beyond its pace"] == streams.judge(found, [200])
    assert ["a large body was answered with 503"] == streams.judge({}, [200, 503])
    assert ["no large body was answered meanwhile"] == streams.judge({}, [])


# ── the command ──────────────────────────────────────────────────────────────────────────────────────────────────────


def chaos_sample(setting: str, answered: int, failed: int, most_s: float = 3.0) -> chaos.Sample:
    return chaos.Sample(setting, "plain", [most_s] * answered, [1.0] * failed, [2] * (answered + failed))


def test_retries_must_answer_nearly_all() -> None:
    assert [] == chaos.judge([chaos_sample("each asked once", 76, 24), chaos_sample("retries", 95, 5)])
    (wrong,) = chaos.judge([chaos_sample("retries", 94, 6)])
    assert wrong.startswith("retries, plain: 94.0% answered; the bar is 95%, and asking each once gives 76% at best")


def test_no_answer_in_chaos_is_later_than_the_deadline() -> None:
    (wrong,) = chaos.judge([chaos_sample("each asked once", 99, 1, most_s=31.0)])
    assert "later than the deadline of 30 s" in wrong


def test_tables_are_chosen_by_name() -> None:
    assert ["storm", "streams"] == read_options("race", race, ["storm", "streams", "--quick"]).tables
    assert {"scoreboard", "hedging", "breaker", "deadlines", "storm", "streams", "chaos"} == set(race.TABLES)
    with pytest.raises(SystemExit):
        read_options("race", race, [])
