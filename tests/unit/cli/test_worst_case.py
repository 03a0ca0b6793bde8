"""What `pg-trio check` says of the time that requests may take."""

from __future__ import annotations

from pg_trio.cli.worst_case import describe_worst_cases
from tests.support.config import CREDENTIAL, PROJECT_HEAD, SOUND, read

SPARE = 'failover = [{ credential = "main", model = "spare" }]\n'


def worst_case(*settings: str) -> list[str]:
    return list(describe_worst_cases(read(SOUND + SPARE + "\n".join(settings) + "\n")))


def test_attempt_limit_leaves_time_for_the_next() -> None:
    said = worst_case("deadline_ms = 20000", "attempt_timeout_ms = 12500", "hedge_after_ms = 800")

    assert [
        "support/a: an answer or a failure within 20 s (deadline_ms)",
        "  main/gpt: from 0 s to 12.5 s, hedged after 0.8 s",
        "  main/spare: from 12.5 s to 20 s",
    ] == said


def test_reserve_keeps_time_for_the_next() -> None:
    said = worst_case("deadline_ms = 20000", "reserve_ms = 5000", 'hedge_after = "p95"')

    assert ["  main/gpt: from 0 s to 15 s, hedged after its p95", "  main/spare: from 15 s to 20 s"] == said[1:]


def test_a_quarter_is_kept_for_the_next() -> None:
    said = worst_case("deadline_ms = 20000")

    assert ["  main/gpt: from 0 s to 15 s", "  main/spare: from 15 s to 20 s"] == said[1:]


def test_candidate_without_time_is_pointed_out() -> None:
    said = worst_case("deadline_ms = 20000", "reserve_ms = 0")

    assert [
        "  main/gpt: from 0 s to 20 s",
        "  main/spare: never tried, the deadline comes first (reserve_ms would keep time for it)",
    ] == said[1:]


def test_stream_has_its_own_limits() -> None:
    said = worst_case("streaming_enabled = true", "first_token_timeout_ms = 9000", "max_attempts = 2")

    assert "  streamed: a first token or a failure within 18 s, its end within 600 s" == said[-1]


def test_wrappers_have_lines_of_their_aliases_and_opened_providers() -> None:
    alias = '[[projects.endpoints]]\nslug = "a"\ncredential = "main"\nmodel = "gpt"\n'
    opened = '[[projects.providers]]\ncredential = "main"\nmodels = ["small", "l*"]\ndeadline_ms = 9000\n'
    closed = opened + "is_active = false\n"
    text = CREDENTIAL + PROJECT_HEAD + 'project_type = "ai_wrapper"\n' + alias + opened + closed

    said = list(describe_worst_cases(read(text)))

    assert [
        "support/a: an answer or a failure within 120 s (deadline_ms)",
        "  main/gpt: from 0 s to 120 s",
        "support/openai:small, openai:l*: an answer or a failure within 9 s (deadline_ms)",
        "  main/*: from 0 s to 9 s",
    ] == said[:4]
    assert 5 == len(said)


def test_silent_stream_is_retried() -> None:
    said = worst_case("streaming_enabled = true", "first_token_timeout_ms = 9000")

    assert (
        "  streamed: a first token within 18 s, or all are asked again (at most 8 tries);"
        " its end or a failure within 600 s"
    ) == said[-1]


def test_stream_with_a_budget_is_not_retried() -> None:
    budget = ("monthly_budget_usd = 5", "estimated_cost_per_1k_tokens_usd = 0.01")

    said = worst_case("streaming_enabled = true", *budget)

    assert "  streamed: a first token or a failure within 60 s, its end within 600 s" == said[-1]


def test_providers_that_are_off_are_not_tried() -> None:
    said = worst_case("[providers.openai]", "enabled = false")

    assert ["support/a: always 503, its providers are switched off"] == said


def test_endpoint_that_is_off_is_left_out() -> None:
    assert [] == worst_case("is_active = false")
