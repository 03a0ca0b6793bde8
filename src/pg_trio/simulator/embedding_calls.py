"""Read a request for embeddings like OpenAI's, Google's or Cohere's API: as a call, or as a refusal. Pure.

Sources, read 2026-11: OpenAI's API reference, "Create embeddings"; Gemini API reference, batchEmbedContents; Cohere API
reference, "Embed" (v2). Error texts have each API's style, not its exact words. Clients must not rely on them.
"""

from __future__ import annotations

from collections.abc import Mapping

from pg_trio.domain.chat import estimate_tokens
from pg_trio.domain.json_value import Json
from pg_trio.simulator.chat_call import ChatCall, RefusedCall

# 4,096: more than any provider's vectors have.
MOST_DIMENSIONS = 4_096
_OPENAI_FIELDS = frozenset({"model", "input", "dimensions", "output_dimension", "encoding_format", "user"})
_COHERE_FIELDS = frozenset({"model", "input_type", "texts", "embedding_types", "output_dimension", "truncate"})
_COHERE_TYPES = ("search_document", "search_query", "classification", "clustering", "image")
_GOOGLE_FIELDS = frozenset({"model", "content", "taskType", "title", "outputDimensionality"})


def read_openai_embeddings(body: Mapping[str, Json]) -> ChatCall:
    """The request to `/v1/embeddings`. Raises: RefusedCall (400) that names the field."""
    _check_fields(body, _OPENAI_FIELDS)
    given = body.get("input")
    items = given if isinstance(given, list) and not _is_tokens(given) else [given]
    form = body.get("encoding_format", "float")
    if form not in ("float", "base64"):
        raise RefusedCall(400, "'encoding_format' must be float or base64.", param="encoding_format")
    dimensions = "dimensions" if "dimensions" in body else "output_dimension"
    return _make_call(
        "openai_embeddings",
        _read_text(body, "model"),
        [_read_input(item) for item in items],
        dimensions=_read_dimensions(body, dimensions),
        in_base64=form == "base64",
    )


def read_cohere_embeddings(body: Mapping[str, Json]) -> ChatCall:
    """The request to `/v2/embed`. Raises: RefusedCall (400) that names the field."""
    _check_fields(body, _COHERE_FIELDS)
    if body.get("input_type") not in _COHERE_TYPES:
        raise RefusedCall(400, "valid input_type must be provided with the provided model", param="input_type")
    if body.get("embedding_types", ["float"]) != ["float"]:
        raise RefusedCall(400, "embedding_types: only float is simulated", param="embedding_types")
    texts = body.get("texts")
    if not isinstance(texts, list) or len(texts) > 96:
        raise RefusedCall(400, "texts: at most 96 are taken", param="texts")
    return _make_call(
        "cohere_embeddings",
        _read_text(body, "model"),
        [_read_one(text, "texts") for text in texts],
        dimensions=_read_dimensions(body, "output_dimension"),
    )


def read_google_embeddings(body: Mapping[str, Json], model: str) -> ChatCall:
    """The request to `:batchEmbedContents`. Raises: RefusedCall (400) that names the field."""
    requests = body.get("requests")
    if not isinstance(requests, list) or len(requests) > 100:
        raise RefusedCall(
            400, "BatchEmbedContentsRequest.requests: at most 100 requests can be in one batch", param="requests"
        )
    texts, dimensions = [], 8
    for index, request in enumerate(requests):
        where = f"requests[{index}]"
        if not isinstance(request, dict):
            raise RefusedCall(400, f"{where} must be an object", param=where)
        _check_fields(request, _GOOGLE_FIELDS)
        if str(request.get("model")).removeprefix("models/") != model:
            raise RefusedCall(400, f"{where}.model must match the model of the path", param=where)
        content = request.get("content")
        parts = content.get("parts") if isinstance(content, dict) else None
        if not isinstance(parts, list) or len(parts) != 1 or not isinstance(parts[0], dict):
            raise RefusedCall(400, f"{where}.content must have a part", param=where)
        texts.append(_read_one(parts[0].get("text"), where))
        dimensions = _read_dimensions(request, "outputDimensionality")
    return _make_call("google_embeddings", model, texts, dimensions=dimensions)


def _make_call(wire: str, model: str, inputs: list[str], *, dimensions: int, in_base64: bool = False) -> ChatCall:
    if not inputs:
        raise RefusedCall(400, "At least one input is required.", param="input")
    return ChatCall(
        model=model,
        said=inputs[-1],
        prompt_tokens=estimate_tokens(sum(map(len, inputs))),
        wire=wire,
        inputs=tuple(inputs),
        dimensions=dimensions,
        in_base64=in_base64,
    )


def _check_fields(body: Mapping[str, Json], known: frozenset[str]) -> None:
    for name in body:
        if name not in known:
            raise RefusedCall(400, f"{name}: Extra inputs are not permitted", param=name)


def _is_tokens(value: Json) -> bool:
    # bool is an int to Python, not to JSON.
    return isinstance(value, list) and bool(value) and all(type(token) is int for token in value)


def _read_input(item: Json) -> str:
    return " ".join(map(str, item)) if _is_tokens(item) else _read_one(item, "input")


def _read_one(item: Json, where: str) -> str:
    if not isinstance(item, str) or not item:
        raise RefusedCall(400, f"'{where}' must be a text that is not empty.", param=where)
    return item


def _read_text(body: Mapping[str, Json], name: str) -> str:
    text = body.get(name)
    if not isinstance(text, str) or not text:
        raise RefusedCall(400, f"{name}: Field required", param=name)
    return text


def _read_dimensions(fields: Mapping[str, Json], name: str) -> int:
    dimensions = fields.get(name)
    if dimensions is None:
        return 8
    if type(dimensions) is not int or not 1 <= dimensions <= MOST_DIMENSIONS:
        raise RefusedCall(400, f"{name}: must be from 1 to {MOST_DIMENSIONS}", param=name)
    return dimensions
