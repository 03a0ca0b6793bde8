"""Why the body of a 2xx is not an answer of any wire, in the provider's own words where it has some."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from pg_trio.domain.chat import Json
from pg_trio.domain.project import Candidate
from pg_trio.errors import UpstreamNonsense
from pg_trio.providers.openai_fields import refuse
from pg_trio.providers.refusal import mask_for
from pg_trio.providers.said import read_error_message, read_words

# The longest plain text read as an error message; a real answer is never so short.
WORDS_BYTES = 256


def no_json(
    error: orjson.JSONDecodeError, headers: Mapping[str, str], body: bytes, candidate: Candidate
) -> UpstreamNonsense:
    """The failure of a body that is not JSON."""
    return UpstreamNonsense(mask_for(candidate, f"the answer is not JSON: {_why_not(error, headers, body)}"))


def no_object(answer: Json, candidate: Candidate) -> UpstreamNonsense:
    """The failure of JSON that is not an object. Google and its proxies send errors as a list."""
    said = read_error_message(answer) if type(answer) is list else None
    if said is not None:
        return said_instead(said, candidate)
    try:
        refuse("the answer", answer, "an object")
    except UpstreamNonsense as exc:
        return exc


def said_instead(said: str, candidate: Candidate) -> UpstreamNonsense:
    """The failure of an answer that is a message about an error."""
    return UpstreamNonsense(mask_for(candidate, f"an error in an answer with status 200: {said}"))


def _why_not(error: orjson.JSONDecodeError, headers: Mapping[str, str], body: bytes) -> str:
    # Not the parser's own text, which would quote the body. Position and size distinguish a cut body from a foreign
    # one.
    if not body:
        why = "its body is empty"
    elif "UTF-8: " in error.msg:
        why = f"invalid UTF-8 in {len(body)} bytes"
    else:
        why = f"error at character {error.pos} of {len(body)} bytes"
    content_type = headers.get("content-type")
    if content_type is None:
        return f"{why}, no content type"
    if "json" in content_type.lower():
        return why
    return f"{why}, content type {content_type}{_words_of_page(headers, body)}"


def _words_of_page(headers: Mapping[str, str], body: bytes) -> str:
    """The message of a page or a short text that came instead of an answer; a long text might be the model's."""
    if len(body) > WORDS_BYTES and b"<" not in body[:64]:
        return ""
    said = read_words(headers, body)
    return "" if said is None else f": {said}"
