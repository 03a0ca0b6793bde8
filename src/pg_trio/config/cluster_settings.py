"""`[cluster]`: its values, and the URLs of Redis and PostgreSQL as the engines' own programs read them."""

from __future__ import annotations

import re
from typing import Annotated, Literal, TypeAlias
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from attrs import field, frozen

from pg_trio.config.bounds import Milliseconds, Shape
from pg_trio.domain.secret import Secret

WhenRedisIsAway: TypeAlias = Literal["local", "refuse"]

# A host's name, with room for a suffix of one's own.
NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NODE_CALLED = "a node's name: 1–64 letters, digits, dots, - and _"

_REDIS_PORT, _SENTINEL_PORT = 6379, 26379
_REDIS_SCHEMES = ("redis", "rediss")
_POSTGRES_PREFIXES = ("postgres://", "postgresql://")
# The query parameters of a Redis URL: the name of the master that sentinels watch, and how to log in at these. So
# redis-rb names them.
_SENTINEL, _SENTINEL_USER, _SENTINEL_PASSWORD = "sentinel", "sentinel_username", "sentinel_password"


@frozen(slots=True)
class ClusterTable:
    """`[cluster]`, before its references are resolved. The URLs hold passwords: never shown."""

    redis_url: str | None = field(default=None, repr=False)
    postgres_url: str | None = field(default=None, repr=False)
    # Default: the host's name.
    node: Annotated[str, Shape(NODE, NODE_CALLED)] | None = None
    when_redis_is_away: WhenRedisIsAway = "local"
    # 50 ms: Envoy's rate limit filter waits 20 ms by default, LiteLLM's Redis calls waited for ever.
    redis_timeout_ms: Milliseconds = 50
    # 1 s: a commit waits for a disk, and maybe for a standby.
    postgres_timeout_ms: Milliseconds = 1_000


@frozen(slots=True)
class RedisAddress:
    """Where Redis is. With `sentinel`, the hosts are sentinels, and this is the name of the master they watch.

    `user` and `password` are Redis's, `sentinel_user` and `sentinel_password` the sentinels' own.
    """

    hosts: tuple[tuple[str, int], ...]
    has_tls: bool = False
    user: str | None = None
    password: Secret | None = None
    database: int = 0
    sentinel: str | None = None
    sentinel_user: str | None = None
    sentinel_password: Secret | None = None

    def __str__(self) -> str:
        return ", ".join(f"{host}:{port}" for host, port in self.hosts)


@frozen(slots=True)
class ClusterSettings:
    """A checked `[cluster]`."""

    redis: RedisAddress
    postgres_url: Secret
    node: str
    when_redis_is_away: WhenRedisIsAway = "local"
    redis_timeout_ms: int = 50
    postgres_timeout_ms: int = 1_000


def parse_redis_url(text: str) -> RedisAddress:
    """`redis://[user:password@]host[:port][,host…][/database][?sentinel=NAME]`, or `rediss://…` with TLS; and
    `&sentinel_username=USER&sentinel_password=PASSWORD` where sentinels demand them.

    Raises: ValueError if it is none; the text never quotes the URL.
    """
    url = _split(text)
    if "cluster" in url.scheme:
        raise ValueError("Redis Cluster is not supported: give a standalone server or sentinels (redis://, rediss://)")
    if url.scheme not in _REDIS_SCHEMES:
        raise ValueError("is not a Redis URL: redis://HOST:PORT/DATABASE or rediss://…")
    parameters = _parameters_of(url)
    sentinel = parameters.get(_SENTINEL)
    hosts = _hosts_of(url, _REDIS_PORT if sentinel is None else _SENTINEL_PORT)
    if len(hosts) > 1 and sentinel is None:
        raise ValueError(
            "names several hosts: Redis Cluster is not supported; sentinels need ?sentinel=NAME, their master's name"
        )
    database = url.path.strip("/")
    if database and not (database.isascii() and database.isdigit() and len(database) < 6):
        raise ValueError("the path of a Redis URL is the number of a database, such as /0")
    user, password = _login_of(url)
    if user and not password:
        raise ValueError(
            "has a user without a password: redis://USER:PASSWORD@HOST; redis://:PASSWORD@HOST has no user"
        )
    return RedisAddress(
        hosts,
        has_tls=url.scheme == "rediss",
        user=user or None,
        password=Secret(password) if password else None,
        database=int(database or 0),
        sentinel=sentinel,
        sentinel_user=parameters.get(_SENTINEL_USER),
        sentinel_password=Secret(parameters[_SENTINEL_PASSWORD]) if _SENTINEL_PASSWORD in parameters else None,
    )


def _split(text: str) -> SplitResult:
    try:
        return urlsplit(text)
    except ValueError:
        raise ValueError("is not a URL") from None


def _parameters_of(url: SplitResult) -> dict[str, str]:
    # A + is a + here, as in the user and the password of a URL.
    given = parse_qs(url.query.replace("+", "%2B"), keep_blank_values=True)
    if set(given) - {_SENTINEL, _SENTINEL_USER, _SENTINEL_PASSWORD}:
        raise ValueError(
            f"a Redis URL has the parameters {_SENTINEL}=NAME, {_SENTINEL_USER} and {_SENTINEL_PASSWORD}, and no other"
        )
    for name, called in (
        (_SENTINEL, "the name of the master that the sentinels watch"),
        (_SENTINEL_USER, "the user at the sentinels"),
        (_SENTINEL_PASSWORD, "the password at the sentinels"),
    ):
        if name in given and (len(given[name]) != 1 or not given[name][0]):
            raise ValueError(f"{name} is {called}, once")
    if _SENTINEL_PASSWORD in given and _SENTINEL not in given:
        raise ValueError(f"{_SENTINEL_PASSWORD} is for sentinels: give {_SENTINEL}=NAME, their master's name, too")
    if _SENTINEL_USER in given and _SENTINEL_PASSWORD not in given:
        raise ValueError(f"{_SENTINEL_USER} needs {_SENTINEL_PASSWORD}")
    return {name: values[0] for name, values in given.items()}


def _hosts_of(url: SplitResult, default_port: int) -> tuple[tuple[str, int], ...]:
    listed = url.netloc.rpartition("@")[2].split(",")
    return tuple(_host_of(one, default_port) for one in listed)


def _host_of(text: str, default_port: int) -> tuple[str, int]:
    one = urlsplit(f"//{text}")
    try:
        host, port = one.hostname, one.port
    except ValueError:
        host, port = None, None
    if not host or port == 0:
        raise ValueError("has no host, or a port that is none: redis://HOST:PORT/DATABASE")
    return host, port or default_port


def _login_of(url: SplitResult) -> tuple[str, str]:
    login = url.netloc.rpartition("@")[0]
    user, _, password = login.partition(":")
    return unquote(user), unquote(password)


def check_postgres_url(text: str) -> Secret:
    """A URL of PostgreSQL, as libpq reads it. Raises: ValueError if it is none; the text never quotes the URL.

    What libpq would refuse is refused here where its own words would quote a part of the password.
    """
    _split(text)
    # In small letters: libpq takes another text for parameters, and quotes all of it.
    if not text.startswith(_POSTGRES_PREFIXES):
        raise ValueError("is not a PostgreSQL URL: postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
    if _LONE_PERCENT.search(text):
        raise ValueError("has a % that two hexadecimal digits do not follow: write %25 for a % of the password")
    # libpq reads the user and the password up to the first @ before the first /.
    authority, _, path = text.partition("://")[2].partition("/")
    hosts = authority.partition("@")[2] if "@" in authority else authority
    hosts, _, query = hosts.partition("?")
    if "@" in hosts or "@" in path.partition("?")[0] or not all(map(_is_host_of_postgres, hosts.split(","))):
        raise ValueError(
            "has a host or a port that is none: write %40 for an @ and %2F for a / of the user or the password"
        )
    query = query or path.partition("?")[2]
    if any(part and part.count("=") != 1 for part in query.split("&")):
        raise ValueError("has a parameter that is not NAME=VALUE: write %3D for a = and %26 for an & of a value")
    if not hosts and "host=" not in query:
        raise ValueError("has no host: postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
    return Secret(text)


# libpq wants two digits, and no zero byte.
_LONE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})|%00")
_POSTGRES_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.%]+\]|[^\[\]:@]*)(?::([0-9]{1,5}))?")


def _is_host_of_postgres(text: str) -> bool:
    """`HOST`, `[ADDRESS]` or either with a port. No host: libpq's default, or that of the parameters."""
    match = _POSTGRES_HOST.fullmatch(text)
    return match is not None and (match[1] is None or 0 < int(match[1]) < 65536)
