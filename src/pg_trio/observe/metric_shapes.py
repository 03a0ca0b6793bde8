"""What requests that are alike count: where in the table, found once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from attrs import define, field, frozen

from pg_trio.domain.prices import Rates
from pg_trio.domain.project import Candidate, Endpoint
from pg_trio.observe.metric_kinds import (
    ATTEMPT,
    COST,
    OTHER,
    OVERHEAD,
    REQUEST,
    STAGE,
    STAGE_PATTERN,
    STAGE_SUMS,
    TOKEN,
)
from pg_trio.observe.metric_series import ConfiguredNames, SeriesBook
from pg_trio.observe.operation import operation_of, surface_label
from pg_trio.recorder import RequestOutcome, RequestRecord

# Of one list of stages, some 300 bytes of the table each: 20,000 requests had 65. Those beyond are counted stage by
# stage.
PATTERNS_KEPT = 512
# Of all lists, in 1.2 of the table's 4 MiB: other series need the rest.
ALL_PATTERNS_KEPT = 4096

Patterns: TypeAlias = dict[tuple[int, ...], int]


@frozen(slots=True, eq=False)
class MetricShape:
    """The places of what such requests count.

    `attempt` is that of a winner who was asked alone. `call` are the labels project, endpoint, operation, provider,
    model. The candidate is held, so that no other one gets its id.
    """

    request: int
    overhead: int
    stages: tuple[int, ...]
    # The place of the first stage's sum, and the one behind the last stage's.
    stage_sums: int
    stage_sums_end: int
    # By the buckets of the stages' times: the place of their STAGE_PATTERN. Made as they occur, if such requests may
    # have patterns.
    patterns: Patterns
    has_patterns: bool
    attempt: int
    input: int
    output: int
    input_cost: int
    output_cost: int
    output_rate: int
    is_stream: bool
    # Whether such requests may count more: a refusal's limit, a deadline that passed, a stream's first token.
    may_have_more: bool
    call: tuple[str, ...]
    rates: Rates | None
    candidate: Candidate | None

    @property
    def endpoint(self) -> str:
        """The endpoint's label."""
        return self.call[1]


@define(eq=False)
class ShapeMaker:
    """Makes shapes. `rates_of` gives the prices of an endpoint's candidates."""

    book: SeriesBook
    names: ConfiguredNames
    rates_of: Callable[[Endpoint], Mapping[Candidate, Rates]]
    # By the stages: shapes with the same stages share them.
    _patterns: dict[tuple[str, ...], Patterns] = field(factory=dict, init=False)
    _patterns_kept: int = field(default=0, init=False)

    def make(self, record: RequestRecord, outcome: RequestOutcome) -> MetricShape:
        """The shape of requests like this one."""
        book, stages = self.book, record.times.stages
        candidate = None if record.settled is None else record.settled.candidate
        surface = record.head.origin.surface
        call = self._label_call(record, candidate, operation_of(surface))
        named = call[:2]
        # Without a winner, only a cost is counted: that of attempts that were lost.
        cost = (*named, *(call[3:] if candidate is not None else (OTHER, OTHER)))
        rates = self._find_rates(record.endpoint, candidate)
        stage_sums = book.find(STAGE_SUMS, ",".join(stages))
        stage_places = tuple([book.find(STAGE, stage) for stage in stages])
        return MetricShape(
            request=book.find(REQUEST, *named, surface_label(surface), str(outcome.status), outcome.kind, *call[2:]),
            overhead=book.find(OVERHEAD, *named),
            stages=stage_places,
            stage_sums=stage_sums,
            stage_sums_end=stage_sums + min(len(stages), STAGE_SUMS.width),
            patterns=self._patterns.setdefault(stages, {}),
            # Nearly all requests are answered, after one of few lists of stages. Failures have many.
            has_patterns=outcome.kind == "ok" and 0 < len(stages) <= STAGE_SUMS.width,
            attempt=book.find(ATTEMPT, *call[2:], "won", ""),
            input=book.find(TOKEN, *call, "input"),
            output=book.find(TOKEN, *call, "output"),
            input_cost=book.find(COST, *cost, "input"),
            output_cost=book.find(COST, *cost, "output"),
            output_rate=0 if rates is None else rates.output,
            is_stream="stream" in stages,
            may_have_more=outcome.kind != "ok" or "stream" in stages,
            call=call,
            rates=rates,
            candidate=candidate,
        )

    def find_pattern(self, shape: MetricShape, stages: tuple[str, ...], buckets: tuple[int, ...]) -> int | None:
        """The place of requests with these stages and buckets; None if they are not kept together."""
        if not shape.has_patterns or len(shape.patterns) >= PATTERNS_KEPT or not self.book.has_room():
            return None
        if self._patterns_kept >= ALL_PATTERNS_KEPT:
            return None
        at = self.book.find(STAGE_PATTERN, ",".join(stages), ",".join(map(str, buckets)))
        if not self.book.has_room():
            # It is that of `other`, whose stages are not known.
            return None
        self._patterns_kept += 1
        shape.patterns[buckets] = at
        return at

    def _label_call(self, record: RequestRecord, candidate: Candidate | None, operation: str) -> tuple[str, ...]:
        caller, endpoint, names = record.caller, record.endpoint, self.names
        project = OTHER if caller is None else caller.project.slug
        slug = OTHER if caller is None or endpoint is None else names.endpoint(caller.project, endpoint)
        if candidate is None:
            return project, slug, operation, "", ""
        return project, slug, operation, candidate.provider, names.model(candidate.provider, candidate.model)

    def _find_rates(self, endpoint: Endpoint | None, candidate: Candidate | None) -> Rates | None:
        return None if endpoint is None or candidate is None else self.rates_of(endpoint).get(candidate)
