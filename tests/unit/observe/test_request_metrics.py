"""What one request counts: its labels, its attempts, its cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from uuid import UUID

import pytest
from attrs import evolve

from pg_trio.domain.chat import Usage
from pg_trio.domain.prices import SCALE, Rates
from pg_trio.domain.project import Caller, Candidate, Endpoint
from pg_trio.domain.stage_times import StageTimes
from pg_trio.observe import metric_shapes
from pg_trio.observe.exposition import MetricsText
from pg_trio.observe.metric_kinds import COUNT
from pg_trio.observe.metric_series import ConfiguredNames, SeriesBook
from pg_trio.observe.metric_shapes import ShapeMaker
from pg_trio.observe.metrics import RequestMetrics
from pg_trio.recorder import Recorders
from pg_trio.recorder.facts import Settled
from pg_trio.shared_memory import metric_file
from pg_trio.shared_memory.metric_file import METRICS_NAME, MetricReader, MetricTable, open_table
from tests.support.metrics_text import Scrape, read_scrape
from tests.support.recorded import CANDIDATE, ENDPOINT, PROJECT, TOKEN, SilentCall

CONFIGURED = evolve(PROJECT, endpoints={"a": ENDPOINT})
NANO = SCALE
RATES = Rates(input=3 * NANO, output=5 * NANO, cached_input=NANO, cache_write=4 * NANO, source="test")


@pytest.fixture
def table(tmp_path: Path) -> Iterator[MetricTable]:
    table = open_table(tmp_path, 0)
    yield table
    table.close()


@pytest.fixture
def recorders(table: MetricTable) -> Recorders:
    names = ConfiguredNames.of([CONFIGURED])
    return Recorders([RequestMetrics(ShapeMaker(SeriesBook(table), names, lambda endpoint: {CANDIDATE: RATES}))])


def scraped(folder: Path) -> Scrape:
    reader = MetricReader(folder / METRICS_NAME)
    text, content_type = MetricsText("1").write(reader.read(), [], [], "")
    reader.close()
    return read_scrape(text.decode(), content_type)


def record(
    recorders: Recorders,
    usage: Usage | None,
    nano_usd: int | None,
    *candidates: Candidate,
    endpoint: Endpoint = ENDPOINT,
) -> None:
    """One answered request; the last candidate won."""
    with recorders.open(SilentCall()) as recorder:
        recorder.caller_found(Caller(TOKEN, CONFIGURED))
        recorder.endpoint_found(endpoint)
        began = recorder.head.head_at
        for candidate in candidates[:-1]:
            recorder.attempts.add(candidate, began, began + 0.1, "failed: HTTP 500", "HTTP 500")
        recorder.attempts.add(candidates[-1], began, began + 0.2, "won")
        recorder.request_settled(Settled(candidates[-1], "m", usage, nano_usd))


async def test_kinds_of_a_cost_add_up(recorders: Recorders, tmp_path: Path) -> None:
    usage = Usage(100, 10, cached_tokens=40, reasoning_tokens=4)
    # Lost calls cost 7 more.
    record(recorders, usage, 60 * 3 + 40 * 1 + 10 * 5 + 7, CANDIDATE)

    said = scraped(tmp_path)

    parts = {kind: round(said.sum("pg_trio_cost_usd_total", kind=kind) * 1e9) for kind in ("input", "cached", "output")}
    assert {"input": 187, "cached": 40, "output": 50} == parts
    tokens = {kind: said.sum("pg_trio_tokens_total", kind=kind) for kind in ("input", "output", "cached", "reasoning")}
    assert {"input": 100, "output": 10, "cached": 40, "reasoning": 4} == tokens
    assert {"input", "output"} == {
        labels["gen_ai_token_type"] for labels in said.labels("gen_ai_client_token_usage_sum")
    }


async def test_lost_calls_cost_without_a_winner(recorders: Recorders, tmp_path: Path) -> None:
    with recorders.open(SilentCall()) as recorder:
        recorder.caller_found(Caller(TOKEN, CONFIGURED))
        recorder.endpoint_found(ENDPOINT)
        recorder.request_settled(Settled(None, None, None, 11))

    cost = {"project": "p", "endpoint": "a", "provider": "other", "model": "other", "kind": "input"}
    assert 11 == round(scraped(tmp_path).sum("pg_trio_cost_usd_total", **cost) * 1e9)


_STAGES = ("auth", "read", "provider")


def _count_stages(folder: Path, all_times: Sequence[tuple[float, ...]]) -> dict[str, list[float]]:
    table = open_table(folder, 0)
    maker = ShapeMaker(SeriesBook(table), ConfiguredNames.of([CONFIGURED]), lambda endpoint: {CANDIDATE: RATES})
    recorders = Recorders([RequestMetrics(maker)])
    for times in all_times:
        with recorders.open(SilentCall()) as recorder:
            recorder.times = StageTimes(_STAGES, times)
    said, name = scraped(folder), "pg_trio_stage_duration_seconds"
    table.close()
    bounds = [labels["le"] for labels in said.labels(f"{name}_bucket") if labels["stage"] == "auth"]
    return {
        stage: [
            *[said.sum(f"{name}_bucket", stage=stage, le=bound) for bound in bounds],
            said.sum(f"{name}_sum", stage=stage),
            said.sum(f"{name}_count", stage=stage),
        ]
        for stage in _STAGES
    }


@pytest.mark.parametrize("table_bytes", [metric_file.TABLE_BYTES, 8 * 1024])
async def test_stages_are_counted_alike_in_patterns_and_alone(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, table_bytes: int
) -> None:
    """Also where a table is full before all patterns are in it."""
    monkeypatch.setattr(metric_file, "TABLE_BYTES", table_bytes)
    random = Random(5)
    # In eighths, so that sums are exact.
    times = [tuple(random.choice((0.0, 0.125, 0.5, 8.0, 9000.0)) for _ in _STAGES) for _ in range(300)]

    together = _count_stages(tmp_path_factory.mktemp("together"), times)
    monkeypatch.setattr(metric_shapes, "PATTERNS_KEPT", 0)
    alone = _count_stages(tmp_path_factory.mktemp("alone"), times)

    assert [300.0] * 3 == [together[stage][-1] for stage in _STAGES]
    assert alone == together


async def test_patterns_leave_room_for_other_series(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = [(float(number), 0.0, float(number)) for number in (0, 1, 2, 5, 50, 500, 5000)]

    alone = _count_stages(tmp_path_factory.mktemp("alone"), times)
    monkeypatch.setattr(metric_shapes, "ALL_PATTERNS_KEPT", 2)
    folder = tmp_path_factory.mktemp("few")
    few = _count_stages(folder, times)

    assert alone == few
    # One more is there from the beginning: that of a full table.
    assert 1 + 2 == (folder / METRICS_NAME).read_bytes().count(b'["stage_pattern"')


async def test_full_table_of_an_earlier_release_keeps_its_counts(tmp_path: Path) -> None:
    earlier = open_table(tmp_path, 0)
    place = earlier.add(b'["pg_trio_requests_total"]', metric_file.TABLE_BYTES // 8 - 100)
    earlier.cells[place] = 3.0
    earlier.close()

    books = [SeriesBook.open(tmp_path, 0)]
    books[0].count(COUNT, 5.0, "this")
    books.append(SeriesBook.open(tmp_path, 0))

    assert all(book.has_room() for book in books)
    reader = MetricReader(tmp_path / METRICS_NAME)
    full, first, second = reader.read()
    assert ([0] * 3, 3.0) == ([each.seat for each in (full, first, second)], full.series[0][1][0])
    assert [False, True, True] == [each.is_live for each in (full, first, second)]
    assert 5.0 == sum(sum(values) for _, values in first.series)
    reader.close()
    for book in books:
        book.close()


async def test_every_attempt_is_counted(recorders: Recorders, tmp_path: Path) -> None:
    second = evolve(CANDIDATE, model="unconfigured")
    record(recorders, Usage(1, 1), None, CANDIDATE, second)
    record(recorders, Usage(1, 1), None, CANDIDATE)

    said = scraped(tmp_path)

    assert 1 == said.sum("pg_trio_attempts_total", model="gpt-4o-mini", outcome="failed", reason="HTTP 500")
    assert 1 == said.sum("pg_trio_attempts_total", model="gpt-4o-mini", outcome="won")
    assert 1 == said.sum("pg_trio_attempts_total", model="other", outcome="won")
    assert pytest.approx(0.5, abs=1e-5) == said.sum("pg_trio_attempt_duration_seconds_sum")


async def test_models_that_clients_name_are_other(recorders: Recorders, tmp_path: Path) -> None:
    for number in range(20):
        named = evolve(CANDIDATE, model=f"model-{number}")
        endpoint = evolve(ENDPOINT, uuid=UUID(int=9), slug=f"openai:model-{number}", candidates=(named,))
        record(recorders, Usage(1, 1), None, named, endpoint=endpoint)

    said = scraped(tmp_path)

    assert 20 == said.sum("pg_trio_requests_total", project="p", endpoint="other")
    assert 1 == len(said.labels("pg_trio_attempts_total"))


async def test_shed_requests_are_counted(recorders: Recorders, tmp_path: Path) -> None:
    recorders.tell_shed(3)

    assert 3 == scraped(tmp_path).sum("pg_trio_requests_total", status="503", outcome="shed")


async def test_skipped_candidate_has_no_duration(recorders: Recorders, tmp_path: Path) -> None:
    with recorders.open(SilentCall()) as recorder:
        recorder.attempts.pass_over(CANDIDATE, recorder.head.head_at, "breaker", "breaker open")
        recorder.attempts.hedge_denied = True

    said = scraped(tmp_path)

    assert 1 == said.sum("pg_trio_attempts_total", outcome="skipped", reason="breaker open")
    assert 0 == said.sum("pg_trio_attempt_duration_seconds_count")
    assert 1 == said.sum("pg_trio_hedges_total", outcome="denied")
