"""Limits and budgets under real workers; sessions and the log as their files grow.

  costs    what a bucket costs
  limit    what 4 workers admit of a limit together
  budget   what a budget worth 1,000 requests loses to latencies, failures and departures
  growth   what sessions and the log cost as their files grow, to a million sessions and ten million rows: 6.5 GB in
           TMPDIR, removed afterwards, and eleven minutes
Exit status 1 where a bar is not met.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import trio

from pg_trio.shared_memory.token_bucket import SharedBuckets
from scripts.bench.benches.shared_memory import MINUTE, MINUTE_AND_HOUR, open_shared, rounds_us, take, take_and_give
from scripts.bench.benches.state.budget import CLIENTS, measure_budget
from scripts.bench.benches.state.growth import Growth, measure_growth
from scripts.bench.benches.state.limit import CONNECTIONS, LIMIT, WORKERS, measure_limit
from scripts.bench.harness.cli import Options, Parser, Reports, say
from scripts.bench.harness.tables import Report, Table

BUCKET_BAR_US = 5.0
# "Flat": so many times the figure of the smallest file. On a shared machine one file's own rounds differ by as much.
GROWTH_P50_BAR, GROWTH_P99_BAR = 2.0, 3.0
# What was measured, what was found, the bar, and whether it is met.
Row = tuple[str, str, str, bool]
Part = tuple[list[Row], dict[str, object]]


def measure_costs(quick: bool) -> Part:
    with open_shared() as (_, segment):
        buckets, seconds = SharedBuckets(segment), 0.3 if quick else 3.0
        calls = {
            "take, one bucket": (take(buckets, MINUTE), 1),
            "take, a bucket of two": (take(buckets, MINUTE_AND_HOUR), 2),
            "take + give, a bucket of two": (take_and_give(buckets, MINUTE_AND_HOUR), 2),
        }
        costs = {what: min(rounds_us(call, seconds).wall_us) / count for what, (call, count) in calls.items()}
    rows = [(what, f"{us:.2f} µs", f"under {BUCKET_BAR_US:.0f} µs", us < BUCKET_BAR_US) for what, us in costs.items()]
    return rows, {"costs_us": costs}


def measure_limits(quick: bool) -> Part:
    result = measure_limit(10.0 if quick else 75.0)
    most, allowed = result.most_in_window, result.allowed_in_window
    head = f"{LIMIT} a minute, {WORKERS} workers, {CONNECTIONS} connections, {result.seconds:.0f} s"
    rows = [
        (head, f"{result.admitted} of {result.asked}", f"{result.possible}, at most 1 % fewer", result.is_good),
        ("  the most in any 60 s", str(most), str(allowed), most <= allowed),
        ("  neither 200 nor 429", str(result.other), "0", result.other == 0),
    ]
    return rows, {"limit": result}


def measure_budgets(quick: bool) -> Part:
    requests = 100 if quick else 1_000
    result = measure_budget(requests)
    seen = ", ".join(f"{count} × {what}" for what, count in sorted(result.statuses.items()))
    head = f"a budget of {requests} requests, {WORKERS} workers, {CLIENTS} at once"
    logged, settled, budget = (f"{nano / 1e9:.2f} $" for nano in (result.logged, result.settled, result.budget))
    rows = [
        (head, f"{logged} in the log", f"at most {budget}", result.logged <= result.budget),
        ("  settled in the shared file", settled, "the same", result.settled == result.logged),
        ("  reserved at the end", str(result.reserved), "0", result.reserved == 0),
        (f"  {seen}", f"{result.seconds:.0f} s", "", True),
    ]
    return rows, {"budget": result}


def measure_files(quick: bool) -> Part:
    with tempfile.TemporaryDirectory() as folder:
        found = trio.run(measure_growth, Path(folder), quick)
    return judge_growth(found), {"growth": found}


def judge_growth(found: Sequence[Growth]) -> list[Row]:
    """Each against the same act in the smallest file, which comes first."""
    smallest = {one.act: one for one in reversed(found)}
    rows = []
    for one in found:
        p50_bar, p99_bar = smallest[one.act].p50_ms * GROWTH_P50_BAR, smallest[one.act].p99_ms * GROWTH_P99_BAR
        head = f"{one.act}, {one.size:,} {one.what} ({one.file_mb:,.0f} MB), p50 / p99"
        is_flat = one.p50_ms <= p50_bar and one.p99_ms <= p99_bar
        rows.append((head, f"{one.p50_ms:.2f} / {one.p99_ms:.2f} ms", f"{p50_bar:.2f} / {p99_bar:.2f} ms", is_flat))
    return rows


PARTS: dict[str, Callable[[bool], Part]] = {
    "costs": measure_costs,
    "limit": measure_limits,
    "budget": measure_budgets,
    "growth": measure_files,
}


def add_options(parser: Parser) -> None:
    parser.add_argument("--part", action="append", choices=PARTS, help="this part alone; may be repeated")


def run(options: Options) -> Reports:
    rows: list[Row] = []
    raw: dict[str, object] = {}
    for part in options.part or PARTS:
        say(f"measuring: {part} …")
        more, figures = PARTS[part](options.quick)
        rows += more
        raw |= figures
    cells = [(what, found, bar, "yes" if good else "**no**") for what, found, bar, good in rows]
    wrong = [f"{what.strip()}: {found} where the bar is {bar}" for what, found, bar, good in rows if not good]
    yield Report([Table(("what", "found", "bar", "met"), cells)], raw, wrong)
