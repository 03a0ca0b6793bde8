"""What scripts/bench/growth, overload and soak make of their raw figures."""

from __future__ import annotations

import pytest
from attrs import evolve

from scripts.bench._limits import growth, overload, soak
from scripts.bench._limits.command import format_table
from scripts.bench._limits.flood import FloodResult, is_complete

ANSWER = b"HTTP/1.1 503 \r\nRetry-After: 1\r\nContent-Length: 2\r\n\r\n{}"
FLOODED = FloodResult(
    due=300,
    sent=300,
    unsent=0,
    ok=100,
    shed=200,
    shed_without_retry_after=0,
    other=0,
    broken=0,
    missing=0,
    goodput_per_s=95.0,
    ok_us=(1_000.0, 2_000.0, 3_000.0),
    shed_us=(500.0, 900.0, 20_000.0),
    late_p99_us=10.0,
    core_share=0.1,
)
CLOSED = overload.Sample(
    limit=1_000, latency_ms=0, round=1, multiple=0.0, goodput_per_s=100.0, cpu_us=300.0, core_share=1.0, flood=None
)
OPEN = evolve(CLOSED, multiple=3.0, goodput_per_s=95.0, flood=FLOODED)
TENTH = soak.Tenth(
    requests=100, per_s=1_000.0, cpu_us=300.0, p99_us=9_000.0, errors=0, memory_bytes=80_000_000, files=40
)
SAMPLE = growth.Sample(
    axis="body",
    row="200 B",
    round=1,
    cpu_us=100.0,
    per_s=900.0,
    p99_us=5_000.0,
    errors=0,
    requests=900,
    memory_bytes=90_000_000,
    idle_cpu_us_per_s=5_000.0,
)
START = growth.Start(axis="body", row="200 B", start_s=1.25, start_cpu_s=0.8, idle_bytes=70_000_000)


def test_table_columns_are_aligned() -> None:
    table = format_table(("", "n"), [("a", "1"), ("long", "22")])

    assert "|      |  n |\n| ---- | -: |\n| a    |  1 |\n| long | 22 |" == table


def test_ratio_is_to_first_row_of_round() -> None:
    # Round 2 is three times as slow for all stacks, so the ratio stays.
    samples = [
        evolve(SAMPLE, row=row, round=number, cpu_us=cpu_us * (1, 3)[number - 1])
        for number in (1, 2)
        for row, cpu_us in (("200 B", 100.0), ("2 KB", 150.0))
    ]

    table = growth.make_table(samples, [START, evolve(START, row="2 KB")])

    assert ["2 KB", "300", "1.50"] == [cell.strip() for cell in table.splitlines()[-1].split("|")[1:4]]


def test_each_axis_has_its_own_base() -> None:
    other = evolve(SAMPLE, axis="tokens", row="10 tokens", cpu_us=500.0)

    table = growth.make_table([SAMPLE, other], [START, evolve(START, axis="tokens", row="10 tokens")])

    assert "1.00" == table.splitlines()[-1].split("|")[3].strip()


@pytest.mark.parametrize("count", [1, 10, 1_000])
def test_history_has_the_same_text(count: int) -> None:
    history = growth.make_history(count)

    assert (count, 20_000, "user") == (len(history), sum(len(m["content"]) for m in history), history[-1]["role"])


def test_soak_without_growth_passes() -> None:
    tenths = [evolve(TENTH, memory_bytes=60_000_000), *[TENTH] * 9]

    assert [] == soak.judge(tenths, requests=1_000)


@pytest.mark.parametrize(
    ("last", "what"),
    [
        (evolve(TENTH, memory_bytes=85_000_000), "memory grew by 6.2% in the second half; allowed are 5%"),
        (evolve(TENTH, files=60), "open files grew from 40 to 60 in the second half"),
        (evolve(TENTH, errors=2), "2 requests were not answered with 200"),
        (evolve(TENTH, requests=90), "10 requests were not sent in time"),
    ],
)
def test_soak_says_what_is_wrong(last: soak.Tenth, what: str) -> None:
    tenths = [*[TENTH] * 9, last]

    assert [what] == soak.judge(tenths, requests=1_000)


def test_scaling_is_against_fewest_workers() -> None:
    one = soak.Scaling(workers=1, round=1, per_s=1_000.0, cpu_us=300.0, errors=0, shares=(0.9,))
    two = soak.Scaling(workers=2, round=1, per_s=1_800.0, cpu_us=330.0, errors=0, shares=(0.8, 0.7))

    table = soak.make_scaling_table([two, one])

    (row,) = [line for line in table.splitlines() if "2 in round 1" in line]
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert ["2 in round 1", "1,800", "1.80", "330", "1.10", "80% + 70%", "1.82", "0"] == cells


def test_share_is_of_the_rounds_best() -> None:
    slow_round = [evolve(sample, round=2, goodput_per_s=sample.goodput_per_s / 10) for sample in (CLOSED, OPEN)]

    share = overload.find_share(slow_round[1], [CLOSED, OPEN, *slow_round])

    assert 0.95 == pytest.approx(share)


def test_overload_within_bars_passes() -> None:
    assert [] == overload.judge([CLOSED, OPEN])


@pytest.mark.parametrize(
    ("sample", "what"),
    [
        (evolve(OPEN, goodput_per_s=80.0), "goodput is 80% of the peak; the bar is 90%"),
        (
            evolve(OPEN, flood=evolve(FLOODED, shed_us=(1.0, 11_000.0, 2.0))),
            "shed after 11.0 ms (p99); the bar is 10 ms",
        ),
        (evolve(OPEN, flood=evolve(FLOODED, shed_without_retry_after=3)), "3 shed without Retry-After"),
    ],
)
def test_overload_says_what_is_missed(sample: overload.Sample, what: str) -> None:
    wrong = overload.judge([CLOSED, sample])

    assert [f"limit 1,000, upstream 0 ms, 3x: {what}"] == wrong


def test_every_prefix_of_answer_is_incomplete() -> None:
    complete = [end for end in range(len(ANSWER) + 1) if is_complete(ANSWER[:end])]

    assert [len(ANSWER)] == complete
