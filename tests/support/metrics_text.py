"""What a scrape of `/metrics` says, read by the official parsers."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_plain

from tests.support.wire import get, send_raw

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
Labels = frozenset[tuple[str, str]]


@frozen
class Scrape:
    """The samples of a scrape by name and labels, and the families that they are in."""

    families: list[Metric]
    samples: Mapping[tuple[str, Labels], float] = field(init=False)

    @samples.default
    def _index(self) -> dict[tuple[str, Labels], float]:
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families
            for sample in family.samples
        }

    def sum(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        return sum(value for (sample, had), value in self.samples.items() if sample == name and labels.items() <= had)

    def labels(self, name: str) -> list[dict[str, str]]:
        """The label sets of a metric."""
        return [dict(had) for sample, had in self.samples if sample == name]

    def counters(self) -> dict[tuple[str, Labels], float]:
        """Everything that must never fall."""
        grows = {family.name for family in self.families if family.type in ("counter", "histogram")}
        ends = ("_total", "_bucket", "_count", "_sum")
        return {
            key: value
            for key, value in self.samples.items()
            if any(key[0] == name + end for name in grows for end in ends) or key[0] in grows
        }


def read_scrape(text: str, content_type: str) -> Scrape:
    """Parse a scrape; the official parser raises where it is malformed."""
    read = read_openmetrics if content_type.startswith("application/openmetrics-text") else read_plain
    return Scrape(list(read(text)))


async def scrape(port: int, *headers: tuple[str, str]) -> Scrape:
    """Scrape an address."""
    response = await send_raw(port, get("/metrics", ("connection", "close"), *headers))
    assert 200 == response.status, response.body
    return read_scrape(response.body.decode(), response.headers["content-type"])
