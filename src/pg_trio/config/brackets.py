"""Finds single brackets where double ones are needed, and the reverse.

`[projects]` is a table, `[[projects]]` one of several: a common mistake in TOML. It is reported once. The rest of the
file is then checked as if the brackets were right.
"""

from __future__ import annotations

from typing import Any

import attrs

from pg_trio.config.headers import Steps, TableHeader, headers_under
from pg_trio.config.mistakes import Mistakes, Path


def mend_brackets(
    raw: dict[str, Any], shape: type[attrs.AttrsInstance], mistakes: Mistakes, path: Path = (), steps: Steps = ()
) -> None:
    """Put a lone table into a list if several are allowed, take it out of a list if only one is, and report each
    change."""
    for key, header in headers_under(shape, steps).items():
        if key not in raw:
            continue
        place = (*path, key)
        raw[key] = _mend(raw[key], header, place, mistakes)
        for step, table in _tables_in(raw[key], header):
            mend_brackets(table, header.shape, mistakes, (*place, *step), header.steps)


def _mend(value: Any, header: TableHeader, place: Path, mistakes: Mistakes) -> Any:
    if header.repeats and isinstance(value, dict):
        mistakes.add(place, f"is one table where there may be several: write {header}, in double brackets")
        return [value]
    if not header.repeats and isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        mistakes.add(place, f"is a list where there is one table: write {header}, in single brackets")
        return {} if header.named else value[0]
    return value


def _tables_in(value: Any, header: TableHeader) -> list[tuple[Path, dict[str, Any]]]:
    if header.repeats and isinstance(value, list):
        return [((index,), item) for index, item in enumerate(value) if isinstance(item, dict)]
    return [((), value)] if isinstance(value, dict) and not header.named else []
