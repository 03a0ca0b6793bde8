"""What a worker does after its start, so that no client waits for it: it compiles the guardrails' rules.

The rules of injections take 50 ms; endpoints with equal rules share them. A plan's other parts take microseconds, and
are compiled when an endpoint is first asked for (docs/decisions/011-catalogue-and-ledger.md).
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from itertools import islice

import trio

from pg_trio.domain.guardrails import NO_RULES, GuardrailRules
from pg_trio.domain.project import Project
from pg_trio.stages.guardrails import compile_chain

# More endpoints may have rules that are compiled when the endpoint is first asked for.
ENDPOINTS_READ = 1_000
RULES_PREPARED = 64


async def prepare_rules(projects: Iterable[Project]) -> None:
    """Compile the rules that requests will need, on a thread, and give back what that leaves."""
    rules = find_rules(projects)
    if rules:
        await trio.to_thread.run_sync(_compile, rules)


def find_rules(projects: Iterable[Project]) -> list[GuardrailRules]:
    """The different rules of the first endpoints."""
    endpoints = (endpoint for project in projects for endpoint in project.endpoints.values() if endpoint.is_active)
    found = {endpoint.guardrails: None for endpoint in islice(endpoints, ENDPOINTS_READ)}
    return [rules for rules in islice(found, RULES_PREPARED) if rules != NO_RULES]


def _compile(found: Iterable[GuardrailRules]) -> None:
    for rules in found:
        compile_chain(rules)
    give_back_memory()


def give_back_memory() -> None:
    """Give freed memory back to the system, where its library can: glibc's malloc_trim(3).

    Compiling patterns leaves megabytes in pieces that nothing else needs.
    """
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        return
