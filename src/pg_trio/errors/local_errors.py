"""Failures of commands and of files. They answer no request."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field


@define(slots=False, eq=False)
class ConfigError(Exception):
    """A configuration that cannot be used. `mistakes` lists all mistakes, each as `path: what is wrong`."""

    source: str
    mistakes: Sequence[str] = field(converter=tuple[str, ...])

    def __str__(self) -> str:
        count = len(self.mistakes)
        head = f"{self.source}: {count} mistake{'s' if count != 1 else ''}"
        return "\n".join([head, *(f"  {mistake}" for mistake in self.mistakes)])


class AnswerCut(Exception):
    """A kept answer goes no further, and it has no end: its worker ended, its file is damaged, or it is too long to be
    kept. The text says which."""


@define(slots=False, eq=False)
class StoreError(Exception):
    """A file of the data directory cannot be used. The text says which, why, and what to do."""

    said: str

    def __str__(self) -> str:
        return self.said


@define(slots=False, eq=False)
class StoreAway(StoreError):
    """The server of a store does not answer now, and may later. The text says which, and why."""


@define(slots=False, eq=False)
class WorkersFailed(Exception):
    """The workers of `pg-trio serve` cannot be kept alive. The text says why."""

    said: str

    def __str__(self) -> str:
        return self.said


@define(slots=False, eq=False)
class OutputLost(Exception):
    """A command's result could not be written to standard output. The text says why, and what happened to the
    result."""

    said: str

    def __str__(self) -> str:
        return self.said
