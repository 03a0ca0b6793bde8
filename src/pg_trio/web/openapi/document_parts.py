"""Parts of an OpenAPI 3.1 document: schemas, parameters, answers. An answer's description lists its errors, from
errors/, so that none can be missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from inspect import getdoc, isclass
from typing import Any, TypeAlias, get_args

from pg_trio import errors
from pg_trio.domain.guardrails import GuardAction, GuardPhase
from pg_trio.errors import GatewayError

Part: TypeAlias = dict[str, Any]

JSON_TYPE = "application/json"
STREAM_TYPE = "text/event-stream"
STRING: Part = {"type": "string"}
INTEGER: Part = {"type": "integer"}
NUMBER: Part = {"type": "number"}
BOOLEAN: Part = {"type": "boolean"}
ANY_OBJECT: Part = {"type": "object"}
UUID_TEXT: Part = {"type": "string", "format": "uuid"}

# Errors of the admin address alone.
_OPERATOR_ERRORS = frozenset({"OperatorRefused", "RoleInsufficient", "CsrfMissing", "ReloadUnavailable"})
_KINDS = frozenset({"CallerError", "UpstreamError", "OwnStateError", "GatewayError", "GuardrailBlocked"})
_PHRASES = {
    400: "The request cannot be understood",
    401: "No token, or an unknown one",
    403: "Not allowed",
    404: "Not there",
    405: "Another method",
    408: "The body was too slow",
    410: "The session is over",
    413: "The body is too large",
    415: "The body is encoded",
    422: "Refused by a limit, a guardrail or a schema",
    429: "Over a limit",
    500: "A fault of the gateway",
    502: "The providers failed",
    503: "Overloaded, switched off, or stopping",
    504: "The deadline passed",
    529: "Overloaded",
}


def nullable(schema: Part) -> Part:
    """The schema, or null."""
    if isinstance(schema.get("type"), str) and "enum" not in schema:
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def an_object(required: Mapping[str, Part], optional: Mapping[str, Part] | None = None) -> Part:
    """An object with these fields; it may have more."""
    return {"type": "object", "required": list(required), "properties": {**required, **(optional or {})}}


def a_list(items: Part) -> Part:
    """A list of these."""
    return {"type": "array", "items": items}


def one_of(*values: str) -> Part:
    """One of these words."""
    return {"type": "string", "enum": list(values)}


def constant(value: object) -> Part:
    """This value and no other."""
    return {"const": value}


def reference(name: str) -> Part:
    """A schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def ok(data: Part, **more: Part) -> Part:
    """`{"ok": true, "data": …}`."""
    return an_object({"ok": constant(True), "data": data, **more})


def path_parameter(name: str, schema: Part, description: str) -> Part:
    """A parameter in the path."""
    return {"name": name, "in": "path", "required": True, "schema": schema, "description": description}


def query_parameter(name: str, schema: Part, description: str) -> Part:
    """A parameter in the query."""
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": description}


def header_parameter(name: str, schema: Part, description: str) -> Part:
    """A header field."""
    return {"name": name, "in": "header", "required": False, "schema": schema, "description": description}


def answer(description: str, schema: Part, *, stream: str | None = None) -> Part:
    """An answer in JSON; `stream` says what it is as server-sent events, if it can be that."""
    content: Part = {JSON_TYPE: {"schema": schema}}
    if stream is not None:
        content[STREAM_TYPE] = {"schema": stream_schema(stream)}
    return {"description": description, "content": content}


def stream_schema(description: str) -> Part:
    """The schema of a stream. It has no type: tools disagree whether it is that of the text or of each event."""
    return {"description": description}


def body_of(schema: Part) -> Part:
    """A request's body in JSON."""
    return {"required": True, "content": {JSON_TYPE: {"schema": schema}}}


def failures(statuses: Iterable[int], schema: Part, *, leave_out: frozenset[str] = _OPERATOR_ERRORS) -> Part:
    """The answers of failures, each with its errors."""
    found = {}
    for status in statuses:
        listed = "\n".join(f"- `{name}`: {what}" for name, what in errors_of(status) if name not in leave_out)
        found[str(status)] = {
            "description": f"{_PHRASES[status]}.\n\n{listed}".strip(),
            "content": {JSON_TYPE: {"schema": schema}},
        }
    return found


def errors_of(status: int) -> Sequence[tuple[str, str]]:
    """The names of the errors with this status, each with the first line of what it says of itself."""
    return [
        (name, (getdoc(kind) or "").partition("\n")[0])
        for name, kind in vars(errors).items()
        if isclass(kind) and issubclass(kind, GatewayError) and kind.status == status and name not in _KINDS
    ]


# What each rule of a guardrail decided.
VERDICTS = a_list(
    an_object(
        {
            "guardrail": STRING,
            "rule": STRING,
            "phase": one_of(*get_args(GuardPhase)),
            "action": one_of(*get_args(GuardAction)),
            "count": INTEGER,
        }
    )
)
ERROR: Part = an_object(
    {"ok": constant(False), "error": STRING},
    {
        "scope": {"type": "string", "description": "Which limit: minute, hour, …"},
        "retry_after": {"type": "integer", "minimum": 1, "description": "Seconds, as in Retry-After."},
        "attempts": a_list(ANY_OBJECT),
    },
)
OPENAI_ERROR: Part = an_object(
    {
        "error": an_object(
            {"message": STRING, "type": STRING, "param": nullable(STRING), "code": nullable(STRING)},
        )
    }
)
ANTHROPIC_ERROR: Part = an_object(
    {"type": constant("error"), "error": an_object({"type": STRING, "message": STRING})},
    {"request_id": nullable(STRING)},
)
