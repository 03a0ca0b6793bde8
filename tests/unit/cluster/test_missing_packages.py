"""Without the extra `cluster`, a configuration with `[cluster]` says what to install; one without it loads nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pg_trio.config import parse_settings
from pg_trio.errors import StoreError
from pg_trio.stores.administration import administer
from pg_trio.stores.opening import choose_engines

CLUSTER = '[cluster]\nredis_url = "redis://h"\npostgres_url = "postgresql://h/d"\nnode = "a"\n'


@pytest.fixture
def without_psycopg(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(("psycopg", "pg_trio.cluster", "pg_trio.stores.clu"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)


@pytest.mark.usefixtures("without_psycopg")
def test_missing_package_is_named(tmp_path: Path) -> None:
    settings = parse_settings(CLUSTER, "pg.toml", tmp_path, {})

    for ask in (lambda: choose_engines(settings), lambda: administer(tmp_path, settings.cluster)):
        with pytest.raises(
            StoreError, match=r"\[cluster\]: psycopg is not installed; pip install 'pg_trio\[cluster\]'"
        ):
            ask()


def test_one_machine_loads_nothing_of_it() -> None:
    loaded = "[name for name in sys.modules if 'psycopg' in name or 'pg_trio.cluster' in name]"
    program = f"import sys, pg_trio.app, pg_trio.gateway; print({loaded})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    assert "[]" == done.stdout.strip()
