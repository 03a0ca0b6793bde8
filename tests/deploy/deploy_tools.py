"""Runs the tools that check the files in deploy/, and reads those files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
# Where Debian keeps servers, which is not on every user's PATH.
PLACES = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
ENVIRONMENT = ROOT / ".venv-deploy" / "bin"
TOOL_LIMIT_S = 120


def find_tool(name: str) -> str:
    """The path of a tool of the system, or of .venv-deploy. Skips the test without it; fails it in CI."""
    found = shutil.which(name, path=f"{ENVIRONMENT}{os.pathsep}{PLACES}")
    if found is None:
        reason = f"{name} is not installed (./scripts/system-packages, ./scripts/environment deploy)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def run_tool(name: str, *arguments: str | Path, folder: Path = ROOT) -> str:
    """What the tool prints. Fails the test if its exit status is not 0."""
    done = subprocess.run(
        [find_tool(name), *map(str, arguments)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TOOL_LIMIT_S,
        check=False,
        env={**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)},
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


_AS_JSON = (
    "import json, sys, yaml; json.dump(list(yaml.safe_load_all(open(sys.argv[1], encoding='utf-8'))), sys.stdout)"
)


def read_yaml(path: Path) -> list[Any]:
    """The documents of a YAML file, read by the parser of kubernetes-validate."""
    if not (ENVIRONMENT / "kubernetes-validate").exists():
        find_tool("kubernetes-validate")
    done = subprocess.run(
        [ENVIRONMENT / "python", "-c", _AS_JSON, path], capture_output=True, check=True, timeout=TOOL_LIMIT_S
    )
    documents: list[Any] = json.loads(done.stdout)
    return documents


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of `gateway.test` that is valid for two days, and its key."""
    certificate, key = folder / "gateway.pem", folder / "gateway.key"
    command = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=gateway.test"
    extension = ["-addext", "subjectAltName=DNS:gateway.test"]
    run_tool("openssl", *command.split(), *extension, "-keyout", key, "-out", certificate, folder=folder)
    return certificate, key


def replace_once(text: str, changes: dict[str, str]) -> str:
    """The text with each of these replaced. Fails the test if one is missing, so that no change is in vain."""
    for old, new in changes.items():
        assert old in text, f"{old!r} is not there"
        text = text.replace(old, new)
    return text
