"""Finds the configuration file: the given one, or the one that $PG_TRIO_CONFIG names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pg_trio.errors import ConfigError

CONFIG_VARIABLE = "PG_TRIO_CONFIG"


def find_configuration(given: Path | None = None, environ: Mapping[str, str] = os.environ) -> Path:
    """The configuration file's path. Raises ConfigError if neither names one."""
    named = given or environ.get(CONFIG_VARIABLE, "").strip()
    if not named:
        raise ConfigError("configuration", [f"no file: give --config FILE, or set ${CONFIG_VARIABLE}"])
    return Path(named)
