"""What only the httpx transport is for: proxies, certificates of one's own, HTTP/2; and its slots."""

from __future__ import annotations

import os
import ssl
import tempfile
from base64 import b64encode
from pathlib import Path

import pytest
import trio
import trio.testing
from attrs import evolve

from pg_trio.domain.project import HttpxOptions
from pg_trio.domain.secret import Secret
from pg_trio.domain.upstream import WireRequest
from pg_trio.errors import AttemptFailed
from pg_trio.transport.httpx_transport import HttpxTransport
from pg_trio.transport.tls import client_context
from tests.contract.conftest import SMALL, Caller, Certificates, Serve, call_at_once, make_certificates
from tests.contract.fault_server import LIMIT_S, Peer, answer_with, answers, answers_once, answers_together

GOOD = answer_with(b"good")


async def test_proxy_of_environment_is_used(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = await serve(answers(GOOD))
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
    caller = Caller("httpx", HttpxTransport(SMALL))

    # The proxy's own address is private, and the operator's choice; the provider's is not ours to look up.
    fetched = await caller.fetch("http://api.example/v1", allow_private=False)

    assert b"good" == fetched.body
    assert proxy.peers[0].requests[0].startswith(b"POST http://api.example/v1 HTTP/1.1\r\n")
    await caller.transport.aclose()


async def test_configured_proxy_is_used_with_its_password(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, other = await serve(answers(GOOD)), await serve(answers(GOOD))
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{other.port}")
    options = HttpxOptions(proxy=Secret(f"http://me:pa55@127.0.0.1:{proxy.port}"))
    caller = Caller("httpx", HttpxTransport(SMALL, options=options))

    fetched = await caller.fetch("http://api.example/v1", allow_private=False)

    assert b"good" == fetched.body
    assert b"proxy-authorization: basic " + b64encode(b"me:pa55").lower() in proxy.peers[0].requests[0].lower()
    assert [] == other.peers
    await caller.transport.aclose()


async def test_own_authority_is_trusted(
    serve: Serve, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    server = await serve(answers(GOOD), answers(GOOD), tls=certificates.server_context())
    plain = Caller("httpx", HttpxTransport(SMALL))
    trusting = Caller("httpx", HttpxTransport(SMALL, options=HttpxOptions(ca_pem=certificates.certificate.read_text())))

    with pytest.raises(AttemptFailed, match=r"certificate verify failed|self.signed"):
        await plain.fetch(server.url)
    fetched = await trusting.fetch(server.url)

    assert b"good" == fetched.body
    await plain.transport.aclose()
    await trusting.transport.aclose()


async def test_platforms_authorities_are_not_trusted_beside_own(
    serve: Serve, certificates: Certificates, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.certificate))
    server = await serve(answers(GOOD), tls=certificates.server_context())
    own_pem = make_certificates(tmp_path).certificate.read_text()
    plain = Caller("httpx", HttpxTransport(SMALL))
    strict = Caller("httpx", HttpxTransport(SMALL, options=HttpxOptions(ca_pem=own_pem)))

    fetched = await plain.fetch(server.url)
    with pytest.raises(AttemptFailed, match="certificate verify failed"):
        await strict.fetch(server.url)

    assert b"good" == fetched.body
    assert [1, 0] == [len(peer.requests) for peer in server.peers]
    await plain.transport.aclose()
    await strict.transport.aclose()


async def test_client_certificate_is_shown(
    serve: Serve, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    context = certificates.server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(certificates.certificate)
    server = await serve(answers(GOOD), answers(GOOD), tls=context)
    pem = certificates.certificate.read_text()
    without = Caller("httpx", HttpxTransport(SMALL, options=HttpxOptions(ca_pem=pem)))
    options = HttpxOptions(ca_pem=pem, certificate_pem=pem, key_pem=Secret(certificates.key.read_text()))
    known = Caller("httpx", HttpxTransport(SMALL, options=options))

    with pytest.raises(AttemptFailed):
        await without.fetch(server.url)
    fetched = await known.fetch(server.url)

    assert b"good" == fetched.body
    await without.transport.aclose()
    await known.transport.aclose()


@pytest.mark.parametrize(("http2", "spoken"), [(True, "h2"), (False, "http/1.1")])
async def test_http2_is_spoken_unless_switched_off(
    serve: Serve, certificates: Certificates, monkeypatch: pytest.MonkeyPatch, http2: bool, spoken: str
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    chosen: list[str | None] = []

    async def note_protocol(peer: Peer) -> None:
        assert isinstance(peer.stream, trio.SSLStream)
        await peer.stream.do_handshake()
        chosen.append(peer.stream.selected_alpn_protocol())

    context = certificates.server_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    server = await serve(note_protocol, tls=context)
    options = HttpxOptions(ca_pem=certificates.certificate.read_text(), http2=http2)
    caller = Caller("httpx", HttpxTransport(SMALL, options=options))

    with pytest.raises(AttemptFailed):
        await caller.fetch(server.url)

    assert [spoken] == chosen
    await caller.transport.aclose()


def test_key_of_another_certificate_is_refused(certificates: Certificates) -> None:
    pem = certificates.certificate.read_text()
    key = "-----BEGIN PRIVATE KEY-----\nbm9uZQ==\n-----END PRIVATE KEY-----\n"

    with pytest.raises(ValueError, match="client_certificate and client_key cannot be used together") as caught:
        HttpxTransport(SMALL, options=HttpxOptions(certificate_pem=pem, key_pem=Secret(key)))

    assert "bm9uZQ" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="the system has no files in memory")
def test_key_is_on_no_disk(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    key = Secret(certificates.key.read_text())

    client_context(HttpxOptions(certificate_pem=certificates.certificate.read_text(), key_pem=key))


async def test_calls_beyond_slots_wait(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    server = await serve(answers_once(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"), answers(GOOD))
    transport = HttpxTransport(SMALL, slots=1)
    first = await transport.open_response(WireRequest(server.url, [], b"", allow_private_addresses=True))

    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Caller("httpx", transport).fetch, server.url)
            await trio.testing.wait_all_tasks_blocked()
            while_waiting = transport.describe()
            await first.aclose()

    assert "httpx busy 1 waiting 1" == while_waiting
    assert "httpx busy 0 waiting 0" == transport.describe()
    assert 2 == len(server.peers)
    await transport.aclose()


async def test_idle_connections_are_limited(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    server = await serve(answers_together(5, GOOD))
    caller = Caller("httpx", HttpxTransport(evolve(SMALL, pool_idle_connections=2)))

    await call_at_once(caller, server.url, 5)
    await trio.testing.wait_all_tasks_blocked()

    assert 3 == sum(peer.gone.is_set() for peer in server.peers)
    await caller.transport.aclose()


async def test_expired_connection_is_replaced(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    server = await serve(answers(GOOD))
    caller = Caller("httpx", HttpxTransport(evolve(SMALL, pool_idle_ms=0)))

    for _ in range(2):
        await caller.fetch(server.url)

    assert [1, 1] == [len(peer.requests) for peer in server.peers]
    await caller.transport.aclose()
