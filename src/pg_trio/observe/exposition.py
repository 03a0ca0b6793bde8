"""Turns all workers' tables into the text of `GET /metrics`, which the Prometheus library writes.

Rules:
1. Counters are sums over all tables, also those of dead workers. Gauges count only of workers that live.
2. Only label sets that occurred are exported: series of zeros are left out.
3. The text is made in a thread, which lets the serving loop run after each few samples (`_Pausing`). Otherwise the loop
   would wait for the interpreter's lock for up to 5 ms, at each of a request's system calls.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import TypeAlias

from attrs import define, field
from prometheus_client import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

from pg_trio.observe.metric_families import (
    COUNTERS,
    HISTOGRAMS,
    LAG_FAMILY,
    PROCESS,
    SAMPLED,
    SAMPLED_SUMS,
    STORAGE_UP,
    CounterFamily,
    GaugeFamily,
    HistogramFamily,
    Labels,
    Values,
)
from pg_trio.observe.metric_kinds import COUNT, GAUGE, KINDS, LAG, OTHER, STAGE, STAGE_PATTERN, STAGE_SUMS
from pg_trio.shared_memory.metric_file import TableReading

# Some 0.3 ms of work.
SAMPLES_AT_ONCE = 32

# The figures of each living worker's process, with its seat.
Processes: TypeAlias = Sequence[tuple[int, Mapping[str, float]]]
Summed: TypeAlias = dict[str, dict[Labels, Values]]
# These kinds' values are kept apart by the worker's seat: it becomes their first label.
_OF_A_WORKER = frozenset({GAUGE.name, COUNT.name, LAG.name})


@define(eq=False)
class MetricsText:
    """Makes the text. `version` is the gateway's."""

    _version: str
    _keys: dict[bytes, tuple[str, Labels]] = field(factory=dict)

    def write(
        self, tables: Sequence[TableReading], processes: Processes, gauges: Iterable[GaugeFamily], accept: str
    ) -> tuple[bytes, str]:
        """The text, and its content type: OpenMetrics if `accept` (the request's field) asks for it.

        `processes` are the figures of each living worker, with its seat.
        """
        encode, content_type = choose_encoder(accept)
        summed = self._sum(tables)
        _share_out(summed[STAGE_SUMS.name], summed[STAGE.name])
        _share_patterns(summed[STAGE_PATTERN.name], summed[STAGE.name])
        families = [*self._make_families(summed), *_make_processes(processes)]
        return encode(_Families(families + [_make_gauge(gauge) for gauge in gauges])), content_type

    def _make_families(self, summed: Summed) -> Iterator[Metric]:
        build = Metric("pg_trio_build", "The gateway's version.", "info")
        build.add_sample("pg_trio_build_info", {"version": self._version}, 1.0)
        yield build
        for counter in COUNTERS:
            yield _make_counter(counter, summed[counter.kind.name])
        for histogram in (*HISTOGRAMS, LAG_FAMILY):
            yield _make_histogram(histogram, summed[histogram.kind.name])
        yield from _make_sampled(summed[GAUGE.name], summed[COUNT.name])

    def _sum(self, tables: Sequence[TableReading]) -> Summed:
        """The values of all tables, by kind and labels."""
        summed: Summed = defaultdict(dict)
        for table in tables:
            for number, (key, values) in enumerate(table.series):
                if not number % SAMPLES_AT_ONCE:
                    time.sleep(0)
                name, labels = self._keys.get(key) or self._read_key(key)
                kind = KINDS.get(name)
                if kind is None or (len(values), len(labels)) != (kind.size, len(kind.labels)):
                    # Another release's worker wrote it.
                    continue
                if table.is_live if kind.is_gauge else any(values):
                    if name in _OF_A_WORKER:
                        labels = (str(table.seat), *labels)
                    known = summed[name].get(labels)
                    summed[name][labels] = values if known is None else _add(known, values)
        return summed

    def _read_key(self, key: bytes) -> tuple[str, Labels]:
        try:
            name, *labels = map(str, json.loads(key))
        except ValueError:
            name, labels = "", []
        found = self._keys[key] = name, tuple(labels)
        return found


def _share_out(sums: Mapping[Labels, Values], stages: dict[Labels, Values]) -> None:
    """Add the sums of requests' stages, kept by the list of their stages, to each stage's histogram."""
    for (names,), values in sums.items():
        for name, value in zip(repeat(OTHER) if names == OTHER else names.split(","), values, strict=False):
            if value and (name,) in stages:
                *counts, total = stages[name,]
                stages[name,] = [*counts, total + value]


def _share_patterns(patterns: Mapping[Labels, Values], stages: dict[Labels, Values]) -> None:
    """Add the numbers and the sums of requests with the same pattern to each stage's histogram."""
    summed: dict[str, list[float]] = {}
    for number, ((names, buckets), (count, *sums)) in enumerate(patterns.items()):
        if not number % SAMPLES_AT_ONCE:
            time.sleep(0)
        for name, bucket, total in zip(names.split(","), _read_buckets(buckets), sums, strict=False):
            values = summed.get(name)
            if values is None:
                values = summed[name] = [*stages.get((name,), (0.0,) * STAGE.size)]
            values[bucket] += count
            values[-1] += total
    stages |= {(name,): values for name, values in summed.items()}


def _read_buckets(text: str) -> list[int]:
    """The numbers of the buckets of STAGE; none where another release's worker, or another program, wrote the text."""
    try:
        buckets = [int(number) for number in text.split(",")]
    except ValueError:
        return []
    return buckets if min(buckets) >= 0 and max(buckets) <= len(STAGE.bounds) else []


class _Families:
    """What the library asks for metrics."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        for family in self._families:
            if family.samples:
                family.samples = _Pausing(family.samples)  # type: ignore[assignment] # it is only iterated over
                yield family


class _Pausing:
    """Samples that let other threads run after every few of them."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples

    def __iter__(self) -> Iterator[Sample]:
        for number, sample in enumerate(self._samples):
            if not number % SAMPLES_AT_ONCE:
                time.sleep(0)
            yield sample


def _make_counter(family: CounterFamily, series: Mapping[Labels, Values]) -> Metric:
    amounts: dict[Labels, float] = {}
    for labels, values in series.items():
        picked = family.pick(labels)
        if picked is not None:
            amounts[picked] = amounts.get(picked, 0.0) + family.amount(values)
    metric = Metric(family.name, family.text, "counter")
    for picked, amount in amounts.items():
        if amount:
            metric.add_sample(f"{family.name}_total", dict(zip(family.labels, picked, strict=True)), amount)
    return metric


def _make_histogram(family: HistogramFamily, series: Mapping[Labels, Values]) -> Metric:
    picked: dict[Labels, Values] = {}
    for labels, values in series.items():
        target = family.pick(labels)
        if target is not None:
            picked[target] = _add(picked[target], values) if target in picked else values
    metric = Metric(family.name, family.text, "histogram")
    for target, values in picked.items():
        named = dict(zip(family.labels, target, strict=True))
        counts = values[:-1]
        if not any(counts):
            continue
        for bound, place in zip(family.bounds, family.places, strict=True):
            metric.add_sample(f"{family.name}_bucket", {**named, "le": _write_bound(bound)}, sum(counts[:place]))
        total = sum(counts)
        metric.add_sample(f"{family.name}_bucket", {**named, "le": "+Inf"}, total)
        metric.add_sample(f"{family.name}_count", named, total)
        metric.add_sample(f"{family.name}_sum", named, values[-1] / family.unit)
        time.sleep(0)
    return metric


def _write_bound(bound: float) -> str:
    text: str = floatToGoString(bound)  # type: ignore[no-untyped-call]
    return text


def _make_sampled(gauges: Mapping[Labels, Values], counts: Mapping[Labels, Values]) -> Iterator[Metric]:
    """What the workers sample."""
    for (name, kind, text), is_summed in [*[(one, False) for one in SAMPLED], *[(one, True) for one in SAMPLED_SUMS]]:
        known, suffix = (counts, "_total") if kind == "counter" else (gauges, "")
        found = {seat: values[0] for (seat, what), values in known.items() if what == name}
        metric = Metric(name, text, kind)
        if is_summed:
            metric.add_sample(name + suffix, {}, sum(found.values()))
        else:
            for seat, value in found.items():
                metric.add_sample(name + suffix, {"worker": seat}, value)
        yield metric
    name, text = STORAGE_UP
    states = [values[0] for (_, what), values in gauges.items() if what == name]
    yield _make_gauge(GaugeFamily(name, text, (), {(): min(states, default=0.0)}))


def _make_processes(processes: Processes) -> Iterator[Metric]:
    """During a reload a seat has two processes for a while: their figures are added, and the newer start counts."""
    for name, text in PROCESS:
        found: dict[Labels, float] = {}
        for seat, figures in processes:
            if name in figures:
                known, value = found.get((str(seat),), 0.0), figures[name]
                found[str(seat),] = max(known, value) if name == "process_start_time_seconds" else known + value
        yield _make_gauge(GaugeFamily(name, text, ("worker",), found))


def _make_gauge(gauge: GaugeFamily) -> Metric:
    metric = Metric(gauge.name, gauge.text, "gauge")
    for labels, value in gauge.values.items():
        metric.add_sample(gauge.name, dict(zip(gauge.labels, labels, strict=True)), value)
    return metric


def _add(one: Values, other: Values) -> Values:
    return [a + b for a, b in zip(one, other, strict=True)]
