"""`[[credentials]]` -> `Credential`s by name: provider, key, address, and the rules for addresses."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

from pg_trio.config.base_url import refuse_call
from pg_trio.config.bounds import show
from pg_trio.config.call_options import resolve_call_options
from pg_trio.config.httpx_options import resolve_httpx_options
from pg_trio.config.key_file import KeyFile
from pg_trio.config.mistakes import Mistakes, Path, suggest
from pg_trio.config.reading import FILE_PREFIX, Outside, read_secret
from pg_trio.config.tables import CredentialTable
from pg_trio.domain.address import carried, read_address
from pg_trio.domain.project import Credential
from pg_trio.domain.provider import PROVIDERS, Provider
from pg_trio.domain.secret import Secret

OLLAMA_VARIABLE = "OLLAMA_BASE_URL"

# RFC 1918, RFC 4193 and loopback: the user's own network. Link-local addresses are left out on purpose, because clouds
# serve machine credentials there. They need an explicit `allow_private_addresses = true`.
_PRIVATE_NETWORKS = tuple(
    ipaddress.ip_network(network)
    for network in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7")
)
# AWS serves the same credentials inside fc00::/7 (EC2 user guide, "Instance metadata", read 2026-11).
_METADATA_NETWORKS = (ipaddress.ip_network("fd00:ec2::/32"),)

# Settings that Credential has under the same name and that need only their own check.
_COPIED = ("max_concurrent", "max_waiting", "slot_wait_ms", "send_deadline", "prewarm_connections", "max_tokens_field")

# A name, an IPv4 address, or an IPv6 address (urlsplit has checked and removed its brackets).
_HOST = re.compile(r"[a-z0-9_.-]+|[0-9a-f:.]+")


def resolve_credentials(
    tables: Sequence[CredentialTable | None], outside: Outside, mistakes: Mistakes
) -> dict[str, Credential | None]:
    """Every credential by name. One with a mistake is None, so that references to it are not reported as unknown."""
    credentials: dict[str, Credential | None] = {}
    places: dict[str, Path] = {}
    for index, table in enumerate(tables):
        if table is None:
            continue
        path: Path = ("credentials", index)
        credential = _resolve(table, path, outside, mistakes)
        if table.name is None:
            continue
        if table.name in places:
            first = places[table.name][1]
            mistakes.add((*path, "name"), f"{show(table.name)} is the name of credentials[{first}] already")
            continue
        places[table.name] = path
        credentials[table.name] = credential
    return credentials


def find_provider(name: str, path: Path, mistakes: Mistakes) -> Provider | None:
    """The provider of that name, or a mistake that lists the known ones."""
    provider = PROVIDERS.get(name)
    if provider is None:
        known = ", ".join(PROVIDERS)
        mistakes.add(path, f"unknown provider {show(name)}{suggest(name.lower(), PROVIDERS)}; known are {known}")
    return provider


def _resolve(table: CredentialTable, path: Path, outside: Outside, mistakes: Mistakes) -> Credential | None:
    provider = find_provider(table.provider, (*path, "provider"), mistakes) if table.provider is not None else None
    key = _resolve_key(table, provider, (*path, "api_key"), outside, mistakes)
    url = _resolve_url(table, provider, (*path, "base_url"), outside, mistakes)
    if table.name is None or provider is None or url is None:
        return None
    if table.max_concurrent is None:
        for setting in ("max_waiting", "slot_wait_ms"):
            if getattr(table, setting) is not None:
                mistakes.add((*path, setting), "only together with max_concurrent")
    if table.transport == "httpx" and table.prewarm_connections:
        mistakes.add((*path, "prewarm_connections"), 'only with transport = "direct"')
    options = resolve_httpx_options(table, path, outside, mistakes)
    added = resolve_call_options(table, provider, path, outside, mistakes)
    given = {setting: getattr(table, setting) for setting in _COPIED}
    allows = table.allow_private_addresses
    return Credential(
        name=table.name,
        provider=provider.name,
        base_url=url.geturl(),
        api_key=key,
        transport=table.transport or "direct",
        allow_private_addresses=_is_private(url.hostname or "") if allows is None else allows,
        httpx=options,
        headers=added.headers,
        query=added.query,
        hidden=added.hidden,
        **{setting: value for setting, value in given.items() if value is not None},
    )


def _resolve_key(
    table: CredentialTable, provider: Provider | None, path: Path, outside: Outside, mistakes: Mistakes
) -> Secret | None:
    if table.api_key is None:
        if provider is not None and provider.needs_key and not mistakes.has(path):
            mistakes.add(path, f"missing: {provider.name} needs one (env:NAME, file:PATH or the key itself)")
        return None
    try:
        key = read_secret(table.api_key, outside.folder, outside.environ)
        reference = table.api_key.strip()
        if reference.startswith(FILE_PREFIX):
            key = KeyFile(outside.folder / reference.removeprefix(FILE_PREFIX).strip())
    except ValueError as error:
        mistakes.add(path, str(error))
        return None
    mistakes.secrets.append(key)
    return key


def _resolve_url(
    table: CredentialTable, provider: Provider | None, path: Path, outside: Outside, mistakes: Mistakes
) -> SplitResult | None:
    if table.base_url is not None:
        text, said = table.base_url, ""
    elif provider is not None and provider.name == "ollama" and outside.environ.get(OLLAMA_VARIABLE, "").strip():
        text, said = outside.environ[OLLAMA_VARIABLE].strip(), f"${OLLAMA_VARIABLE}: "
    elif provider is not None and provider.base_url is not None:
        text, said = provider.base_url, ""
    else:
        if provider is not None and not mistakes.has(path):
            mistakes.add(path, f"missing: {provider.name} has no address of its own")
        return None
    try:
        url = check_base_url(text)
    except ValueError as error:
        mistakes.add(path, f"{said}{error}")
        return None
    usual = urlsplit(provider.base_url).path if provider is not None and provider.base_url is not None else ""
    if usual and not url.path:
        mistakes.note(
            path, f"{said}has no path: most such servers answer at {url.geturl()}{usual}, and with 404 elsewhere"
        )
    return url


def check_base_url(text: str) -> SplitResult:
    """The address without a trailing slash. Raises: ValueError, which does not quote an address that may hold a
    password."""
    # urlsplit silently drops tabs and line ends, and accepts all other characters.
    if not all("!" <= character <= "~" for character in text):
        raise ValueError("a URL is visible ASCII without spaces (write an international name in its xn-- form)")
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise ValueError("not a URL: its host or port cannot be read") from None
    if url.scheme not in ("http", "https"):
        raise ValueError(
            "a base URL starts with http:// or https:// (it is the address itself, never a variable's name)"
        )
    if "@" in url.netloc:
        raise ValueError("a base URL holds no user or password: use api_key")
    if not _HOST.fullmatch(url.hostname or "") or port == 0:
        raise ValueError("a base URL has a host, and no port 0")
    _check_host(url.hostname or "")
    if "\\" in text:
        raise ValueError("a base URL has no backslash")
    refuse_call(url)
    # urlsplit does not report an empty query or an empty fragment.
    if "?" in text or "#" in text:
        raise ValueError("a base URL has no query and no fragment")
    return url._replace(path=url.path.rstrip("/"))


def _check_host(host: str) -> None:
    try:
        read_address(host)
    except ValueError:
        raise ValueError("a base URL's host is a name or an address; this looks like an address and is none") from None
    if ":" not in host and not all(0 < len(label) <= 63 for label in host.removesuffix(".").split(".")):
        raise ValueError("a base URL's host has an empty part, or one over 63 characters")


def _is_private(host: str) -> bool:
    """Whether the host is literally a loopback or private address, in any spelling (domain/address.py)."""
    if host == "localhost":
        return True
    address = read_address(host)
    if address is None:
        return False
    address = carried(address)
    return any(address in network for network in _PRIVATE_NETWORKS) and not any(
        address in network for network in _METADATA_NETWORKS
    )
