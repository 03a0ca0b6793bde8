"""docs/guardrails.md names every rule of prompt_injection, every type and every label."""

from __future__ import annotations

from pathlib import Path

from pg_trio.domain.detected_types import PII_LABELS, PUBLISHED_PII_TYPES, SECRET_LABELS
from pg_trio.stages.guardrails.injection_rules import RULES

DOCS = (Path(__file__).parents[3] / "docs" / "guardrails.md").read_text(encoding="utf-8")


def test_every_injection_rule_is_listed_with_its_score() -> None:
    named = [f"`{rule.id}`" if rule.score == 1 else f"`{rule.id}` {rule.score:g}" for rule in RULES]

    assert [] == [text for text in named if text not in DOCS]


def test_every_type_is_described() -> None:
    assert [] == [name for name in PII_LABELS if f"| `{name}` |" not in DOCS]
    assert [] == [name for name, label in SECRET_LABELS.items() if f"| `{name}` | {label} |" not in DOCS]
    ours = [label for name, label in PII_LABELS.items() if name not in PUBLISHED_PII_TYPES]
    assert [] == [label for label in ours if f"`[{label} REDACTED]`" not in DOCS]
