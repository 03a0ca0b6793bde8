"""The longest time of an endpoint's requests: every candidate is silent, and no hedge starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pg_trio.config.settings import Settings
from pg_trio.domain.project import Candidate, Endpoint
from pg_trio.stages.provider_call.call_plan import ATTEMPTS_A_CANDIDATE, race_limits
from pg_trio.surfaces.v1.routes import PROJECT_TYPES


def describe_worst_cases(settings: Settings) -> Iterator[str]:
    """A line for each active endpoint and opened provider of a project whose endpoints can be called, then one for each
    of its candidates."""
    for project in settings.projects.values():
        if project.is_active and project.project_type in PROJECT_TYPES:
            for endpoint in project.endpoints.values():
                if endpoint.is_active:
                    yield from _describe(f"{project.slug}/{endpoint.slug}", endpoint, settings)
            for entry in project.providers:
                if entry.endpoint.is_active:
                    yield from _describe(f"{project.slug}/{', '.join(entry.globs())}", entry.endpoint, settings)


def _describe(name: str, endpoint: Endpoint, settings: Settings) -> Iterator[str]:
    disabled = settings.disabled_providers
    candidates = [candidate for candidate in endpoint.candidates if candidate.provider not in disabled]
    if not candidates:
        yield f"{name}: always 503, its providers are switched off"
        return
    yield f"{name}: an answer or a failure within {_seconds(endpoint.deadline_ms / 1000)} (deadline_ms)"
    yield from _describe_tries(endpoint, candidates, _tries(endpoint, len(candidates)))
    if endpoint.streaming_enabled:
        yield _describe_stream(endpoint, len(candidates), settings.gateway.retry_budget_percent)


def _describe_stream(endpoint: Endpoint, count: int, retry_budget_percent: float) -> str:
    """A stream's try ends before the deadline does, so unlike a silent whole answer it leaves time for retries."""
    first_round_s = _tries(endpoint, count, is_stream=True)[-1][1]
    deadline_s = endpoint.stream_deadline_ms / 1000
    first, end = _seconds(first_round_s), _seconds(deadline_s)
    max_attempts = endpoint.max_attempts or ATTEMPTS_A_CANDIDATE * count
    # An endpoint with a budget makes no more tries that may be charged for than were reserved, and silent ones may be.
    is_retried = max_attempts > count and retry_budget_percent > 0 and endpoint.monthly_budget_usd is None
    if is_retried and first_round_s < deadline_s:
        return (
            f"  streamed: a first token within {first}, or all are asked again (at most {max_attempts} tries);"
            f" its end or a failure within {end}"
        )
    return f"  streamed: a first token or a failure within {first}, its end within {end}"


def _describe_tries(
    endpoint: Endpoint, candidates: Sequence[Candidate], tries: Sequence[tuple[float, float]]
) -> Iterator[str]:
    for place, (candidate, (starts_s, ends_s)) in enumerate(zip(candidates, tries, strict=True)):
        name = f"{candidate.credential.name}/{candidate.model}"
        if starts_s >= ends_s:
            yield f"  {name}: never tried, the deadline comes first (reserve_ms would keep time for it)"
        else:
            is_last = place == len(candidates) - 1
            hedged = "" if is_last else _describe_hedge(endpoint)
            yield f"  {name}: from {_seconds(starts_s)} to {_seconds(ends_s)}{hedged}"


def _describe_hedge(endpoint: Endpoint) -> str:
    if endpoint.hedge_after is not None:
        return f", hedged after its {endpoint.hedge_after}"
    return "" if endpoint.hedge_after_ms is None else f", hedged after {_seconds(endpoint.hedge_after_ms / 1000)}"


def _tries(endpoint: Endpoint, count: int, *, is_stream: bool = False) -> list[tuple[float, float]]:
    """When each candidate's try begins and ends, in seconds from the request's head, by the race's own arithmetic."""
    deadline_ms = endpoint.stream_deadline_ms if is_stream else endpoint.deadline_ms
    reserve_s = None if endpoint.reserve_ms is None else endpoint.reserve_ms / 1000
    limits = race_limits(deadline_ms / 1000, 0.0, endpoint.attempt_timeout_ms / 1000, reserve_s)
    tries: list[tuple[float, float]] = []
    starts_s = 0.0
    for left in reversed(range(count)):
        ends_s = min(limits.cut_at(starts_s, left), limits.ends_at) if left else limits.ends_at
        if is_stream:
            ends_s = min(ends_s, starts_s + endpoint.first_token_timeout_ms / 1000)
        tries.append((starts_s, ends_s))
        starts_s = ends_s
    return tries


def _seconds(seconds: float) -> str:
    return f"{seconds:.3f}".rstrip("0").rstrip(".") + " s"
