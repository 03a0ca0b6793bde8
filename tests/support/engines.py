"""Redis and PostgreSQL of a test: its own servers on free ports, in temporary folders, killed at the end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from scripts.bench.harness.processes import find_free_port

# A server that does not listen by then never will.
START_LIMIT_S = 30.0
# Commands of the servers' own programs.
COMMAND_LIMIT_S = 60.0
MEMORY = Path("/dev/shm")
PSQL_OPTIONS = ("-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c")
INITDB_OPTIONS = ("-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D")


def children_of(pid: int) -> list[int]:
    """The processes that a process has started, and those that these have."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, path.read_text().split()):
                found += [child, *children_of(child)]
    return found


@define(eq=False)
class EngineProcess:
    """A server's process, its folder, and what a fault does to it."""

    folder: Path
    port: int = field(factory=find_free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it accepts connections."""
        self.process = self._spawn()
        deadline = time.monotonic() + START_LIMIT_S
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{type(self).__name__} did not start:\n{self.output()}")
            time.sleep(0.01)

    def freeze(self) -> None:
        """Stop all of it, as a machine that is paused."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End all of it at once."""
        if self.process is not None:
            self._signal(signal.SIGKILL)
            self.process.wait(COMMAND_LIMIT_S)
            self.process = None

    def output(self) -> str:
        log = self.folder / "engine.log"
        return log.read_text("utf-8", "replace") if log.exists() else ""

    def is_ready(self) -> bool:
        raise NotImplementedError

    def _spawn(self) -> subprocess.Popen[bytes]:
        raise NotImplementedError

    def _signal(self, number: int) -> None:
        assert self.process is not None
        # PostgreSQL is many processes, each of which leads a group of its own.
        for pid in (self.process.pid, *children_of(self.process.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _popen(self, command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        with (self.folder / "engine.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, **options)


@define(eq=False)
class RedisServer(EngineProcess):
    """Redis without a disk: it starts empty."""

    options: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self, *arguments: str) -> str:
        """What `redis-cli` prints."""
        done = subprocess.run(
            ["redis-cli", "-p", str(self.port), *arguments],
            capture_output=True,
            timeout=COMMAND_LIMIT_S,
            check=True,
        )
        return done.stdout.decode().strip()

    def is_ready(self) -> bool:
        try:
            return self.command("PING").startswith(("PONG", "NOAUTH"))
        except subprocess.CalledProcessError:
            return False

    def _spawn(self) -> subprocess.Popen[bytes]:
        return self._popen(
            [
                *f"redis-server --port {self.port} --bind 127.0.0.1 --appendonly no --save".split(),
                *("", "--dir", str(self.folder), *self.options),
            ]
        )


@define(eq=False)
class SentinelServer(RedisServer):
    """A sentinel of Redis."""

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = f"redis-server {self.folder}/sentinel.conf --sentinel --port {self.port} --bind 127.0.0.1"
        return self._popen([*command.split(), "--dir", str(self.folder)])


@define(eq=False)
class PostgresServer(EngineProcess):
    """PostgreSQL with a new cluster of databases. It never flushes: no test cuts the power."""

    # Settings of postgresql.conf beside the tests' own.
    changes: Mapping[str, object] = field(factory=dict)
    is_made: bool = False
    databases: int = 0

    @property
    def url(self) -> str:
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def create_database(self) -> str:
        """A new empty database's URL."""
        self.databases += 1
        name = f"test_{self.databases}"
        self.query(f"CREATE DATABASE {name}")
        return self.url_of(name)

    def query(self, statement: str, url: str | None = None) -> str:
        """What `psql` prints: values alone, with | between them."""
        done = subprocess.run(
            [str(postgres_program("psql")), *PSQL_OPTIONS, statement, url or self.url],
            capture_output=True,
            timeout=COMMAND_LIMIT_S,
            check=False,
        )
        assert 0 == done.returncode, done.stderr.decode()
        return done.stdout.decode().strip()

    def is_ready(self) -> bool:
        done = subprocess.run(
            [str(postgres_program("pg_isready")), "-q", "-h", "127.0.0.1", "-p", str(self.port)],
            timeout=COMMAND_LIMIT_S,
            check=False,
        )
        return done.returncode == 0

    def _spawn(self) -> subprocess.Popen[bytes]:
        data = self.folder / "data"
        if not self.is_made:
            self._make(data)
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.folder,
            "fsync": "off",
            "shared_buffers": "16MB",
            "max_connections": "80",
            **self.changes,
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return self._popen([str(postgres_program("postgres")), "-D", str(data), *options], **as_postgres())

    def _make(self, data: Path) -> None:
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres")
        subprocess.run(
            [str(postgres_program("initdb")), *INITDB_OPTIONS, str(data)],
            stdout=subprocess.DEVNULL,
            timeout=COMMAND_LIMIT_S,
            check=True,
            **as_postgres(),
        )
        self.is_made = True


def as_postgres() -> dict[str, Any]:
    """PostgreSQL refuses to run as root."""
    return {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}


def postgres_program(name: str) -> Path | None:
    """PostgreSQL's program: on the path, or where Debian keeps it."""
    found = shutil.which(name)
    if found is not None and name not in ("psql", "pg_isready"):
        return Path(found)
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return places[-1] if places else None if found is None else Path(found)


@contextmanager
def running_redis(*options: str) -> Iterator[RedisServer]:
    """A server of Redis, or a skipped test."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed (scripts/system-packages)")
    with _folder() as folder:
        yield from _run(RedisServer(folder, options=options))


@contextmanager
def running_sentinels(
    master: RedisServer, name: str, count: int = 3, settings: str = ""
) -> Iterator[list[SentinelServer]]:
    """Sentinels of a running master and its replicas, with more settings (lines). Most of them must agree that it is
    down."""
    with ExitStack() as stack:
        sentinels: list[SentinelServer] = []
        for _ in range(count):
            folder = stack.enter_context(_folder())
            # A sentinel writes what it learns into its configuration.
            (folder / "sentinel.conf").write_text(
                f"sentinel monitor {name} 127.0.0.1 {master.port} {count // 2 + 1}\n"
                f"sentinel down-after-milliseconds {name} 1000\nsentinel failover-timeout {name} 5000\n{settings}"
            )
            sentinels.append(SentinelServer(folder))
            sentinels[-1].start()
            stack.callback(sentinels[-1].kill)
        yield sentinels


@contextmanager
def running_postgres(**changes: object) -> Iterator[PostgresServer]:
    """A server of PostgreSQL with these settings, or a skipped test."""
    if postgres_program("initdb") is None:
        pytest.skip("postgresql is not installed (scripts/system-packages)")
    with _folder() as folder:
        yield from _run(PostgresServer(folder, changes=changes))


def _run(server: Any) -> Iterator[Any]:
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def _folder() -> Iterator[Path]:
    # The server's user must reach it, so it is not in pytest's own private folder.
    with tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as name:
        Path(name).chmod(0o755)
        yield Path(name)
