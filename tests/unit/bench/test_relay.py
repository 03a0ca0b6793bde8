"""The bench of relaying where the kernel's clock, which counts 10 ms, saw no CPU time."""

from __future__ import annotations

from argparse import Namespace
from unittest.mock import MagicMock

import pytest

from scripts.bench.benches import relay
from scripts.bench.harness.processes import ROOT, BenchError
from scripts.bench.harness.streams import StreamLoad

WARM_UP_STREAMS = 4


def run_flood(monkeypatch: pytest.MonkeyPatch, cpu_us: float) -> list[str]:
    """The cells of `flood`, whose tokens cost that; those of the warm-up seem to cost nothing."""

    def measure(_process: object, load: StreamLoad, *_: object) -> dict[str, float]:
        names = ("streams_sum", "tokens", "per_s", "a_read", "lag_p50_ms", "lag_p99_ms", "stream_kb")
        return {**dict.fromkeys(names, 1.0), "cpu_us": 0.0 if load.order.streams == WARM_UP_STREAMS else cpu_us}

    site = MagicMock()
    site.return_value.__enter__.return_value.run_source.return_value.__enter__.return_value = MagicMock(
        base_url="http://x"
    )
    for name, fake in (("open_site", site), ("set_up", MagicMock()), ("evolve", MagicMock())):
        monkeypatch.setattr(relay, name, fake)
    monkeypatch.setattr(relay, "measure_streams", measure)
    [report] = relay.run(Namespace(quick=True, streams=None, only=["flood"], resumable=False, root=ROOT))
    [[*cells]] = report.tables[0].rows
    return cells


def test_warm_up_may_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ["flood", "20,000"] == run_flood(monkeypatch, 50.0)[:6:5]


def test_no_cpu_time_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BenchError, match="too few tokens"):
        run_flood(monkeypatch, 0.0)
