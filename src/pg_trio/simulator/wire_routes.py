"""Which wire a request speaks, by its path; what it asks; and the key it shows. Pure.

Each wire's paths stand under the base URL of its provider (`/v1`, `/v1beta`, `/v2`), and under the others' too, so that
one address serves them all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from urllib.parse import unquote

from pg_trio.domain.json_value import Json
from pg_trio.simulator.chat_call import ChatCall, RefusedCall, read_chat_call
from pg_trio.simulator.embedding_calls import read_cohere_embeddings, read_google_embeddings, read_openai_embeddings
from pg_trio.simulator.native_calls import read_anthropic_call, read_cohere_call, read_google_call

_PATHS = re.compile(
    r"/(?:v1|v1beta|v2)/(?:"
    r"(?P<openai>chat/completions)|(?P<anthropic>messages)|(?P<cohere>chat)"
    r"|(?P<google>(?:models/)?[^:?]{1,500}:(?:generateContent|streamGenerateContent))"
    r"|(?P<openai_embeddings>embeddings)|(?P<cohere_embeddings>embed)"
    r"|(?P<google_embeddings>(?:models/)?[^:?]{1,500}:batchEmbedContents))(?:\?.*)?"
)


def find_route(method: str, path: str) -> tuple[str, str | None] | None:
    """(wire, the model that the path names) of a chat or of embeddings; None for any other request."""
    found = _PATHS.fullmatch(path) if method == "POST" else None
    if found is None:
        return None
    wire = str(found.lastgroup)
    if not wire.startswith("google"):
        return wire, None
    return wire, unquote(found[wire].rpartition(":")[0]).removeprefix("models/")


def read_key(wire: str, headers: Mapping[str, str]) -> str | None:
    """The key that a request shows, where its wire has it."""
    if wire == "anthropic":
        return headers.get("x-api-key")
    if wire.startswith("google"):
        return headers.get("x-goog-api-key")
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key if scheme == "Bearer" else None


def read_call(
    wire: str, path: str, headers: Mapping[str, str], body: Mapping[str, Json], model: str | None
) -> ChatCall:
    """The request. Raises: RefusedCall (400) that names the field that is missing or wrong."""
    if wire == "google_embeddings":
        return read_google_embeddings(body, model or "")
    if wire == "google":
        return read_google_call(body, model or "", stream="streamGenerateContent" in path.partition("?")[0])
    if wire == "anthropic" and not headers.get("anthropic-version"):
        raise RefusedCall(400, "anthropic-version: header is required", param="anthropic-version")
    readers: dict[str, Callable[[Mapping[str, Json]], ChatCall]] = {
        "openai": read_chat_call,
        "anthropic": read_anthropic_call,
        "cohere": read_cohere_call,
        "openai_embeddings": read_openai_embeddings,
        "cohere_embeddings": read_cohere_embeddings,
    }
    return readers[wire](body)
