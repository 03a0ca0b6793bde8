"""The headers of the file's tables: single or double brackets, and the settings under each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import UnionType
from typing import Any, Union, get_args, get_origin

import attrs

from pg_trio.config.cluster_settings import ClusterTable
from pg_trio.config.settings import GatewaySettings, ObserveSettings, ServerSettings, UpstreamSettings
from pg_trio.config.tables import FileTable

Steps = tuple[str, ...]
# These sections stay plain values until the environment is laid over them (tables.FileTable).
_SECTIONS: dict[str, type[attrs.AttrsInstance]] = {
    "gateway": GatewaySettings,
    "upstream": UpstreamSettings,
    "server": ServerSettings,
    "observe": ObserveSettings,
    "cluster": ClusterTable,
}
# A key that stands under more headers than these, such as `name`, does not tell where it belongs.
_TOLD_HEADERS = 2


@attrs.frozen
class TableHeader:
    """A table's place in the file. `shape` is its content. `repeats`: there may be several, in double brackets."""

    steps: Steps
    shape: type[attrs.AttrsInstance]
    repeats: bool = False
    # `[providers.NAME]`: NAME is not a fixed word.
    named: bool = False

    def __str__(self) -> str:
        inside = ".".join((*self.steps, "NAME") if self.named else self.steps)
        return f"[[{inside}]]" if self.repeats else f"[{inside}]"


# As many as there are headers in a file's shape. Without it, 10,000 endpoints take half a second of reading types.
@lru_cache(maxsize=128)
def headers_under(shape: type[attrs.AttrsInstance], steps: Steps = ()) -> Mapping[str, TableHeader]:
    """The tables directly under one, by their key."""
    found = {}
    for setting in attrs.fields(attrs.resolve_types(shape, include_extras=True)):
        section = _SECTIONS.get(setting.name) if shape is FileTable else None
        header = _read_type(setting.type, (*steps, setting.name)) if section is None else None
        if section is not None:
            header = TableHeader((*steps, setting.name), section)
        if header is not None:
            found[setting.name] = header
    return found


def _read_type(annotation: Any, steps: Steps) -> TableHeader | None:
    """The header of a setting that holds tables; None if it holds something else."""
    choices = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    for choice in choices:
        origin, parts = get_origin(choice), get_args(choice)
        if isinstance(choice, type) and attrs.has(choice):
            return TableHeader(steps, choice)
        if origin in (list, dict):
            shapes = [part for part in get_args(parts[-1]) or parts if isinstance(part, type) and attrs.has(part)]
            if shapes:
                return TableHeader(steps, shapes[0], repeats=origin is list, named=origin is dict)
    return None


def where_it_belongs(key: str) -> str:
    """`; it is a setting of [server]`; empty if no table has the key, or too many have it."""
    headers = _settings().get(key, ())
    return f"; it is a setting of {' and '.join(headers)}" if 0 < len(headers) <= _TOLD_HEADERS else ""


@lru_cache
def _settings() -> dict[str, list[str]]:
    """The headers under which each setting stands. Of equal tables at several levels, the widest one."""
    found: dict[str, list[str]] = {}
    shapes = set()
    for header in _walk(FileTable, ()):
        if header.shape not in shapes:
            shapes.add(header.shape)
            # A table under it has its own header, and also counts as a setting here.
            for setting in attrs.fields(header.shape):
                if setting.inherited and setting.name in found:
                    # What two tables share is told of the first.
                    continue
                found.setdefault(setting.name, []).append(str(header))
    return found


def _walk(shape: type[attrs.AttrsInstance], steps: Steps) -> Iterator[TableHeader]:
    headers = list(headers_under(shape, steps).values())
    yield from headers
    for header in headers:
        yield from _walk(header.shape, header.steps)
