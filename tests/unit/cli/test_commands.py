"""A command loads what it needs, and no other command."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

import pytest

from pg_trio.cli import COMMANDS, make_parser

# Loaded by `import pg_trio.cli`, whatever the command.
HEAVY = ("trio", "cattrs", "jsonschema_rs", "quart", "hypercorn", "asyncio", "re2", "sqlite3", "ssl")
_PROGRAM = """
import json, sys
from pg_trio.cli import main
status = main(json.loads(sys.argv[1]))
print(json.dumps([status, [name for name in json.loads(sys.argv[2]) if name in sys.modules]]), file=sys.stderr)
"""


def loaded_by(*arguments: str) -> list[str]:
    command = [sys.executable, "-c", _PROGRAM, json.dumps(arguments), json.dumps(HEAVY)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    status, loaded = json.loads(ended.stderr)
    assert 0 == status
    return list(loaded)


@pytest.mark.parametrize("arguments", [["--version"], ["worker", "--help"]], ids=" ".join)
def test_nothing_heavy_is_loaded(arguments: list[str]) -> None:
    assert [] == loaded_by(*arguments)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_file_has_the_command_of_its_name(name: str) -> None:
    (commands,) = (one for one in make_parser([name])._actions if isinstance(one, argparse._SubParsersAction))

    assert [name] == list(commands.choices)


# What a worker has no use for, as long as no request or setting asks for it.
UNUSED = (
    *("httpx", "quart", "hypercorn", "opentelemetry", "prometheus_client", "jsonschema", "rich", "asyncio"),
    *("tarfile", "pg_trio.simulator", "pg_trio.server.supervisor"),
)
_WORKER = """
import json, linecache, sys
unused = json.loads(sys.argv[1])
sys.argv = ["pg-trio", "worker"]
import pg_trio.cli.serve
from pg_trio.cli import fork_workers, server_log
server_log.configure_logging()
fork_workers.load()
sources = [name for name in linecache.cache if name.startswith("<attrs generated")]
print(json.dumps([[name for name in unused if name in sys.modules], sources]))
"""


def test_worker_loads_nothing_that_it_does_not_use() -> None:
    command = [sys.executable, "-c", _WORKER, json.dumps(UNUSED)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)

    loaded, generated_sources = json.loads(ended.stdout)
    assert [] == loaded
    assert [] == generated_sources
