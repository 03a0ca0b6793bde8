"""Tokens, and who calls with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypeAlias
from uuid import UUID

from attrs import field, frozen

from pg_trio.domain.client_grant import ClientGrant
from pg_trio.domain.value import value
from pg_trio.errors import CallerError, WrongProjectType

if TYPE_CHECKING:
    from pg_trio.domain.project import Project

TokenEnv: TypeAlias = Literal["live", "test"]


@frozen(slots=True)
class TokenLimits:
    """A token's limits over all endpoints. `tokens_per_minute` are a model's tokens. None: no limit."""

    rate_limit_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_concurrent: int | None = None


@frozen(slots=True)
class Token:
    """A token as it is stored: the SHA-256 of its plaintext, never the plaintext. Times are Unix seconds.

    `limits` is None if it has none, so that such tokens' requests skip the checks. `grant` is None for a stored token.
    A client token has its own, and its parent's id and limits; if the grant has limits, `limits` is not None.
    """

    id: int
    project_uuid: UUID
    name: str
    prefix: str
    digest: bytes = field(repr=False)
    env: TokenEnv
    scopes: tuple[str, ...]
    is_active: bool
    created_at: float
    last_used_at: float | None = None
    limits: TokenLimits | None = None
    grant: ClientGrant | None = None

    @property
    def subject(self) -> str | None:
        """The user that a client token was minted for; None if it names none, and for a stored token."""
        return None if self.grant is None else self.grant.subject

    @property
    def holder(self) -> str:
        """Names the owner of sessions, streams and kept answers beside `id`: "" for a stored token."""
        return "" if self.grant is None else self.grant.holder

    def may_call(self, slug: str) -> bool:
        """Whether it may call the endpoint with this slug."""
        return self.grant is None or slug in self.grant.endpoints


@frozen(slots=True, eq=False)
class Access:
    """What a route demands of its callers: one of these scopes, and a project of one of these types.

    `wrong_type` is the error for a project of another type. `scope` is the one that a refusal names.
    """

    scope: str
    project_types: frozenset[str] = frozenset({"ai_gateway"})
    wrong_type: Callable[[], CallerError] = WrongProjectType
    also: str | None = None

    def is_met_by(self, scopes: tuple[str, ...]) -> bool:
        """Whether a token with these scopes may use the route."""
        return self.scope in scopes or self.also in scopes


CHAT_ACCESS = Access("chat")


@value(slots=True)
class Caller:
    """An authenticated caller: an active token of an active gateway project."""

    token: Token
    project: Project
