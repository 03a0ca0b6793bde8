"""The part of a request that only the client's own wire understands. Values only.

A surface of a provider's own dialect (Anthropic's Messages) reads a request into neutral values. Fields that those
values lack (`cache_control`, fields of betas, later additions) stay beside them, in the wire's own terms. The adapter
of the same wire writes them back unchanged, and every other adapter leaves them out.

Rules:
1. The texts in these fields are the client's: the guardrails read and mask them, and estimates count them.
2. Words of the wire's own format (NATIVE_WORDS) are no client text, and neither is data that a provider encrypted.
3. The wire is Anthropic's so far. A second one must say in each value which it is.
"""

from __future__ import annotations

import re

from pg_trio.domain.json_value import Json, JsonObject
from pg_trio.domain.options import NO_OPTIONS, Options
from pg_trio.domain.provider import Wire
from pg_trio.domain.value import value

# Words of the Messages wire: names of fields and types. Like TOOL_WORDS, they must not be masked.
# fmt: off
NATIVE_WORDS: frozenset[str] = frozenset({
    "type", "text", "source", "content", "data", "media_type", "base64", "url", "file", "file_id", "title", "context",
    "citations", "enabled", "cache_control", "ephemeral", "ttl", "5m", "1h", "text/plain", "is_error", "id", "name",
    "input", "tool_use_id", "role", "user", "assistant", "system", "caller", "direct", "document", "image",
    "tool_choice", "auto", "any", "tool", "none", "disable_parallel_tool_use", "thinking", "disabled", "adaptive",
    "between_tools", "budget_tokens", "display", "summarized", "omitted", "metadata", "user_id", "stop_sequences",
    "top_k", "service_tier", "standard_only", "output_config", "effort", "low", "medium", "high", "xhigh", "max",
    "format", "json_schema", "schema", "encrypted_content", "encrypted_index", "encrypted_stdout", "signature",
    "custom", "search_result", "server_tool_use", "web_search_tool_result", "web_search_result", "web_search",
})
# fmt: on
# `top_k` is a number, and the type and the name of a tool choice are among the request's own texts.
_RESTATED = frozenset({"tool_choice", "top_k"})
_RESTATED_OF_CHOICE = frozenset({"type", "name"})
# Fields with base64: media, or what a provider has encrypted or signed and must get back as it was.
_OPAQUE_FIELDS = frozenset({"encrypted_content", "encrypted_index", "encrypted_stdout", "signature", "data"})
# 64 characters: shorter ones may be a number or a word of the client's.
_OPAQUE = re.compile(r"[A-Za-z0-9+/_=-]{64,}")


@value(slots=True)
class NativeTurn:
    """How a client wrote a turn, where a neutral message does not tell it.

    `fields`: fields besides `role` and `content`. A `role` in it is the turn's own: a system message in its place.
    `result`: further fields of the block of a tool's result. `order`: the order of an assistant's blocks if it is not
    thinking, content, calls: a letter for each block (`r` reasoning, `p` part, `c` call). `begins`: the message begins
    a turn, though it could continue the one before.
    """

    fields: JsonObject | None = None
    result: JsonObject | None = None
    order: str = ""
    begins: bool = False

    def texts(self) -> list[str]:
        """Every piece of the client's text in the fields."""
        return [text for fields in (self.fields, self.result) if fields is not None for text in native_texts(fields)]


# Of most turns. An assistant's message without one is not the client's.
PLAIN_TURN = NativeTurn()


@value(slots=True)
class NativeRequest:
    """The fields of a request that its own wire is sent unchanged.

    `fields`: the body's fields without those that the neutral values restate completely. `headers`: request headers of
    the wire. `asked`: the client's options; if the endpoint has replaced one, the field that states it is out of date.
    `needs`: names of fields that ask for another kind of answer, so that a candidate of another wire cannot take the
    request.
    """

    wire: Wire
    fields: JsonObject
    headers: tuple[tuple[str, str], ...] = ()
    asked: Options = NO_OPTIONS
    needs: tuple[str, ...] = ()

    def texts(self) -> list[str]:
        """Every piece of the client's text in the fields, without those that neutral values restate."""
        more = {name: item for name, item in self.fields.items() if name not in _RESTATED}
        choice = self.fields.get("tool_choice")
        if isinstance(choice, dict):
            more["tool_choice"] = {name: item for name, item in choice.items() if name not in _RESTATED_OF_CHOICE}
        return native_texts(more)


@value(slots=True)
class NativeStop:
    """Why an answer ended, if a provider says more than the neutral finish reason.

    `reason`: the word of Anthropic's wire (`stop_sequence`, `pause_turn`, …). `sequence`: the stop sequence that the
    model wrote.
    """

    reason: str | None = None
    sequence: str | None = None


def native_texts(fields: Json) -> list[str]:
    """Every string, key and number that is the client's text, in no particular order. Numbers become text."""
    texts: list[str] = []
    rest = [fields]
    while rest:
        node = rest.pop()
        if isinstance(node, str):
            texts.append(node)
        elif isinstance(node, dict):
            texts.extend(node)
            rest.extend([item for key, item in node.items() if not is_opaque_field(key, item)])
        elif isinstance(node, list | tuple):
            rest.extend(node)
        elif node is not None and not isinstance(node, bool):
            texts.append(str(node))
    return [text for text in texts if text not in NATIVE_WORDS]


def is_opaque_field(key: str, item: Json) -> bool:
    """Whether a field is data, a signature, or the budget of thinking: no text of a person's."""
    if isinstance(item, str):
        return key in _OPAQUE_FIELDS and _OPAQUE.fullmatch(item) is not None
    return key == "budget_tokens" and isinstance(item, int)
