"""`pg-trio check` as a user runs it: a process, its exit status, its two streams."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.config import CREDENTIAL, ENDPOINT, KEY, SOUND

# Far above the half second it takes to import everything on a busy machine.
LIMIT_S = 60


def check(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PG_TRIO_")}
    command = [sys.executable, "-m", "pg_trio", "check", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False, env=clean | environ)


def test_sound_file_is_summarized(tmp_path: Path) -> None:
    path = tmp_path / "pg.toml"
    path.write_text(f"{SOUND}session_ttl_seconds = 60\n[providers.groq]\nenabled = false\n")

    done = check("--config", str(path))

    assert (0, "") == (done.returncode, done.stderr)
    assert [
        f"{path}: no mistakes",
        "  projects: 1 · endpoints: 1 · credentials: 1",
        "  providers switched off: groq",
        "  support/a: an answer or a failure within 120 s (deadline_ms)",
        "    main/gpt: from 0 s to 120 s",
        "  note: projects[0].endpoints[0].session_ttl_seconds: has no effect without sessions_enabled",
    ] == done.stdout.splitlines()
    assert [path] == list(tmp_path.iterdir())


def test_every_mistake_is_on_standard_error(tmp_path: Path) -> None:
    path = tmp_path / "pg.toml"
    path.write_text(SOUND + "temperature = 3\n" + ENDPOINT)

    done = check("--config", str(path))

    assert (1, "") == (done.returncode, done.stdout)
    assert [
        f"{path}: 2 mistakes",
        "  projects[0].endpoints[0].temperature: 3 is above 2",
        '  projects[0].endpoints[1].slug: "a" belongs to projects[0].endpoints[0] already',
    ] == done.stderr.splitlines()
    assert KEY not in done.stderr


def test_file_from_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "pg.toml"
    path.write_text(SOUND)

    assert 0 == check(PG_TRIO_CONFIG=str(path)).returncode


def test_no_file_at_all() -> None:
    done = check()

    assert (1, "") == (done.returncode, done.stdout)
    assert "--config FILE" in done.stderr
    assert "$PG_TRIO_CONFIG" in done.stderr


def test_missing_file(tmp_path: Path) -> None:
    done = check("--config", str(tmp_path / "none"))

    assert (1, "") == (done.returncode, done.stdout)
    assert "does not exist" in done.stderr


def test_certificate_that_is_none_is_found(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n")
    path = tmp_path / "pg.toml"
    path.write_text(CREDENTIAL + 'transport = "httpx"\nca_file = "file:ca.pem"\n')

    done = check("--config", str(path))

    assert (1, "") == (done.returncode, done.stdout)
    assert f"{path}: 1 mistake\n  credential main: ca_file holds no certificates that can be used" in done.stderr
