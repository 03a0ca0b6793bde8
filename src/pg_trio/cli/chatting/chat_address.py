"""Where the chat's WebSocket is, from what the command is given."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import quote, urlsplit

from attrs import frozen

from pg_trio.errors import ConfigError

COMMAND = "pg-trio chat"
_SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


@frozen
class ChatAddress:
    """`url` is that of the WebSocket. `is_open`: the token would cross a network without encryption."""

    url: str
    host: str
    is_open: bool


def find_address(base: str, project: str, endpoint: str) -> ChatAddress:
    """The address below a gateway's base URL. Raises ConfigError with what is wrong and what to write."""
    try:
        parts = urlsplit(base)
        port, host = parts.port, parts.hostname
    except ValueError:
        raise _refuse(base) from None
    scheme = _SCHEMES.get(parts.scheme.lower())
    if scheme is None or not host or parts.query or parts.fragment:
        raise _refuse(base)
    if parts.username is not None:
        raise ConfigError(COMMAND, ["--url: must not have a user; the token goes into PG_TRIO_TOKEN"])
    if not project or not endpoint or "/" in project or "/" in endpoint:
        raise ConfigError(COMMAND, ["--project and --endpoint: must be a project's UUID and an endpoint's slug"])
    shown = f"[{host}]" if ":" in host else host
    place = shown if port is None else f"{shown}:{port}"
    path = f"{parts.path.rstrip('/')}/api/{quote(project, safe='')}/{quote(endpoint, safe='')}/ws"
    return ChatAddress(f"{scheme}://{place}{path}", place, scheme == "ws" and not _is_here(host))


def _refuse(base: str) -> ConfigError:
    return ConfigError(COMMAND, [f"--url: {base!r} is no base URL; write it as http://127.0.0.1:8080"])


def _is_here(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
