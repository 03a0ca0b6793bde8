"""`[[prices]]`, the flat rate and the shipped list: which holds, and what is said of it."""

from __future__ import annotations

import tomllib
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib.resources import files
from urllib.parse import urlsplit

import pytest

from pg_trio.config import parse_configuration
from pg_trio.config.prices import read_list
from pg_trio.domain.prices import TokenPrice
from pg_trio.domain.provider import PROVIDERS
from tests.support.config import CREDENTIAL, ENDPOINT, NOWHERE, PROJECT_HEAD, SOUND, mistakes_in, read

PRICES = '[[prices]]\nprovider = "openai"\nmodel = "g*"\ninput_usd_per_1m = 3\noutput_usd_per_1m = 15\n'
BUDGET = "monthly_budget_usd = 5\n"
LOCAL = '[[credentials]]\nname = "local"\nprovider = "ollama"\n'
FAILOVER = 'failover = [{ credential = "local", model = "llama" }]\n'
KNOWN = ENDPOINT.replace('"gpt"', '"gpt-4o-mini"')


def prices_of(text: str) -> list[TokenPrice | None]:
    (project,) = read(text).projects.values()
    return list(project.endpoints["a"].prices)


def sources_of(text: str) -> list[str | None]:
    return [None if price is None else price.source for price in prices_of(text)]


def notes_on(text: str) -> list[str]:
    return list(parse_configuration(text, "pg.toml", NOWHERE, {}).notes)


def test_cached_and_written_cost_as_input_unless_said() -> None:
    (default,) = prices_of(PRICES + SOUND)
    (given,) = prices_of(PRICES + "cached_input_usd_per_1m = 0.3\ncache_write_usd_per_1m = '3.75'\n" + SOUND)

    assert TokenPrice(Decimal(3), Decimal(15), Decimal(3), Decimal(3), "prices[0]") == default
    assert TokenPrice(Decimal(3), Decimal(15), Decimal("0.3"), Decimal("3.75"), "prices[0]") == given


@pytest.mark.parametrize(
    ("text", "sources"),
    [
        (SOUND, [None]),
        (CREDENTIAL + PROJECT_HEAD + KNOWN, ["list 2026-11"]),
        (CREDENTIAL + PROJECT_HEAD + KNOWN + "estimated_cost_per_1k_tokens_usd = 1\n", ["endpoint"]),
        (PRICES + CREDENTIAL + PROJECT_HEAD + KNOWN + "estimated_cost_per_1k_tokens_usd = 1\n", ["prices[0]"]),
        (PRICES + PRICES.replace("g*", "*") + SOUND, ["prices[0]"]),
        (PRICES.replace("g*", "x") + PRICES.replace("g*", "*") + SOUND, ["prices[1]"]),
        (PRICES + LOCAL + SOUND + FAILOVER, ["prices[0]", None]),
        # Another address: who answers there, and what for, is not known.
        (CREDENTIAL + 'base_url = "https://proxy.example/v1"\n' + PROJECT_HEAD + KNOWN, [None]),
    ],
)
def test_first_price_that_is_known_holds(text: str, sources: list[str | None]) -> None:
    assert sources == sources_of(text)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('provider = "opnai"', 'prices[0].provider: unknown provider "opnai"'),
        ("input_usd_per_1m = -1", "prices[0].input_usd_per_1m: -1 is below 0"),
        ("output_usd_per_1m = 1000001", "prices[0].output_usd_per_1m: 1000001 is above 1000000"),
        ('model = ""', "prices[0].model: is empty"),
        ("cached = 1", "prices[0].cached: unknown key"),
    ],
)
def test_mistakes_in_prices(lines: str, said: str) -> None:
    name = lines.split(" =", maxsplit=1)[0]
    table = "".join([line + "\n" for line in PRICES.splitlines() if not line.startswith(name)]) + lines + "\n"

    (mistake,) = mistakes_in(table + SOUND)

    assert mistake.startswith(said)


def test_same_model_twice_is_a_mistake() -> None:
    (mistake,) = mistakes_in(PRICES + PRICES + SOUND)

    assert 'prices[1].model: "g*" of openai has its price at prices[0]' == mistake


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SOUND + BUDGET, ["has no effect without [[prices]] or estimated_cost_per_1k_tokens_usd"]),
        (PRICES + SOUND + BUDGET, []),
        (SOUND + BUDGET + "estimated_cost_per_1k_tokens_usd = 0\n", []),
        (
            CREDENTIAL + PROJECT_HEAD + KNOWN + BUDGET,
            ['openai\'s "gpt-4o-mini" has no price here, so that of the shipped list 2026-11 holds'],
        ),
        (
            PRICES + LOCAL + SOUND + FAILOVER + BUDGET,
            ["ollama's \"llama\" has no price, so the dearest of the other candidates' holds for it"],
        ),
    ],
)
def test_budget_says_what_it_goes_by(text: str, said: str) -> None:
    assert [f"projects[0].endpoints[0].monthly_budget_usd: {line}" for line in said] == notes_on(text)


def test_price_that_no_candidate_has_is_noted() -> None:
    assert ["prices[0]: no endpoint's candidate has this price"] == notes_on(PRICES.replace("g*", "gtp*") + SOUND)


# ── the shipped list ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_list_is_sound() -> None:
    rules = read_list()

    assert len(rules) == len({(rule.provider, rule.model) for rule in rules})
    for rule in rules:
        price = rule.price
        read_at = datetime.strptime(price.source, "list %Y-%m").replace(tzinfo=UTC)
        assert rule.provider in PROVIDERS
        assert read_at.year >= 2026
        # Embeddings have no output.
        assert 0 < price.input_usd_per_1m
        assert price.output_usd_per_1m >= price.input_usd_per_1m or (
            "embed" in rule.model and price.output_usd_per_1m == 0
        )
        if price.long is not None:
            assert price.long_from >= 100_000
            assert price.long.input_usd_per_1m > price.input_usd_per_1m
            assert price.long.output_usd_per_1m >= price.output_usd_per_1m
            assert price.long.source == price.source
        # No provider's cache costs more to read than it saves.
        assert price.cached_input_usd_per_1m <= price.input_usd_per_1m <= price.cache_write_usd_per_1m


@pytest.mark.parametrize(
    ("provider", "model", "known"),
    [
        ("openai", "gpt-4o-mini-2024-07-18", True),
        ("openai", "gpt-4o-mini-audio-preview", False),
        ("openai", "gpt-6-sol", True),
        ("openai", "gpt-6-sol-mini", False),
        ("anthropic", "claude-haiku-4-5-20251001", True),
        ("groq", "gpt-4o-mini", False),
    ],
)
def test_list_knows_models_by_their_whole_name(provider: str, model: str, known: bool) -> None:
    assert known == any(rule.matches(provider, model) for rule in read_list())


def test_list_has_every_published_provider_with_prices() -> None:
    """All but ollama, whose models run on the user's own machine."""
    published = {"openai", "mistral", "groq", "together", "anthropic", "google", "cohere"}
    rules = read_list()

    assert published <= {rule.provider for rule in rules}
    assert [] == [name for name in published if sum(rule.provider == name for rule in rules) < 4]


def test_list_names_page_and_day() -> None:
    pages = tomllib.loads(files("pg_trio.config").joinpath("list_prices.toml").read_text("utf-8"))["pages"]

    assert [] == [page["provider"] for page in pages if urlsplit(page["page"]).scheme != "https"]
    assert {date} == {type(page["read"]) for page in pages}


@pytest.mark.parametrize(
    ("provider", "model", "prices"),
    [
        # In the order: input, output, cached, write.
        ("openai", "gpt-4o-2024-05-13", ("5.00", "15.00", "5.00", "5.00")),
        ("openai", "gpt-4o-2024-11-20", ("2.50", "10.00", "1.25", "2.50")),
        ("openai", "text-embedding-3-small", ("0.02", "0.00", "0.02", "0.02")),
        ("anthropic", "claude-sonnet-4-5-20250929", ("3.00", "15.00", "0.30", "3.75")),
        ("google", "gemini-2.5-flash", ("0.30", "2.50", "0.03", "0.30")),
        ("mistral", "mistral-small-latest", ("0.15", "0.60", "0.015", "0.15")),
        ("cohere", "command-r7b-12-2024", ("0.0375", "0.15", "0.0375", "0.0375")),
        ("groq", "openai/gpt-oss-20b", ("0.075", "0.30", "0.0375", "0.075")),
        ("together", "openai/gpt-oss-120b", ("0.15", "0.60", "0.15", "0.15")),
    ],
)
def test_list_price(provider: str, model: str, prices: tuple[str, str, str, str]) -> None:
    price = next(rule.price for rule in read_list() if rule.matches(provider, model))

    found = (
        price.input_usd_per_1m,
        price.output_usd_per_1m,
        price.cached_input_usd_per_1m,
        price.cache_write_usd_per_1m,
    )
    assert tuple(map(Decimal, prices)) == found


@pytest.mark.parametrize(
    ("provider", "model", "long_from", "prices"),
    [
        ("google", "gemini-2.5-pro", 200_000, ("2.50", "15.00", "0.25")),
        ("openai", "gpt-5.4", 272_000, ("5.00", "22.50", "0.50")),
        ("xai", "grok-4.5", 200_000, ("4.00", "12.00", "0.60")),
    ],
)
def test_list_has_prices_of_long_inputs(
    provider: str, model: str, long_from: int, prices: tuple[str, str, str]
) -> None:
    price = next(rule.price for rule in read_list() if rule.matches(provider, model))

    assert price.long is not None
    assert long_from == price.long_from
    assert tuple(map(Decimal, prices)) == (
        price.long.input_usd_per_1m,
        price.long.output_usd_per_1m,
        price.long.cached_input_usd_per_1m,
    )
