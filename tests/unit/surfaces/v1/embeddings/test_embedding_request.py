"""Requests for embeddings: what they mean, and what is wrong with the others."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.domain.call import RequestHead
from pg_trio.domain.embeddings import EmbeddingRequest
from pg_trio.errors import BadRequest
from pg_trio.surfaces.v1.embeddings.embedding_request import (
    MAX_DIMENSIONS,
    MAX_INPUT_TOKENS,
    MAX_INPUTS,
    read_embedding_request,
)


@frozen
class Limits:
    max_messages: int = 10
    max_json_depth: int = 8


HEAD = RequestHead(UUID(int=1), "p", None, (), "application/json", (), 0.0, 0.0)


def read(body: object) -> EmbeddingRequest:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_embedding_request(data, Limits(), HEAD)


def refusal(body: object) -> str:
    with pytest.raises(BadRequest) as caught:
        read(body)
    return caught.value.text


def asked(**fields: Any) -> dict[str, Any]:
    return {"model": "texts", "input": "Hello", **fields}


# ── what they mean ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("given", "inputs"),
    [
        ("Hello", ("Hello",)),
        (["Hello"], ("Hello",)),
        (["Hello", "Ça va? 🙂", " "], ("Hello", "Ça va? 🙂", " ")),
        ([1, 2, 3], ((1, 2, 3),)),
        ([0], ((0,),)),
        ([[1, 2], [3]], ((1, 2), (3,))),
        ([[2**31 - 1]], ((2**31 - 1,),)),
    ],
)
def test_input(given: Any, inputs: tuple[Any, ...]) -> None:
    assert inputs == read(asked(input=given)).inputs


def test_everything_asked() -> None:
    body = asked(dimensions=256, encoding_format="base64", user="user-7", input_type="clustering")

    request = read(body)

    assert EmbeddingRequest(("Hello",), 256, "clustering", "user-7", True, "texts") == request
    assert body == request.body


@pytest.mark.parametrize("fields", [{}, dict.fromkeys(["dimensions", "encoding_format", "user", "input_type"])])
def test_what_is_left_open(fields: dict[str, None]) -> None:
    assert EmbeddingRequest(("Hello",), model="texts") == read(asked(**fields))


def test_unknown_fields_are_kept_apart() -> None:
    request = read(asked(truncate_prompt_tokens=8, dimensions=2))

    assert {"truncate_prompt_tokens": 8} == request.unknown


def test_floats_are_asked_for_by_name() -> None:
    assert not read(asked(encoding_format="float")).in_base64


def test_as_many_as_may_be() -> None:
    assert MAX_INPUTS == len(read(asked(input=["a"] * MAX_INPUTS)).inputs)
    assert (MAX_INPUT_TOKENS,) == tuple(len(one) for one in read(asked(input=[7] * MAX_INPUT_TOKENS)).inputs)
    assert MAX_DIMENSIONS == read(asked(dimensions=MAX_DIMENSIONS)).dimensions


@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=20))
def test_any_texts(texts: list[str]) -> None:
    assert tuple(texts) == read(asked(input=texts)).inputs


@given(st.lists(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=20), min_size=1, max_size=20))
def test_any_tokens(tokens: list[list[int]]) -> None:
    assert tuple(map(tuple, tokens)) == read(asked(input=tokens)).inputs


# ── what is wrong ────────────────────────────────────────────────────────────────────────────────────────────────────

TOKEN = "must be a token, a whole number from 0 to 2147483647."


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "input: is required."),
        ("", "input: must not be empty."),
        ([], "input: must not be empty."),
        ([[]], "input[0]: must not be empty."),
        ([""], "input[0]: must not be empty."),
        (["a", ""], "input[1]: must not be empty."),
        ([[1], []], "input[1]: must not be empty."),
        (["a", None], "input[1]: must be a string."),
        ([None, "a"], "input[0]: must be a string."),
        (["a", [1]], "input[1]: must be a string."),
        (["a", 1], "input[1]: must be a string."),
        ([{"text": "a"}], "input[0]: must be a string."),
        ([[1], "a"], "input[1]: must be a list of tokens, as the first input is."),
        ([[1], 2], "input[1]: must be a list of tokens, as the first input is."),
        ([[["a"]]], f"input[0][0]: {TOKEN}"),
        ([1, "a"], f"input[1]: {TOKEN}"),
        ([1, -1], f"input[1]: {TOKEN}"),
        ([1.5], f"input[0]: {TOKEN}"),
        ([1.0], f"input[0]: {TOKEN}"),
        ([True], f"input[0]: {TOKEN}"),
        ([1, True], f"input[1]: {TOKEN}"),
        ([2**31], f"input[0]: {TOKEN}"),
        ([[1, 2**40]], f"input[0][1]: {TOKEN}"),
        ([[1, None]], f"input[0][1]: {TOKEN}"),
        (7, "input: must be a string or a list."),
        (True, "input: must be a string or a list."),
        ({}, "input: must be a string or a list."),
        (["a"] * (MAX_INPUTS + 1), "input: has 2049 inputs, the limit is 2048."),
        ([7] * (MAX_INPUT_TOKENS + 1), "input: has 300001 tokens, the limit is 300000."),
        ([[7] * 150_000, [7] * 150_001], "input: has 300001 tokens, the limit is 300000."),
    ],
)
def test_wrong_input(given: Any, said: str) -> None:
    assert said == refusal(asked(input=given))


@pytest.mark.parametrize(
    ("field", "given", "said"),
    [
        ("model", None, "model: is required."),
        ("model", "", "model: must be a string that is not empty."),
        ("model", 7, "model: must be a string that is not empty."),
        *[
            ("dimensions", given, "dimensions: must be from 1 to 32768.")
            for given in (0, -1, MAX_DIMENSIONS + 1, 2**63)
        ],
        *[
            ("dimensions", given, "dimensions: must be a whole number.")
            for given in (1.0, 1.5, "256", True, [256], {"a": 1})
        ],
        *[
            ("encoding_format", given, "encoding_format: must be one of float, base64.")
            for given in ("", "Float", "int8", 1, True, ["float"])
        ],
        *[
            (
                "input_type",
                given,
                "input_type: must be one of search_document, search_query, classification, clustering.",
            )
            for given in ("", "image", "SEARCH_QUERY", 1, ["clustering"])
        ],
        ("user", [], "user: must be a string."),
        ("user", 7, "user: must be a string."),
    ],
)
def test_wrong_field(field: str, given: Any, said: str) -> None:
    assert said == refusal(asked(**{field: given}))


def test_empty_user_is_absent() -> None:
    assert read(asked(user="")).user is None


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "Body is not valid JSON"),
        (b"[]", "Body must be a JSON object."),
        (b'{"model": "a", "input": "a", "input": "b"}', "input: is there more than once."),
        (b'{"model": "a", "inp\\u0075t": "a", "input": "b"}', "input: is there more than once."),
        (b'{"model": "a", "input": [[[[[[[[[1]]]]]]]]]}', "Body is nested deeper than 8 levels."),
    ],
)
def test_wrong_body(body: bytes, said: str) -> None:
    assert refusal(body).startswith(said)


odd = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)
FIELDS = ("model", "input", "dimensions", "encoding_format", "user", "input_type")


@given(st.dictionaries(st.sampled_from(FIELDS), odd))
def test_anything_is_a_request_or_names_the_field(fields: dict[str, Any]) -> None:
    request, said = None, ""
    try:
        request = read(asked(**fields))
    except BadRequest as error:
        said = error.text

    assert request is not None or said.startswith((*FIELDS, "Body "))
    assert request is None or (request.inputs and all(request.inputs))
