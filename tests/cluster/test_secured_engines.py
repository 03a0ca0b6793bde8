"""TLS to a real Redis and a real PostgreSQL, with an authority of one's own, passwords, and a user of Redis."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from attrs import frozen

from scripts.bench.harness.processes import find_free_port
from tests.cluster.waiting import LIMIT_S, wait_for
from tests.cluster.world import ClusterWorld, ask
from tests.support.engines import PostgresServer, RedisServer, as_postgres, running_postgres, running_redis
from tests.support.gateway import PROJECT, endpoint, project
from tests.support.wire import bearer, post, send_raw

pytestmark = pytest.mark.slow

CONFIGURATION = project() + endpoint("narrow", rate_limit_per_hour=20) + endpoint("talk", sessions_enabled=True)
# A user with a password, and no more rights than the gateway needs.
RIGHTS = "~pg_trio:* &pg_trio:* -@all +@read +@write +@scripting +@connection +@pubsub +info +role +time"
USER = f"gateway on >s3cret/word {RIGHTS}"
CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")


@frozen
class Authority:
    """A certificate authority, and what it has signed for 127.0.0.1 and localhost."""

    authority: Path
    certificate: Path
    key: Path


@frozen
class SecuredRedis:
    """Redis, and the port where it speaks TLS."""

    server: RedisServer
    port: int

    @property
    def url(self) -> str:
        return f"rediss://gateway:s3cret%2Fword@127.0.0.1:{self.port}/0"


def make_authority(folder: Path) -> Authority:
    made = Authority(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    authority = ["openssl", "req", "-x509", *CURVE, "-subj", "/CN=tests", "-keyout", str(folder / "ca.key")]
    subprocess.run([*authority, "-out", str(made.authority)], check=True, capture_output=True)
    signed = ["-CA", str(made.authority), "-CAkey", str(folder / "ca.key")]
    names = ["-subj", "/CN=engine", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    request = ["openssl", "req", "-x509", *CURVE, *signed, *names, "-keyout", str(made.key)]
    subprocess.run([*request, "-out", str(made.certificate)], check=True, capture_output=True)
    return made


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    folder = tmp_path / "certificates"
    folder.mkdir()
    return make_authority(folder)


def readable_copy(path: Path, folder: Path) -> Path:
    """A copy that PostgreSQL's user may read, and no other."""
    copy = folder / path.name
    shutil.copy(path, copy)
    copy.chmod(0o600)
    if as_postgres():
        shutil.chown(copy, "postgres", "postgres")
    return copy


@pytest.fixture
def secured_postgres(authority: Authority) -> Iterator[PostgresServer]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        files = {
            "ssl_cert_file": readable_copy(authority.certificate, folder),
            "ssl_key_file": readable_copy(authority.key, folder),
        }
        with running_postgres(ssl="on", **files) as postgres:
            yield postgres


@pytest.fixture
def secured_redis(authority: Authority) -> Iterator[SecuredRedis]:
    port = find_free_port()
    files = f"--tls-cert-file {authority.certificate} --tls-key-file {authority.key}"
    options = f"--tls-port {port} {files} --tls-ca-cert-file {authority.authority} --tls-auth-clients no"
    with running_redis(*options.split()) as redis:
        redis.command("ACL", "SETUSER", *USER.split())
        yield SecuredRedis(redis, port)


async def test_both_engines_over_tls(
    nursery: trio.Nursery,
    tmp_path: Path,
    authority: Authority,
    secured_redis: SecuredRedis,
    secured_postgres: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.authority))
    plain_url = secured_postgres.create_database()
    url = f"{plain_url}?sslmode=verify-full&sslrootcert={authority.authority}"
    world = ClusterWorld(nursery, tmp_path, secured_redis.server, secured_postgres, plain_url)
    nodes = await world.start(CONFIGURATION, 2, redis_url=secured_redis.url, postgres_url=url)
    token = world.make_token()

    narrow = [(await ask(nodes[number % 2], token, "narrow")).status for number in range(25)]
    first = await ask(nodes[0], token, "talk")
    session = first.json()["meta"]["session_id"]
    second = await ask(nodes[1], token, "talk", {"message": "And?", "session_id": session})
    clients = secured_redis.server.command("CLIENT", "LIST").splitlines()
    encrypted = secured_postgres.query(
        "SELECT DISTINCT s.ssl FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid)"
        " WHERE a.datname LIKE 'test_%' AND a.pid <> pg_backend_pid()",
        plain_url,
    )
    # Connections that are lost are made again, over TLS.
    secured_redis.server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    await wait_for(lambda: secured_redis.server.command("CLIENT", "LIST").count("user=gateway") == 2)
    with trio.fail_after(LIMIT_S):
        # Until then a node may have a share of its own.
        while (await ask(nodes[0], token, "narrow")).status != 429:  # noqa: ASYNC110
            await trio.sleep(0.05)
    await world.stop()

    assert 20 * [200] + 5 * [429] == narrow
    assert 200 == second.status
    ours = [line for line in clients if "user=gateway" in line]
    assert 2 == len(ours) == sum(f" laddr=127.0.0.1:{secured_redis.port} " in line for line in ours)
    assert "t" == encrypted


async def test_rights_of_the_user_suffice_for_kept_answers(
    nursery: trio.Nursery, tmp_path: Path, redis: RedisServer, postgres_server: PostgresServer, postgres_url: str
) -> None:
    redis.command("ACL", "SETUSER", *USER.split())
    world = ClusterWorld(nursery, tmp_path, redis, postgres_server, postgres_url)
    url = redis.url.replace("redis://", "redis://gateway:s3cret%2Fword@")
    nodes = await world.start(CONFIGURATION + endpoint("ask"), 2, redis_url=url)
    headers = (bearer(world.make_token()), ("idempotency-key", "key-1"))

    answers = [await send_raw(node.port, post(f"/api/{PROJECT}/ask", {"message": "Hello"}, *headers)) for node in nodes]
    await world.stop()

    assert "" == redis.command("ACL", "LOG")
    assert [200, 200] == [answer.status for answer in answers]
    assert answers[0].body == answers[1].body
    assert [1, 0] == [len(node.simulator.requests) for node in nodes]


async def test_unknown_authority_is_not_trusted(
    nursery: trio.Nursery,
    tmp_path: Path,
    secured_redis: SecuredRedis,
    secured_postgres: PostgresServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    plain_url = secured_postgres.create_database()
    other = tmp_path / "other"
    other.mkdir()
    url = f"{plain_url}?sslmode=verify-full&sslrootcert={make_authority(other).authority}"
    world = ClusterWorld(nursery, tmp_path, secured_redis.server, secured_postgres, plain_url)

    (node,) = await world.start(CONFIGURATION, 1, redis_url=secured_redis.url, postgres_url=url)
    status = (await ask(node, "pg_live_unknown", "narrow")).status
    await world.stop()

    # Neither password is told to a server that is not proven to be ours.
    assert 503 == status
    assert 0 == secured_redis.server.command("CLIENT", "LIST").count("user=gateway")
    told = [record.getMessage() for record in caplog.records if "tries again" in record.getMessage()]
    assert any(f"Redis at 127.0.0.1:{secured_redis.port}" in line and "certificate" in line for line in told), told
    assert any(line.startswith("PostgreSQL:") and "certificate verify failed" in line for line in told), told
