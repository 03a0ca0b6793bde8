"""One chunk of an OpenAI stream: which choice of it is read, what that adds, and whether it is a failure.

Rules:
1. The choice with index 0, or the only one without a number. Requests never ask for more than one.
2. A choice adds its `delta`. Without one, a whole `message` counts if nothing came before it (some servers send the
   answer in one event; others repeat it at the end), and so does the `text` of the older completions.
"""

from __future__ import annotations

import orjson

from pg_trio.domain.chat import Json
from pg_trio.domain.events import ContentDelta, Event
from pg_trio.providers.json_text import read_json
from pg_trio.providers.openai_fields import refuse
from pg_trio.providers.openai_tools import read_index
from pg_trio.providers.said import read_error_message

_WORDS = (
    *("error", "errors", "message", "msg", "detail", "title", "error_msg", "error_message", "base_resp"),
    *("Message", "Response", "fault"),
)


def choice_of(choices: Json) -> dict[str, Json] | None:
    """The choice to read, if it is among them."""
    if type(choices) is not list:
        refuse("choices", choices, "a list")
    for choice in choices:
        if type(choice) is not dict:
            if choice is None:
                continue
            refuse("choices[0]", choice, "an object")
        if not choice.get("index") or not read_index(choice["index"]):
            return choice
    return None


def delta_of(choice: dict[str, Json], *, is_first: bool) -> dict[str, Json] | None:
    """The part that the choice adds to the answer; None if it adds nothing. `is_first`: nothing came before."""
    delta = choice.get("delta")
    if delta:
        if type(delta) is not dict:
            refuse("choices[0].delta", delta, "an object")
        return delta
    message = choice.get("message")
    if is_first and type(message) is dict:
        return message
    text = choice.get("text")
    return {"content": text} if type(text) is str and text else None


def add_logprobs(logprobs: dict[str, Json], events: list[Event], start: int) -> None:
    """Add what a choice says of its tokens to its text, which is among the events from `start` on."""
    for index in range(start, len(events)):
        event = events[index]
        if isinstance(event, ContentDelta):
            events[index] = ContentDelta(event.text, logprobs)
            return


def is_failure(chunk: dict[str, Json]) -> bool:
    """Whether an object without choices says that the call failed, in any envelope."""
    for name in ("object", "type", "status"):
        kind = chunk.get(name)
        if isinstance(kind, str) and ("error" in kind.lower() or kind.lower() in ("failed", "failure", "exception")):
            return True
    codes = (chunk.get(name) for name in ("code", "status", "status_code", "statusCode", "error_code"))
    if any(type(code) is int and 400 <= code < 600 for code in codes):
        return True
    return chunk.get("success") is False or bool(chunk.get("errors")) or ("detail" in chunk and len(chunk) <= 2)


def read_words_of(chunk: dict[str, Json]) -> str | None:
    """The message of such an object, for a stream that ends without a finish reason; a ping has none."""
    kind = chunk.get("type")
    if isinstance(kind, str) and kind.lower() in ("ping", "heartbeat", "keepalive", "keep-alive"):
        return None
    # Other fields may hold the model's text, which must not be in an error.
    return read_error_message({name: chunk[name] for name in _WORDS if chunk.get(name)})


def read_json_or_text(data: bytes) -> Json:
    """The content of an error event."""
    try:
        return read_json(data)
    except orjson.JSONDecodeError:
        return data.decode("utf-8", "replace")


def why_not_json(error: orjson.JSONDecodeError, data: bytes) -> str:
    """Why data is not a chunk, without quoting it."""
    # Not the parser's own text, which would quote the model's text.
    if "UTF-8: " in error.msg:
        return f"a chunk of the stream is not JSON: invalid UTF-8 in {len(data)} bytes"
    return f"a chunk of the stream is not JSON: error at character {error.pos} of {len(data)} bytes"
