"""The route of a URL, and the bytes of a request.

Every call needs both, with few different inputs, so both are cached: a route by its URL, and where a request goes with
its head's constant lines by what these are made of.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Address
from typing import NamedTuple
from urllib.parse import urlsplit

from pg_trio.domain.address import read_address
from pg_trio.domain.upstream import WireRequest
from pg_trio.errors import UpstreamUnreachable

# RFC 9110, 5.6.2 (token) and 5.5 (field value: no CR, LF or NUL; other controls are of no use either).
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
_TARGET = re.compile(r"[!-~]+")
_HOST = re.compile(r"[0-9A-Za-z._:-]+")
_DEFAULT_PORTS = {"http": 80, "https": 443}
# Headers that the transport sets itself, from the body and the connection. A second one would make the request
# ambiguous.
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection", "expect", "upgrade"})


class Origin(NamedTuple):
    """Calls with the same origin share connections. `host` is in lower case, IPv6 without brackets."""

    scheme: str
    host: str
    port: int
    allow_private: bool

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class UrlRoute(NamedTuple):
    """Where a URL leads: the connection's origin, and the head's first lines as text."""

    origin: Origin
    target: str
    host_header: str

    @property
    def url(self) -> str:
        """The URL, with the host as it is looked up."""
        return f"{self.origin.scheme}://{self.host_header}{self.target}"


@lru_cache(maxsize=1024)
def find_route(url: str, allow_private: bool) -> UrlRoute:
    """The route to an absolute http or https URL; its fragment is dropped.

    Raises: ValueError if the URL is not one, names a user, or has characters that belong percent-encoded.
    """
    parts = urlsplit(url)
    port = parts.port
    host = _read_host(parts.hostname or "")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    is_usable = (
        parts.scheme in _DEFAULT_PORTS
        and parts.username is None
        and _HOST.fullmatch(host)
        and _TARGET.fullmatch(target)
    )
    if not is_usable:
        # The URL is not shown, because it may have a key in the place of the user.
        raise ValueError("not an absolute http or https URL without a user, with path and query percent-encoded")
    origin = Origin(parts.scheme, host, port or _DEFAULT_PORTS[parts.scheme], allow_private)
    bracketed = f"[{host}]" if ":" in host else host
    host_header = bracketed if origin.port == _DEFAULT_PORTS[parts.scheme] else f"{bracketed}:{origin.port}"
    return UrlRoute(origin, target, host_header)


def find_reachable_route(url: str, allow_private: bool) -> UrlRoute:
    """The same, for a call. Raises: UpstreamUnreachable."""
    try:
        return find_route(url, allow_private)
    except ValueError as exc:
        # UnicodeError: a label of a host name is empty or over 63 characters.
        raise UpstreamUnreachable("no connection: the base URL has no host that can be looked up") from exc


def encode_request(request: WireRequest) -> tuple[Origin, bytes]:
    """Where the request goes, and its head and body as wire bytes, in one piece for one write.

    Raises: UpstreamUnreachable; ValueError if a header cannot stand in a head, or is one of those that only the
    transport sets.
    """
    origin, head = _head(request.method, request.url, request.allow_private_addresses, tuple(request.headers))
    body = request.body
    return origin, b"%b%bcontent-length: %d\r\n\r\n%b" % (head, request.lines, len(body), body)


def list_headers(request: WireRequest) -> list[tuple[str, str]]:
    """The request's headers and its further lines, as names and values."""
    lines = request.lines.decode("ascii").split("\r\n")[:-1]
    return [*request.headers, *((name, value) for name, _, value in [line.partition(": ") for line in lines])]


def _read_host(host: str) -> str:
    """The host for the look-up: an international name in its xn-- form, an IPv4 address with four decimal parts."""
    host = host.encode("idna").decode("ascii")
    address = read_address(host)
    return str(address) if isinstance(address, IPv4Address) else host


@lru_cache(maxsize=1024)
def _head(method: str, url: str, allow_private: bool, headers: tuple[tuple[str, str], ...]) -> tuple[Origin, bytes]:
    route = find_reachable_route(url, allow_private)
    lines = [_header_line(name, value) for name, value in headers]
    return route.origin, b"".join([_first_lines(method, route), *lines])


def _first_lines(method: str, route: UrlRoute) -> bytes:
    if not _HEADER_NAME.fullmatch(method):
        raise ValueError("method is not a token")
    lines = f"{method} {route.target} HTTP/1.1\r\nhost: {route.host_header}\r\naccept-encoding: identity\r\n"
    return lines.encode("ascii")


def _header_line(name: str, value: str) -> bytes:
    # Neither text is shown in an error: the value may be a credential.
    if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
        raise ValueError("header has a character that cannot stand in a head")
    if name.lower() in _OURS:
        raise ValueError(f"header {name.lower()} is set by the transport")
    if name.lower() == "accept-encoding":
        return b""
    return f"{name}: {value}\r\n".encode("latin-1")
