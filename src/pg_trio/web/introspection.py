"""What Quart serves: introspection of a project, health, and a JSON answer for every other path.

`GET /api/{uuid}/info`, `/endpoints`, `/candidates` and `/tokens` need the scope `admin`, `/models` the scope `models`.
They answer `{"ok": true, "data": …}`, except `/models`, which has OpenAI's list shape. No answer holds a key, a token
or a digest, and caches must not store answers (`no-store`). `/healthz` says that the process serves, `/readyz` that it
accepts requests.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol, TypeAlias
from uuid import UUID, uuid4

import attrs
from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.exceptions import MethodNotAllowed as WerkzeugMethodNotAllowed

from pg_trio.domain.guardrails import NO_OUTPUT_RULES, Webhook
from pg_trio.domain.project import (
    RESERVED_SLUGS,
    Access,
    Caller,
    Candidate,
    Credential,
    Endpoint,
    Project,
    Token,
    TokenLimits,
)
from pg_trio.domain.secret import Secret
from pg_trio.domain.server_link import EXTENSION
from pg_trio.errors import (
    BadRequest,
    GatewayError,
    InternalError,
    MethodNotAllowed,
    RouteNotFound,
    StoreError,
    TokensUnavailable,
)
from pg_trio.surfaces import SURFACES, fallback_for, is_v1_route
from pg_trio.web.mint_route import add_client_token_route
from pg_trio.web.model_list import add_model_routes
from pg_trio.web.openapi.document_page import render_page
from pg_trio.web.openapi.public_document import make_public_document

logger = logging.getLogger("pg_trio.web")

ADMIN, MODELS = Access("admin"), Access("models")


class Inspected(Protocol):
    """The parts of the running gateway that introspection reads."""

    async def find_caller(self, authorization: Sequence[str], project: str, access: Access, at: float) -> Caller: ...

    async def list_tokens(self, project_uuid: UUID) -> Sequence[Token]: ...

    def describe_candidate(self, candidate: Candidate) -> dict[str, object]: ...

    @property
    def disabled_providers(self) -> frozenset[str]: ...


# Returns the running gateway (Inspected). Requests are served only while it runs; before, the result is None.
FindInspected: TypeAlias = Callable[[], Any]


def make_web_app(find_inspected: FindInspected, is_ready: Callable[[], bool] = lambda: True) -> QuartTrio:
    """The Quart application. `find_inspected()` returns the running gateway, or None before it runs."""
    app = QuartTrio("pg_trio", static_folder=None)
    # Quart cuts every response after 60 s by default; the gateway has its own limits.
    app.config["RESPONSE_TIMEOUT"] = None
    app.config["BODY_TIMEOUT"] = 30
    app.config["MAX_CONTENT_LENGTH"] = 64 * 1024
    # Paths are matched exactly, without redirects to corrected paths.
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = True
    app.json.sort_keys = False  # type: ignore[attr-defined]
    _add_project_routes(app, find_inspected)
    _add_project_models(app, find_inspected)
    add_model_routes(app, find_inspected)
    add_client_token_route(app, find_inspected)
    _add_routes_of_surfaces(app)
    _add_documents(app)
    _add_health_routes(app, is_ready)
    _add_answer_handlers(app)
    return app


def _add_project_routes(app: QuartTrio, find_inspected: FindInspected) -> None:
    """What a project's admin sees of it."""

    @app.get("/api/<project>/info")
    async def info(project: str) -> dict[str, Any]:
        inspected, caller = await _find_caller(find_inspected, ADMIN, project)
        tokens = await inspected.list_tokens(caller.project.uuid)
        return _data(describe_project(caller.project, len(tokens)))

    @app.get("/api/<project>/endpoints")
    async def endpoints(project: str) -> dict[str, Any]:
        _, caller = await _find_caller(find_inspected, ADMIN, project)
        return _data([describe_endpoint(endpoint) for endpoint in caller.project.endpoints.values()])

    @app.get("/api/<project>/candidates")
    async def candidates(project: str) -> dict[str, Any]:
        inspected, caller = await _find_caller(find_inspected, ADMIN, project)
        return _data(list_candidates(caller.project, inspected))

    @app.get("/api/<project>/tokens")
    async def tokens(project: str) -> dict[str, Any]:
        inspected, caller = await _find_caller(find_inspected, ADMIN, project)
        return _data([describe_token(token) for token in await inspected.list_tokens(caller.project.uuid)])


def _add_project_models(app: QuartTrio, find_inspected: FindInspected) -> None:
    """The models that a project's clients can ask for."""
    # OpenAI's `created` is a model's release time, which is not known here. So it is the time since when this worker
    # offers the model.
    made_at = int(time.time())

    @app.get("/api/<project>/models")
    async def models(project: str) -> dict[str, Any]:
        inspected, caller = await _find_caller(find_inspected, MODELS, project)
        return list_models(caller.project, inspected.disabled_providers, made_at)


def _add_routes_of_surfaces(app: QuartTrio) -> None:
    """The surfaces' routes. Only requests of another method come here, and those for words that are no slugs."""

    @app.route("/api/<project>/<slug>", methods=["GET", "POST"])
    @app.route("/api/<project>/chat/completions", methods=["GET"])
    @app.route("/api/<project>/v1/<path:route>", methods=["GET", "POST"])
    async def not_here(**_: str) -> Response:
        raise _refuse_method(request.path, ())

    @app.before_request
    async def tell_methods() -> Response | None:
        if request.method != "OPTIONS" or (methods := find_methods(request.path)) is None:
            return None
        if not methods:
            raise RouteNotFound
        return Response(b"", headers={"Allow": ", ".join([*methods, "OPTIONS"])})


def _add_documents(app: QuartTrio) -> None:
    """The API's description, for programs and for people."""
    document = make_public_document(SURFACES)

    @app.get("/openapi.json")
    async def openapi() -> dict[str, Any]:
        return document

    @app.get("/docs")
    async def docs() -> Response:
        return render_page(document, "/openapi.json")


def _add_health_routes(app: QuartTrio, is_ready: Callable[[], bool]) -> None:
    """What an orchestrator asks."""

    @app.get("/healthz")
    async def healthz() -> dict[str, Any]:
        return {"ok": True}

    @app.get("/readyz")
    async def readyz() -> tuple[dict[str, Any], int]:
        ready = is_ready()
        return {"ok": ready}, 200 if ready else 503


def _add_answer_handlers(app: QuartTrio) -> None:
    """What every answer has, and the answer to every failure."""

    @app.errorhandler(Exception)
    async def failed(error: Exception) -> Response:
        request_id = uuid4()
        return _respond(as_gateway_error(error, request_id), request_id)

    @app.before_request
    async def read_body() -> None:
        # Our own server goes on after a body that was not read. Stock Hypercorn leaves the client waiting for the next
        # answer. A body that is too large or too slow stays unread.
        if EXTENSION not in request.scope.get("extensions", {}):
            with suppress(HTTPException):
                await request.get_data()

    @app.after_request
    async def finish_head(response: Response) -> Response:
        response.headers.setdefault("X-Request-Id", str(uuid4()))
        # The state of a project or of the gateway changes, so answers must not be stored.
        response.headers["Cache-Control"] = "no-store"
        return response


async def _find_caller(find_inspected: FindInspected, access: Access, project: str) -> tuple[Inspected, Caller]:
    """The running gateway, and the caller of the request that Quart is serving."""
    inspected: Inspected = find_inspected()
    authorization = request.headers.getlist("Authorization")
    return inspected, await inspected.find_caller(authorization, project, access, time.time())


def as_gateway_error(error: Exception, request_id: UUID) -> GatewayError:
    """What Quart or a view raised, as an error of ours; a bug is logged under the id and becomes InternalError."""
    if isinstance(error, GatewayError):
        return error
    if isinstance(error, StoreError):
        logger.error("%s", error)
        return TokensUnavailable()
    if isinstance(error, NotFound):
        return RouteNotFound()
    if isinstance(error, WerkzeugMethodNotAllowed):
        return _refuse_method(request.path, sorted(error.valid_methods or ()))
    if isinstance(error, HTTPException) and error.code is not None and 400 <= error.code < 500:
        return BadRequest(f"{error.name}.")
    extra = {"request_id": str(request_id)}
    logger.error("request %s: unexpected error", request_id, exc_info=error, extra=extra)
    return InternalError()


_READ, _CALLED = ("GET",), ("POST",)
# Below `/api/{uuid}/`. An endpoint may be called `candidates`.
_METHODS = {
    **dict.fromkeys(("info", "endpoints", "tokens", "models"), _READ),
    "candidates": (*_READ, *_CALLED),
    "client-tokens": _CALLED,
    "chat/completions": _CALLED,
}


def find_methods(path: str) -> Sequence[str] | None:
    """The methods of a path below `/api/{uuid}/`: none if it is no route. None for other paths."""
    root, api, _, rest = [*path.split("/", 3), "", "", ""][:4]
    if root or api != "api" or not rest:
        return None
    if rest.startswith("v1/"):
        route = rest.removeprefix("v1/")
        if route == "models" or route.removeprefix("models/") not in (route, ""):
            return _READ
        return _CALLED if is_v1_route(route.encode("utf-8", "surrogateescape")) else ()
    if rest in _METHODS:
        return _METHODS[rest]
    return () if "/" in rest or rest in RESERVED_SLUGS else _CALLED


def _refuse_method(path: str, known: Sequence[str]) -> GatewayError:
    """The refusal of a request whose path may be a route of another method; `known` are those of other paths."""
    methods = find_methods(path)
    allowed = known if methods is None else methods
    return MethodNotAllowed(allowed) if allowed else RouteNotFound()


def describe_project(project: Project, tokens_count: int) -> dict[str, Any]:
    """A project for its own admin. Revoked tokens count, because they are listed, too."""
    return {
        "uuid": str(project.uuid),
        "name": project.name,
        "slug": project.slug,
        "project_type": project.project_type,
        "env": project.env,
        "is_active": project.is_active,
        "endpoints_count": len(project.endpoints),
        "tokens_count": tokens_count,
        "metadata": project.metadata,
    }


def describe_endpoint(endpoint: Endpoint) -> dict[str, Any]:
    """An endpoint with the contract's field names; credentials by name only."""
    own, *failover = endpoint.candidates
    described: dict[str, Any] = {
        "uuid": str(endpoint.uuid),
        "slug": endpoint.slug,
        "name": endpoint.name,
        "description": endpoint.description,
        "is_active": endpoint.is_active,
        # The published API can offer an endpoint as a tool over MCP; this gateway serves no MCP.
        "expose_as_mcp_tool": False,
        "credential": own.credential.name,
        "provider": own.provider,
        "model": own.model,
        "failover": [
            {"credential": candidate.credential.name, "provider": candidate.provider, "model": candidate.model}
            for candidate in failover
        ],
    }
    for field in attrs.fields(Endpoint):
        # What is made of the settings is none: a format, a count, the prices (they are in [[prices]] and in the list).
        if field.init and field.name not in described and field.name not in ("candidates", "guardrails", "prices"):
            value = getattr(endpoint, field.name)
            described[field.name] = str(value) if field.name.endswith("_usd") and value is not None else value
    described["guardrails"] = attrs.asdict(
        endpoint.guardrails,
        filter=lambda _, value: value is not None and value != NO_OUTPUT_RULES and not isinstance(value, Secret),
        value_serializer=_show_rule,
    )
    return described


def _show_rule(rule: object, attribute: attrs.Attribute[object], value: object) -> object:
    """A rule's setting: a credential by its name, a webhook's URL without the query, because a key may be in it."""
    if isinstance(value, Credential):
        return value.name
    return str(value).partition("?")[0] if isinstance(rule, Webhook) and attribute.name == "url" else value


def list_candidates(project: Project, inspected: Inspected) -> list[dict[str, Any]]:
    """Each candidate of the project's endpoints, with the endpoints that use it and its state."""
    users: dict[tuple[str, str], list[str]] = {}
    places: dict[tuple[str, str], Candidate] = {}
    for endpoint in project.endpoints.values():
        for candidate in endpoint.candidates:
            place = (candidate.credential.name, candidate.model)
            places[place] = candidate
            slugs = users.setdefault(place, [])
            if endpoint.slug not in slugs:
                slugs.append(endpoint.slug)
    return [
        {
            "credential": candidate.credential.name,
            "provider": candidate.provider,
            "model": candidate.model,
            "endpoints": users[place],
            "is_enabled": candidate.provider not in inspected.disabled_providers,
            **inspected.describe_candidate(candidate),
        }
        for place, candidate in places.items()
    ]


def describe_token(token: Token) -> dict[str, Any]:
    """A token without its text and digest."""
    return {
        "id": token.id,
        "name": token.name,
        "prefix": token.prefix,
        "env": token.env,
        "scopes": list(token.scopes),
        "is_active": token.is_active,
        "created_at": token.created_at,
        "last_used_at": token.last_used_at,
        **attrs.asdict(token.limits or TokenLimits()),
    }


def list_models(project: Project, disabled_providers: frozenset[str], created: int) -> dict[str, Any]:
    """The provider/model pairs of the project's active endpoints, in OpenAI's list shape.

    `created` is Unix seconds, the same for all.
    """
    pairs = {
        (candidate.provider, candidate.model): None
        for endpoint in project.endpoints.values()
        if endpoint.is_active
        for candidate in endpoint.candidates
        if candidate.provider not in disabled_providers
    }
    data = [
        {"id": f"{provider}/{model}", "object": "model", "created": created, "owned_by": provider}
        for provider, model in pairs
    ]
    return {"object": "list", "data": data}


def _data(data: object) -> dict[str, Any]:
    return {"ok": True, "data": data}


def _respond(error: GatewayError, request_id: UUID) -> Response:
    answer = fallback_for(request.path.encode("utf-8", "surrogateescape")).render_error(error, request_id)
    headers = [(name.decode("ascii"), value.decode("ascii")) for name, value in answer.headers()]
    return Response(answer.body, status=answer.status, headers=dict(headers))
