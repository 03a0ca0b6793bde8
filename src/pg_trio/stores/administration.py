"""What the commands do with the stores of a data directory, while gateways run or while none does. Synchronous."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal, Protocol, TypeAlias
from uuid import UUID

from attrs import frozen

from pg_trio.domain.log_row import LogRow
from pg_trio.domain.project import Token, TokenEnv, TokenLimits
from pg_trio.errors import StoreError
from pg_trio.store.backup import back_up
from pg_trio.store.databases import DATABASES
from pg_trio.store.health import check_database
from pg_trio.store.log_reader import LogFilter, LogReader
from pg_trio.store.token_admin import TokenAdmin

# What is told of progress: a database's name, parts copied so far, parts of it.
Progress: TypeAlias = Callable[[str, int, int], None]


class TokenAdministration(AbstractContextManager["TokenAdministration"], Protocol):
    """Making and ending tokens; see store/token_admin.py for what each raises."""

    def create(
        self,
        project_uuid: UUID,
        name: str,
        env: TokenEnv = "live",
        scopes: Sequence[str] = ("chat", "models"),
        limits: TokenLimits | None = None,
    ) -> tuple[Token, str]:
        """A new token and its plaintext, which exists nowhere else."""

    def list_tokens(self, project_uuid: UUID | None = None) -> list[Token]:
        """The tokens of a project, or all; revoked ones included."""

    def rotate(self, reference: str) -> tuple[Token, str]:
        """The token with a new plaintext, and that plaintext."""

    def revoke(self, reference: str) -> Token:
        """The token, ended for good."""

    def set_limits(self, reference: str, **changes: int | None) -> Token:
        """The token with these limits changed."""


class LogRows(AbstractContextManager["LogRows"], Protocol):
    """The log's rows, for reading."""

    def last(self, wanted: LogFilter, limit: int) -> list[LogRow]:
        """The newest rows that match, oldest first."""

    def new(self, wanted: LogFilter) -> Iterator[LogRow]:
        """The rows that match and were written since the last call."""


@frozen(slots=True)
class StoreCheck:
    """What `doctor` says of one store."""

    state: Literal["ok", "note", "problem"]
    text: str


class Administration(Protocol):
    """The stores of one data directory, as their administrator sees them. Everything may raise StoreError."""

    def open_tokens(self, *, create: bool = True) -> TokenAdministration:
        """The tokens. With `create=False` nothing is made: a store that is not there is an error."""

    def open_log(self) -> LogRows:
        """The log, for reading."""

    def migrate(self) -> list[str]:
        """Bring every store that is there to this release's schema; their names."""

    def back_up(self, archive: Path, progress: Progress, *, replace: bool = False) -> list[str]:
        """Copy every store that is there into one archive; their names."""

    def check(self) -> Iterator[StoreCheck]:
        """What may be said of each store; reads them whole, and changes nothing."""


@frozen(slots=True)
class EmbeddedAdministration:
    """See Administration: SQLite's files."""

    data_dir: Path

    def open_tokens(self, *, create: bool = True) -> TokenAdmin:
        """See Administration."""
        return TokenAdmin(self.data_dir, create=create)

    def open_log(self) -> LogReader:
        """See Administration."""
        return LogReader(self.data_dir)

    def migrate(self) -> list[str]:
        """See Administration."""
        there = [database for database in DATABASES if (self.data_dir / database.file_name).exists()]
        for database in there:
            database.open(self.data_dir).close()
        return [database.file_name for database in there]

    def back_up(self, archive: Path, progress: Progress, *, replace: bool = False) -> list[str]:
        """See Administration."""
        return back_up(self.data_dir, archive, progress, replace=replace)

    def check(self) -> Iterator[StoreCheck]:
        """See Administration."""
        for database in DATABASES:
            path = self.data_dir / database.file_name
            if not path.exists():
                yield StoreCheck("note", f"{path}: not there; it is made when it is needed")
                continue
            try:
                yield StoreCheck("ok", check_database(self.data_dir, database))
            except StoreError as error:
                yield StoreCheck("problem", str(error))


def administer(data_dir: Path) -> Administration:
    """The administration of the stores of a data directory."""
    return EmbeddedAdministration(data_dir)
