"""Hosts of a connection string, looked up without blocking the event loop. libpq would block while it looks them up."""

from __future__ import annotations

import trio
from psycopg.conninfo import conninfo_to_dict, make_conninfo

# A name's first address. libpq tries several hosts one after the other.
_DEFAULT_PORT = "5432"


async def resolve_hosts(conninfo: str) -> str:
    """The connection string with an address for each host. Certificates are checked against the name as before.

    Raises OSError if a name has no address.
    """
    given = {key: str(value) for key, value in conninfo_to_dict(conninfo).items() if value is not None}
    hosts = given.get("host", "")
    if not hosts or "hostaddr" in given:
        return conninfo
    names = hosts.split(",")
    if any(name.startswith("/") for name in names):
        return conninfo
    ports = given.get("port", _DEFAULT_PORT).split(",")
    addresses = []
    for index, name in enumerate(names):
        port = ports[index] if index < len(ports) else ports[0]
        found = await trio.socket.getaddrinfo(name, port or _DEFAULT_PORT, type=trio.socket.SOCK_STREAM)
        addresses.append(str(found[0][4][0]))
    return make_conninfo(conninfo, hostaddr=",".join(addresses))
