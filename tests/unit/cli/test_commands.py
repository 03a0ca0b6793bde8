"""A command loads what it needs, and no other command."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

import pytest

from pg_trio.cli import COMMANDS, make_parser

# Loaded by `import pg_trio.cli`, whatever the command.
HEAVY = ("trio", "cattrs", "jsonschema_rs", "quart", "hypercorn", "structlog", "re2", "sqlite3", "ssl")
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
