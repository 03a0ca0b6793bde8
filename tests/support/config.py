"""Configurations for tests: a sound one to spoil, and what is said of a spoilt one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pg_trio.config import parse_settings
from pg_trio.config.settings import Settings
from pg_trio.errors import ConfigError

PROJECT = "6f1c0000-0000-4000-8000-000000000001"
KEY = "sk-test-0123456789abcdef"

CREDENTIAL = f'[[credentials]]\nname = "main"\nprovider = "openai"\napi_key = "{KEY}"\n'
PROJECT_HEAD = f'[[projects]]\nuuid = "{PROJECT}"\nname = "Support"\n'
ENDPOINT = '[[projects.endpoints]]\nslug = "a"\ncredential = "main"\nmodel = "gpt"\n'
SOUND = CREDENTIAL + PROJECT_HEAD + ENDPOINT

NOWHERE = Path("/nonexistent")


def read(text: str, environ: Mapping[str, str] | None = None, folder: Path = NOWHERE) -> Settings:
    """The settings of a text, with nothing from this process's environment."""
    return parse_settings(text, "pg.toml", folder, environ or {})


def mistakes_in(text: str, environ: Mapping[str, str] | None = None, folder: Path = NOWHERE) -> list[str]:
    """Every mistake of a text, as the report has them; empty if it is sound."""
    try:
        read(text, environ, folder)
    except ConfigError as error:
        return list(error.mistakes)
    return []
