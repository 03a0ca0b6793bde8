"""Turn the bytes of a body into an `EmbeddingRequest`, or into a 400 that names the wrong part.

Rules:
1. The rules of `surfaces/reading` hold: no coercion, a null field counts as absent, error texts never quote the client.
2. `input` is a text, a list of texts, a text in tokens, or a list of such. Empty inputs are refused, because every
   provider refuses them, in words of its own.
3. `input_type` is Cohere's field. It says what the vectors are for, and other wires get it in their own words.
4. Fields that the gateway does not know go on to providers of OpenAI's wire, if the endpoint says so.

Source: OpenAI, API reference, "Create embeddings"; Cohere, API reference, "Embed" (v2), read 2026-11.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from pg_trio.domain.call import ReadLimits, RequestHead
from pg_trio.domain.embeddings import INPUT_TYPES, EmbeddingInput, EmbeddingRequest, InputType
from pg_trio.domain.json_value import Json, JsonObject
from pg_trio.errors import BadRequest
from pg_trio.surfaces.reading.field_checks import check_text, read_integer
from pg_trio.surfaces.reading.json_body import literal_keys, read_json_object
from pg_trio.surfaces.v1.routes import read_model

W = TypeVar("W", bound=str)

# OpenAI's limits ("Create embeddings"): inputs, and tokens of all inputs together.
MAX_INPUTS = 2_048
MAX_INPUT_TOKENS = 300_000
# 32,768: the longest vector that Milvus stores. The longest of a public model has 4,096 numbers.
MAX_DIMENSIONS = 32_768
# Ids of tokens are 32-bit integers in every tokenizer.
MAX_TOKEN_ID = 2**31 - 1

KNOWN_FIELDS = frozenset({"model", "input", "encoding_format", "dimensions", "user", "input_type"})
_KEYS = literal_keys(KNOWN_FIELDS)
_FORMATS = ("float", "base64")


def read_embedding_request(body: bytes, limits: ReadLimits, head: RequestHead) -> EmbeddingRequest:
    """The request in the body. Raises: BadRequest naming the field."""
    fields = read_json_object(body, limits.max_json_depth, _KEYS)
    user = fields.get("user")
    if user == "":
        # An empty one is absent.
        user = None
    if user is not None:
        check_text(user, "user")
    return EmbeddingRequest(
        inputs=_read_inputs(fields.get("input")),
        dimensions=_read_dimensions(fields.get("dimensions")),
        input_type=_read_input_type(fields.get("input_type")),
        user=user,
        in_base64=_read_format(fields.get("encoding_format")) == "base64",
        model=read_model(fields.get("model")),
        body=fields,
        unknown=_find_unknown(fields),
    )


def _find_unknown(fields: JsonObject) -> JsonObject | None:
    if fields.keys() <= KNOWN_FIELDS:
        return None
    return {name: given for name, given in fields.items() if name not in KNOWN_FIELDS and given is not None} or None


def _read_inputs(given: Json) -> tuple[EmbeddingInput, ...]:
    if given is None:
        raise BadRequest("input: is required.")
    if isinstance(given, str):
        check_text(given, "input")
        return (given,)
    if not isinstance(given, list):
        raise BadRequest("input: must be a string or a list.")
    if not given:
        raise BadRequest("input: must not be empty.")
    if _begins_tokens(given):
        _check_total([given])
        return (_read_tokens(given, "input"),)
    if len(given) > MAX_INPUTS:
        raise BadRequest(f"input: has {len(given)} inputs, the limit is {MAX_INPUTS}.")
    if isinstance(given[0], list):
        _check_total([each for each in given if isinstance(each, list)])
        return tuple([_read_tokens(each, f"input[{index}]") for index, each in enumerate(given)])
    for index, each in enumerate(given):
        check_text(each, f"input[{index}]")
    return tuple(given)


def _begins_tokens(given: Sequence[Json]) -> bool:
    return isinstance(given[0], int | float)


def _check_total(lists: Sequence[Sequence[Json]]) -> None:
    tokens = sum(map(len, lists))
    if tokens > MAX_INPUT_TOKENS:
        raise BadRequest(f"input: has {tokens} tokens, the limit is {MAX_INPUT_TOKENS}.")


def _read_tokens(given: Json, path: str) -> tuple[int, ...]:
    if not isinstance(given, list):
        raise BadRequest(f"{path}: must be a list of tokens, as the first input is.")
    if not given:
        raise BadRequest(f"{path}: must not be empty.")
    # By type: a bool is an int to isinstance.
    if set(map(type, given)) == {int} and min(given) >= 0 and max(given) <= MAX_TOKEN_ID:
        return tuple(given)
    index = next(index for index, token in enumerate(given) if not _is_token(token))
    raise BadRequest(f"{path}[{index}]: must be a token, a whole number from 0 to {MAX_TOKEN_ID}.")


def _is_token(token: Json) -> bool:
    return type(token) is int and 0 <= token <= MAX_TOKEN_ID


def _read_dimensions(given: Json) -> int | None:
    return None if given is None else read_integer(given, "dimensions", least=1, most=MAX_DIMENSIONS)


def _read_format(given: Json) -> str:
    return "float" if given is None else _read_word(given, _FORMATS, "encoding_format")


def _read_input_type(given: Json) -> InputType | None:
    return None if given is None else _read_word(given, INPUT_TYPES, "input_type")


def _read_word(given: Json, words: Sequence[W], field: str) -> W:
    for word in words:
        if word == given:
            return word
    raise BadRequest(f"{field}: must be one of {', '.join(words)}.")
