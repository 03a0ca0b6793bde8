"""Budgets that no call fits into."""

from __future__ import annotations

import pytest

from pg_trio.cli.notes import describe_notes
from pg_trio.config import parse_configuration
from tests.support.config import CREDENTIAL, NOWHERE, PROJECT_HEAD, SOUND

# A dollar for a thousand tokens: a tenth of a cent each.
PRICED = "estimated_cost_per_1k_tokens_usd = 1\n"
TWO = 'failover = [{ credential = "main", model = "m" }]\nstreaming_enabled = true\non_stream_failure = "restart"\n'


def notes(lines: str, gateway: str = "") -> list[str]:
    return list(describe_notes(parse_configuration(gateway + SOUND + PRICED + lines, "pg.toml", NOWHERE, {})))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("monthly_budget_usd = 1", "each call reserves $1.0240 at least, more than the whole budget of $1.0000"),
        ("monthly_budget_usd = 0", "each call reserves $1.0240 at least, more than the whole budget of $0.0000"),
        ("monthly_budget_usd = 1\nmax_output_tokens = 1001", "each call reserves $1.0010 at least"),
        (
            "monthly_budget_usd = 0.3\nmax_output_tokens = 200\nprompt = '" + "x" * 404 + "'",
            "each call reserves $0.3010",
        ),
        (TWO + "monthly_budget_usd = 1.5\nmax_output_tokens = 800", "each streamed call reserves $1.6000 at least"),
    ],
)
def test_budget_that_one_reservation_exceeds(lines: str, said: str) -> None:
    (note,) = notes(lines)

    assert note.startswith(f"support/a: monthly_budget_usd: {said}")


def test_budget_of_an_opened_provider_that_one_reservation_exceeds() -> None:
    wrapper = CREDENTIAL + PROJECT_HEAD + 'project_type = "ai_wrapper"\n'
    opened = f'[[projects.providers]]\ncredential = "main"\nmodels = ["a", "b*"]\n{PRICED}monthly_budget_usd = 1\n'

    (note,) = describe_notes(parse_configuration(wrapper + opened, "pg.toml", NOWHERE, {}))

    assert note.startswith("support/openai:a, openai:b*: monthly_budget_usd: each call reserves $1.0240 at least")


@pytest.mark.parametrize(
    "lines",
    [
        "",
        "monthly_budget_usd = 1.024",
        "monthly_budget_usd = 1\nmax_output_tokens = 1000",
        TWO + "max_output_tokens = 9",
    ],
)
def test_budget_that_one_reservation_fits_into(lines: str) -> None:
    assert [] == notes(lines)


def test_default_output_is_the_gateways() -> None:
    assert [] == notes("monthly_budget_usd = 1", "[gateway]\ndefault_output_tokens = 1000\n")


LATE = "streaming_enabled = true\nguardrails.output.secret_scanner = { types = ['jwt', 'aws_access_key'] }\n"


def test_guardrail_that_needs_more_than_is_held_back() -> None:
    (note,) = notes(LATE)

    assert note.startswith(
        "support/a: guardrails.output.secret_scanner: may need more of a stream than hold_back_chars"
    )
    assert "(256): jwt (4096 characters); " in note


@pytest.mark.parametrize(
    "lines", [LATE.replace("true", "false", 1), LATE + "guardrails.output.hold_back_chars = 5000\n"]
)
def test_guardrail_that_needs_no_more(lines: str) -> None:
    assert [] == notes(lines)
