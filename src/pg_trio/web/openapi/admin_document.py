"""`/admin/openapi.json`: the admin API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from pg_trio import __version__
from pg_trio.config.changed_settings import ENDPOINT_FIELDS
from pg_trio.domain.log_row import AttemptKind
from pg_trio.domain.project import SCOPES
from pg_trio.web.openapi.document_parts import (
    ANY_OBJECT,
    BOOLEAN,
    ERROR,
    INTEGER,
    JSON_TYPE,
    NUMBER,
    STREAM_TYPE,
    STRING,
    UUID_TEXT,
    VERDICTS,
    Part,
    a_list,
    an_object,
    answer,
    body_of,
    constant,
    failures,
    header_parameter,
    nullable,
    ok,
    one_of,
    path_parameter,
    query_parameter,
    reference,
    stream_schema,
)

READ_STATUSES = (400, 401, 404, 405, 429, 500, 503)
CHANGE_STATUSES = (400, 401, 403, 404, 405, 413, 429, 500, 503)
TIME = {"type": "number", "minimum": 0, "maximum": 1e11}

LIMIT = query_parameter("limit", {"type": "integer", "minimum": 1, "maximum": 1_000}, "Items at most; 100.")
CURSOR = query_parameter("cursor", STRING, "The `next` of the page before.")
FILTER = query_parameter(
    "filter",
    {"type": "string", "maxLength": 1_000},
    "Words that all hold: `status:5xx`, `provider:openai`, `model:gpt`, `endpoint:ask`, `error:text`, `token:name`,"
    " `subject:user-17`, or bare text.",
)
PROJECT = query_parameter("project", UUID_TEXT, "Only this project's.")
SINCE = query_parameter("since", TIME, "From then on; Unix seconds.")
UNTIL = query_parameter("until", TIME, "Before then; Unix seconds.")
RANGE = query_parameter("range", one_of("15m", "1h", "6h", "24h", "7d", "30d"), "The time until now; 1h.")
FORMAT = query_parameter("format", one_of("json", "csv", "jsonl"), "As a file; without `limit`, of all rows.")
LAST_EVENT = header_parameter("Last-Event-ID", STRING, "The last event that the client has seen.")
CSRF = header_parameter("X-CSRF-Token", STRING, "Of a page's session; keys need none.")

SUMS = an_object(
    {
        "requests": INTEGER,
        "errors": INTEGER,
        "deadline_misses": INTEGER,
        "prompt_tokens": INTEGER,
        "completion_tokens": INTEGER,
        "total_tokens": INTEGER,
        "cost_usd": NUMBER,
        "mean_ms": nullable(NUMBER),
    }
)
_PERCENTILES = ("p50_ms", "p95_ms", "p99_ms", "first_token_p50_ms", "first_token_p95_ms")
PERCENTILES = {name: nullable(NUMBER) for name in _PERCENTILES}
ROW: Part = an_object(
    {
        "request_id": UUID_TEXT,
        "at": {"type": "number", "description": "When its head arrived; Unix seconds."},
        "project": nullable(UUID_TEXT),
        "endpoint": nullable(STRING),
        "token": {**nullable(STRING), "description": "The token's name."},
        "provider": nullable(STRING),
        "model": nullable(STRING),
        "status": INTEGER,
        "outcome": STRING,
        "error": nullable(STRING),
        "latency_ms": NUMBER,
        "first_token_ms": nullable(NUMBER),
        "usage": nullable(reference("Usage")),
        "cost_usd": nullable(NUMBER),
    },
    {
        "project_slug": nullable(STRING),
        "surface": nullable(STRING),
        "token_id": nullable(INTEGER),
        "subject": nullable(STRING),
        "error_code": nullable(STRING),
        "attempts_count": INTEGER,
        "hedge_won": nullable(BOOLEAN),
        "node": {**STRING, "description": "The node of a cluster that served it."},
    },
)


def _change_of(name: str) -> Part:
    """The schema of a setting's override."""
    if name == "is_active":
        return nullable(BOOLEAN)
    if name == "hedge_after":
        return nullable({"type": "string", "pattern": "^p[0-9]{1,2}$"})
    if name.endswith("_usd"):
        return nullable({"type": "number", "minimum": 0})
    return nullable({"type": "integer", "minimum": 1})


SCHEMAS: Part = {
    "Error": ERROR,
    "Usage": an_object({"prompt_tokens": INTEGER, "completion_tokens": INTEGER, "total_tokens": INTEGER}),
    "RequestRow": ROW,
    "Stage": an_object({"name": STRING, "start_ms": NUMBER, "end_ms": NUMBER}),
    "Attempt": an_object(
        {
            "provider": STRING,
            "model": STRING,
            "outcome": one_of(*get_args(AttemptKind)),
            "reason": nullable(STRING),
            "start_ms": NUMBER,
            "end_ms": NUMBER,
            "first_token_ms": nullable(NUMBER),
        },
        {"credential": STRING, "is_hedge": BOOLEAN},
    ),
    "Request": {
        "allOf": [
            reference("RequestRow"),
            an_object(
                {
                    "stages": a_list(reference("Stage")),
                    "attempts": a_list(reference("Attempt")),
                    "deadline_ms": nullable(INTEGER),
                    "guardrails": VERDICTS,
                    "request_body": nullable(ANY_OBJECT),
                    "response_body": nullable(ANY_OBJECT),
                }
            ),
        ]
    },
    "Sums": SUMS,
    "Overview": an_object(
        {
            "since": NUMBER,
            "until": NUMBER,
            "step_s": NUMBER,
            "is_partial": BOOLEAN,
            "total": {
                "allOf": [
                    reference("Sums"),
                    an_object(
                        {
                            **PERCENTILES,
                            "hedges": an_object({"started": INTEGER, "won": INTEGER, "saved_ms": nullable(NUMBER)}),
                        }
                    ),
                ]
            },
            "steps": a_list({"allOf": [reference("Sums"), an_object({"at": NUMBER, **PERCENTILES})]}),
            "endpoints": a_list({"allOf": [reference("Sums"), an_object({"endpoint": nullable(STRING)})]}),
            "providers": a_list({"allOf": [reference("Sums"), an_object({"provider": nullable(STRING)})]}),
            "budget": an_object({"budget_usd": NUMBER, "spent_usd": NUMBER, "reserved_usd": NUMBER}),
        }
    ),
    "ProviderState": an_object({"name": STRING, "is_active": BOOLEAN}),
    "Provider": an_object(
        {"name": STRING, "is_active": BOOLEAN, "overrides": ANY_OBJECT, "candidates": a_list(ANY_OBJECT)}
    ),
    "EndpointState": an_object(
        {"project": UUID_TEXT, "slug": STRING, "is_active": BOOLEAN, "overrides": ANY_OBJECT},
    ),
    "Endpoint": an_object(
        {
            "project": UUID_TEXT,
            "slug": STRING,
            "is_active": BOOLEAN,
            "overrides": ANY_OBJECT,
            "settings": ANY_OBJECT,
            "spend": ANY_OBJECT,
        }
    ),
    "Budget": an_object(
        {
            "project": UUID_TEXT,
            "slug": STRING,
            "budget_usd": NUMBER,
            "spent_usd": nullable(NUMBER),
            "reserved_usd": nullable(NUMBER),
        }
    ),
    "Token": an_object(
        {
            "id": INTEGER,
            "project": UUID_TEXT,
            "name": STRING,
            "prefix": STRING,
            "env": one_of("live", "test"),
            "scopes": a_list(one_of(*SCOPES)),
            "is_active": BOOLEAN,
            "last_used_at": nullable(NUMBER),
        }
    ),
    "WantedToken": {
        **an_object(
            {"project": UUID_TEXT, "name": {"type": "string", "minLength": 1, "maxLength": 200}},
            {
                "scopes": {"type": "array", "minItems": 1, "items": one_of(*SCOPES)},
                "env": one_of("live", "test"),
                **{
                    name: {"type": "integer", "minimum": 1, "maximum": 1_000_000_000}
                    for name in ("rate_limit_per_minute", "tokens_per_minute", "max_concurrent")
                },
            },
        ),
        "additionalProperties": False,
    },
    "NewToken": an_object({"id": INTEGER, "token": {"type": "string", "description": "Shown this once."}}),
    "AuditRow": an_object(
        {
            "id": INTEGER,
            "operator": STRING,
            "action": STRING,
            "target": STRING,
            "change": {},
            "address": nullable(STRING),
            "at": NUMBER,
        }
    ),
    "EndpointChange": {
        "type": "object",
        "minProperties": 1,
        "properties": {name: _change_of(name) for name in ENDPOINT_FIELDS},
        "additionalProperties": False,
        "description": "Checked by the file's rules. null takes an override back.",
    },
}


def make_admin_document(root_path: str) -> Part:
    """The document of an admin address whose paths begin with `root_path`."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "pg_trio admin API",
            "version": __version__,
            "summary": "Requests, providers, endpoints, tokens, budgets and the audit, for operators.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": f"{root_path}/"}],
        "security": [{"operatorKey": []}],
        "paths": {f"/admin/api/v1/{path}": item for path, item in _paths().items()},
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "operatorKey": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "`pg_op_…`, from `pg-trio operator create`. Pages have a session in a cookie.",
                }
            },
        },
    }


def _paths() -> Part:
    request_id = path_parameter("request_id", UUID_TEXT, "Its X-Request-Id.")
    state = ok(reference("ProviderState"))
    return {
        "overview": {"get": _read("readOverview", "Sums of a range", ok(reference("Overview")), _RANGED)},
        "requests": {"get": _list_requests()},
        "requests/stream": {"get": _stream_requests()},
        "requests/{request_id}": {
            "get": _read("readRequest", "One request and its race", ok(reference("Request")), [request_id])
        },
        "providers": {"get": _list("listProviders", "Providers, and how their candidates fare", "Provider")},
        "providers/{name}": {
            "patch": _change(
                "changeProvider",
                "Switch a provider off and on",
                answer("As it holds.", state),
                [path_parameter("name", {"type": "string", "minLength": 1}, "The provider's name.")],
                {**an_object({"is_active": nullable(BOOLEAN)}), "additionalProperties": False},
            )
        },
        "endpoints": {"get": _list("listEndpoints", "Endpoints with their settings as they hold", "Endpoint")},
        "endpoints/{project}/{slug}": {
            "patch": _change(
                "changeEndpoint",
                "Override settings of an endpoint",
                answer("As it holds.", ok(reference("EndpointState"))),
                [
                    path_parameter("project", UUID_TEXT, "The project's UUID."),
                    path_parameter("slug", {"type": "string", "minLength": 1}, "The endpoint's slug."),
                ],
                reference("EndpointChange"),
            )
        },
        **_token_paths(),
        "budgets": {"get": _list("listBudgets", "This month's spend against the budgets", "Budget")},
        "audit": {"get": _list("listAudit", "Who changed what, when, from where", "AuditRow")},
        "config": {"get": _read("readConfiguration", "The configuration as it holds, without secrets", ok(ANY_OBJECT))},
        "config/reload": {
            "post": _change("reloadConfiguration", "Read the file again", _done(an_object({"asked": constant(True)})))
        },
    }


def _token_paths() -> Part:
    token_id = path_parameter("token_id", {"type": "integer", "minimum": 1}, "The token's id.")
    return {
        "tokens": {
            "get": _list("listTokens", "Tokens, without their texts", "Token", [PROJECT]),
            "post": _change(
                "createToken",
                "Make a token",
                answer("Made.", ok(reference("NewToken"))),
                [],
                reference("WantedToken"),
                status="201",
            ),
        },
        "tokens/{token_id}/rotate": {
            "post": _change("rotateToken", "Give a token a new text", _done(reference("NewToken")), [token_id])
        },
        "tokens/{token_id}": {
            "delete": _change(
                "revokeToken",
                "Revoke a token for good",
                _done(an_object({"id": INTEGER, "is_active": constant(False)})),
                [token_id],
            )
        },
    }


_RANGED = [RANGE, SINCE, UNTIL, PROJECT, FILTER]


def _done(schema: Part) -> Part:
    return answer("Done.", ok(schema))


def _read(operation: str, summary: str, schema: Part, parameters: Sequence[Part] = ()) -> Part:
    return {
        "operationId": operation,
        "summary": summary,
        "description": "For viewers, too.",
        "parameters": list(parameters),
        "responses": {
            "200": answer("As asked.", schema),
            **failures(READ_STATUSES, reference("Error"), leave_out=frozenset()),
        },
    }


def _list(operation: str, summary: str, item: str, parameters: Sequence[Part] = ()) -> Part:
    listed = ok(a_list(reference(item)), next=nullable(STRING))
    return _read(operation, summary, listed, [*parameters, LIMIT, CURSOR])


def _list_requests() -> Part:
    found = _list("listRequests", "Requests, the newest first", "RequestRow", [FILTER, PROJECT, SINCE, UNTIL, FORMAT])
    found["responses"]["200"]["content"] |= {
        "text/csv": {"schema": STRING},
        "application/jsonl": {"schema": STRING},
    }
    return found


def _stream_requests() -> Part:
    found = _read("streamRequests", "Requests of all workers, as they end", STRING, [FILTER, LAST_EVENT])
    content = found["responses"]["200"]["content"]
    said = "One event a request: `data:` has a RequestRow. `event: dropped` ends the stream of a slow reader."
    content[STREAM_TYPE] = {"schema": stream_schema(said)}
    del content[JSON_TYPE]
    return found


def _change(  # what a change has
    operation: str,
    summary: str,
    done: Part,
    parameters: Sequence[Part] = (),
    body: Part | None = None,
    status: str = "200",
) -> Part:
    return {
        "operationId": operation,
        "summary": summary,
        "description": "For operators. It writes a row of the audit.",
        "parameters": [*parameters, CSRF],
        **({} if body is None else {"requestBody": body_of(body)}),
        "responses": {status: done, **failures(CHANGE_STATUSES, reference("Error"), leave_out=frozenset())},
    }
