"""What scripts/bench/growth, overload and soak make of their raw figures."""

from __future__ import annotations

import pytest

from scripts.bench.benches import growth, overload, soak
from scripts.bench.harness.open_loop import is_complete
from scripts.bench.harness.tables import Found, combine, format_table, tabulate

ANSWER = b"HTTP/1.1 503 \r\nRetry-After: 1\r\nContent-Length: 2\r\n\r\n{}"
OPEN = {"goodput_per_s": 95.0, "share": 0.95, "shed_p99": 0.9, "bare_sum": 0.0}
TENTH = {"requests": 100.0, "memory_mb": 80.0, "errors": 0.0, "files": 40.0}


def test_table_columns_are_aligned() -> None:
    table = format_table(("", "n"), [("a", "1"), ("long", "22")])

    assert "|      |  n |\n| ---- | -: |\n| a    |  1 |\n| long | 22 |" == table


def test_ratio_is_to_the_base_of_the_round() -> None:
    # Round 2 is three times as slow for both: the ratio stays. Round 3 has no base.
    found: Found = {
        "200 B": [{"round": 1, "us": 100.0}, {"round": 2, "us": 300.0}],
        "2 KB": [{"round": 1, "us": 150.0}, {"round": 2, "us": 450.0}, {"round": 3, "us": 9_000.0}],
    }

    table = tabulate(
        found, {"": "", "µs": "{us:.0f}", "ratio": "{us_ratio:.2f}", "over": "{us_over:.2f}"}, base="200 B"
    )

    assert [("200 B", "200", "1.00", "1.00"), ("2 KB", "450", "1.50", "0.67")] == table.rows


def test_figures_are_combined_as_they_are_named() -> None:
    rounds = [{"us": us, "errors_sum": us, "us_max": us, "us_min": us} for us in (5.0, 1.0, 2.0)]

    assert {"us": 2.0, "errors_sum": 8.0, "us_max": 5.0, "us_min": 1.0} == combine(rounds)


def test_figure_of_some_rounds_only_is_a_dash() -> None:
    found: Found = {"litellm": [{"ms": 1.0}, {}]}

    assert [("litellm", "–")] == tabulate(found, {"": "", "ms": "{ms:.1f}"}).rows


@pytest.mark.parametrize("count", [1, 10, 1_000])
def test_history_has_the_same_text(count: int) -> None:
    history = growth.make_history(count)

    assert (count, 20_000, "user") == (len(history), sum(len(m["content"]) for m in history), history[-1]["role"])


def test_soak_without_growth_passes() -> None:
    tenths = [{**TENTH, "memory_mb": 60.0}, *[TENTH] * 9]

    assert [] == soak.judge(tenths, requests=1_000)


@pytest.mark.parametrize(
    ("last", "what"),
    [
        ({"memory_mb": 85.0}, "memory grew by 6.2% in the second half; allowed are 5%"),
        ({"files": 60.0}, "open files grew from 40 to 60 in the second half"),
        ({"errors": 2.0}, "2 requests were not answered with 200"),
        ({"requests": 90.0}, "10 requests were not sent in time"),
    ],
)
def test_soak_says_what_is_wrong(last: dict[str, float], what: str) -> None:
    tenths = [*[TENTH] * 9, {**TENTH, **last}]

    assert [what] == soak.judge(tenths, requests=1_000)


def test_scaling_is_against_fewest_workers() -> None:
    one = {"round": 1.0, "per_s": 1_000.0, "cpu_us": 300.0, "cores": 0.9, "whole": 1 / 300, "errors_sum": 0.0}
    two = {"round": 1.0, "per_s": 1_800.0, "cpu_us": 330.0, "cores": 1.5, "whole": 2 / 330, "errors_sum": 0.0}

    table = tabulate({"1": [one], "2": [two]}, soak.SCALING_COLUMNS, base="1")

    assert ("2", "1,800", "1.80", "330", "1.10", "1.50", "1.82", "0") == table.rows[1]


def test_share_is_of_the_rounds_best() -> None:
    shares = [one["share"] for one in overload.find_shares([{"goodput_per_s": 100.0}, OPEN])]

    assert [1.0, 0.95] == shares


def test_overload_within_bars_passes() -> None:
    assert [] == overload.judge({"limit 1, upstream 0 ms, 3x": [OPEN]})


def test_overload_is_judged_at_three_times_alone() -> None:
    assert [] == overload.judge({"limit 1, upstream 0 ms, 2x": [{**OPEN, "share": 0.1}]})


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"share": 0.8}, "goodput is 80% of the peak; the bar is 90%"),
        ({"shed_p99": 11.0}, "shed after 11.0 ms (p99); the bar is 10 ms"),
        ({"bare_sum": 3.0}, "3 shed without Retry-After"),
    ],
)
def test_overload_says_what_is_missed(changed: dict[str, float], what: str) -> None:
    assert [f"limit 1, 3x: {what}"] == overload.judge({"limit 1, 3x": [{**OPEN, **changed}]})


def test_every_prefix_of_answer_is_incomplete() -> None:
    complete = [end for end in range(len(ANSWER) + 1) if is_complete(ANSWER[:end])]

    assert [len(ANSWER)] == complete
