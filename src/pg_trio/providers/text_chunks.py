"""Chunks of OpenAI's stream that differ from each other in their text alone: what is around the text."""

from __future__ import annotations

import re
from typing import NamedTuple

import orjson

from pg_trio.domain.chat import Json

DATA = b"data: "
DATA_BYTES = len(DATA)
_CONTENT = re.compile(rb'"content":\s*("(?:[^"\\]|\\.)*+")')
# An event's data has no CR: it ends lines. A zero byte may be in it.
_NEVER = b"\r"


class Around(NamedTuple):
    """The bytes before and after the text of a chunk; what ends an event of it alone, and where there the text is.

    `says_more`: the chunk has a finish reason or usage, too. Of these the last one in the stream counts.
    """

    before: bytes
    after: bytes
    lone_end: bytes
    text_from: int
    text_to: int
    says_more: bool = False


# No chunk has been looked at; and no chunk is like another one.
NOT_YET, NOTHING = Around(_NEVER, _NEVER, _NEVER, 0, 0), Around(_NEVER, _NEVER, _NEVER, 0, 0)


def learn_around(data: bytes, chunk: dict[str, Json], choice: dict[str, Json]) -> Around:
    """What is around the text of this chunk, which is in `choice`, if replacing it changes nothing else. Changes it."""
    found = _CONTENT.search(data)
    if found is None:
        return NOTHING
    before, after = data[: found.start(1)], data[found.end(1) :]
    # Another text than any in the chunk: of a field that is given twice, the last one counts.
    delta = choice["delta"]
    other = delta["content"] = f"{delta['content']}."
    if not after or orjson.loads(before + orjson.dumps(other) + after) != chunk:
        return NOTHING
    end = after + b"\n\n"
    says_more = bool(choice.get("finish_reason") or chunk.get("usage") or chunk.get("x_groq"))
    return Around(before, after, end, DATA_BYTES + len(before), -len(end), says_more)
