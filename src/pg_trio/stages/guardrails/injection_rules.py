"""All rules of `prompt_injection`, by language."""

from __future__ import annotations

from pg_trio.stages.guardrails.injection_eastern import EASTERN_RULES
from pg_trio.stages.guardrails.injection_english import ENGLISH_RULES
from pg_trio.stages.guardrails.injection_families import FAMILY_RULES
from pg_trio.stages.guardrails.injection_german import GERMAN_RULES
from pg_trio.stages.guardrails.injection_romance import ROMANCE_RULES
from pg_trio.stages.guardrails.injection_rule import InjectionRule
from pg_trio.stages.guardrails.injection_signs import SIGN_RULES
from pg_trio.stages.guardrails.injection_templates import TEMPLATE_RULES

RULES: tuple[InjectionRule, ...] = (
    *ENGLISH_RULES,
    *GERMAN_RULES,
    *ROMANCE_RULES,
    *EASTERN_RULES,
    *FAMILY_RULES,
    *TEMPLATE_RULES,
    *SIGN_RULES,
)
