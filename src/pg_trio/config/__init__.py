"""Reads a TOML file and the environment into frozen `Settings`, or reports every mistake at once."""

from pg_trio.config.loading import (
    Configuration,
    load_settings,
    parse_configuration,
    parse_settings,
    read_configuration,
)
from pg_trio.config.settings import Settings

__all__ = [
    "Configuration",
    "Settings",
    "load_settings",
    "parse_configuration",
    "parse_settings",
    "read_configuration",
]
