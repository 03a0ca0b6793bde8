"""Compiles guardrails' rules before requests need them, so that no client waits for it.

The rules of injections take 50 ms; endpoints with equal rules share them. The fork server compiles them for all
workers, and a worker what is left, after its start: all of it after a reload. The fork server compiles schemas, too: a
worker that only checks by them needs 2.5 MB less of the library's code. A plan's other parts take microseconds, and are
compiled when an endpoint is first asked for (docs/decisions/011-catalogue-and-ledger.md).
"""

from __future__ import annotations

import ctypes
import math
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice

import trio

from pg_trio.domain.guardrails import NO_RULES, GuardrailRules
from pg_trio.domain.project import Endpoint, Project
from pg_trio.stages.guardrails import compile_chain
from pg_trio.stages.schemas.compiled import compile_schema

# More endpoints may have rules that are compiled when the endpoint is first asked for.
ENDPOINTS_READ = 1_000
RULES_PREPARED = 64
SCHEMAS_PREPARED = 64


async def prepare_rules(projects: Iterable[Project]) -> None:
    """Compile the rules that requests will need, on a thread, and give back what that leaves."""
    rules = find_rules(projects)
    if rules:
        await trio.to_thread.run_sync(compile_rules, rules)


def find_rules(projects: Iterable[Project]) -> list[GuardrailRules]:
    """The different rules of the first endpoints."""
    found = {endpoint.guardrails: None for endpoint in _first_endpoints(projects)}
    return [rules for rules in islice(found, RULES_PREPARED) if rules != NO_RULES]


def _first_endpoints(projects: Iterable[Project]) -> Iterator[Endpoint]:
    endpoints = (endpoint for project in projects for endpoint in project.endpoints.values() if endpoint.is_active)
    return islice(endpoints, ENDPOINTS_READ)


def compile_schemas(projects: Iterable[Project], limit_s: float) -> None:
    """Compile the schemas of the first endpoints, as far as that takes no longer than the limit."""
    until = time.monotonic() + limit_s
    schemas = (schema for each in _first_endpoints(projects) for schema in (each.input_schema, each.output_schema))
    for schema in islice((schema for schema in schemas if schema is not None), SCHEMAS_PREPARED):
        if time.monotonic() < until:
            # A wrong one is told of when its endpoint is asked for.
            with suppress(ValueError):
                compile_schema(schema)


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
