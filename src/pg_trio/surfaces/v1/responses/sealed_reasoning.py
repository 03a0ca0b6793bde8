"""`encrypted_content` of reasoning items: what a provider wants to see again, sealed for the way through the client.

Anthropic signs its blocks of reasoning, and Google the calls of functions. The Responses API has one opaque field for
such things, and its clients send it back with the item: `pg1_` and base64 of a JSON object.

Rules:
1. The seal holds everything that the provider needs, the block's text included, because clients shorten summaries.
2. The seal is no secret and no proof. What comes back is read like every other input: guardrails see its text, and the
   provider checks its own signature.
3. Another provider's or gateway's `encrypted_content` is dropped, because no other wire can use it.
"""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping

import orjson

from pg_trio.domain.chat import Json, Reasoning
from pg_trio.domain.value import value
from pg_trio.surfaces.reading.signed_fields import MAX_BLOCKS, is_opaque

_MARK = "pg1_"
# 2 MiB: a block of 262,144 characters with a signature of 1 MiB (signed_fields.py), in base64.
MAX_SEALED = 2 * 1024 * 1024


@value(slots=True)
class SealedReasoning:
    """What a reasoning item carries: a block of the model's reasoning, and the signatures of calls by their ids."""

    block: Reasoning | None = None
    call_signatures: Mapping[str, str] | None = None


NOTHING_SEALED = SealedReasoning()


def seal(sealed: SealedReasoning) -> str | None:
    """The `encrypted_content`; None if no provider wants to see anything of it again."""
    block, shape = sealed.block, dict[str, Json]()
    if block is not None and block.data is not None:
        shape["data"] = block.data
    elif block is not None and block.signature:
        shape |= {"text": block.text, "signature": block.signature}
    if sealed.call_signatures:
        shape["calls"] = dict(sealed.call_signatures)
    return _MARK + urlsafe_b64encode(orjson.dumps(shape)).decode("ascii") if shape else None


def unseal(encrypted: str) -> SealedReasoning:
    """What `seal` was given; nothing for text that is not from `seal`. Never raises."""
    if not encrypted.startswith(_MARK) or len(encrypted) > MAX_SEALED:
        return NOTHING_SEALED
    try:
        shape = orjson.loads(urlsafe_b64decode(encrypted.removeprefix(_MARK)))
    except (binascii.Error, ValueError):
        return NOTHING_SEALED
    if not isinstance(shape, dict):
        return NOTHING_SEALED
    return SealedReasoning(_read_block(shape), _read_calls(shape.get("calls")))


def _read_block(shape: dict[str, Json]) -> Reasoning | None:
    text, signature, data = shape.get("text"), shape.get("signature"), shape.get("data")
    if is_opaque(data):
        return Reasoning("", data=data)
    return Reasoning(text, signature) if isinstance(text, str) and is_opaque(signature) else None


def _read_calls(calls: Json) -> Mapping[str, str] | None:
    if not isinstance(calls, dict) or len(calls) > MAX_BLOCKS:
        return None
    return {call_id: signature for call_id, signature in calls.items() if is_opaque(signature)}
