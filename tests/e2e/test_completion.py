"""`pg-trio completion`: what the shells themselves make of the scripts."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pg_trio.domain.project import SCOPES

PATIENCE_S = 60
COMMANDS = {
    "prices",
    "serve",
    "reload",
    "check",
    "token",
    "operator",
    "logs",
    "show",
    "stats",
    "top",
    "backup",
    "migrate",
    "cluster",
    "doctor",
    "chat",
    "guard",
    "simulate",
    "completion",
}


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with each shell's script."""
    folder = tmp_path_factory.mktemp("scripts")
    for shell in ("bash", "zsh", "fish"):
        command = [sys.executable, "-m", "pg_trio", "completion", shell]
        made = subprocess.run(command, capture_output=True, check=True, timeout=PATIENCE_S)
        (folder / shell).write_bytes(made.stdout)
    return folder


def shell(*command: str) -> list[str]:
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {command[0]} here")
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert (0, "") == (done.returncode, done.stderr)
    return done.stdout.splitlines()


def bash(scripts: Path, *words: str) -> set[str]:
    """What bash offers for the last of the words."""
    quoted = " ".join(f"'{word}'" for word in words)
    script = f"source {scripts}/bash; COMP_WORDS=(pg-trio {quoted}); COMP_CWORD={len(words)}; _pg_trio"
    return set(shell("bash", "-c", script + '; printf "%s\\n" "${COMPREPLY[@]}"')) - {""}


def fish(scripts: Path, line: str) -> set[str]:
    offered = shell("fish", "--no-config", "-c", f"source {scripts}/fish; complete -C 'pg-trio {line}'")
    return {line.partition("\t")[0] for line in offered}


def test_bash_offers_commands(scripts: Path) -> None:
    assert {"-h", "--help", "--version"} | COMMANDS == bash(scripts, "")
    assert {"serve"} == bash(scripts, "ser")
    assert {"create", "list", "limit", "rotate", "revoke", "-h", "--help"} == bash(scripts, "token", "")


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["check", "--c"], {"--config"}),
        (["token", "create", "--sc"], {"--scope"}),
        (["token", "create", "--name", "list", "--sc"], {"--scope"}),
        (["token", "create", "--scope", ""], set(SCOPES)),
        (["token", "create", "--scope", "ch"], {"chat"}),
        (["token", "create", "--env", "=", "l"], {"live"}),
        (["token", "create", "--env", "="], {"live", "test"}),
        (["completion", "z"], {"zsh"}),
        # Files are bash's own matter.
        (["serve", "--config", "p"], set()),
        (["worker", "--s"], set()),
    ],
)
def test_bash_offers_options_and_values(scripts: Path, words: list[str], offered: set[str]) -> None:
    assert offered == bash(scripts, *words)


def test_fish_offers_what_fits(scripts: Path) -> None:
    assert fish(scripts, "") >= COMMANDS
    assert {"--config"} == fish(scripts, "check --co")
    assert {"chat"} == fish(scripts, "token create --scope ch")
    assert {"create", "list", "limit", "rotate", "revoke"} == fish(scripts, "token ")
    assert {"zsh"} == fish(scripts, "completion z")
    assert set() == fish(scripts, "worke")


def test_zsh_takes_the_script(scripts: Path) -> None:
    load = f"autoload -Uz compinit; compinit -D; source {scripts}/zsh"
    script = f"{load}; print $_comps[pg-trio]; whence -w _pg-trio-token-create"

    assert ["_pg-trio", "_pg-trio-token-create: function"] == shell("zsh", "-f", "-c", script)


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_internal_command_is_in_no_script(scripts: Path, name: str) -> None:
    # `--workers` is an option of `serve`.
    assert "worker" not in (scripts / name).read_text().replace("workers", "").replace("worker processes", "")
