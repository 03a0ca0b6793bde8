"""A table of what each generation of Gemini accepts and refuses, by the model's name.

A name without a generation (`gemini-flash-latest`) is treated as the newest one. Models that are not Gemini (Gemma) do
not think.

Sources, read 2026-11: Gemini API, "Thinking" (levels, budgets and their ranges), "Structured output", "Gemini 3";
"OpenAI compatibility" (what an effort is in tokens); penalties: google-gemini/cookbook#1290.
"""

from __future__ import annotations

import re
from functools import lru_cache

from attrs import frozen

# OpenAI's efforts in tokens (page "OpenAI compatibility"). 0 turns thinking off.
BUDGETS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24_576, "xhigh": 24_576, "max": 24_576}
LEVELS = {"none": "MINIMAL", "minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH"}
NEWEST = (99, 0)
# More than any configuration has models.
MODELS_KEPT = 1024

_VERSION = re.compile(r"gemini-(\d+)(?:\.(\d+))?")


@frozen(slots=True)
class Gemini:
    """One model's abilities. `least_budget` and `most_budget` are tokens of thinking."""

    thinks: bool
    has_levels: bool
    takes_penalties: bool
    takes_format_with_tools: bool
    has_minimal_level: bool
    has_medium_level: bool
    least_budget: int
    most_budget: int

    def level_of(self, effort: str) -> str:
        """The thinking level nearest to an effort."""
        level = LEVELS.get(effort, "HIGH")
        if level == "MINIMAL" and not self.has_minimal_level:
            return "LOW"
        return "HIGH" if level == "MEDIUM" and not self.has_medium_level else level

    def budget_of(self, effort: str, budget: int | None) -> int:
        """The given thinking budget, else the effort's, limited to the model's range."""
        wanted = BUDGETS.get(effort, BUDGETS["medium"]) if budget is None else budget
        # -1: the model decides.
        return wanted if wanted == -1 else min(max(wanted, self.least_budget), self.most_budget)


@lru_cache(maxsize=MODELS_KEPT)
def find_model(name: str) -> Gemini:
    """The abilities of the model of that name."""
    found = _VERSION.search(name)
    version = NEWEST if found is None else (int(found[1]), int(found[2] or 0))
    is_pro = "pro" in name
    return Gemini(
        thinks="gemini" in name and version >= (2, 5),
        has_levels=version >= (3, 0),
        takes_penalties=version < (2, 5),
        takes_format_with_tools=version >= (3, 0),
        has_minimal_level=not is_pro,
        has_medium_level=not is_pro or version > (3, 0),
        least_budget=128 if is_pro else 0,
        most_budget=32_768 if is_pro else 24_576,
    )
