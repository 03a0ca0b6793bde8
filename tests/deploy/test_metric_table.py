"""What a gateway exports is what the table of metrics says, so the dashboard and the alerts find their figures."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.deploy.metric_table import METRICS
from tests.support.gateway import endpoint, project, start_gateway, start_pages
from tests.support.wire import get, send_raw

pytestmark = pytest.mark.slow

BUDGET = {"monthly_budget_usd": "10", "estimated_cost_per_1k_tokens_usd": "1"}
LIMITED: dict[str, Any] = {"streaming_enabled": True, **BUDGET}
# A sample: its name, and its labels if it has some.
SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? ", re.MULTILINE)


async def test_exported_metrics_have_the_labels_of_the_table(nursery: trio.Nursery, tmp_path: Path) -> None:
    gateway = await start_gateway(nursery, tmp_path, project() + endpoint("ask", **LIMITED))
    operators = await start_pages(nursery, gateway)
    for is_streamed in (False, True):
        assert 200 == (await gateway.call("ask", {"message": "Hello", "stream": is_streamed})).status

    page = (await send_raw(operators.port, get("/metrics"))).body.decode()

    found = {name: frozenset(re.findall(r"(\w+)=\"", labels or "")) for name, labels in SAMPLE.findall(page)}
    exported = {name: labels for name, labels in found.items() if name in METRICS}
    assert {name: METRICS[name] for name in exported} == exported
    assert {"pg_trio_requests_total", "pg_trio_budget_limit_usd", "process_open_fds"} <= set(exported)
    assert "pg_trio_time_to_first_token_seconds_bucket" in exported
