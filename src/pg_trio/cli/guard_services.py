"""Asks an endpoint's webhook and moderation about a text: for `pg-trio guard --remote`."""

from __future__ import annotations

import math
from contextlib import AsyncExitStack
from time import perf_counter
from uuid import uuid4

import trio
from attrs import frozen

from pg_trio.config.settings import Settings
from pg_trio.domain.guardrails import GuardPhase
from pg_trio.domain.project import Endpoint, Project
from pg_trio.errors import GatewayError
from pg_trio.racing.large_work import LargeWork
from pg_trio.racing.pauses import Pauses
from pg_trio.stages.guardrails import RemoteCaller, compile_remote
from pg_trio.stages.guardrails.inspection import Inspection
from pg_trio.stages.guardrails.remote_guard import RemoteCheck, RemoteGuard
from pg_trio.transport.direct import DirectTransport
from pg_trio.transports import open_transports


@frozen
class Asking:
    """Whose services are asked, and what the text would be."""

    project: Project
    endpoint: Endpoint
    phase: GuardPhase


def ask_services(settings: Settings, asking: Asking, text: str) -> list[Inspection]:
    """What each service does with the text. One that gives no verdict refuses it, or does not, as its rule says."""
    return trio.run(_ask_services, settings, asking, text)


async def _ask_services(settings: Settings, asking: Asking, text: str) -> list[Inspection]:
    async with AsyncExitStack() as stack:
        transports = open_transports(settings, DirectTransport(settings.upstream), stack)
        remote = compile_remote(asking.endpoint.guardrails, RemoteCaller(transports, LargeWork(), Pauses()))
        assert remote is not None  # the caller has seen that there are services
        found: list[Inspection] = []
        for guard in remote.after if asking.phase == "output" else (*remote.before, *remote.beside):
            found.append(await _ask(guard, asking, text))
            text = found[-1].text
        return found


async def _ask(guard: RemoteGuard, asking: Asking, text: str) -> Inspection:
    project, slug = str(asking.project.uuid), asking.endpoint.slug
    check = RemoteCheck(asking.phase, [text] if text else [], project, slug, uuid4(), math.inf)
    began = perf_counter()
    try:
        verdict = await guard.check(check)
    except GatewayError as refusal:
        took_us = (perf_counter() - began) * 1e6
        return Inspection(guard.guardrail, text, refusal=refusal.with_traceback(None), took_us=took_us)
    left = text if not verdict.texts else verdict.texts[0]
    return Inspection(guard.guardrail, left, verdicts=verdict.verdicts, took_us=(perf_counter() - began) * 1e6)
