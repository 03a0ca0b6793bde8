"""Compiles guardrails' rules before requests need them, so that no client waits for it.

The rules of injections take 50 ms; endpoints with equal rules share them. The fork server compiles them for all
workers, and a worker what is left, after its start: all of it after a reload. A plan's other parts take microseconds,
and are compiled when an endpoint is first asked for (docs/decisions/011-catalogue-and-ledger.md).
"""

from __future__ import annotations

import ctypes
import math
import time
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
        await trio.to_thread.run_sync(compile_rules, rules)


def find_rules(projects: Iterable[Project]) -> list[GuardrailRules]:
    """The different rules of the first endpoints."""
    endpoints = (endpoint for project in projects for endpoint in project.endpoints.values() if endpoint.is_active)
    found = {endpoint.guardrails: None for endpoint in islice(endpoints, ENDPOINTS_READ)}
    return [rules for rules in islice(found, RULES_PREPARED) if rules != NO_RULES]


def compile_rules(found: Iterable[GuardrailRules], limit_s: float = math.inf) -> None:
    """Compile these rules, as far as that takes no longer than the limit, and give back what that leaves."""
    until = time.monotonic() + limit_s
    for rules in found:
        if time.monotonic() < until:
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
