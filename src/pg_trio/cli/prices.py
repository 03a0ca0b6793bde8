"""`pg-trio prices`: what the candidates of each endpoint cost, and where that price is from.

Prices are US dollars for a million tokens. A candidate without a price has none that is known: give it one in
[[prices]]. `--list` shows the shipped list of providers' public prices, which needs no configuration.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import zip_longest
from pathlib import Path

from attrs import evolve, frozen

from pg_trio.config.location import CONFIG_VARIABLE, find_configuration
from pg_trio.config.settings import Settings
from pg_trio.domain.prices import TokenPrice
from pg_trio.domain.project import OpenedProvider

_HEADINGS = ("ENDPOINT", "PROVIDER", "MODEL", "INPUT", "OUTPUT", "CACHED", "WRITE", "FROM")
_LIST_HEADINGS = _HEADINGS[1:]
# The columns of numbers are aligned to the right.
_NUMBERS = frozenset({"INPUT", "OUTPUT", "CACHED", "WRITE"})


@frozen(slots=True)
class PricedModel:
    """A line: a candidate of an endpoint (`""`: an entry of the list), and its price. None if it is unknown."""

    endpoint: str
    provider: str
    model: str
    price: TokenPrice | None
    # The price holds for a request with more tokens of input than these.
    over_input_tokens: int = 0


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `pg-trio prices` to the commands."""
    parser = commands.add_parser("prices", help="show what each endpoint's models cost", description=__doc__)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--config", type=Path, metavar="FILE", help=f"configuration file (default: ${CONFIG_VARIABLE})")
    source.add_argument("--list", action="store_true", help="the shipped list of public prices instead")
    parser.add_argument("--json", action="store_true", help="one JSON object a line; prices are text, exact")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the prices. Raises: ConfigError with every mistake in the configuration."""
    from pg_trio.config import load_settings

    found = _list_lines() if arguments.list else _lines_of(load_settings(find_configuration(arguments.config)))
    lines = [each for line in found for each in _with_long(line)]
    if arguments.json:
        for line in lines:
            print(_render_json(line))
    else:
        headings = _LIST_HEADINGS if arguments.list else _HEADINGS
        _print_table(headings, [_cells_of(line)[-len(headings) :] for line in lines])
    return 0


def _with_long(line: PricedModel) -> list[PricedModel]:
    """The line, and a second one where a long input has its own price."""
    price = line.price
    if price is None or price.long is None:
        return [line]
    return [line, evolve(line, price=price.long, over_input_tokens=price.long_from)]


def _lines_of(settings: Settings) -> Iterator[PricedModel]:
    for project in settings.projects.values():
        for endpoint in project.endpoints.values():
            name = f"{project.slug}/{endpoint.slug}"
            for candidate, price in zip_longest(endpoint.candidates, endpoint.prices):
                yield PricedModel(name, candidate.provider, candidate.model, price)
        for entry in project.providers:
            yield from _lines_of_opened(f"{project.slug}/{entry.credential.provider}:*", entry)


def _lines_of_opened(name: str, entry: OpenedProvider) -> Iterator[PricedModel]:
    """Each model that the entry names; a glob has the price that holds for any model, if there is one."""
    for model in entry.models or ("*",):
        endpoint = entry.endpoint_for(model)
        yield PricedModel(name, endpoint.candidates[0].provider, model, endpoint.prices[0])
    for candidate, price in zip(entry.endpoint.candidates[1:], entry.endpoint.prices[1:], strict=True):
        yield PricedModel(name, candidate.provider, candidate.model, price)


def _list_lines() -> Iterator[PricedModel]:
    from pg_trio.config.prices import read_list

    for rule in read_list():
        yield PricedModel("", rule.provider, rule.model, rule.price)


def _cells_of(line: PricedModel) -> tuple[str, ...]:
    price = line.price
    if price is None:
        return line.endpoint, line.provider, line.model, "-", "-", "-", "-", "-"
    over = f" (input over {line.over_input_tokens} tokens)" if line.over_input_tokens else ""
    return (
        line.endpoint,
        line.provider,
        line.model + over,
        _show(price.input_usd_per_1m),
        _show(price.output_usd_per_1m),
        _show(price.cached_input_usd_per_1m),
        _show(price.cache_write_usd_per_1m),
        price.source,
    )


def _render_json(line: PricedModel) -> str:
    price = line.price
    shown: dict[str, str | int | None] = {
        "endpoint": line.endpoint or None,
        "provider": line.provider,
        "model": line.model,
        "input_usd_per_1m": None if price is None else _show(price.input_usd_per_1m),
        "output_usd_per_1m": None if price is None else _show(price.output_usd_per_1m),
        "cached_input_usd_per_1m": None if price is None else _show(price.cached_input_usd_per_1m),
        "cache_write_usd_per_1m": None if price is None else _show(price.cache_write_usd_per_1m),
        "from": None if price is None else price.source,
    }
    if line.over_input_tokens:
        shown["over_input_tokens"] = line.over_input_tokens
    return json.dumps(shown, separators=(",", ":"))


def _show(usd: Decimal) -> str:
    return f"{usd:f}"


def _print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    shown = [[_printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headings, *shown, strict=True)]
    for row in (headings, *shown):
        cells = [
            cell.rjust(width) if heading in _NUMBERS else cell.ljust(width)
            for cell, width, heading in zip(row, widths, headings, strict=True)
        ]
        print("  ".join(cells).rstrip())


def _printable(cell: str) -> str:
    # A model's name comes from the configuration. It must not send control characters to the terminal.
    return "".join([character if character.isprintable() else "?" for character in cell])
