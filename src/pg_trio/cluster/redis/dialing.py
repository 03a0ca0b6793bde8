"""Connections to the Redis of a configuration: one server, or the master that sentinels name.

Rules:
1. A fresh link is greeted: it logs in, chooses the database, and is asked what it is. Redis Cluster, a version below 7
   and a server that only reads, has no memory left or lets us run no script are refused with advice.
2. Sentinels are asked in order for each connection, so the next connection after a failover finds the new master. They
   have a login of their own. One that refuses ours is passed over; if no other one helps, that is told.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping

import trio

from pg_trio.cluster.engine_away import EngineAway
from pg_trio.cluster.redis.client import Connect, Greet
from pg_trio.cluster.redis.keys import ROOM
from pg_trio.cluster.redis.redis_link import RedisLink
from pg_trio.cluster.redis.refusals import refusal_of
from pg_trio.cluster.redis.resp import Argument, RedisError, Reply, RespReader, encode_command
from pg_trio.cluster.redis.scripts import read_script
from pg_trio.config.cluster_settings import RedisAddress
from pg_trio.errors import StoreError

OLDEST_REDIS = 7
# For a sentinel to answer. The next one is asked then.
SENTINEL_LIMIT_S = 0.5
# The name by which `CLIENT LIST` shows our connections.
CLIENT_NAME = "pg_trio"
MAKE_ROOM = read_script("room")


def connect_to(address: RedisAddress) -> Connect:
    """Opens a connection to the address's server."""
    context = ssl.create_default_context() if address.has_tls else None

    async def connect() -> trio.abc.Stream:
        host, port = address.hosts[0] if address.sentinel is None else await _find_master(address, context)
        try:
            return await _open_stream(host, port, context)
        except (OSError, UnicodeError, trio.BrokenResourceError) as refused:
            raise EngineAway(f"Redis at {host}:{port} cannot be reached ({_reason(refused)})") from refused

    return connect


def greet_for(address: RedisAddress) -> Greet:
    """Logs in on a fresh link, and refuses what is no server for us."""

    async def greet(link: RedisLink) -> None:
        if address.password is not None:
            login = [address.user] if address.user else []
            await _demand(link, "AUTH", *login, address.password.reveal())
        if address.database:
            await _demand(link, "SELECT", address.database)
        await link.send(encode_command("CLIENT", "SETNAME", CLIENT_NAME)).wait()
        _check_server(read_info(await link.send(encode_command("INFO", "server")).wait()), address)
        role = await link.send(encode_command("ROLE")).wait()
        if isinstance(role, list) and role and role[0] != b"master":
            raise EngineAway(f"Redis at {address} is a replica, and takes no writes")
        # A server without memory or without a disk ends the link here (redis_link.py, rule 5).
        loaded = await link.send(MAKE_ROOM.load()).wait()
        room = await link.send(MAKE_ROOM.call((ROOM,), ())).wait()
        if isinstance(room, RedisError):
            cause = loaded if isinstance(loaded, RedisError) else room
            raise EngineAway(f"Redis at {address} {refusal_of(cause) or f'refuses a script: {cause.said}'}")

    return greet


async def _demand(link: RedisLink, *arguments: Argument) -> None:
    reply = await link.send(encode_command(*arguments)).wait()
    if isinstance(reply, RedisError):
        if reply.code in ("LOADING", "BUSY"):
            raise EngineAway(f"Redis: {reply.said}")
        raise StoreError(f"Redis refuses {arguments[0]!s}: {reply.said} (cluster.redis_url)")


def read_info(reply: Reply) -> Mapping[str, str]:
    """The fields of INFO; none where the user may not ask."""
    if not isinstance(reply, bytes):
        if isinstance(reply, RedisError) and reply.code in ("LOADING", "NOAUTH"):
            if reply.code == "NOAUTH":
                raise StoreError("Redis demands a password (cluster.redis_url)")
            raise EngineAway(f"Redis: {reply.said}")
        return {}
    lines = reply.decode("utf-8", "replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def _check_server(info: Mapping[str, str], address: RedisAddress) -> None:
    mode = info.get("redis_mode") or info.get("server_mode") or "standalone"
    if mode == "cluster":
        raise StoreError(
            f"cluster.redis_url: {address} is a Redis Cluster, which is not supported: give a standalone server, or "
            "sentinels with ?sentinel=NAME"
        )
    if mode == "sentinel":
        raise StoreError(f"cluster.redis_url: {address} is a sentinel: add ?sentinel=NAME with its master's name")
    version = info.get("redis_version", "")
    major = version.partition(".")[0]
    if "valkey_version" not in info and major.isdigit() and int(major) < OLDEST_REDIS:
        raise StoreError(f"cluster.redis_url: {address} is Redis {version}; Redis {OLDEST_REDIS} or Valkey 8 is needed")


# ── sentinels ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _find_master(address: RedisAddress, context: ssl.SSLContext | None) -> tuple[str, int]:
    refusals = []
    for host, port in address.hosts:
        with trio.move_on_after(SENTINEL_LIMIT_S):
            try:
                found = await _ask_sentinel(host, port, address, context)
            except StoreError as refused:
                refusals.append(refused)
                continue
            except (OSError, UnicodeError, trio.BrokenResourceError):
                continue
            if found is not None:
                return found
    if refusals:
        raise refusals[0]
    raise EngineAway(f"no sentinel at {address} knows a master {address.sentinel!r}")


async def _ask_sentinel(
    host: str, port: int, address: RedisAddress, context: ssl.SSLContext | None
) -> tuple[str, int] | None:
    """Raises StoreError if the sentinel does not let us ask."""
    assert address.sentinel is not None
    commands: list[tuple[str, ...]] = [("SENTINEL", "GET-MASTER-ADDR-BY-NAME", address.sentinel)]
    if address.sentinel_password is not None:
        commands.insert(0, ("AUTH", *filter(None, [address.sentinel_user]), address.sentinel_password.reveal()))
    stream = await _open_stream(host, port, context)
    async with stream:
        await stream.send_all(b"".join(encode_command(*command) for command in commands))
        replies: list[Reply] = []
        reader = RespReader()
        while len(replies) < len(commands):
            data = await stream.receive_some()
            if not data:
                return None
            replies += reader.feed(data)
    for reply in replies:
        if isinstance(reply, RedisError):
            raise StoreError(_advise(host, port, reply, address))
    match replies[-1]:
        case [bytes() as master, bytes() as master_port] if master_port.isdigit():
            return master.decode(), int(master_port)
    return None


def _advise(host: str, port: int, refusal: RedisError, address: RedisAddress) -> str:
    if refusal.code == "NOAUTH" and address.sentinel_password is None:
        said = "demands a password: add sentinel_password=…"
    else:
        said = f"refuses us: {refusal.said}"
    return f"the sentinel at {host}:{port} {said} (cluster.redis_url)"


async def _open_stream(host: str, port: int, context: ssl.SSLContext | None) -> trio.abc.Stream:
    stream = await trio.open_tcp_stream(host, port)
    if context is None:
        return stream
    secured = trio.SSLStream(stream, context, server_hostname=host)
    try:
        await secured.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return secured


def _reason(error: BaseException) -> str:
    if isinstance(error, ssl.SSLError):
        # Its number is OpenSSL's own, not the system's.
        return f"TLS: {str(error).partition('] ')[2] or error}"
    if isinstance(error, trio.socket.gaierror):
        # Its number is the resolver's own.
        return error.strerror or "no address"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    # Trio names the reason of each address in what caused its own error, and that of a failed handshake.
    cause = error.__cause__
    if isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    return _reason(cause) if cause is not None else (str(error) or type(error).__name__)
