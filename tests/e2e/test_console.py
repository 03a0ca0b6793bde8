"""What every command makes of a standard output or error that takes nothing, or not every character."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

import pytest
import trio

from tests.support.config import PROJECT, SOUND
from tests.support.processes import PG_TRIO, start

PATIENCE_S = 60
# An ASCII terminal, as a container without a locale had it before PEP 538 and PEP 540.
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
COMMANDS = {
    "check": "check",
    "doctor": "doctor",
    "logs": "logs",
    "token list": "token list",
    "token list --json": "token list --json",
    "backup": "backup --force saved.tar",
    "help": "--help",
    "version": "--version",
}


def shell(script: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a shell's line in which `pg` is the command; the configuration is in the environment."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PG_TRIO_")}
    pg = " ".join(PG_TRIO)
    return subprocess.run(
        ["bash", "-c", f'set -o pipefail; pg() {{ {pg} "$@"; }}; {script}'],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
        env={**clean, "PG_TRIO_CONFIG": str(folder / "pg.toml"), **environ},
    )


def waiting_bytes(pipe: int) -> int:
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4), sys.byteorder)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a configuration, a token whose name is not ASCII, and a log."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "pg.toml").write_text(SOUND.replace("Support", "Größe · …"), encoding="utf-8")
    made = shell(f"pg token create --project {PROJECT} --name größer", folder)
    assert 0 == made.returncode, made.stderr
    # A start makes the other files.
    wait = "while ! grep -q serves out; do sleep 0.05; done"
    served = shell(f"{' '.join(PG_TRIO)} serve --bind 127.0.0.1:0 > out & {wait}; kill %1; wait %1", folder)
    assert 0 == served.returncode, served.stderr
    return folder


@pytest.mark.parametrize("command", COMMANDS.values(), ids=list(COMMANDS))
@pytest.mark.parametrize(("to", "why"), [(">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")])
def test_output_that_is_lost_is_a_failure(site: Path, command: str, to: str, why: str) -> None:
    done = shell(f"pg {command} {to}", site)

    assert (1, f"pg-trio: standard output: {why}\n") == (done.returncode, done.stderr)


@pytest.mark.parametrize("command", COMMANDS.values(), ids=list(COMMANDS))
@pytest.mark.parametrize("buffered", ["", "1"], ids=["buffered", "unbuffered"])
def test_reader_that_leaves_changes_nothing(site: Path, command: str, buffered: str) -> None:
    # `true` is gone long before Python has started.
    done = shell(f"pg {command} | true", site, PYTHONUNBUFFERED=buffered)

    assert (0, "") == (done.returncode, done.stderr)


@pytest.mark.parametrize("command", COMMANDS.values(), ids=list(COMMANDS))
def test_ascii_terminal_gets_everything(site: Path, command: str) -> None:
    done = shell(f"pg {command}", site, **ASCII)

    assert (0, "") == (done.returncode, done.stderr)
    assert done.stdout.isascii()


def test_characters_that_a_terminal_lacks_are_legible(site: Path) -> None:
    summary = shell("pg check", site, **ASCII).stdout
    tokens = shell("pg token list", site, PYTHONIOENCODING="ascii").stdout

    assert "  projects: 1 - endpoints: 1 - credentials: 1" in summary.splitlines()
    assert tokens.rstrip().endswith(r"gr\xf6\xdfer")


@pytest.mark.parametrize("command", ["check", "nonsense", "check --config missing.toml"])
@pytest.mark.parametrize("to", ["2>/dev/full", "2>&-", "2>&- >&- <&-"])
def test_standard_error_that_takes_nothing(site: Path, command: str, to: str) -> None:
    healthy = shell(f"pg {command}", site)

    done = shell(f"pg {command} {to}", site)

    expected = healthy.returncode if ">&- <&-" not in to else healthy.returncode or 1
    assert (expected, "") == (done.returncode, done.stderr)


@pytest.mark.parametrize("command", ["token list", "doctor", "logs", "backup other.tar", "reload", "serve"])
def test_user_who_may_not_read_is_told(site: Path, command: str) -> None:
    somebody = f"setpriv --reuid 65534 --clear-groups {' '.join(PG_TRIO)}"
    if shell(f"{somebody} --version", Path("/")).returncode != 0:
        pytest.skip("only root can be somebody else, who must be able to read the program")
    with tempfile.TemporaryDirectory() as parent:
        # What others may read: the way to the configuration, not the data. Another run of pytest closes `tmp_path`.
        folder = Path(parent) / "site"
        shutil.copytree(site, folder)
        for opened in (folder, folder.parent):
            opened.chmod(0o755)
        done = shell(f"{somebody} {command}", folder)

    said = done.stdout + done.stderr
    assert 1 == done.returncode, said
    assert "Traceback" not in said
    assert "user" in said or "no gateway runs" in said


@pytest.mark.parametrize("to", [">/dev/full", ">&-", "| true"])
def test_token_that_is_lost_is_revoked(site: Path, to: str) -> None:
    done = shell(f"pg token create --project {PROJECT} --name lost {to}", site)

    listed = shell("pg token list", site).stdout.splitlines()
    assert 1 == done.returncode
    assert "is revoked again" in done.stderr
    assert {"revoked"} == {line.split()[2] for line in listed if line.endswith(" lost")}


def test_rotated_text_that_is_lost_is_said(site: Path) -> None:
    done = shell("pg token rotate 1 >/dev/full", site)

    assert 1 == done.returncode
    assert "rotate it again" in done.stderr


def test_nonblocking_pipe_gets_everything(site: Path) -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    # More than the pipe's 64 KiB: a thousand notes.
    (site / "long.toml").write_text(
        SOUND
        + "\n"
        + "".join(f'[[projects.endpoints]]\nslug = "e{n}"\ncredential = "main"\nmodel = "gpt"\n' for n in range(1000))
    )
    with subprocess.Popen([*PG_TRIO, "check", "--config", str(site / "long.toml")], stdout=write) as process:
        os.close(write)
        while waiting_bytes(read) < 60_000 and process.poll() is None:
            time.sleep(0.01)
        with os.fdopen(read, "rb") as file:
            got = file.read()
        status = process.wait(PATIENCE_S)

    assert 0 == status
    assert b"support/e999" in got
    assert len(got) > 65_536


@pytest.mark.slow
@pytest.mark.parametrize("to", [">/dev/full", ">&-", "2>/dev/full", "2>&- >&- <&-", "> >(true)"])
def test_server_serves_without_output(site: Path, to: str) -> None:
    serve = f"{' '.join(PG_TRIO)} serve --bind 127.0.0.1:0 {to} &"
    wait = "while ! grep -qs workers data/serve.json; do sleep 0.05; done"

    done = shell(f"{serve} {wait}; kill $!; wait $!", site)

    assert 0 == done.returncode


@pytest.mark.slow
@pytest.mark.parametrize("environ", [ASCII, {"PYTHONIOENCODING": "ascii"}], ids=["locale", "encoding"])
async def test_server_on_ascii_terminal(tmp_path: Path, nursery: trio.Nursery, environ: dict[str, str]) -> None:
    (tmp_path / "pg.toml").write_text('[gateway]\ndata_dir = "dätä"\n' + SOUND, encoding="utf-8")
    command = [sys.executable, "-m", "pg_trio", "serve", "--config", str(tmp_path / "pg.toml"), "--bind", "127.0.0.1:0"]

    served = await start(nursery, command, environ)
    status = await served.stop()

    assert 0 == status
    assert " - workers: 1 - projects: 1" in served.output
    assert (tmp_path / "dätä" / "tokens.db").exists()
