"""`PG_TRIO_GATEWAY__MAX_BODY_BYTES=…`: the plain sections' settings from the environment, over those of the file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, get_args, get_origin

import attrs

from pg_trio.config.cluster_settings import ClusterTable
from pg_trio.config.mistakes import Mistakes, Path, suggest
from pg_trio.config.reading import EnvironmentText
from pg_trio.config.settings import GatewaySettings, ObserveSettings, ServerSettings, UpstreamSettings

PREFIX = "PG_TRIO_"
SEPARATOR = "__"

SECTIONS: dict[str, type[attrs.AttrsInstance]] = {
    "gateway": GatewaySettings,
    "upstream": UpstreamSettings,
    "server": ServerSettings,
    "observe": ObserveSettings,
    "cluster": ClusterTable,
}

# 18 digits: a longer number is above every bound, and Python refuses to read 4,300 digits.
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}(?:\.[0-9]{1,18})?")
_BOOLEANS = {"true": True, "false": False}
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")


def overlay_environment(sections: dict[str, dict[str, Any]], environ: Mapping[str, str], mistakes: Mistakes) -> None:
    """Put each `PG_TRIO_SECTION__KEY` into its section. Later mistakes of the value name the variable."""
    for variable in sorted(environ):
        if variable.startswith(PREFIX) and SEPARATOR in variable:
            section, _, key = variable.removeprefix(PREFIX).lower().partition(SEPARATOR)
            path: Path = (section, key)
            mistakes.labels[path] = variable
            if _exists(section, key, path, mistakes):
                # Files of variables often have CR LF, or a space at a line's end; neither belongs to the value.
                text = EnvironmentText(environ[variable].strip())
                sections.setdefault(section, {})[key] = _read(text, attrs.fields_dict(SECTIONS[section])[key])


def note_misspelt(environ: Mapping[str, str]) -> Iterator[str]:
    """A note for each variable that names a setting with a wrong separator. Other variables are ignored: Kubernetes
    sets `PG_TRIO_PORT` and similar ones for a service called pg-trio."""
    for variable in sorted(environ):
        section, _, key = variable.removeprefix(PREFIX).lower().partition("_")
        if variable.startswith(PREFIX) and section in SECTIONS and key in attrs.fields_dict(SECTIONS[section]):
            meant = f"{PREFIX}{section}{SEPARATOR}{key}".upper()
            yield f"{variable}: is not read; the setting is {meant}, with two underscores"


def _exists(section: str, key: str, path: Path, mistakes: Mistakes) -> bool:
    if section not in SECTIONS:
        mistakes.add(path, f"no section of that name is set from the environment{suggest(section, SECTIONS)}")
        return False
    known = attrs.fields_dict(SECTIONS[section])
    if key not in known:
        mistakes.add(path, f"unknown setting{suggest(key, known)}")
        return False
    return True


def _read(text: str, setting: attrs.Attribute[Any]) -> bool | int | Decimal | str | list[str]:
    """The value as TOML would have held it. Structuring reports a value of a wrong type.

    A list has commas between its items.
    """
    if get_origin(setting.type) is list:
        return [item.strip() for item in text.split(",") if item.strip()]
    plain = get_args(setting.type)[0] if get_args(setting.type) else setting.type
    if plain is bool:
        return _BOOLEANS.get(text.lower(), text)
    if plain is float and _NUMBER.fullmatch(text):
        return Decimal(text)
    return int(text) if plain is int and _INTEGER.fullmatch(text) else text


# The annotations of the settings are strings until they are resolved.
for _section in SECTIONS.values():
    attrs.resolve_types(_section, include_extras=True)
