"""The text of `/metrics`: what was counted, as the official parsers read it."""

from __future__ import annotations

import math
from array import array
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pg_trio.observe.exposition import MetricsText
from pg_trio.observe.metric_families import COUNTERS, HISTOGRAMS, GaugeFamily
from pg_trio.observe.metric_kinds import (
    COUNT,
    GAUGE,
    HEDGE,
    OTHER,
    OVERHEAD,
    REQUEST,
    STAGE,
    STAGE_PATTERN,
    STAGE_SUMS,
    TOKEN,
)
from pg_trio.observe.metric_series import SeriesBook
from pg_trio.shared_memory import metric_file
from pg_trio.shared_memory.metric_file import METRICS_NAME, MetricReader, open_table
from tests.support.metrics_text import OPENMETRICS, Scrape, read_scrape

CALL = ("chat", "openai", "gpt-4o")
ANSWERED = ("shop", "ask", "gateway", "200", "ok", *CALL)


def read(folder: Path, accept: str = "", gauges: tuple[GaugeFamily, ...] = ()) -> Scrape:
    reader = MetricReader(folder / METRICS_NAME)
    text, content_type = MetricsText("1.2").write(reader.read(), [], gauges, accept)
    reader.close()
    return read_scrape(text.decode(), content_type)


@pytest.mark.parametrize("accept", ["", "text/plain", OPENMETRICS, "application/openmetrics-text"])
def test_dead_workers_count(tmp_path: Path, accept: str) -> None:
    for seat, times in ((0, 2), (1, 3)):
        table = open_table(tmp_path, seat)
        book = SeriesBook(table)
        for _ in range(times):
            book.observe(REQUEST, 30.0, *ANSWERED)
        book.put(GAUGE, 5, "pg_trio_requests_active")
        book.put(GAUGE, 2, "pg_trio_log_queue_rows")
        book.count(COUNT, 7, "pg_trio_log_dropped")
        if seat == 0:
            table.close()

    scraped = read(tmp_path, accept)

    assert 5 == scraped.sum("pg_trio_requests_total", project="shop", endpoint="ask", surface="gateway")
    assert pytest.approx(0.15) == scraped.sum("pg_trio_request_duration_seconds_sum")
    assert {"worker": "1"} == scraped.labels("pg_trio_requests_active")[0]
    assert (2, 14) == (scraped.sum("pg_trio_log_queue_rows"), scraped.sum("pg_trio_log_dropped_total"))
    assert 1 == scraped.sum("pg_trio_build_info", version="1.2")
    table.close()


def test_bucket_holds_its_bound(tmp_path: Path) -> None:
    table = open_table(tmp_path, 0)
    book = SeriesBook(table)
    for ms in (10.0, 10.001, 400_000.0):
        book.observe(REQUEST, ms, *ANSWERED)

    scraped = read(tmp_path)

    for name in ("pg_trio_request_duration_seconds", "gen_ai_server_request_duration_seconds"):
        assert 1 == scraped.sum(f"{name}_bucket", le="0.01")
        assert 2 == scraped.sum(f"{name}_bucket", le="300.0")
        assert 3 == scraped.sum(f"{name}_bucket", le="+Inf") == scraped.sum(f"{name}_count")
    table.close()


def test_sums_of_stages_are_shared_out(tmp_path: Path) -> None:
    tables = [open_table(tmp_path, seat) for seat in (0, 1)]
    for table in tables:
        book = SeriesBook(table)
        for names, sums in (("auth,read", (1000.0, 2000.0)), ("auth", (4000.0,)), (OTHER, (8000.0, 16000.0))):
            place = book.find(STAGE_SUMS, names)
            table.cells[place : place + len(sums)] = array("d", sums)
        for stage in ("auth", "read", OTHER):
            table.cells[book.find(STAGE, stage)] += 1.0

    scraped = read(tmp_path)

    name = "pg_trio_stage_duration_seconds"
    assert [10.0, 4.0, 48.0] == [scraped.sum(f"{name}_sum", stage=stage) for stage in ("auth", "read", OTHER)]
    assert [2, 2, 2] == [scraped.sum(f"{name}_count", stage=stage) for stage in ("auth", "read", OTHER)]
    for table in tables:
        table.close()


@pytest.mark.parametrize("buckets", [OTHER, "", "3,x", "99,0", "0,-1", "1" * 5000])
def test_patterns_of_unknown_buckets_are_left_out(tmp_path: Path, buckets: str) -> None:
    """As another release's worker may write them. All else is there."""
    table = open_table(tmp_path, 0)
    book = SeriesBook(table)
    for written in ("3,0", buckets):
        place = book.find(STAGE_PATTERN, "auth,read", written)
        book.cells[place : place + 3] = array("d", (2.0, 5.0, 1.0))

    scraped = read(tmp_path)

    name = "pg_trio_stage_duration_seconds"
    assert [2, 2] == [scraped.sum(f"{name}_count", stage=stage) for stage in ("auth", "read")]
    assert pytest.approx(0.005) == scraped.sum(f"{name}_sum", stage="auth")
    table.close()


def test_only_what_occurred_is_there(tmp_path: Path) -> None:
    table = open_table(tmp_path, 0)
    SeriesBook(table).find(HEDGE, "ask", "won")

    scraped = read(tmp_path)

    assert [] == [labels for counter in COUNTERS for labels in scraped.labels(f"{counter.name}_total")]
    assert [] == [labels for histogram in HISTOGRAMS for labels in scraped.labels(f"{histogram.name}_count")]
    table.close()


def test_full_table_counts_as_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metric_file, "TABLE_BYTES", 16 * 1024)
    table = open_table(tmp_path, 0)
    book = SeriesBook(table)
    for number in range(200):
        book.observe(REQUEST, 1.0, "shop", f"endpoint-{number}", "gateway", "200", "ok", *CALL)
        book.observe(OVERHEAD, 1.0, "shop", f"endpoint-{number}")

    scraped = read(tmp_path)

    assert 200 == scraped.sum("pg_trio_requests_total")
    assert 100 < scraped.sum("pg_trio_requests_total", project="other", endpoint="other", status="other")
    assert 200 == scraped.sum("pg_trio_overhead_seconds_count")
    assert 100 < scraped.sum("pg_trio_overhead_seconds_count", endpoint="other")
    table.close()


def test_gauges_are_written(tmp_path: Path) -> None:
    open_table(tmp_path, 0).close()
    breakers = GaugeFamily("pg_trio_breaker_state", "State.", ("provider", "model"), {("openai", "a"): 2.0})

    assert 2 == read(tmp_path, OPENMETRICS, (breakers,)).sum("pg_trio_breaker_state", provider="openai", model="a")


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
MS = st.floats(0, 1e7, allow_nan=False)


@settings(max_examples=40)
@given(observed=st.lists(st.tuples(TEXT, TEXT, MS), max_size=30), accept=st.sampled_from(["", OPENMETRICS]))
def test_any_names_and_times_add_up(
    tmp_path_factory: pytest.TempPathFactory, observed: list[tuple[str, str, float]], accept: str
) -> None:
    folder = tmp_path_factory.mktemp("metrics")
    table = open_table(folder, 0)
    book = SeriesBook(table)
    for project, endpoint, ms in observed:
        book.observe(OVERHEAD, ms, project, endpoint)
        book.observe(TOKEN, int(ms), project, endpoint, *CALL, "input")

    scraped = read(folder, accept)
    table.close()

    assert len(observed) == scraped.sum("pg_trio_overhead_seconds_count")
    assert math.isclose(
        sum(ms for *_, ms in observed) / 1000, scraped.sum("pg_trio_overhead_seconds_sum"), abs_tol=1e-6
    )
    assert sum(int(ms) for *_, ms in observed) == scraped.sum("pg_trio_tokens_total")
    for family in scraped.families:
        counts = [sample.value for sample in family.samples if sample.name == f"{family.name}_bucket"]
        per_series = len(counts) // max(1, sum(sample.name == f"{family.name}_count" for sample in family.samples))
        for first in range(0, len(counts), per_series or 1):
            assert sorted(counts[first : first + per_series]) == counts[first : first + per_series]
