"""Operators, and what they change: who may use the pages and the admin API, overrides of the file, the audit's rows."""

from __future__ import annotations

from typing import Literal, TypeAlias

from attrs import asdict, field, frozen

from pg_trio.domain.caller import Token
from pg_trio.domain.json_value import Json, JsonObject

Role: TypeAlias = Literal["viewer", "operator"]
ROLES: tuple[Role, ...] = ("viewer", "operator")
KEY_PREFIX = "pg_op_"


@frozen(slots=True)
class Operator:
    """A person who runs the gateway: the SHA-256 of the key, never the key. Times are Unix seconds."""

    id: int
    name: str
    prefix: str
    digest: bytes = field(repr=False)
    role: Role
    is_active: bool
    created_at: float

    @property
    def may_change(self) -> bool:
        """Whether more than looking is allowed."""
        return self.role == "operator"


@frozen(slots=True)
class Override:
    """A setting that an operator changed, in place of the file's.

    `target` is `provider:{name}` or `endpoint:{project uuid}/{slug}`, `field` the setting's name, `value` JSON.
    """

    target: str
    field: str
    value: Json


@frozen(slots=True)
class Change:
    """What an operator does, for the audit: `change` is JSON that says what was changed, without secrets."""

    operator: Operator
    action: str
    target: str
    address: str | None
    change: Json = None


def describe_new_token(token: Token) -> JsonObject:
    """What the audit says of a new token: everything that was chosen, and nothing of its text."""
    limits = {} if token.limits is None else asdict(token.limits)
    return {
        "project": str(token.project_uuid),
        "name": token.name,
        "env": token.env,
        "scopes": list(token.scopes),
        **{name: limit for name, limit in limits.items() if limit is not None},
    }


@frozen(slots=True)
class AuditRow:
    """One row of the audit. `at` is Unix seconds."""

    id: int
    at: float
    operator: str
    action: str
    target: str
    change: Json
    address: str | None
