"""Hosts of a connection string, looked up without blocking the event loop. libpq would block while it looks them up."""

from __future__ import annotations

import trio
from psycopg.conninfo import conninfo_to_dict, make_conninfo

_DEFAULT_PORT = "5432"


async def resolve_hosts(conninfo: str) -> str:
    """The connection string with all addresses of each host: libpq tries one after the other, as it would with names.
    Certificates are checked against the name as before.

    Raises OSError, which names the host, if a name has no address.
    """
    given = {key: str(value) for key, value in conninfo_to_dict(conninfo).items() if value is not None}
    hosts = given.get("host", "")
    if not hosts or "hostaddr" in given:
        return conninfo
    names = hosts.split(",")
    if any(name.startswith("/") for name in names):
        return conninfo
    ports = given.get("port", _DEFAULT_PORT).split(",")
    found: list[tuple[str, str, str]] = []
    for index, name in enumerate(names):
        port = (ports[index] if index < len(ports) else ports[0]) or _DEFAULT_PORT
        found += [(name, port, address) for address in await _find_addresses(name, port)]
    host, port, hostaddr = (",".join(parts) for parts in zip(*found, strict=True))
    return make_conninfo(conninfo, host=host, port=port, hostaddr=hostaddr)


async def _find_addresses(name: str, port: str) -> list[str]:
    try:
        found = await trio.socket.getaddrinfo(name, port, type=trio.socket.SOCK_STREAM)
    except UnicodeError:
        # IDNA: a label that is empty or too long.
        raise OSError(f"{name} is no host's name") from None
    except OSError as error:
        raise OSError(f"the host {name} has no address ({error.strerror})") from error
    # Each once, in the order of preference.
    return list(dict.fromkeys(str(one[4][0]) for one in found))
