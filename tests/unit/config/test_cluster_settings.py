"""`[cluster]`: both engines or none, each URL read as its engine reads it, and no password in any report."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from pg_trio.config import parse_settings
from pg_trio.config.cluster_settings import ClusterSettings, RedisAddress, check_postgres_url, parse_redis_url
from pg_trio.domain.secret import Secret
from pg_trio.errors import ConfigError

REDIS = "redis://127.0.0.1:6379/0"
POSTGRES = "postgresql://pg:geheim@127.0.0.1:5432/pg"


def settings_of(text: str, **environ: str) -> ClusterSettings | None:
    return parse_settings(text, "pg.toml", Path("/"), environ).cluster


def mistakes_of(text: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        settings_of(text, **environ)
    return str(caught.value).splitlines()[1:]


def both(**changes: str) -> str:
    given = {"redis_url": REDIS, "postgres_url": POSTGRES, "node": "gw-1", **changes}
    return "[cluster]\n" + "".join(f'{key} = "{value}"\n' for key, value in given.items())


def test_one_machine_has_none() -> None:
    assert settings_of("") is None


def test_whole_section_is_read() -> None:
    cluster = settings_of(both(when_redis_is_away="refuse") + "redis_timeout_ms = 20\npostgres_timeout_ms = 500\n")

    expected = ClusterSettings(RedisAddress((("127.0.0.1", 6379),)), Secret(POSTGRES), "gw-1", "refuse", 20, 500)
    assert expected == cluster


def test_urls_come_from_the_environment() -> None:
    text = both(redis_url="env:REDIS_URL", postgres_url="env:DATABASE_URL")

    cluster = settings_of(text, REDIS_URL=REDIS, DATABASE_URL=POSTGRES)

    assert cluster is not None
    assert (Secret(POSTGRES), 50, 1000, "local") == (
        cluster.postgres_url,
        cluster.redis_timeout_ms,
        cluster.postgres_timeout_ms,
        cluster.when_redis_is_away,
    )


def test_section_may_be_all_variables() -> None:
    cluster = settings_of(
        "", PG_TRIO_CLUSTER__REDIS_URL=REDIS, PG_TRIO_CLUSTER__POSTGRES_URL=POSTGRES, PG_TRIO_CLUSTER__NODE="gw-2"
    )

    assert cluster is not None
    assert "gw-2" == cluster.node


def test_node_is_the_host_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.node", lambda: "host-7")

    cluster = settings_of(f'[cluster]\nredis_url = "{REDIS}"\npostgres_url = "{POSTGRES}"\n')

    assert cluster is not None
    assert "host-7" == cluster.node


@pytest.mark.parametrize(
    ("there", "missing"), [(("redis_url", REDIS), "postgres_url"), (("postgres_url", POSTGRES), "redis_url")]
)
def test_one_engine_without_the_other_is_a_mistake(there: tuple[str, str], missing: str) -> None:
    (said,) = mistakes_of(f'[cluster]\nnode = "a"\n{there[0]} = "{there[1]}"\n')

    assert f"  cluster.{missing}: missing: a cluster needs both {missing} and {there[0]}" in said


def test_empty_section_is_a_mistake() -> None:
    assert ["  cluster: is empty: redis_url and postgres_url are both required"] == mistakes_of("[cluster]\n")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"redis_url": "http://h"}, "cluster.redis_url: is not a Redis URL"),
        ({"redis_url": "redis+cluster://h"}, "cluster.redis_url: Redis Cluster is not supported"),
        ({"redis_url": "redis://a:1,b:2"}, "cluster.redis_url: names several hosts: Redis Cluster is not supported"),
        ({"redis_url": "redis://h/x"}, "cluster.redis_url: the path of a Redis URL is the number of a database"),
        ({"redis_url": "redis://h?timeout=3"}, "cluster.redis_url: a Redis URL has the parameters sentinel=NAME"),
        ({"redis_url": "redis://h?sentinel=a&sentinel=b"}, "cluster.redis_url: sentinel is the name of the master"),
        ({"redis_url": "redis://h?sentinel=a&sentinel_password="}, "cluster.redis_url: sentinel_password is the"),
        ({"redis_url": "redis://h?sentinel_password=p"}, "cluster.redis_url: sentinel_password is for sentinels"),
        (
            {"redis_url": "redis://h?sentinel=a&sentinel_username=u"},
            "cluster.redis_url: sentinel_username needs sentinel_password",
        ),
        ({"redis_url": "redis://h?sentinel="}, "cluster.redis_url: sentinel is the name of the master"),
        ({"redis_url": "redis://"}, "cluster.redis_url: has no host"),
        ({"redis_url": "redis://h:99999"}, "cluster.redis_url: has no host, or a port that is none"),
        ({"redis_url": "env:NOT_THERE"}, 'cluster.redis_url: environment variable "NOT_THERE" is not set'),
        ({"postgres_url": "mysql://h"}, "cluster.postgres_url: is not a PostgreSQL URL"),
        ({"redis_url": "redis://geheim@h"}, "cluster.redis_url: has a user without a password"),
        ({"postgres_url": "postgresql:///db"}, "cluster.postgres_url: has no host"),
        ({"postgres_url": "postgresql:///db?user=pg"}, "cluster.postgres_url: has no host"),
        *(
            ({"postgres_url": f"postgresql://{url}"}, f"cluster.postgres_url: {said}")
            for url, said in (
                ("pg:ge%heim@h/pg", "has a % that two hexadecimal digits do not follow"),
                ("pg:geheim%@h/pg", "has a % that two hexadecimal digits do not follow"),
                ("h/pg?password=ge%zzim", "has a % that two hexadecimal digits do not follow"),
                ("pg:ge@heim@h/pg", "has a host or a port that is none: write %40"),
                ("pg:ge/heim@h/pg", "has a host or a port that is none: write %40"),
                ("pg:12/geheim@h/pg", "has a host or a port that is none: write %40"),
                ("pg:geheim@h:99999/pg", "has a host or a port that is none"),
                ("pg:geheim@h:0/pg", "has a host or a port that is none"),
                ("pg:geheim@[::1/pg", "is not a URL"),
                ("h/pg?passwordgeheim", "has a parameter that is not NAME=VALUE"),
                ("h?password=geheim=1", "has a parameter that is not NAME=VALUE"),
            )
        ),
        ({"postgres_url": "POSTGRESQL://pg:geheim@h/pg"}, "cluster.postgres_url: is not a PostgreSQL URL"),
        ({"node": "gw 1"}, 'cluster.node: "gw 1" is not a node\'s name'),
        ({"when_redis_is_away": "wait"}, 'cluster.when_redis_is_away: "wait" is none of "local", "refuse"'),
        ({"redis_uri": REDIS}, 'cluster.redis_uri: unknown key; did you mean "redis_url"?'),
    ],
)
def test_mistakes_are_named(changes: dict[str, str], said: str) -> None:
    lines = mistakes_of(both(**changes))

    assert any(line.strip().startswith(said) for line in lines), lines


def test_all_mistakes_at_once() -> None:
    lines = mistakes_of(both(redis_url="http://h", postgres_url="mysql://h", node="-"))

    assert 3 == len(lines)


@given(
    st.sampled_from(
        [
            *("redis://:{}@h:x", "http://u:{}@h", "redis://u:{}@a,b", "redis://u:{}@h/x"),
            *("redis://h?sentinel_password={}", "redis://h?sentinel=m&sentinel_password={}&sentinel_password=b"),
            "redis://h?sentinel=m&sentinel_passwort={}",
        ]
    )
)
def test_password_is_never_shown(shape: str) -> None:
    lines = mistakes_of(both(redis_url=shape.format("geheim-1234"), postgres_url="mysql://pg:geheim-1234@h"))

    assert "geheim" not in "".join(lines)
    assert "geheim" not in repr(settings_of(both(redis_url="redis://u:geheim-1234@h")))
    assert "geheim" not in repr(settings_of(both(redis_url="redis://h?sentinel=m&sentinel_password=geheim-1234")))


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://h", RedisAddress((("h", 6379),))),
        ("rediss://h:7/2", RedisAddress((("h", 7),), has_tls=True, database=2)),
        ("redis://:p%40ss@h", RedisAddress((("h", 6379),), password=Secret("p@ss"))),
        ("redis://u:p@[::1]:5", RedisAddress((("::1", 5),), user="u", password=Secret("p"))),
        ("redis://a,b:7/1?sentinel=main", RedisAddress((("a", 26379), ("b", 7)), database=1, sentinel="main")),
        (
            "redis://u:p@a?sentinel=main&sentinel_username=s&sentinel_password=p%26+q",
            RedisAddress(
                (("a", 26379),),
                user="u",
                password=Secret("p"),
                sentinel="main",
                sentinel_user="s",
                sentinel_password=Secret("p&+q"),
            ),
        ),
    ],
)
def test_redis_url_is_read(url: str, address: RedisAddress) -> None:
    assert address == parse_redis_url(url)


@given(st.text(max_size=40))
def test_any_redis_url_is_read_or_refused(text: str) -> None:
    try:
        address = parse_redis_url(f"redis://{text}")
    except ValueError:
        return
    assert address.hosts


@pytest.mark.parametrize(
    "rest",
    [
        *(
            "h",
            "h/pg",
            "h:5432",
            "pg@h",
            "pg:p%40%2F%25ss@h:1/pg",
            "[::1]:5432/pg",
            "a:1,b:2/pg",
            "a,b/pg?sslmode=require",
        ),
        *(
            "/pg?host=/var/run/postgresql",
            "pg:#p?s@h/pg",
            "h?user=me%40server&password=p",
            "h/pg?options=-c%20a%3Db",
            "h/",
        ),
    ],
)
def test_postgres_url_that_libpq_reads_is_accepted(rest: str) -> None:
    url = f"postgresql://{rest}"

    assert url == check_postgres_url(url).reveal()
    assert conninfo_to_dict(url)


@given(
    st.sampled_from(["postgresql://", "postgres://", "PostgreSQL://", "postgresql:"]),
    st.text("ab1%2@:/?#&=,[]", max_size=30),
)
def test_postgres_url_that_is_accepted_is_one_of_libpq(scheme: str, rest: str) -> None:
    url = f"{scheme}pg:{rest}"
    try:
        check_postgres_url(url)
    except ValueError:
        return
    # A name that is no parameter is no secret.
    refused = refusal_of_libpq(url)
    assert not refused or refused.startswith("invalid URI query parameter")


def refusal_of_libpq(url: str) -> str:
    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError as refused:
        return str(refused)
    return ""
