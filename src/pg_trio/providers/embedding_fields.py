"""Read answers with vectors. All wires share these functions.

Rules:
1. An answer has one vector for each input, all of one length, of numbers that are finite as 32-bit floats. An answer
   with too few or too many vectors is refused, because its vectors cannot be matched to the texts.
2. Fields that are not needed (ids, kinds, repeated texts) may hold anything. Unreliable usage counts as missing.
3. A body that is not JSON, and an error with a message, are failures under any status.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from math import isfinite

import orjson

from pg_trio.domain.chat import Json, Usage
from pg_trio.domain.embeddings import UNFIT_FOR_EMBEDDINGS, UNFIT_FOR_TOKENS, EmbeddingReply, EmbeddingRequest, Vector
from pg_trio.domain.project import Candidate
from pg_trio.domain.provider import PROVIDERS
from pg_trio.errors import CandidateUnfit, UpstreamNonsense
from pg_trio.providers.json_text import read_json
from pg_trio.providers.no_answer import no_json, no_object, said_instead
from pg_trio.providers.openai_fields import refuse
from pg_trio.providers.openai_usage import MAX_TOKEN_COUNT
from pg_trio.providers.refusal import read_refusal
from pg_trio.providers.said import read_error_message, says_error

# The fields of all wires that hold vectors. Without them an answer is a message about an error.
_VECTORS = ("data", "embeddings")


class EmbeddingLimits:
    """What each provider takes, from its row: the part of `domain.adapter.EmbeddingAdapter` that all wires share."""

    def why_unfit(self, request: EmbeddingRequest, candidate: Candidate) -> str | None:
        """The part of the request that the candidate's provider cannot take, even in several calls; None if it can
        take all."""
        return _why_unfit(request, candidate)

    def split(self, request: EmbeddingRequest, candidate: Candidate) -> list[EmbeddingRequest]:
        """The request in parts that the candidate's provider can each take in one call."""
        row = PROVIDERS[candidate.provider].embeddings
        return [request] if row is None else list(request.split(row.most_inputs))


def _why_unfit(request: EmbeddingRequest, candidate: Candidate) -> str | None:
    row = PROVIDERS[candidate.provider].embeddings
    if row is None:
        return UNFIT_FOR_EMBEDDINGS
    if request.has_tokens and not row.takes_tokens:
        return UNFIT_FOR_TOKENS
    if request.dimensions is not None and row.dimensions_field is None:
        return "dimensions"
    return None


def check_fit(request: EmbeddingRequest, candidate: Candidate) -> None:
    """Raises CandidateUnfit if a part of the request would get lost, or if it has too many inputs for one call."""
    what = _why_unfit(request, candidate)
    row = PROVIDERS[candidate.provider].embeddings
    if row is not None and len(request.inputs) > row.most_inputs:
        what = f"more than {row.most_inputs} inputs"
    if what is not None:
        raise CandidateUnfit(candidate.provider, what)


def read_object(
    status: int, headers: Mapping[str, str], body: bytes, candidate: Candidate, now_s: float
) -> dict[str, Json]:
    """The JSON object of a 2xx. Raises: UpstreamRefused for every other status; UpstreamNonsense (rule 3)."""
    if not 200 <= status < 300:
        raise read_refusal(status, headers, body, candidate, now_s=now_s)
    try:
        answer = read_json(body)
    except orjson.JSONDecodeError as exc:
        raise no_json(exc, headers, body, candidate) from None
    if type(answer) is not dict:
        raise no_object(answer, candidate)
    if answer.get("error") is not None and says_error(answer["error"]):
        said = read_error_message(answer["error"]) or read_error_message(answer)
        raise said_instead(said or "no message", candidate)
    if not any(answer.get(name) for name in _VECTORS) and (words := read_error_message(answer)) is not None:
        raise said_instead(words, candidate)
    found: dict[str, Json] = answer
    return found


def make_reply(vectors: Sequence[Vector], expected: int, model: str, usage: Usage | None) -> EmbeddingReply:
    """The answer of these vectors. Raises UpstreamNonsense (rule 1)."""
    if len(vectors) != expected:
        raise UpstreamNonsense(f"the answer has {len(vectors)} vectors for {expected} inputs")
    if len({len(vector) for vector in vectors}) > 1:
        raise UpstreamNonsense("the answer's vectors differ in length")
    return EmbeddingReply(tuple(vectors), model, usage)


def read_list(value: Json, where: str) -> list[Json]:
    """The value at `where`, if it is a list. Raises UpstreamNonsense."""
    if type(value) is not list:
        refuse(where, value, "a list")
    found: list[Json] = value
    return found


def read_vector(value: Json, where: str) -> Vector:
    """The value at `where`, if it is a vector. Raises UpstreamNonsense."""
    numbers = read_list(value, where)
    if not numbers:
        raise UpstreamNonsense(f"{where} is empty")
    # By type: a bool is an int to isinstance.
    if not {type(number) for number in numbers} <= {float, int}:
        raise UpstreamNonsense(f"{where} holds something that is no number")
    try:
        vector = array("d", numbers)
    except OverflowError:
        raise UpstreamNonsense(f"{where} holds a number that is too large") from None
    return check_finite(vector, where)


def check_finite(vector: Vector, where: str) -> Vector:
    """The vector, if all of its numbers are finite as 32-bit floats. Raises UpstreamNonsense."""
    # A number that is too large for 32 bits becomes infinite there.
    if not all(map(isfinite, array("f", vector))):
        raise UpstreamNonsense(f"{where} holds a number that is not finite")
    return vector


def read_count(value: Json) -> Usage | None:
    """The usage for this count of input tokens; None if it is not a count. Cohere writes fractions (`12.0`). 0 is not a
    count: servers that do not count say so."""
    if type(value) not in (int, float) or not 0 < value <= MAX_TOKEN_COUNT or value != int(value):
        return None
    return Usage(int(value), 0)
