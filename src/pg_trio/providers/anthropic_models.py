"""A table of what each generation of Claude accepts and refuses, by the model's name.

Names carry the version in one of two orders (`claude-3-5-sonnet-20241022`, `claude-opus-4-7`), perhaps behind a
vendor's prefix (`anthropic.claude-opus-4-7-v1:0`). A name without a version is treated as the newest
generation: its models refuse what the table says, and accept a request without it.

Sources, read 2026-11: Anthropic's pages "Migrating to Claude Opus 4.7" (sampling, budgets and prefill are a 400),
"Extended thinking", "Structured outputs", "Effort".
"""

from __future__ import annotations

import re
from functools import lru_cache

from attrs import frozen

# `(?!\d)`: the eight digits of a date are not a minor version.
_VERSION = re.compile(r"claude-(?:[a-z]+-)?(\d{1,2})(?:[.-](\d{1,2}))?(?!\d)")
NEWEST = (99, 0)
# More than any configuration has models.
MODELS_KEPT = 1024


@frozen(slots=True)
class Claude:
    """One model's abilities.

    `takes_sampling`: it accepts `temperature` and `top_p`. `takes_both`: it accepts both in one request.
    `thinks`: it has extended thinking. `takes_budget`: it accepts `thinking: enabled` with a budget.
    `takes_effort`: `output_config.effort` and adaptive thinking. `takes_prefill`: the last turn may be the assistant's.
    `takes_schema`: `output_config.format`. `most_effort`: the highest word of `output_config.effort` below `max`.
    `output_limit`: the highest `max_tokens`; None if it is not known.
    """

    takes_sampling: bool
    takes_both: bool
    thinks: bool
    takes_budget: bool
    takes_effort: bool
    takes_prefill: bool
    takes_schema: bool
    most_effort: str
    output_limit: int | None


@lru_cache(maxsize=MODELS_KEPT)
def find_model(name: str) -> Claude:
    """The abilities of the model of that name."""
    found = _VERSION.search(name.lower())
    version = NEWEST if found is None else (int(found[1]), int(found[2] or 0))
    return Claude(
        takes_sampling=version < (4, 7),
        takes_both=version < (4, 1),
        thinks=version >= (3, 7),
        takes_budget=(3, 7) <= version < (4, 7),
        takes_effort=version >= (4, 6),
        takes_prefill=version < (4, 6),
        takes_schema=version >= (4, 5),
        most_effort="xhigh" if version >= (4, 7) else "high",
        output_limit=_find_output_limit(name, version),
    )


def _find_output_limit(name: str, version: tuple[int, int]) -> int | None:
    """The limit of `max_tokens`; above it is a 400. Source: "Models overview", "Model deprecations", read 2026-11."""
    if version < (3, 5):
        return 4096
    if version < (3, 7):
        return 8192
    if "opus" in name and version < (4, 5):
        return 32_000
    return None
