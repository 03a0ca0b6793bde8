"""What is counted, and under which labels. Each kind is kept once; exposition.py derives the exported metrics.

One histogram may serve several metrics: that of requests has the labels of `pg_trio_requests_total` and of the GenAI
conventions, so a request costs one entry in place of four. Bounds are the union of what its metrics export.

Bounds of times are milliseconds here and seconds in what is exported.
Sources: OpenTelemetry GenAI conventions, `gen-ai-metrics.md` (2026-11) for the buckets of `gen_ai.*`; beyond their
ends all are extended to 300 s, because answers of reasoning models take minutes.
"""

from __future__ import annotations

from attrs import field, frozen

OTHER = "other"

# Our own buckets, in seconds: Prometheus' defaults, extended.
REQUEST_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300)
# `gen_ai.client.operation.duration`, `gen_ai.server.request.duration`.
OPERATION_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 300)
# `gen_ai.server.time_to_first_token`.
# fmt: off
FIRST_TOKEN_S = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 30, 60, 120, 300,
)
# `gen_ai.server.time_per_output_token`.
OUTPUT_TOKEN_S = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 10, 30, 60, 120, 300,
)
# fmt: on
OVERHEAD_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)
STAGE_S = (0.00001, 0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300)
OVERRUN_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
LAG_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
# `gen_ai.client.token.usage`: powers of 4.
TOKENS = tuple(4.0**power for power in range(14))


@frozen(slots=True)
class Kind:
    """One kind of series. With `bounds`, it is a histogram: a count for each bucket, one beyond them, and the sum.
    Without, it has `width` values."""

    name: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...] = ()
    is_gauge: bool = False
    width: int = 1
    size: int = field(init=False)

    @size.default
    def _count_values(self) -> int:
        return len(self.bounds) + 2 if self.bounds else self.width


def _ms(*seconds: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(sorted({bound * 1000 for bounds in seconds for bound in bounds}))


_CALL = ("operation", "provider", "model")
REQUEST = Kind("request", ("project", "endpoint", "surface", "status", "outcome", *_CALL), _ms(REQUEST_S, OPERATION_S))
FIRST_TOKEN = Kind("first_token", ("project", "endpoint", *_CALL), _ms(FIRST_TOKEN_S))
OUTPUT_TOKEN = Kind("output_token", ("project", "endpoint", *_CALL), _ms(OUTPUT_TOKEN_S))
OVERHEAD = Kind("overhead", ("project", "endpoint"), _ms(OVERHEAD_S))
STAGE = Kind("stage", ("stage",), _ms(STAGE_S))
# The sums of STAGE, of requests with the same stages: `stages` are their names, the values their sums in this order.
# 16: there are 15 stages, and a request has each at most once.
STAGE_SUMS = Kind("stage_sums", ("stages",), width=16)
# Requests with the same stages, each of which took a time of the same bucket of STAGE: their number, then the sums of
# their stages. `buckets` are the buckets' numbers. Such a request is one entry, not one for each stage.
STAGE_PATTERN = Kind("stage_pattern", ("stages", "buckets"), width=1 + STAGE_SUMS.width)
OVERRUN = Kind("overrun", ("endpoint",), _ms(OVERRUN_S))
ATTEMPT = Kind("attempt", (*_CALL, "outcome", "reason"), _ms(REQUEST_S, OPERATION_S))
HEDGE = Kind("hedge", ("endpoint", "outcome"))
TOKEN = Kind("token", ("project", "endpoint", *_CALL, "kind"), TOKENS)
# Billionths of a dollar, so that sums are exact.
COST = Kind("cost", ("project", "endpoint", "provider", "model", "kind"))
RATE_LIMIT = Kind("rate_limit", ("endpoint", "scope"))
GUARDRAIL = Kind("guardrail", ("endpoint", "guardrail", "action"))
LAG = Kind("lag", (), _ms(LAG_S))
# Sampled by each worker; they count while it lives. `what` is the metric's name.
GAUGE = Kind("gauge", ("what",), is_gauge=True)
# What a worker counts elsewhere and copies here. `what` is the metric's name.
COUNT = Kind("count", ("what",))

KINDS = {
    kind.name: kind
    for kind in (
        REQUEST,
        FIRST_TOKEN,
        OUTPUT_TOKEN,
        OVERHEAD,
        STAGE,
        STAGE_SUMS,
        STAGE_PATTERN,
        OVERRUN,
        ATTEMPT,
        HEDGE,
        TOKEN,
        COST,
        RATE_LIMIT,
        GUARDRAIL,
        LAG,
        GAUGE,
        COUNT,
    )
}
