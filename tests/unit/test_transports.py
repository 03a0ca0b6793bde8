"""What the ways to providers need is made at the start, and nothing else."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from pg_trio import transports
from pg_trio.config import parse_settings
from pg_trio.transport.tls import client_context

PROJECT = (
    '[[projects]]\nuuid = "6f1c2a54-0d3e-4b7a-9c68-2f5b8e1d7a90"\nname = "One"\n[[projects.endpoints]]\nslug = "one"\n'
)
CALL = 'credential = "local"\nmodel = "m"\n'
WEBHOOK = 'guardrails = { output = { webhook = { url = "HTTPS://guards.example/check" } } }\n'


def local(scheme: str, rest: str = "") -> str:
    """A configuration that asks a provider at an address of this scheme."""
    return f'[[credentials]]\nname = "local"\nprovider = "ollama"\nbase_url = "{scheme}://127.0.0.1:9/v1"\n{PROJECT}{CALL}{rest}'


@pytest.mark.parametrize(
    ("text", "expected"),
    [(local("http"), 0), (local("https"), 1), (local("http", WEBHOOK), 1)],
    ids=["http", "https", "webhook"],
)
def test_trust_store_is_read_for_https_alone(monkeypatch: pytest.MonkeyPatch, text: str, expected: int) -> None:
    made: list[ssl.SSLContext] = []

    def make() -> ssl.SSLContext:
        made.append(client_context())
        return made[-1]

    monkeypatch.setattr(transports, "client_context", make)

    transports.open_direct(parse_settings(text, "test.toml", Path(), {}))

    assert expected == len(made)
