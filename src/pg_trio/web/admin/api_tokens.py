"""The admin API's tokens: list, create, rotate, revoke. A token's text is answered once and stored nowhere.

The tokens and the audit are two files, so the audit's row follows the change at once. If it cannot be written, a token
that was just made is revoked, and the call fails.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

import attrs
from quart_trio import QuartTrio

from pg_trio.domain.json_value import Json
from pg_trio.domain.operator import describe_new_token
from pg_trio.domain.project import SCOPES, Project, Token, TokenEnv, TokenLimits
from pg_trio.errors import BadRequest, RouteNotFound, StoreError
from pg_trio.web.admin.api_changes import API, read_object
from pg_trio.web.admin.api_lists import describe_limits
from pg_trio.web.admin.api_requests import read_project
from pg_trio.web.admin.paging import page, read_cursor, read_limit
from pg_trio.web.introspection import describe_token

if TYPE_CHECKING:
    from pg_trio.web.admin.admin_app import Desk
    from pg_trio.web.admin.operator_access import Visitor

LIMIT_NAMES = tuple(field.name for field in attrs.fields(TokenLimits))
DEFAULT_SCOPES = ("chat", "models")
ENVS: Mapping[str, TokenEnv] = {"live": "live", "test": "test"}
# Digits of SQLite's integers.
ID_DIGITS = 18


@attrs.frozen
class WantedToken:
    """What a body asks for."""

    project: Project
    name: str
    env: TokenEnv
    scopes: Sequence[str]
    limits: TokenLimits


def add_token_routes(app: QuartTrio, desk: Desk) -> None:
    """Add the routes."""

    @app.get(f"{API}/tokens")
    async def list_tokens() -> dict[str, Any]:
        await desk.require()
        limit, cursor, project = read_limit(), read_cursor(1), read_project()
        tokens: list[Token] = await desk.gateway.administer_tokens(lambda admin: admin.list_tokens(project))
        newest = [one for one in reversed(tokens) if cursor is None or one.id < cursor[0]]
        shown = newest[:limit]
        projects = desk.gateway.settings.projects
        described = [{**describe(one, projects), "limits": await describe_limits(desk.gateway, one)} for one in shown]
        return page(described, (shown[-1].id,) if len(newest) > limit else None)

    @app.post(f"{API}/tokens")
    async def create_token() -> tuple[dict[str, Any], int]:
        visitor = await desk.require(change=True)
        wanted = read_wanted(await read_object(), desk.gateway.settings.projects)
        token, plaintext = await make_token(desk, visitor, wanted)
        return {"ok": True, "data": {"id": token.id, "token": plaintext}}, 201

    @app.post(f"{API}/tokens/<token_id>/rotate")
    async def rotate_token(token_id: str) -> dict[str, Any]:
        visitor = await desk.require(change=True)
        token = await find_token(desk, token_id)
        if not token.is_active:
            raise BadRequest("The token is revoked and stays so; create a new one.")
        # The row first: the old text is dead when the token is rotated, so nothing may keep the new one back then.
        await desk.gateway.operators.override([], visitor.change("token.rotate", f"token:{token.id}"))
        _, plaintext = await desk.gateway.administer_tokens(lambda admin: admin.rotate(str(token.id)))
        return {"ok": True, "data": {"id": token.id, "token": plaintext}}

    @app.delete(f"{API}/tokens/<token_id>")
    async def revoke_token(token_id: str) -> dict[str, Any]:
        visitor = await desk.require(change=True)
        token = await find_token(desk, token_id)
        await desk.gateway.administer_tokens(lambda admin: admin.revoke(str(token.id)))
        await desk.gateway.operators.override([], visitor.change("token.revoke", f"token:{token.id}"))
        return {"ok": True, "data": {"id": token.id, "is_active": False}}


async def find_token(desk: Desk, token_id: str) -> Token:
    """The token of this id. Raises RouteNotFound."""
    if not token_id.isascii() or not token_id.isdigit() or len(token_id) > ID_DIGITS:
        raise RouteNotFound
    tokens: list[Token] = await desk.gateway.administer_tokens(lambda admin: admin.list_tokens())
    found = [one for one in tokens if one.id == int(token_id)]
    if not found:
        raise RouteNotFound
    return found[0]


async def make_token(desk: Desk, visitor: Visitor, wanted: WantedToken) -> tuple[Token, str]:
    """The new token and its text, with the audit's row. Raises BadRequest, StoreError."""

    def create(admin: Any) -> tuple[Token, str]:
        made: tuple[Token, str] = admin.create(
            wanted.project.uuid, wanted.name, wanted.env, wanted.scopes, wanted.limits
        )
        return made

    gateway = desk.gateway
    try:
        token, plaintext = await gateway.administer_tokens(create)
    except ValueError as error:
        raise BadRequest(f"{error}.") from None
    described = describe_new_token(token)
    try:
        await gateway.operators.override([], visitor.change("token.create", f"token:{token.id}", described))
    except StoreError:
        # A token that the audit does not know must not work.
        await gateway.administer_tokens(lambda admin: admin.revoke(str(token.id)))
        raise
    return token, plaintext


def describe(token: Token, projects: Mapping[UUID, Project]) -> dict[str, Any]:
    """A token without its text and digest."""
    project = projects.get(token.project_uuid)
    return {
        "project": str(token.project_uuid),
        "project_slug": project and project.slug,
        **describe_token(token),
    }


def read_wanted(body: Mapping[str, Json], projects: Mapping[UUID, Project]) -> WantedToken:
    """The token that a body asks for. Raises BadRequest, and RouteNotFound for a project that there is not."""
    given = {name: value for name, value in body.items() if value is not None}
    known = ("project", "name", "env", "scopes", *LIMIT_NAMES)
    if unknown := [name for name in given if name not in known]:
        raise BadRequest(f"{unknown[0][:64]}: no such field; there are {', '.join(known)}.")
    name, env, scopes = given.get("name"), given.get("env", "live"), given.get("scopes", list(DEFAULT_SCOPES))
    if not isinstance(name, str):
        raise BadRequest("name: must be a string.")
    if not isinstance(env, str) or env not in ENVS:
        raise BadRequest("env: must be live or test.")
    if not isinstance(scopes, list) or not scopes or not all(isinstance(one, str) and one in SCOPES for one in scopes):
        raise BadRequest(f"scopes: must be a list of {', '.join(SCOPES)}.")
    limits = {name: _whole(name, given[name]) for name in LIMIT_NAMES if name in given}
    return WantedToken(
        _find_project(given.get("project"), projects), name, ENVS[env], [str(one) for one in scopes], _limits(limits)
    )


def _whole(name: str, value: Json) -> int:
    # JSON Schema's integers: 5.0 is one, too.
    if type(value) is int or (type(value) is float and value.is_integer()):
        return int(value)
    raise BadRequest(f"{name}: must be a whole number.")


def _limits(limits: Mapping[str, Any]) -> TokenLimits:
    return TokenLimits(**limits)


def _find_project(given: Json, projects: Mapping[UUID, Project]) -> Project:
    if not isinstance(given, str):
        raise BadRequest("project: must be a project's UUID.")
    try:
        uuid = UUID(given)
    except ValueError:
        raise BadRequest("project: must be a project's UUID.") from None
    if uuid not in projects:
        raise RouteNotFound
    return projects[uuid]
