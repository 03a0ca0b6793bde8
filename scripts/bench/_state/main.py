"""Limits and budgets under real workers: what a bucket costs, what 4 workers admit of a limit together, and what a
budget worth 1,000 requests loses to latencies, failures and departures; what sessions and the log cost as their files
grow, to a million sessions and ten million rows (6.5 GB in TMPDIR, removed afterwards, and eleven minutes). Exit
status 1 where a bar is not met."""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import trio
from attrs import asdict

from pg_trio.shared_memory.segment_file import open_segment
from pg_trio.shared_memory.token_bucket import SharedBuckets
from scripts.bench._state.budget import CLIENTS, measure_budget
from scripts.bench._state.growth import Growth, measure_growth
from scripts.bench._state.limit import CONNECTIONS, LIMIT, measure_limit
from scripts.bench._state.site import WORKERS
from scripts.bench.shared_memory import MINUTE, MINUTE_AND_HOUR, rounds_us, take, take_and_give

BUCKET_BAR_US = 5.0
# Flat: times the figure of the smallest file. On a shared machine one file's own rounds differ by as much.
GROWTH_P50_BAR, GROWTH_P99_BAR = 2.0, 3.0

Row = tuple[str, str, str, bool]


def measure_costs(folder: Path, quick: bool) -> tuple[list[Row], dict[str, object]]:
    """Microseconds a bucket, the best of many rounds."""
    with closing(open_segment(folder / "shared.mem")) as segment:
        buckets, seconds = SharedBuckets(segment), 0.3 if quick else 3.0
        figures = {
            "take, one bucket": min(rounds_us(take(buckets, MINUTE), seconds))[0],
            "take, a bucket of two": min(rounds_us(take(buckets, MINUTE_AND_HOUR), seconds))[0] / 2,
            "take + give, a bucket of two": min(rounds_us(take_and_give(buckets, MINUTE_AND_HOUR), seconds))[0] / 2,
        }
    rows = [(what, f"{us:.2f} µs", f"under {BUCKET_BAR_US:.0f} µs", us < BUCKET_BAR_US) for what, us in figures.items()]
    return rows, {"costs_us": figures}


def measure_limits(folder: Path, quick: bool) -> tuple[list[Row], dict[str, object]]:
    """One limit, 4 workers."""
    result = trio.run(measure_limit, folder, 10.0 if quick else 75.0)
    head = f"{LIMIT} a minute, {WORKERS} workers, {CONNECTIONS} connections, {result.seconds:.0f} s"
    bar = f"{result.possible}, at most 1 % fewer"
    rows = [
        (head, f"{result.admitted} of {result.asked}", bar, result.is_good),
        (
            "  the most in any 60 s",
            str(result.most_in_window),
            f"{result.allowed_in_window}",
            result.most_in_window <= result.allowed_in_window,
        ),
        ("  neither 200 nor 429", str(result.other), "0", result.other == 0),
    ]
    return rows, {"limit": asdict(result)}


def measure_budgets(folder: Path, quick: bool) -> tuple[list[Row], dict[str, object]]:
    """One budget, 4 workers."""
    requests = 100 if quick else 1_000
    result = trio.run(measure_budget, folder, requests)
    seen = ", ".join(f"{count} × {what}" for what, count in sorted(result.statuses.items()))
    head = f"a budget of {requests} requests, {WORKERS} workers, {CLIENTS} at once"
    fits = result.logged <= result.budget
    rows = [
        (head, f"{result.logged / 1e9:.2f} $ in the log", f"at most {result.budget / 1e9:.2f} $", fits),
        ("  settled in the shared file", f"{result.settled / 1e9:.2f} $", "the same", result.settled == result.logged),
        ("  reserved at the end", str(result.reserved), "0", result.reserved == 0),
        (f"  {seen}", f"{result.seconds:.0f} s", "", True),
    ]
    return rows, {"budget": asdict(result)}


def measure_files(folder: Path, quick: bool) -> tuple[list[Row], dict[str, object]]:
    """Sessions and log in files of every size."""
    found = trio.run(measure_growth, folder, quick)
    return judge_growth(found), {"growth": [asdict(one) for one in found]}


def judge_growth(found: list[Growth]) -> list[Row]:
    """Each against the same act in the smallest file, which comes first."""
    smallest = {one.act: one for one in reversed(found)}
    rows = []
    for one in found:
        p50_bar = smallest[one.act].p50_ms * GROWTH_P50_BAR
        p99_bar = smallest[one.act].p99_ms * GROWTH_P99_BAR
        head = f"{one.act}, {one.size:,} {one.what} ({one.file_mb:,.0f} MB), p50 / p99"
        is_flat = one.p50_ms <= p50_bar and one.p99_ms <= p99_bar
        rows.append((head, f"{one.p50_ms:.2f} / {one.p99_ms:.2f} ms", f"{p50_bar:.2f} / {p99_bar:.2f} ms", is_flat))
    return rows


PARTS: dict[str, Callable[[Path, bool], tuple[list[Row], dict[str, object]]]] = {
    "costs": measure_costs,
    "limit": measure_limits,
    "budget": measure_budgets,
    "growth": measure_files,
}


def format_rows(rows: list[Row]) -> str:
    """A Markdown table."""
    lines = [f"| {what} | {found} | {bar} | {'yes' if good else '**no**'} |" for what, found, bar, good in rows]
    return "\n".join(["| what | found | bar | met |", "|---|---|---|---|", *lines])


def main() -> int:
    """The exit status of the command."""
    parser = argparse.ArgumentParser(prog="scripts/bench/state", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="some seconds a part, and a budget of 100 requests")
    parser.add_argument("--part", action="append", choices=PARTS, help="only this one; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="raw figures")
    arguments = parser.parse_args()
    rows: list[Row] = []
    raw: dict[str, object] = {"python": platform.python_version()}
    for part in arguments.part or PARTS:
        print(f"measuring: {part}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            more, figures = PARTS[part](Path(folder), arguments.quick)
        rows += more
        raw |= figures
    print(format_rows(rows))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(raw, indent=1) + "\n")
    return 0 if all(good for *_, good in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
