"""The commands' operations on the stores of a data directory. Gateways may run meanwhile. Synchronous."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import tzinfo
from pathlib import Path
from typing import Literal, Protocol, TypeAlias
from uuid import UUID

from attrs import frozen

from pg_trio.config.cluster_settings import ClusterSettings
from pg_trio.domain.log_row import LogRow
from pg_trio.domain.operator import Change, Operator, Role
from pg_trio.domain.project import Token, TokenEnv, TokenLimits
from pg_trio.domain.request_filter import RowChoice
from pg_trio.domain.request_sums import Overview, TimeRange
from pg_trio.errors import StoreError
from pg_trio.store.databases import DATABASES, Database
from pg_trio.store.health import Working, check_database
from pg_trio.store.log_reader import LogFilter, LogReader
from pg_trio.store.operator_admin import OperatorAdmin
from pg_trio.store.token_admin import TokenAdmin

CLUSTER_EXTRA = "pip install 'pg_trio[cluster]'"
# Reports progress: a database's name, its parts copied so far, all of its parts.
Progress: TypeAlias = Callable[[str, int, int], None]


class TokenAdministration(AbstractContextManager["TokenAdministration"], Protocol):
    """Creates, changes and revokes tokens. See store/token_admin.py for the errors of each method."""

    def create(
        self,
        project_uuid: UUID,
        name: str,
        env: TokenEnv = "live",
        scopes: Sequence[str] = ("chat", "models"),
        limits: TokenLimits | None = None,
    ) -> tuple[Token, str]:
        """A new token and its plaintext. The plaintext is not stored."""

    def list_tokens(self, project_uuid: UUID | None = None) -> list[Token]:
        """The tokens of a project, or all tokens. Revoked ones are included."""

    def rotate(self, reference: str) -> tuple[Token, str]:
        """The token with a new plaintext, and that plaintext."""

    def revoke(self, reference: str) -> Token:
        """The token, permanently revoked."""

    def set_limits(self, reference: str, **changes: int | None) -> Token:
        """The token with these limits changed."""


class OperatorAdministration(AbstractContextManager["OperatorAdministration"], Protocol):
    """Creates and revokes operators. See store/operator_admin.py for the errors of each method."""

    def create(self, name: str, role: Role = "operator") -> tuple[Operator, str]:
        """A new operator and the key. The key is not stored."""

    def list_operators(self) -> list[Operator]:
        """All operators. Revoked ones are included."""

    def revoke(self, reference: str) -> Operator:
        """The operator, permanently revoked."""

    def note(self, change: Change) -> None:
        """Write the audit's row of a change that was made elsewhere."""

    def make_link(self, operator: Operator) -> str:
        """A secret that logs the operator in at the pages, once."""


class LogRows(AbstractContextManager["LogRows"], Protocol):
    """The log's rows, for reading."""

    @property
    def note(self) -> str | None:
        """What a reader should know of rows that are missing."""

    def last(self, wanted: LogFilter, limit: int, *, bodies: bool = True) -> list[LogRow]:
        """The newest rows that match, oldest first."""

    def new(self, wanted: LogFilter, *, bodies: bool = True) -> Iterator[LogRow]:
        """The rows that match and were written since the last call."""

    def overview(self, choice: RowChoice, within: TimeRange) -> Overview:
        """The sums of a range."""


@frozen(slots=True)
class StoreCheck:
    """What `doctor` reports about one store."""

    state: Literal["ok", "note", "problem"]
    text: str


class Administration(Protocol):
    """The stores of one data directory, as an administrator uses them. Every method may raise StoreError."""

    def open_tokens(self, *, create: bool = True) -> TokenAdministration:
        """The tokens. With `create=False` a missing store is an error and is not created."""

    def open_operators(self) -> OperatorAdministration:
        """The operators."""

    def open_log(self) -> LogRows:
        """The log, for reading."""

    def migrate(self) -> list[str]:
        """Migrate every existing store to this release's schema. Returns their names."""

    def carry_over(self, now_s: float, zone: tzinfo) -> dict[str, int]:
        """Carry what this machine has stored over to its cluster. Returns how many rows of what.

        Months begin in `zone`.
        """

    def back_up(self, archive: Path, progress: Progress, *, replace: bool = False) -> list[str]:
        """Copy every existing store into one archive. Returns their names."""

    def check_engines(self) -> Iterator[StoreCheck]:
        """Whether each server that the stores are at can be used. Changes nothing."""

    def check_files(self, working: Working) -> Iterator[StoreCheck]:
        """The state of each file. Reads every file completely and changes nothing. `working` is called meanwhile."""


@frozen(slots=True)
class EmbeddedAdministration:
    """See Administration: SQLite's files."""

    data_dir: Path

    def open_tokens(self, *, create: bool = True) -> TokenAdmin:
        """See Administration."""
        return TokenAdmin(self.data_dir, create=create)

    def open_operators(self) -> OperatorAdmin:
        """See Administration."""
        return OperatorAdmin(self.data_dir)

    def open_log(self) -> LogReader:
        """See Administration."""
        return LogReader(self.data_dir)

    def migrate(self) -> list[str]:
        """See Administration."""
        there = [database for database in DATABASES if (self.data_dir / database.file_name).exists()]
        for database in there:
            database.open(self.data_dir).close()
        return [database.file_name for database in there]

    def carry_over(self, now_s: float, zone: tzinfo) -> dict[str, int]:
        """See Administration."""
        raise StoreError("There is no cluster to carry anything over to.")

    def back_up(self, archive: Path, progress: Progress, *, replace: bool = False) -> list[str]:
        """See Administration."""
        # Only here: tarfile takes memory, and a gateway administers tokens, too.
        from pg_trio.store.backup import back_up

        return back_up(self.data_dir, archive, progress, replace=replace)

    def check_engines(self) -> Iterator[StoreCheck]:
        """See Administration: there are none."""
        return iter(())

    def check_files(self, working: Working) -> Iterator[StoreCheck]:
        """See Administration."""
        return check_databases(self.data_dir, DATABASES, working)


def check_databases(data_dir: Path, databases: Iterable[Database], working: Working) -> Iterator[StoreCheck]:
    """The state of each of these files of a data directory."""
    for database in databases:
        path = data_dir / database.file_name
        if not path.exists():
            yield StoreCheck("note", f"{path}: not there; the gateway creates it when it is needed")
            continue
        try:
            yield StoreCheck("ok", check_database(data_dir, database, working))
        except StoreError as error:
            yield StoreCheck("problem", str(error))


def administer(data_dir: Path, cluster: ClusterSettings | None = None) -> Administration:
    """The administration of the stores of a data directory, and of the cluster that its node belongs to.

    Raises StoreError if the packages of a cluster are missing.
    """
    own = EmbeddedAdministration(data_dir)
    if cluster is None:
        return own
    try:
        # Only here: one machine loads nothing of it.
        from pg_trio.stores.cluster_administration import ClusterAdministration
    except ModuleNotFoundError as missing:
        raise StoreError(f"[cluster]: {missing.name} is not installed; {CLUSTER_EXTRA}") from missing
    return ClusterAdministration(cluster, own)
