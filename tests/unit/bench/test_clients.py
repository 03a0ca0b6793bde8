"""The benches' clients: when they begin, what they make of a broken answer, and the turns that rows take."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import trio
from trio.testing import MockClock

from pg_trio.simulator import parse_behaviour
from scripts.bench.benches.race import chaos
from scripts.bench.harness.cli import take_turns
from scripts.bench.harness.client import Answer, run_crowd, run_paced, run_watched


async def test_paced_clients_begin_on_time(autojump_clock: MockClock) -> None:
    began = []

    async def ask(due_at: float) -> None:
        began.append((due_at, trio.current_time()))
        await trio.sleep(10)

    await run_paced(3, 4.0, ask)

    assert [(at, at) for at in (0.0, 0.25, 0.5)] == began


async def test_crowd_begins_at_once(autojump_clock: MockClock) -> None:
    ended = []

    async def work(number: int) -> None:
        await trio.sleep(number)
        ended.append(number)

    await run_crowd(3, work)

    assert ([0, 1, 2], 2.0) == (ended, trio.current_time())


async def test_watch_ends_with_its_clients(autojump_clock: MockClock) -> None:
    late_s: list[float] = []

    await run_watched(partial(trio.sleep, 0.105), late_s)

    assert [0.0] * 10 == late_s


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(0, failure="hung"), "hung"),
        (Answer(200, {}, b"<html>"), "unreadable: JSONDecodeError"),
        (Answer(200, {}, b'{"text": "Hi"}'), "unreadable: KeyError"),
        (
            Answer(200, {"content-type": "text/event-stream"}, b"data: {\n\ndata: [DONE]\n\n"),
            "unreadable: JSONDecodeError",
        ),
    ],
)
def test_unreadable_answer_is_not_whole(answer: Answer, error: str) -> None:
    said = answer.said()

    assert not said.is_whole
    assert (said.error or "").startswith(error)


def test_rows_take_turns(capsys: pytest.CaptureFixture[str]) -> None:
    order: list[str] = []

    def measure(name: str) -> Callable[[], dict[str, float]]:
        def measured() -> dict[str, float]:
            order.append(name)
            return {"us": len(order)}

        return measured

    found = take_turns(2, {"a": measure("a"), "b": measure("b")}, "{us} µs")

    assert ["a", "b", "a", "b"] == order
    assert {
        "a": [{"round": 1, "us": 1}, {"round": 2, "us": 3}],
        "b": [{"round": 1, "us": 2}, {"round": 2, "us": 4}],
    } == found
    assert "round 2: b: 4 µs" == capsys.readouterr().err.splitlines()[-1]


def test_chaos_draws_five_ways_to_fail() -> None:
    behaviours = [parse_behaviour(text) for text in chaos.FAULTS]

    assert 5 == len(set(behaviours))
