"""LiteLLM's proxy and Portkey's gateway, each in a throw-away folder of its own under the cache.

Pinned, so that two runs compare the same things. Wheels only and no install scripts: nothing of theirs runs before
their server does.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.bench.harness.cli import say
from scripts.bench.harness.processes import PeerUnavailableError

# Releases 1.82.7 and 1.82.8 carried a credential stealer (BerriAI/litellm#24518), and 1.107.0 is withdrawn as well;
# this is the last of the line before them. Do not raise it without reading up on what it is raised to.
LITELLM_VERSION = "1.81.16"
PORTKEY_VERSION = "1.15.2"
_INSTALL_LIMIT_S = 900.0


def install_litellm(cache: Path) -> Path:
    """The proxy's command, installed if it was not. Raises: PeerUnavailableError."""
    folder = cache / f"litellm-{LITELLM_VERSION}"
    quietly = ["--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]
    requirement = f"litellm[proxy]=={LITELLM_VERSION}"
    fill = [str(folder / "bin/python"), "-m", "pip", "install", *quietly, requirement]
    install_once(f"LiteLLM {LITELLM_VERSION} (540 MB)", folder, [[sys.executable, "-m", "venv", str(folder)], fill])
    return folder / "bin/litellm"


def install_portkey(cache: Path) -> Path:
    """The gateway's script for Node, installed if it was not. Raises: PeerUnavailableError."""
    if missing := [tool for tool in ("node", "npm") if shutil.which(tool) is None]:
        raise PeerUnavailableError(f"{missing[0]} is missing. On Debian: apt-get install nodejs npm")
    folder = cache / f"portkey-{PORTKEY_VERSION}"
    package = f"@portkey-ai/gateway@{PORTKEY_VERSION}"
    # --prefix: without it npm looks for a package.json further up and installs there.
    step = ["npm", "install", "--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund", package]
    install_once(f"Portkey {PORTKEY_VERSION} (25 MB)", folder, [step])
    return folder / "node_modules/@portkey-ai/gateway/build/start-server.js"


def install_once(what: str, folder: Path, steps: Sequence[Sequence[str]]) -> None:
    """`folder` holds a finished installation: a broken or interrupted one is thrown away and made anew."""
    finished, log = folder / ".installed", folder.with_suffix(folder.suffix + ".log")
    if finished.exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    say(f"Installing {what}; {log} tells how far it is …")
    with log.open("wb") as output:
        for step in steps:
            try:
                subprocess.run(step, stdout=output, stderr=subprocess.STDOUT, timeout=_INSTALL_LIMIT_S, check=True)
            except subprocess.TimeoutExpired as exc:
                raise PeerUnavailableError(f"installing {what} took longer than {_INSTALL_LIMIT_S:.0f} s") from exc
            except subprocess.CalledProcessError as exc:
                end = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
                raise PeerUnavailableError(f"installing {what} failed (all of it: {log})\n{end}") from exc
    finished.touch()
