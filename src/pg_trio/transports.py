"""The ways to reach providers, opened for one worker, and the addresses to which connections are kept open."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial

import trio

from pg_trio.config.settings import Settings
from pg_trio.domain.project import Candidate, Credential
from pg_trio.domain.upstream import Transport
from pg_trio.errors import ConfigError
from pg_trio.stages.provider_call import Memory
from pg_trio.transport.direct import DirectTransport
from pg_trio.transport.prewarm import WarmAddress
from pg_trio.transport.tls import client_context


def open_direct(settings: Settings) -> DirectTransport:
    """The gateway's own transport.

    The platform's trust store is read now if an address begins with https. It takes 20 ms, and 3 MB with OpenSSL's
    code for it.
    """
    return DirectTransport(settings.upstream, client_context() if _asks_over_tls(settings) else None)


def _asks_over_tls(settings: Settings) -> bool:
    if any(_is_https(credential.base_url) for credential in settings.credentials.values()):
        return True
    endpoints = (endpoint for project in settings.projects.values() for endpoint in project.endpoints.values())
    webhooks = (hook for each in endpoints for hook in (each.guardrails.webhook, each.guardrails.output.webhook))
    return any(_is_https(webhook.url) for webhook in webhooks if webhook is not None)


def _is_https(url: str) -> bool:
    return url[:6].lower() == "https:"


def open_transports(settings: Settings, direct: DirectTransport, stack: AsyncExitStack) -> dict[str, Transport]:
    """Every way to reach providers, by the name that credentials have for it (`Credential.carrier`)."""
    stack.push_async_callback(direct.aclose)
    transports: dict[str, Transport] = {"direct": direct}
    for credential in settings.credentials.values():
        if credential.transport == "httpx" and credential.carrier not in transports:
            transports[credential.carrier] = open_httpx(credential, settings)
            stack.push_async_callback(transports[credential.carrier].aclose)
    return transports


def open_httpx(credential: Credential, settings: Settings) -> Transport:
    """The transport of a credential. Raises ConfigError if a certificate or key of it cannot be used."""
    # Loaded only if it is used, because it takes 4 MB in every worker.
    from pg_trio.transport.httpx_transport import HttpxTransport

    try:
        return HttpxTransport(settings.upstream, options=credential.httpx)
    except ValueError as exc:
        raise ConfigError(f"credential {credential.name}", [str(exc)]) from exc


def list_warm(settings: Settings, memory: Memory) -> list[WarmAddress]:
    """The addresses to which connections are kept open: of credentials that say so and that an endpoint asks."""
    endpoints = [endpoint for project in settings.projects.values() for endpoint in project.callable_endpoints]
    candidates = {
        candidate
        for endpoint in endpoints
        for candidate in endpoint.candidates
        if candidate.credential.prewarm_connections and candidate.provider not in settings.disabled_providers
    }
    return [
        WarmAddress(
            url=credential.base_url,
            # More would be closed as soon as they are idle.
            count=min(credential.prewarm_connections, settings.upstream.pool_idle_connections),
            allow_private=credential.allow_private_addresses,
            may_ask=partial(_may_ask_one, memory, [one for one in candidates if one.credential == credential]),
        )
        for credential in {candidate.credential for candidate in candidates}
    ]


def _may_ask_one(memory: Memory, candidates: Sequence[Candidate]) -> bool:
    now = trio.current_time()
    return any(memory.breakers.may_ask(candidate, now) for candidate in candidates)
