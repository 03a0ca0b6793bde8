"""Find the prices of an endpoint's candidates, from `[[prices]]` and the shipped list.

Rules:
1. A candidate's price is the first match in the file's `[[prices]]`, else the endpoint's flat rate, else the price in
   the shipped list.
2. A list price applies only to the provider's own address. The prices of other servers and resellers are not known.
3. Unknown prices are absent, never guessed. The first entry of the list that matches a model applies.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache
from importlib.resources import files
from typing import Any

import tomli

from pg_trio.config.bounds import show
from pg_trio.config.credentials import find_provider
from pg_trio.config.mistakes import Mistakes, Path
from pg_trio.config.tables import PriceTable
from pg_trio.domain.prices import PriceRule, TokenPrice
from pg_trio.domain.project import Candidate, Credential, Project
from pg_trio.domain.provider import PROVIDERS

LIST_FILE = "list_prices.toml"
# `TokenPrice.source` of a list price begins with this; the month in which the provider's page was read follows.
LIST = "list "


def resolve_prices(tables: Sequence[PriceTable | None], mistakes: Mistakes) -> tuple[PriceRule, ...]:
    """The file's own prices, in its order. A price with a mistake is left out and reported."""
    rules: list[PriceRule] = []
    places: dict[tuple[str, str], int] = {}
    for index, table in enumerate(tables):
        if table is None:
            continue
        path: Path = ("prices", index)
        provider = None if table.provider is None else find_provider(table.provider, (*path, "provider"), mistakes)
        if provider is None or table.model is None or None in (table.input_usd_per_1m, table.output_usd_per_1m):
            continue
        first = places.setdefault((provider.name, table.model), index)
        if first != index:
            mistakes.add((*path, "model"), f"{show(table.model)} of {provider.name} has its price at prices[{first}]")
            continue
        rules.append(PriceRule(provider.name, table.model, _to_price(table, f"prices[{index}]")))
    return tuple(rules)


def _to_price(table: PriceTable, source: str) -> TokenPrice:
    given = table.input_usd_per_1m
    assert given is not None
    assert table.output_usd_per_1m is not None
    cached, written = table.cached_input_usd_per_1m, table.cache_write_usd_per_1m
    return TokenPrice(
        input_usd_per_1m=given,
        output_usd_per_1m=table.output_usd_per_1m,
        cached_input_usd_per_1m=given if cached is None else cached,
        cache_write_usd_per_1m=given if written is None else written,
        source=source,
    )


def find_price(candidate: Candidate, rules: Sequence[PriceRule], flat_usd_per_1k: Decimal | None) -> TokenPrice | None:
    """The candidate's price; None if it is not known (rules 1 and 2)."""
    for rule in rules:
        if rule.matches(candidate.provider, candidate.model):
            return rule.price
    if flat_usd_per_1k is not None:
        return TokenPrice.flat(flat_usd_per_1k)
    return find_list_price(candidate.credential, candidate.model)


def find_list_price(credential: Credential, model: str) -> TokenPrice | None:
    """The provider's list price of the model. None if it is not known, or at any other address (rule 2)."""
    if credential.base_url != PROVIDERS[credential.provider].base_url:
        return None
    for rule in read_list():
        if rule.matches(credential.provider, model):
            return rule.price
    return None


@lru_cache(maxsize=1)
def read_list() -> tuple[PriceRule, ...]:
    """The shipped list, in its order."""
    text = files("pg_trio.config").joinpath(LIST_FILE).read_text(encoding="utf-8")
    return tuple(
        PriceRule(page["provider"], model, _to_list_price(row, page))
        for page in tomli.loads(text, parse_float=Decimal)["pages"]
        for row in page["prices"]
        for model in row["models"]
    )


def _to_list_price(row: dict[str, Any], page: dict[str, Any]) -> TokenPrice:
    given, long = Decimal(row["input"]), row.get("long")
    return TokenPrice(
        input_usd_per_1m=given,
        output_usd_per_1m=Decimal(row["output"]),
        cached_input_usd_per_1m=Decimal(row.get("cached", given)),
        cache_write_usd_per_1m=Decimal(row.get("write", given)),
        source=f"{LIST}{page['read']:%Y-%m}",
        long_from=0 if long is None else long["from"],
        long=None if long is None else _to_list_price(long, page),
    )


def note_unused_prices(rules: Sequence[PriceRule], projects: Sequence[Project], mistakes: Mistakes) -> None:
    """Report the file's prices that match no candidate, because such a price is often misspelt."""
    used = {
        price.source
        for project in projects
        for endpoint in project.endpoints.values()
        for price in endpoint.prices
        if price is not None
    }
    # Their clients name the models.
    opened = {entry.credential.provider for project in projects for entry in project.providers}
    for rule in rules:
        if rule.price.source not in used and rule.provider not in opened:
            index = int(rule.price.source.removeprefix("prices[").removesuffix("]"))
            mistakes.note(("prices", index), "no endpoint's candidate has this price")
