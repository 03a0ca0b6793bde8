"""The commands in scripts/: each shows its usage from any folder, and nothing lies beside the benches."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from scripts.bench.harness import cli
from scripts.bench.harness.processes import ROOT

SCRIPTS = ROOT / "scripts"
COMMANDS = sorted(file.name for file in SCRIPTS.iterdir() if file.is_file() and file.suffix == "")


@pytest.mark.parametrize("option", ["--help", "-h"])
@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "provider-docs"])
@pytest.mark.parametrize("folder", [ROOT, SCRIPTS])
def test_command_has_help_from_any_folder(folder: Path, name: str, option: str) -> None:
    relative = f"./{(SCRIPTS / name).relative_to(folder)}"

    done = subprocess.run([relative, option], cwd=folder, capture_output=True, text=True, timeout=30, check=False)

    assert (0, "") == (done.returncode, done.stderr)
    assert f"usage: scripts/{name}" in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_command_can_be_run(name: str) -> None:
    assert os.access(SCRIPTS / name, os.X_OK)


@pytest.mark.parametrize("name", COMMANDS)
def test_command_makes_the_environment_that_it_uses(name: str) -> None:
    text = (SCRIPTS / name).read_text(encoding="utf-8")

    before, uses, _ = text.partition("exec .venv/bin/")
    assert not uses or "\n./scripts/environment " in before


def test_nothing_lies_beside_the_benches() -> None:
    kept = {"__init__.py", "__main__.py", "__pycache__", "benches", "harness", "run", *cli.list_benches()}

    assert kept >= {file.name for file in (SCRIPTS / "bench").iterdir()}
