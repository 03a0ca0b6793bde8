"""The settings of a credential for the httpx transport only: proxy, HTTP/2, certificates."""

from __future__ import annotations

from urllib.parse import urlsplit

from pg_trio.config.mistakes import Mistakes, Path
from pg_trio.config.reading import Outside, read_pem, read_secret
from pg_trio.config.tables import CredentialTable
from pg_trio.domain.project import HttpxOptions
from pg_trio.domain.secret import Secret

HTTPX_SETTINGS = ("proxy", "http2", "ca_file", "client_certificate", "client_key")


def resolve_httpx_options(
    table: CredentialTable, path: Path, outside: Outside, mistakes: Mistakes
) -> HttpxOptions | None:
    """The credential's options; None if it sets none of them."""
    given = [setting for setting in HTTPX_SETTINGS if getattr(table, setting) is not None]
    if not given:
        return None
    if table.transport != "httpx":
        for setting in given:
            mistakes.add((*path, setting), 'only with transport = "httpx"')
        return None
    for setting, other in (("client_certificate", "client_key"), ("client_key", "client_certificate")):
        if setting in given and other not in given:
            mistakes.add((*path, setting), f"only together with {other}")
    key = _read_pem(table.client_key, "PRIVATE KEY", (*path, "client_key"), outside, mistakes)
    return HttpxOptions(
        proxy=_read_proxy(table.proxy, (*path, "proxy"), outside, mistakes),
        http2=table.http2 is not False,
        ca_pem=_read_pem(table.ca_file, "CERTIFICATE", (*path, "ca_file"), outside, mistakes),
        certificate_pem=_read_pem(
            table.client_certificate, "CERTIFICATE", (*path, "client_certificate"), outside, mistakes
        ),
        key_pem=Secret(key) if key is not None else None,
    )


def _read_pem(reference: str | None, kind: str, path: Path, outside: Outside, mistakes: Mistakes) -> str | None:
    if reference is None:
        return None
    try:
        return read_pem(reference, outside.folder, outside.environ, kind=kind)
    except ValueError as error:
        mistakes.add(path, str(error))
        return None


def _read_proxy(reference: str | None, path: Path, outside: Outside, mistakes: Mistakes) -> Secret | None:
    if reference is None:
        return None
    try:
        proxy = read_secret(reference, outside.folder, outside.environ)
        _check_proxy(proxy.reveal())
    except ValueError as error:
        mistakes.add(path, str(error).replace("the key", "the proxy"))
        return None
    mistakes.secrets.append(proxy)
    return proxy


def _check_proxy(url: str) -> None:
    """Raises: ValueError, which does not quote the URL, because it may hold a password."""
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("a proxy is http://HOST:PORT or https://HOST:PORT, with USER:PASSWORD@ before it if need be")
