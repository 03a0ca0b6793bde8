"""`gateway.timezone`: found, refused with the reason, and UTC without any data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo, reset_tzpath

import pytest

from pg_trio.config import parse_settings
from pg_trio.config.time_zone import find_zone
from pg_trio.errors import ConfigError


def read_timezone(value: str, folder: Path) -> str:
    text = f'[gateway]\ntimezone = "{value}"\n[[projects]]\nuuid = "6f1c0000-0000-4000-8000-000000000001"\nname = "A"\n'
    return parse_settings(text, "test.toml", folder, {}).gateway.timezone


@pytest.fixture
def no_data(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A system without time zone data; the tzdata package is not among our dependencies."""
    reset_tzpath(to=[])
    ZoneInfo.clear_cache()
    yield
    reset_tzpath()


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires"])
def test_iana_names_are_found(tmp_path: Path, name: str) -> None:
    assert name == read_timezone(name, tmp_path)


@pytest.mark.parametrize(
    "name", ["Europe/Atlantis", "", "America", "../../etc/passwd", "/etc/localtime", "a\\u0000b", "x" * 5000, "CEST"]
)
def test_other_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"gateway\.timezone: .* is not the IANA name of a time zone"):
        read_timezone(name, tmp_path)


@pytest.mark.usefixtures("no_data")
def test_missing_data_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no time zone data; install the system's tzdata package"):
        read_timezone("Europe/Berlin", tmp_path)


@pytest.mark.usefixtures("no_data")
def test_utc_needs_no_data(tmp_path: Path) -> None:
    assert "UTC" == read_timezone("UTC", tmp_path)
    assert "UTC" == str(find_zone("UTC"))
