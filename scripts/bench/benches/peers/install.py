"""LiteLLM's proxy and Portkey's gateway, each in a throw-away folder of its own under the cache.

Pinned, so that two runs compare the same things. Wheels only and no install scripts: nothing of theirs runs before
their server does.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from scripts.bench.harness.cli import say
from scripts.bench.harness.processes import PeerUnavailableError

# Releases 1.82.7 and 1.82.8 carried a credential stealer (BerriAI/litellm#24518), and 1.107.0 is withdrawn as well;
# this is the last of the line before them. Do not raise it without reading up on what it is raised to.
LITELLM_VERSION = "1.81.16"
PORTKEY_VERSION = "1.15.2"
_INSTALL_LIMIT_S = 900.0
_TELL_EVERY_S = 10.0


def install_litellm(cache: Path) -> Path:
    """The proxy's command, installed if it was not. Raises: PeerUnavailableError."""
    folder = cache / f"litellm-{LITELLM_VERSION}"
    requirement = f"litellm[proxy]=={LITELLM_VERSION}"
    make = [sys.executable, "-m", "venv", str(folder)]
    quietly = ["--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]
    fill = [str(folder / "bin/python"), "-m", "pip", "install", *quietly, requirement]
    _install_once(f"LiteLLM {LITELLM_VERSION} (540 MB)", folder, [make, fill])
    return folder / "bin/litellm"


def install_portkey(cache: Path) -> Path:
    """The gateway's script for Node, installed if it was not. Raises: PeerUnavailableError."""
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            raise PeerUnavailableError(f"{tool} is missing. On Debian: apt-get install nodejs npm")
    folder = cache / f"portkey-{PORTKEY_VERSION}"
    package = f"@portkey-ai/gateway@{PORTKEY_VERSION}"
    # --prefix: without it npm looks for a package.json further up and installs there.
    step = ["npm", "install", "--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund", package]
    _install_once(f"Portkey {PORTKEY_VERSION} (25 MB)", folder, [step])
    return folder / "node_modules/@portkey-ai/gateway/build/start-server.js"


def _install_once(what: str, folder: Path, steps: Sequence[Sequence[str]]) -> None:
    """`folder` holds a finished installation: a broken or interrupted one is thrown away and made anew."""
    finished = folder / ".installed"
    if finished.exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    log = folder.with_suffix(folder.suffix + ".log")
    log.write_bytes(b"")
    for step in steps:
        _run_step(what, step, log)
    finished.touch()


def _run_step(what: str, step: Sequence[str], log: Path) -> None:
    started_at = time.monotonic()
    say(f"Installing {what} …")
    with log.open("ab") as output:
        process = subprocess.Popen(step, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    try:
        status = _wait_telling(process, what, started_at)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if status != 0:
        end = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
        raise PeerUnavailableError(f"installing {what} failed (all of it: {log})\n{end}")


def _wait_telling(process: subprocess.Popen[bytes], what: str, started_at: float) -> int:
    while (taken_s := time.monotonic() - started_at) < _INSTALL_LIMIT_S:
        try:
            return process.wait(_TELL_EVERY_S)
        except subprocess.TimeoutExpired:
            say(f"Installing {what} … {taken_s + _TELL_EVERY_S:.0f} s")
    raise PeerUnavailableError(f"installing {what} took longer than {_INSTALL_LIMIT_S:.0f} s")
