"""The ids of the rules of `prompt_injection`, for `allow`. The rules are in stages/guardrails/injection_rules."""

from __future__ import annotations

INJECTION_IDS: frozenset[str] = frozenset(())
