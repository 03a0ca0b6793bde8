"""`/openapi.json`: what clients may ask of the gateway."""

from __future__ import annotations

from collections.abc import Iterable

from pg_trio import __version__
from pg_trio.domain.project import SCOPES, SLUG_PATTERN
from pg_trio.surfaces import Surface, V1Surface
from pg_trio.web.openapi.document_parts import (
    ANTHROPIC_ERROR,
    ANY_OBJECT,
    BOOLEAN,
    ERROR,
    INTEGER,
    NUMBER,
    OPENAI_ERROR,
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
)

CALL_STATUSES = (400, 401, 403, 404, 405, 408, 410, 413, 415, 422, 429, 500, 502, 503, 504)
READ_STATUSES = (400, 401, 403, 404, 405, 408, 500, 503)

PROJECT = path_parameter("project", UUID_TEXT, "The project's UUID, never its slug.")
SLUG = path_parameter("slug", {"type": "string", "pattern": SLUG_PATTERN}, "The endpoint's slug.")
# It is in the document's components and in descriptions, not among each call's parameters: generated tests would set
# deadlines that no provider keeps, and meet them.
TIMEOUT = header_parameter(
    "X-PG-Timeout-Ms",
    {"type": "integer", "minimum": 1, "maximum": 86_400_000},
    "The client's own deadline, in milliseconds from the request's head. It shortens the endpoint's.",
)
DEADLINE = "The header `X-PG-Timeout-Ms` shortens its deadline (`#/components/parameters/Timeout`)."
# In the components alone, too: generated tests would send one key with many bodies.
IDEMPOTENCY_KEY = header_parameter(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    "With the same key and the same body, the same answer comes again, and no provider is asked twice.",
)
REPEATED = "The header `Idempotency-Key` makes it safe to repeat (`#/components/parameters/IdempotencyKey`)."
REQUEST_ID = header_parameter("X-Request-Id", STRING, "The client's own id, for the log alone.")
SESSION = header_parameter(
    "X-PG-Session-Id", {"type": "string", "maxLength": 36}, "A session's id to resume, or `new`."
)

STREAM_ID = path_parameter("request_id", UUID_TEXT, "The `X-Request-Id` of the answer.")
LAST_EVENT_ID = header_parameter("Last-Event-ID", STRING, "The `id` of the last event that the client has.")
AFTER = query_parameter(
    "after", {"type": "integer", "minimum": 0, "maximum": 9_999_999_999}, "The number of that event."
)

STREAM = (
    "Chunks of OpenAI's shape, each `data: ` + JSON + a blank line; the last is `data: [DONE]`. Comment lines keep the"
    " connection alive. A failure after the head is a chunk with `finish_reason` `error`, `event: error` with"
    " `{ok, error}`, and `data: [DONE]`."
)
V1_STREAM = "The events that the API of that name documents. A failure after the head ends the stream without its end."

CONTENT: Part = {"anyOf": [STRING, a_list(ANY_OBJECT)]}
MESSAGE = an_object(
    {"role": one_of("system", "developer", "user", "assistant", "tool")}, {"content": nullable(CONTENT)}
)
USAGE = an_object(
    {"prompt_tokens": INTEGER, "completion_tokens": INTEGER, "total_tokens": INTEGER},
    {"prompt_tokens_details": ANY_OBJECT, "completion_tokens_details": ANY_OBJECT, "estimated": BOOLEAN},
)
FINISH = one_of("stop", "length", "tool_calls", "content_filter", "error")

SCHEMAS: Part = {
    "Error": ERROR,
    "OpenAIError": OPENAI_ERROR,
    "AnthropicError": ANTHROPIC_ERROR,
    "Message": MESSAGE,
    "Usage": USAGE,
    "CallRequest": an_object(
        {},
        {
            "message": {"type": "string", "description": "Short for one message of the user."},
            "messages": {"type": "array", "minItems": 1, "items": reference("Message")},
            "endpoint": {"type": "string", "description": "The endpoint's slug, where the path does not have it."},
            "stream": nullable({"type": "boolean", "description": "Honoured where the endpoint streams."}),
            "session_id": nullable({**UUID_TEXT, "description": "Resumes a session."}),
            "tools": a_list(ANY_OBJECT),
            "tool_choice": {},
            "parallel_tool_calls": nullable(BOOLEAN),
            "response_format": nullable(ANY_OBJECT),
            "reasoning_effort": nullable(STRING),
        },
    ),
    "CallAnswer": an_object(
        {
            "ok": constant(True),
            "id": STRING,
            "model": STRING,
            "content": nullable(STRING),
            "finish_reason": FINISH,
            "usage": reference("Usage"),
            "meta": an_object({"request_id": UUID_TEXT}, {"session_id": UUID_TEXT, "guardrails": VERDICTS}),
        },
        {"reasoning_content": STRING, "reasoning_details": a_list(ANY_OBJECT), "tool_calls": a_list(ANY_OBJECT)},
    ),
    "Project": an_object(
        {
            "uuid": UUID_TEXT,
            "name": STRING,
            "slug": STRING,
            "project_type": STRING,
            "env": STRING,
            "is_active": BOOLEAN,
            "endpoints_count": INTEGER,
            "tokens_count": INTEGER,
        }
    ),
    "Endpoint": an_object({"uuid": UUID_TEXT, "name": STRING, "slug": STRING, "is_active": BOOLEAN}),
    "Candidate": an_object({"credential": STRING, "provider": STRING, "model": STRING, "endpoints": a_list(STRING)}),
    "Token": an_object(
        {
            "id": INTEGER,
            "name": STRING,
            "prefix": STRING,
            "env": one_of("live", "test"),
            "scopes": a_list(one_of(*SCOPES)),
            "is_active": BOOLEAN,
            "last_used_at": nullable(NUMBER),
        }
    ),
    "ClientTokenTerms": an_object(
        {
            "ttl_seconds": {"type": "integer", "minimum": 60, "maximum": 86_400},
            "endpoints": {"type": "array", "minItems": 1, "maxItems": 32, "items": STRING},
        },
        {
            "subject": nullable({"type": "string", "minLength": 1, "maxLength": 256}),
            "rate_limit_per_minute": nullable({"type": "integer", "minimum": 1, "maximum": 1_000_000_000}),
            "max_concurrent": nullable({"type": "integer", "minimum": 1, "maximum": 1_000_000_000}),
            "monthly_budget_usd": nullable({"type": "string", "description": "US dollars, such as `0.50`."}),
        },
    ),
    "ClientToken": an_object(
        {"token": STRING, "expires_at": {"type": "integer", "description": "Unix seconds."}},
    ),
    "Model": an_object(
        {"id": STRING, "object": constant("model"), "created": INTEGER, "owned_by": STRING},
        {"is_alias": BOOLEAN},
    ),
    "ModelList": an_object({"object": constant("list"), "data": a_list(reference("Model"))}),
    "ChatCompletionRequest": an_object(
        {"model": STRING, "messages": {"type": "array", "minItems": 1, "items": reference("Message")}},
        {"stream": nullable(BOOLEAN)},
    ),
    "ChatCompletion": an_object(
        {
            "id": STRING,
            "object": constant("chat.completion"),
            "created": INTEGER,
            "model": STRING,
            "choices": a_list(an_object({"index": INTEGER, "message": ANY_OBJECT, "finish_reason": STRING})),
            "usage": reference("Usage"),
        }
    ),
    "ResponseRequest": an_object(
        {"model": STRING, "input": CONTENT}, {"instructions": nullable(STRING), "stream": nullable(BOOLEAN)}
    ),
    "Response": an_object(
        {"id": STRING, "object": constant("response"), "status": STRING, "model": STRING, "output": a_list(ANY_OBJECT)}
    ),
    "MessagesRequest": an_object(
        {"model": STRING, "messages": a_list(ANY_OBJECT), "max_tokens": {"type": "integer", "minimum": 1}},
        {"system": CONTENT, "stream": nullable(BOOLEAN)},
    ),
    "MessagesAnswer": an_object(
        {
            "id": STRING,
            "type": constant("message"),
            "role": constant("assistant"),
            "model": STRING,
            "content": a_list(ANY_OBJECT),
            "stop_reason": nullable(STRING),
            "usage": ANY_OBJECT,
        }
    ),
    "CountTokensRequest": an_object({"model": STRING, "messages": a_list(ANY_OBJECT)}, {"system": CONTENT}),
    "TokenCount": an_object({"input_tokens": INTEGER}),
    "EmbeddingsRequest": an_object(
        {"model": STRING, "input": {"anyOf": [STRING, {"type": "array"}]}},
        {"encoding_format": one_of("float", "base64"), "dimensions": {"type": "integer", "minimum": 1}},
    ),
    "Embeddings": an_object(
        {"object": constant("list"), "data": a_list(ANY_OBJECT), "model": STRING, "usage": ANY_OBJECT}
    ),
}

# By the path behind `/api/{project}/v1/`: what it does, its request, its answer, its errors, whether it streams.
V1_ROUTES: dict[bytes, tuple[str, str, str, str, bool]] = {
    b"chat/completions": (
        "Chat Completions, as OpenAI's",
        "ChatCompletionRequest",
        "ChatCompletion",
        "OpenAIError",
        True,
    ),
    b"responses": ("Responses, as OpenAI's", "ResponseRequest", "Response", "OpenAIError", True),
    b"messages": ("Messages, as Anthropic's", "MessagesRequest", "MessagesAnswer", "AnthropicError", True),
    b"messages/count_tokens": (
        "The estimated tokens of a message, as Anthropic's",
        "CountTokensRequest",
        "TokenCount",
        "AnthropicError",
        False,
    ),
    b"embeddings": ("Embeddings, as OpenAI's", "EmbeddingsRequest", "Embeddings", "OpenAIError", False),
}


def make_public_document(surfaces: Iterable[Surface]) -> Part:
    """The document of a gateway with these surfaces."""
    served = [surface.path for surface in surfaces if isinstance(surface, V1Surface)]
    paths: Part = {
        "/api/{project}/{slug}": _call("callEndpoint", "Call an endpoint, named by the path", [PROJECT, SLUG]),
        "/api/{project}/chat/completions": _call("callNamedEndpoint", "Call an endpoint, named by the body", [PROJECT]),
        **{f"/api/{{project}}/v1/{path.decode()}": _call_v1(path) for path in served if path in V1_ROUTES},
        "/api/{project}/v1/models": _read(
            "listModelNames", "What a request may name as its model", reference("ModelList"), "OpenAIError"
        ),
        "/api/{project}/v1/models/{model}": _read(
            "showModelName",
            "One name",
            reference("Model"),
            "OpenAIError",
            [path_parameter("model", {"type": "string", "minLength": 1}, "A name of the list.")],
        ),
        "/api/{project}/{slug}/streams/{request_id}": _stream("EndpointStream", [PROJECT, SLUG]),
        "/api/{project}/streams/{request_id}": _stream("Stream", [PROJECT]),
        "/api/{project}/info": _read("showProject", "The token's project", ok(reference("Project"))),
        "/api/{project}/endpoints": _read("listEndpoints", "Its endpoints", ok(a_list(reference("Endpoint")))),
        "/api/{project}/candidates": _read(
            "listCandidates", "Its candidates, and how they fare", ok(a_list(reference("Candidate")))
        ),
        "/api/{project}/tokens": _read("listTokens", "Its tokens, without their texts", ok(a_list(reference("Token")))),
        "/api/{project}/client-tokens": _mint(),
        "/api/{project}/models": _read(
            "listModels", "The providers' models of its endpoints, in OpenAI's shape", reference("ModelList")
        ),
        "/healthz": _health("healthz", "Whether the process serves"),
        "/readyz": _health("readyz", "Whether it accepts requests"),
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "pg_trio",
            "version": __version__,
            "summary": "One HTTP API in front of every LLM provider, with deadlines that hold.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"apiKey": []}],
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "parameters": {"Timeout": TIMEOUT, "IdempotencyKey": IDEMPOTENCY_KEY},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "A token: `pg_live_…` or `pg_test_…`."},
                "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "On `/v1` alone."},
            },
        },
    }


def _call(operation: str, summary: str, parameters: list[Part]) -> Part:
    whole = answer("The answer, or its stream.", reference("CallAnswer"), stream=STREAM)
    return {
        "post": {
            "operationId": operation,
            "tags": ["Gateway API"],
            "summary": summary,
            "description": f"Scope `chat`. {DEADLINE} {REPEATED}",
            "security": [{"bearer": []}],
            "parameters": [*parameters, REQUEST_ID],
            "requestBody": body_of(reference("CallRequest")),
            "responses": {"200": whole, **failures(CALL_STATUSES, reference("Error"))},
        }
    }


def _call_v1(path: bytes) -> Part:
    summary, request, whole, error, streams = V1_ROUTES[path]
    # Anthropic's clients know an overloaded service by a status of its own.
    statuses = (*CALL_STATUSES, 529) if error == "AnthropicError" else CALL_STATUSES
    done = answer("The answer, or its stream.", reference(whole), stream=V1_STREAM if streams else None)
    return {
        "post": {
            "operationId": "v1_" + path.decode().replace("/", "_"),
            "tags": ["/v1"],
            "summary": summary,
            "description": f"Scope `chat`. `model` is an endpoint, or `provider:model` of an opened one. {DEADLINE}",
            "parameters": [PROJECT, REQUEST_ID, SESSION],
            "requestBody": body_of(reference(request)),
            "responses": {"200": done, **failures(statuses, reference(error))},
        }
    }


def _stream(name: str, parameters: list[Part]) -> Part:
    """A kept stream: to be read on, or to be stopped."""
    parameters = [*parameters, STREAM_ID]
    refused = failures(READ_STATUSES, reference("Error"))
    both: Part = {"tags": ["Gateway API"], "security": [{"bearer": []}]}
    read = {"description": "The events behind that one, then those to come.", "content": {STREAM_TYPE: {"schema": {}}}}
    return {
        "get": {
            **both,
            "operationId": f"resume{name}",
            "summary": "Read a resumable stream on",
            "description": "Scope `chat`. The bytes are those of the first connection.",
            "parameters": [*parameters, LAST_EVENT_ID, AFTER],
            "responses": {"200": read, **refused},
        },
        "delete": {
            **both,
            "operationId": f"stop{name}",
            "summary": "Stop a resumable stream",
            "description": "Scope `chat`. `stopped` is false if the answer had ended.",
            "parameters": parameters,
            "responses": {
                "200": answer("Done.", an_object({"ok": constant(True), "stopped": BOOLEAN})),
                **refused,
            },
        },
    }


def _mint() -> Part:
    statuses = (400, 401, 403, 404, 405, 408, 413, 415, 500, 503)
    return {
        "post": {
            "operationId": "mintClientToken",
            "tags": ["Client tokens"],
            "summary": "A short-lived token for a browser",
            "description": "Scope `mint`: the token of a server, which never leaves it.",
            "security": [{"bearer": []}],
            "parameters": [PROJECT],
            "requestBody": body_of(reference("ClientTokenTerms")),
            "responses": {
                "201": answer("The token, which exists nowhere else.", ok(reference("ClientToken"))),
                **failures(statuses, reference("Error")),
            },
        }
    }


def _read(operation: str, summary: str, schema: Part, error: str = "Error", parameters: Iterable[Part] = ()) -> Part:
    is_v1 = error != "Error"
    return {
        "get": {
            "operationId": operation,
            "tags": ["/v1" if is_v1 else "Introspection"],
            "summary": summary,
            "parameters": [PROJECT, *parameters],
            "responses": {"200": answer("As asked.", schema), **failures(READ_STATUSES, reference(error))},
            **({} if is_v1 else {"security": [{"bearer": []}]}),
        }
    }


def _health(operation: str, summary: str) -> Part:
    health = an_object({"ok": BOOLEAN})
    return {
        "get": {
            "operationId": operation,
            "tags": ["Health"],
            "summary": summary,
            "security": [],
            "responses": {
                "200": answer("Yes.", health),
                **failures((405, 500), reference("Error")),
                "503": answer("No.", health),
            },
        }
    }
