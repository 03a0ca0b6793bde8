"""The series of this worker's table, and the names that may be their labels."""

from __future__ import annotations

import json
import logging
from bisect import bisect_left
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from uuid import UUID

from attrs import frozen

from pg_trio.domain.project import Endpoint, Project
from pg_trio.observe.metric_kinds import KINDS, OTHER, Kind
from pg_trio.shared_memory.metric_file import MetricTable, TableFull, open_table

logger = logging.getLogger("pg_trio.observe")


class SeriesBook:
    """The places of series in the worker's table, made as they are asked for."""

    def __init__(self, table: MetricTable) -> None:
        """Raises TableFull if the table has no room for one series of each kind."""
        self._table = table
        self.cells = table.cells
        self._places: dict[tuple[str, tuple[str, ...]], int] = {}
        self._is_full = False
        # First of all, so that there is room for them.
        self._others = {name: self._add(kind, (OTHER,) * len(kind.labels)) for name, kind in KINDS.items()}

    @classmethod
    def open(cls, data_dir: Path, seat: int | None) -> SeriesBook:
        """The series of a table of the seat (see open_table). Raises StoreError.

        A table that an earlier release has filled has no room for a new kind of series. It keeps its counts, and the
        seat gets another one.
        """
        with ExitStack() as full:
            while True:
                table = open_table(data_dir, seat)
                try:
                    return cls(table)
                except TableFull:
                    logger.warning("the table %d of metrics is full: this worker counts in another one", table.number)
                    # Held meanwhile, so that it is not taken again.
                    full.callback(table.close)

    def close(self) -> None:
        """Let go of the table. Its counts stay."""
        self._table.close()

    def has_room(self) -> bool:
        """Whether each series that was asked for so far has its own place."""
        return not self._is_full

    def find(self, kind: Kind, *labels: str) -> int:
        """The place of the series' first value. In a full table, a new series is `other`."""
        place = self._places.get((kind.name, labels))
        if place is None:
            place = self._places[kind.name, labels] = self._find_first(kind, labels)
        return place

    def observe(self, kind: Kind, value: float, *labels: str) -> None:
        """Count a value in a histogram."""
        place, bounds, cells = self.find(kind, *labels), kind.bounds, self.cells
        cells[place + bisect_left(bounds, value)] += 1.0
        cells[place + len(bounds) + 1] += value

    def count(self, kind: Kind, amount: float, *labels: str) -> None:
        """Add to a counter."""
        self.cells[self.find(kind, *labels)] += amount

    def put(self, kind: Kind, value: float, *labels: str) -> None:
        """Set a gauge."""
        self.cells[self.find(kind, *labels)] = value

    def value(self, kind: Kind, *labels: str) -> float:
        """A counter's or a gauge's value."""
        found: float = self.cells[self.find(kind, *labels)]
        return found

    def renew(self, path: Path) -> None:
        """Move to another file, if the path names another one by now (see MetricTable.renew). Raises StoreError."""
        if self._table.renew(path):
            logger.warning("%s was removed or replaced: this worker's metrics go on in a new one", path)
            self.cells = self._table.cells

    def _find_first(self, kind: Kind, labels: tuple[str, ...]) -> int:
        try:
            return self._add(kind, labels)
        except TableFull:
            if not self._is_full:
                logger.error("this worker's table of metrics is full: further label sets are counted as `%s`", OTHER)
            self._is_full = True
            return self._others[kind.name]

    def _add(self, kind: Kind, labels: tuple[str, ...]) -> int:
        key = json.dumps([kind.name, *labels], ensure_ascii=False, separators=(",", ":"))
        return self._table.add(key.encode("utf-8", "replace"), kind.size)


@frozen(eq=False)
class ConfiguredNames:
    """The names of the configuration, which may be labels. Every other name is `other`."""

    _endpoints: frozenset[tuple[UUID, str]]
    _models: frozenset[tuple[str, str]]

    @classmethod
    def of(cls, projects: Iterable[Project]) -> ConfiguredNames:
        """The names in a configuration."""
        endpoints: set[tuple[UUID, str]] = set()
        models: set[tuple[str, str]] = set()
        for project in projects:
            endpoints |= {(project.uuid, slug) for slug in project.endpoints}
            models |= {(one.provider, one.model) for each in project.endpoints.values() for one in each.candidates}
            for entry in project.providers:
                endpoints |= {(project.uuid, name) for name in entry.names()}
                models |= {(entry.credential.provider, model) for model in entry.models}
        return cls(frozenset(endpoints), frozenset(models))

    def endpoint(self, project: Project, endpoint: Endpoint) -> str:
        """The endpoint's label."""
        return endpoint.slug if (project.uuid, endpoint.slug) in self._endpoints else OTHER

    def model(self, provider: str, model: str) -> str:
        """The model's label."""
        return model if (provider, model) in self._models else OTHER
