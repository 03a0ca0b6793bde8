"""The grammar of behaviours and their draws."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.simulator.behaviour import (
    GOOD,
    OPTION_NAMES,
    PRESETS,
    Behaviour,
    CalledTool,
    Flap,
    ReportedUsage,
    parse_behaviour,
)
from pg_trio.simulator.delays import Fixed, HeavyTail, LogNormal
from pg_trio.simulator.simulated_faults import FAULT_ARGUMENTS, SimulatedFault


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Behaviour()),
        ("latency=200ms", Behaviour(latency=Fixed(0.2))),
        ("latency=0&pace=1.5s", Behaviour(pace=Fixed(1.5))),
        ("latency=lognormal:200ms:0.5", Behaviour(latency=LogNormal(0.2, 0.5))),
        ("latency=lognormal:200ms:0.5:5%:3s", Behaviour(latency=LogNormal(0.2, 0.5, 0.05, 3))),
        ("latency=tail:200ms:5%:3s", Behaviour(latency=HeavyTail(0.2, 0.05, 3.0))),
        ("tokens=40", Behaviour(tokens=40)),
        ("content=%7B%22a%22:1%7D%26", Behaviour(content='{"a":1}&')),
        ("content=", Behaviour(content="")),
        ("tool=get_weather", Behaviour(tool=CalledTool("get_weather"))),
        ("tool=f:%7B%22a%22:1%7D", Behaviour(tool=CalledTool("f", '{"a":1}'))),
        ("finish=content_filter", Behaviour(finish="content_filter")),
        ("usage=off", Behaviour(usage=False)),
        ("usage=38:87", Behaviour(usage=ReportedUsage(38, 87))),
        ("head=early&pings=2&reasoning=3", Behaviour(early_head=True, pings=2, reasoning=3)),
        ("fault=status:429&retry_after=2", Behaviour(fault=SimulatedFault("status", 429), retry_after_s=2)),
        ("fault=reset", Behaviour(fault=SimulatedFault("reset", variant="head"))),
        ("fault=reset:body", Behaviour(fault=SimulatedFault("reset", variant="body"))),
        ("fault=stall:3", Behaviour(fault=SimulatedFault("stall", 3, "tokens"))),
        ("fault=truncate", Behaviour(fault=SimulatedFault("truncate", variant="length"))),
        ("fault=cut:3:clean", Behaviour(fault=SimulatedFault("cut", 3, "clean"))),
        ("fault=cut:3:inside", Behaviour(fault=SimulatedFault("cut", 3, "inside"))),
        ("stamps=on", Behaviour(stamps=True)),
        ("fault=drip:5ms", Behaviour(fault=SimulatedFault("drip", 0.005))),
        ("fault=huge:100", Behaviour(fault=SimulatedFault("huge", 100))),
        ("fault=hangup&fail_first=2", Behaviour(fault=SimulatedFault("hangup"), fail_first=2)),
        ("fail_rate=5%&fault=hangup", Behaviour(fault=SimulatedFault("hangup"), fail_rate=0.05)),
        ("fault=hangup&flap=1s:2s", Behaviour(fault=SimulatedFault("hangup"), flap=Flap(1, 2))),
        ("slow&tokens=4", Behaviour(latency=Fixed(3), pace=Fixed(0.06), tokens=4)),
    ],
)
def test_text_is_read(text: str, expected: Behaviour) -> None:
    assert expected == parse_behaviour(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sped", "'sped' is no preset; there are fast, typical"),
        ("speed=1", "'speed' is no option; there are latency, pace"),
        ("tokens=1&tokens=2", "tokens: given twice"),
        ("tokens=1&", "'' is no preset"),
        ("latency=200", "latency: '200' is no duration; write 200ms"),
        ("latency=-1s", "is no duration"),
        ("latency=nans", "is no duration"),
        ("latency=1e3s", "is no duration"),
        ("latency=3601s", "longer than 3600s"),
        ("latency=lognormal:0:1", "median must be over 0"),
        ("latency=lognormal:1s", "is no latency"),
        ("latency=tail:1s:5:2s", "'5' is no share"),
        ("fail_rate=101%&fault=reset", "fail_rate: '101%' is no share"),
        ("tokens=-1", "tokens: '-1' is no whole number from 0 to 200000"),
        ("tokens=²", "is no whole number"),
        ("finish=error", "finish: 'error' is no finish reason"),
        ("usage=many", "usage: 'many' is no usage"),
        ("tool=", "tool: it needs a name"),
        ("stamps=yes", "stamps: 'yes' is no choice"),
        ("head=now", "write early or late"),
        ("fault=oops", "fault: 'oops' is no fault; there are status, reset"),
        ("fault=refuse", "cannot refuse"),
        ("fault=status", "fault: status: '' is no whole number from 300 to 599"),
        ("fault=status:200", "'200' is no whole number from 300 to 599"),
        ("fault=reset:tail", "write reset:head or reset:body"),
        ("fault=stall:²", "stall: '²' is no whole number"),
        ("fault=cut:1:dirty", "write cut:3, cut:3:clean or cut:3:inside"),
        ("fault=garbage:1", "takes no argument"),
        ("fault=hangup&flap=0:0", "one of the two must be over 0"),
        ("fault=hangup&flap=1s", "write ON:OFF"),
        ("fail_first=2", "fail_first: it needs a fault beside it"),
        ("fault=reset&retry_after=2", "retry_after: it needs fault=status:NNN beside it"),
    ],
)
def test_mistake_is_named(text: str, words: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the words are compared below, unescaped
        parse_behaviour(text)

    assert words in str(caught.value)


OPTION_LIKE = st.tuples(
    st.sampled_from([*OPTION_NAMES, *PRESETS, "x", ""]),
    st.sampled_from(["", "="]),
    st.one_of(
        st.text(max_size=12),
        st.from_regex(r"(tail|lognormal|cut|stall|huge|status)?:?[0-9.]{0,4}(ms|s|%)?(:[0-9%ms]{0,5}){0,2}"),
        st.sampled_from([f"{kind}{argument}" for kind in FAULT_ARGUMENTS for argument in ("", ":1", ":body", ":503")]),
    ),
).map("".join)


@given(st.lists(OPTION_LIKE, max_size=4).map("&".join))
def test_any_text_parses_or_is_a_value_error(text: str) -> None:
    try:
        behaviour = parse_behaviour(text)
    except ValueError:
        return

    assert behaviour == parse_behaviour(text, behaviour)


def test_overlay_keeps_the_rest() -> None:
    base = parse_behaviour("latency=1s&tokens=4")

    assert Behaviour(latency=Fixed(1), tokens=5) == parse_behaviour("tokens=5", base)


def test_new_fault_forgets_the_old_ones_options() -> None:
    base = parse_behaviour("fault=status:429&retry_after=2&fail_first=1")

    assert Behaviour(fault=SimulatedFault("reset", variant="head")) == parse_behaviour("fault=reset", base)
    assert GOOD == parse_behaviour("fault=none", base)


DOCUMENT = (Path(__file__).parents[3] / "docs" / "simulator.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", OPTION_NAMES)
def test_option_is_documented(name: str) -> None:
    assert f"\n| `{name}` |" in DOCUMENT


@pytest.mark.parametrize("kind", FAULT_ARGUMENTS)
def test_fault_is_documented(kind: str) -> None:
    assert f"\n| `{kind}" in DOCUMENT


@pytest.mark.parametrize("name", PRESETS)
def test_preset_is_documented(name: str) -> None:
    assert f"| `{name}` | `{PRESETS[name]}` |" in DOCUMENT


@pytest.mark.parametrize("name", PRESETS)
def test_preset_parses(name: str) -> None:
    assert parse_behaviour(name) == parse_behaviour(PRESETS[name])


def test_log_normal_has_its_median() -> None:
    random, latency = Random(1), LogNormal(0.2, 0.5)

    draws = sorted(latency.draw_s(random) for _ in range(2_001))

    assert 0.19 < draws[1_000] < 0.21
    # A log-normal's mean is median × exp(sigma² / 2).
    assert 0.21 < sum(draws) / len(draws) < 0.245


def test_heavy_tail_has_its_share() -> None:
    random, latency = Random(1), HeavyTail(0.2, 0.05, 3.0)

    draws = [latency.draw_s(random) for _ in range(2_000)]

    assert {0.2, 3.0} == set(draws)
    assert 70 <= draws.count(3.0) <= 130


def test_lognormal_with_a_tail_has_its_share() -> None:
    random, latency = Random(1), LogNormal(0.2, 0.2, 0.05, 3.0)

    draws = [latency.draw_s(random) for _ in range(10_000)]

    assert 0.04 < sum(draw == 3.0 for draw in draws) / len(draws) < 0.06
    assert 0.15 < sorted(draws)[5_000] < 0.25


@given(st.integers(0, 2**32), st.sampled_from([Fixed(1.0), LogNormal(0.2, 10.0), HeavyTail(0.1, 0.5, 2.0)]))
def test_same_seed_draws_the_same(seed: int, latency: Fixed | LogNormal | HeavyTail) -> None:
    assert latency.draw_s(Random(seed)) == latency.draw_s(Random(seed))
    assert 0 <= latency.draw_s(Random(seed)) <= 3_600


def test_first_calls_fail() -> None:
    behaviour = parse_behaviour("fault=hangup&fail_first=2")

    faults = [behaviour.find_fault(number, 0.0, Random(0)) for number in (1, 2, 3)]

    assert [SimulatedFault("hangup"), SimulatedFault("hangup"), None] == faults


def test_flap_follows_the_clock() -> None:
    behaviour = parse_behaviour("fault=hangup&flap=1s:2s")

    is_on = [behaviour.find_fault(1, elapsed_s, Random(0)) is not None for elapsed_s in (0.0, 0.9, 1.0, 2.9, 3.0)]

    assert [True, True, False, False, True] == is_on


@pytest.mark.parametrize(("rate", "expected"), [("0%", 0), ("100%", 100)])
def test_fail_rate_at_its_ends(rate: str, expected: int) -> None:
    behaviour = parse_behaviour(f"fault=hangup&fail_rate={rate}")

    faults = [behaviour.find_fault(1, 0.0, Random(seed)) for seed in range(100)]

    assert expected == sum(fault is not None for fault in faults)
