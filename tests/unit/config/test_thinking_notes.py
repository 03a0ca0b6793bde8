"""What `check` says of thinking and the limit of an answer: where one leaves the other no room."""

from __future__ import annotations

import pytest

from pg_trio.config import parse_configuration
from tests.support.config import ENDPOINT, NOWHERE, PROJECT_HEAD

WIRES = ("anthropic", "google", "cohere", "openai")
CREDENTIALS = "\n".join(
    f'[[credentials]]\nname = "{wire}"\nprovider = "{wire}"\napi_key = "key-0123456789"\n' for wire in WIRES
)
FLAT = "monthly_budget_usd = 5\nestimated_cost_per_1k_tokens_usd = 1\n"
NO_THOUGHT = "leaves Claude up to 4.5 no room: it thinks with 1024 or more"
NO_ANSWER = "includes thinking, so {} tokens leave no room for the answer"


def notes_on(wire: str, settings: str, head: str = "", failover: str = "") -> list[str]:
    endpoint = ENDPOINT.replace('credential = "main"', f'credential = "{wire}"') + settings
    if failover:
        endpoint += f'failover = [{{credential = "{failover}", model = "m"}}]\n'
    notes = parse_configuration(head + CREDENTIALS + PROJECT_HEAD + endpoint, "pg.toml", NOWHERE, {}).notes
    return [note.partition("endpoints[0].")[2] for note in notes if "thinking" in note or "reasoning" in note]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("thinking_budget_tokens = 2048\n", []),
        ("thinking_budget_tokens = 2048\nmax_output_tokens = 2049\n", []),
        ("thinking_budget_tokens = 0\nmax_output_tokens = 10\n", []),
        ('reasoning_effort = "none"\nmax_output_tokens = 10\n', []),
        ('reasoning_effort = "high"\nmax_output_tokens = 1025\n', []),
        ("monthly_budget_usd = 5\nthinking_budget_tokens = 2048\n", []),
        (
            "thinking_budget_tokens = 2048\nmax_output_tokens = 2048\n",
            ["thinking_budget_tokens: the answer's limit of 2048 tokens (max_output_tokens) " + NO_ANSWER.format(2048)],
        ),
        (
            "thinking_budget_tokens = 2048\nmax_output_tokens = 1024\n",
            [f"thinking_budget_tokens: the answer's limit of 1024 tokens (max_output_tokens) {NO_THOUGHT}"],
        ),
        (
            'reasoning_effort = "low"\nmax_output_tokens = 1024\n',
            [f"reasoning_effort: the answer's limit of 1024 tokens (max_output_tokens) {NO_THOUGHT}"],
        ),
        # With a budget of money, an endpoint without a limit has the gateway's own.
        (
            f"{FLAT}thinking_budget_tokens = 2048\n",
            ["thinking_budget_tokens: the answer's limit of 1024 tokens (gateway.default_output_tokens) " + NO_THOUGHT],
        ),
        (
            f'{FLAT}reasoning_effort = "high"\n',
            [f"reasoning_effort: the answer's limit of 1024 tokens (gateway.default_output_tokens) {NO_THOUGHT}"],
        ),
        (f"{FLAT}thinking_budget_tokens = 2048\nmax_output_tokens = 4096\n", []),
    ],
)
def test_claude(settings: str, said: list[str]) -> None:
    assert said == notes_on("anthropic", settings)


def test_the_gateway_s_own_limit_counts() -> None:
    head = "[gateway]\ndefault_output_tokens = 3000\n"

    assert [] == notes_on("anthropic", f"{FLAT}thinking_budget_tokens = 2048\n", head)
    assert [
        "thinking_budget_tokens: the answer's limit of 3000 tokens (gateway.default_output_tokens) "
        + NO_ANSWER.format(4096)
    ] == notes_on("anthropic", f"{FLAT}thinking_budget_tokens = 4096\n", head)


@pytest.mark.parametrize(("wire", "is_noted"), [("google", True), ("cohere", True), ("openai", False)])
def test_other_wires(wire: str, is_noted: bool) -> None:
    assert is_noted == bool(notes_on(wire, "thinking_budget_tokens = 512\nmax_output_tokens = 512\n"))
    assert [] == notes_on(wire, 'reasoning_effort = "low"\nmax_output_tokens = 512\n')


def test_failover_counts_too() -> None:
    said = notes_on("openai", "thinking_budget_tokens = 2048\nmax_output_tokens = 100\n", failover="anthropic")

    assert [f"thinking_budget_tokens: the answer's limit of 100 tokens (max_output_tokens) {NO_THOUGHT}"] == said
