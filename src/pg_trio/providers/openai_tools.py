"""Reads tool calls of the OpenAI wire, of whole answers and of streams.

Rules:
1. Empty values are ignored: null, "", {}, [] instead of the list or in it.
2. An id that is missing, not a text, or given to two calls is replaced by a new one, because the client needs a unique
   id to send the result back. A number is used as text.
3. A name is needed, and must be whole. In a stream it may come after the arguments, or in pieces; so a call is reported
   once its name is known and its arguments have begun, another call begins, or the answer ends.
4. Arguments are passed on unchanged. Null means none: `{}` in a whole answer, nothing in a stream. An object instead of
   its text is written as text.
5. In a stream, a piece belongs to the call of its index. It begins another call where it has another id and a name, or
   a name where the last call's arguments are a whole object already: providers leave the index out (Gemini, Ollama
   until 2024), give all calls the same one, or repeat the name in each piece.
6. `function_call`, the predecessor of `tool_calls`, is a separate call; it is ignored if `tool_calls` has the same
   call.

7. A call may have the signature of Google's models (`extra_content`), which they need again with its result.

Sources, read 2026-11: openai/openai-python#2806; vercel/ai#14722 (a late name); continuedev/continue#5849 (a name in
pieces); NousResearch/hermes-agent#5331 (LM Studio: another id in every piece); QwenLM/qwen-code#6240.
"""

from __future__ import annotations

import secrets

import orjson
from attrs import evolve

from pg_trio.domain.chat import Json, ToolCall
from pg_trio.domain.events import Event, ReasoningDelta, ToolCallDelta
from pg_trio.errors import UpstreamNonsense
from pg_trio.providers.json_text import HalfText, mend_text
from pg_trio.providers.openai_fields import dump_arguments, refuse

# 128: as many tools as OpenAI accepts in a request.
MAX_TOOL_CALLS = 128
# OpenAI accepts 64; a much longer text is not a name, and would be kept in memory.
MAX_NAME_CHARS = 1024

# Google's page "OpenAI compatibility" has the first name, its servers at Vertex the second (earendil-works/pi#6733).
_SIGNERS = ("google", "vertex")

# 1 MiB for all calls of a stream: arguments that may be whole are parsed to find out. Otherwise a provider that names
# its call in each piece would have them parsed again and again. Real arguments are a few KiB.
WHOLE_CHECK_BYTES = 1024 * 1024

# The index used for a stream's `function_call`, which has none.
_LEGACY = -1


def read_tool_calls(message: dict[str, Json], where: str) -> tuple[ToolCall, ...]:
    """The calls of a whole message. `where` is the message's place. Raises UpstreamNonsense for an unreadable one."""
    calls = as_list(message.get("tool_calls"), f"{where}.tool_calls")
    read = [_read_call(call, f"{where}.tool_calls[{index}]") for index, call in enumerate(calls) if call]
    if not read and message.get("function_call"):
        read = [_read_call({"function": message["function_call"]}, f"{where}.function_call")]
    return tuple(_with_own_ids(read)) if len(read) > 1 else tuple(read)


def as_list(calls: Json, where: str) -> list[Json]:
    """The calls as a list: a single call becomes a list, and an empty value an empty list."""
    if not calls:
        return []
    if type(calls) is dict:
        return [calls]
    if type(calls) is str:
        # The list as JSON text: `"[]"`.
        calls = _open_text(calls)
    if type(calls) is not list:
        refuse(where, calls, "a list")
    return calls


def _open_text(text: str) -> Json:
    try:
        return orjson.loads(text) or []
    except orjson.JSONDecodeError:
        return text


def _read_call(call: Json, where: str) -> ToolCall:
    function = _function_of(call, where)
    name = function.get("name")
    if type(name) is not str or not name.strip():
        refuse(f"{where}.function.name", name or None, "a string")
    arguments = _read_arguments(function.get("arguments"), f"{where}.function.arguments")
    call_id = _read_id(call.get("id")) or _new_call_id()
    return ToolCall(call_id, name, "{}" if arguments is None else arguments, read_signature(call))


def _function_of(call: Json, where: str) -> dict[str, Json]:
    """The object with a call's name and arguments: its `function`, or the call itself."""
    if type(call) is not dict:
        refuse(where, call, "an object")
    function = call.get("function") or {}
    if type(function) is not dict:
        refuse(f"{where}.function", function, "an object")
    return call if not function and "name" in call else function


def _read_arguments(arguments: Json, where: str) -> str | None:
    # PHP writes an object without fields as `[]`.
    if arguments is None or arguments == []:
        return None
    if type(arguments) is dict:
        return dump_arguments(arguments, where)
    if type(arguments) is not str:
        refuse(where, arguments, "a string")
    return arguments


def read_signature(call: dict[str, Json]) -> str | None:
    """The signature of a call; None without a readable one."""
    extra = call.get("extra_content")
    if type(extra) is not dict:
        return None
    signed = [extra[name].get("thought_signature") for name in _SIGNERS if type(extra.get(name)) is dict]
    return next((given for given in signed if type(given) is str and given and given.isascii()), None)


def _read_id(call_id: Json) -> str | None:
    if type(call_id) is int:
        return str(call_id)
    return mend_text(call_id) if type(call_id) is str and call_id else None


def _with_own_ids(calls: list[ToolCall]) -> list[ToolCall]:
    seen: set[str] = set()
    for number, call in enumerate(calls):
        if call.id in seen:
            calls[number] = evolve(call, id=_new_call_id())
        seen.add(call.id)
    return calls


def _new_call_id() -> str:
    return f"call_{secrets.token_hex(12)}"


# ── in a stream ──────────────────────────────────────────────────────────────────────────────────────────────────────


class _Call:
    """The received part of a call. `number` is None until it is reported; its arguments wait until then."""

    __slots__ = ("arguments", "characters", "halves", "id", "name", "number", "signature")

    def __init__(self, call_id: str | None, name: str) -> None:
        # The provider's id; None if it sent none.
        self.id = call_id
        self.name = name
        self.number: int | None = None
        self.arguments: list[str] = []
        self.characters = 0
        self.halves: HalfText | None = None
        self.signature: str | None = None

    def may_have_all(self) -> bool:
        """Whether its arguments may be a complete JSON object: they end as one."""
        return bool(self.arguments) and self.arguments[-1].rstrip().endswith("}")

    def has_all(self) -> bool:
        """Whether its arguments are a complete JSON object, which nothing can follow."""
        self.arguments = ["".join(self.arguments)]
        try:
            orjson.loads(self.arguments[0])
        except orjson.JSONDecodeError:
            return False
        return True


class StreamedCalls:
    """The tool calls of one stream, numbered in the order of reporting."""

    __slots__ = ("_by_index", "_calls", "_checks_left", "_holds_more", "_told", "_where")

    def __init__(self) -> None:
        self._by_index: dict[int, _Call] = {}
        self._calls: list[_Call] = []
        self._told = 0
        # How many characters may still be parsed to see whether arguments are whole.
        self._checks_left = WHOLE_CHECK_BYTES
        # Whether a part is held back, such as a name whose rest may follow.
        self._holds_more = False
        self._where = ""

    @property
    def count(self) -> int:
        """The number of reported calls."""
        return self._told

    def read(self, delta: dict[str, Json], where: str) -> list[Event]:
        """The events of a delta's calls. A piece of a call that cannot be reported yet becomes a sign of life."""
        events: list[Event] = []
        pieces = as_list(delta.get("tool_calls"), f"{where}.tool_calls")
        for number, piece in enumerate(pieces):
            if piece:
                self._take(piece, f"{where}.tool_calls[{number}]", events)
        legacy = delta.get("function_call")
        if legacy and not pieces and (not self._calls or _LEGACY in self._by_index):
            self._take({"index": _LEGACY, "function": legacy}, f"{where}.function_call", events)
        is_alive, self._holds_more = self._holds_more, False
        return events if events or not is_alive else [ReasoningDelta("")]

    def close(self) -> list[Event]:
        """The events of the calls that the answer's end completes. Raises UpstreamNonsense for a nameless one."""
        events: list[Event] = []
        for call in self._calls:
            if call.number is None and (call.name or call.arguments):
                self._tell(call, events)
            left = call.halves.close() if call.halves is not None else ""
            if left and call.number is not None:
                events.append(ToolCallDelta(call.number, None, None, left))
        return events

    def _take(self, piece: Json, where: str, events: list[Event]) -> None:
        function = _function_of(piece, where)
        name = function.get("name")
        if name is not None and type(name) is not str:
            refuse(f"{where}.function.name", name, "a string")
        given = function.get("arguments")
        if type(given) in (int, float):
            # A token that is a number, as in texts (`openai_fields`, rule 3).
            given = str(given)
        arguments = _read_arguments(given, f"{where}.function.arguments") or ""
        call_id, index = _read_id(piece.get("id")), read_index(piece.get("index"))
        call = self._find(index, call_id, name or "", arguments)
        if call is None:
            call = self._begin(index, call_id, where, events)
        if "extra_content" in piece:
            call.signature = call.signature or read_signature(piece)
        self._add(call, call_id, name or "", arguments, events)

    def _find(self, index: int | None, call_id: str | None, name: str, arguments: str) -> _Call | None:
        """The call that a piece continues; None if it begins a new one (rule 5)."""
        call = self._by_index.get(index) if index is not None else None
        if call is None:
            call = self._find_without_index(index, call_id, name)
        if call is None or not name:
            return call
        is_another = self._begins_anew(call, arguments)
        if call_id is not None and call.id is not None and call_id != call.id:
            # Some servers send a new id and the name with every piece; then the arguments are not complete yet.
            goes_on = call.name == name and bool(call.arguments) and bool(arguments) and not is_another
            return call if goes_on else None
        if not call.arguments or not call.name:
            return call
        return None if is_another or (name != call.name and call_id is None) else call

    def _begins_anew(self, call: _Call, arguments: str) -> bool:
        """Whether a piece that names its call begins the arguments of another one: an object after an object."""
        if arguments.lstrip()[:1] != "{" or not call.may_have_all() or call.characters > self._checks_left:
            return False
        self._checks_left -= call.characters
        return call.has_all()

    def _find_without_index(self, index: int | None, call_id: str | None, name: str) -> _Call | None:
        if call_id is not None:
            for call in self._calls:
                if call.id == call_id:
                    return call
        if not self._calls or (name and (call_id is not None or index is not None)):
            return None
        last = self._calls[-1]
        if index is not None:
            # The first piece may have lacked the index that the others have.
            return None if last in self._by_index.values() else self._by_index.setdefault(index, last)
        # Without index and id, a name other than the last call's begins another call.
        return last if not name or not last.name or name == last.name else None

    def _begin(self, index: int | None, call_id: str | None, where: str, events: list[Event]) -> _Call:
        if len(self._calls) == MAX_TOOL_CALLS:
            raise UpstreamNonsense(f"{where} is one of more than {MAX_TOOL_CALLS} tool calls")
        if self._calls and self._calls[-1].number is None and self._calls[-1].name:
            self._tell(self._calls[-1], events)
        call = _Call(call_id, "")
        self._calls.append(call)
        self._where = where
        if index is not None:
            self._by_index[index] = call
        return call

    def _add(self, call: _Call, call_id: str | None, name: str, arguments: str, events: list[Event]) -> None:
        call.id = call.id or call_id
        if call.number is None and (name or arguments):
            self._holds_more = True
            call.name = _join_names(call.name, name)
            if len(call.name) > MAX_NAME_CHARS:
                raise UpstreamNonsense(f"{self._where}.function.name is over {MAX_NAME_CHARS} characters")
        if not arguments:
            return
        call.arguments.append(arguments)
        call.characters += len(arguments)
        if call.number is not None:
            self._go_on(call, arguments, events)
        elif call.name:
            self._tell(call, events)

    def _tell(self, call: _Call, events: list[Event]) -> None:
        if not call.name.strip():
            refuse(f"{self._where}.function.name", None, "a string")
        told_ids = [other.id for other in self._calls if other.number is not None]
        if call.id is None or call.id in told_ids:
            call.id = _new_call_id()
        call.number = self._told
        self._told += 1
        said = self._mend(call, "".join(call.arguments))
        events.append(ToolCallDelta(call.number, call.id, mend_text(call.name), said, call.signature))

    def _go_on(self, call: _Call, arguments: str, events: list[Event]) -> None:
        said = self._mend(call, arguments)
        if said:
            assert call.number is not None
            events.append(ToolCallDelta(call.number, None, None, said))

    def _mend(self, call: _Call, arguments: str) -> str:
        if call.halves is None:
            if arguments.isascii() or not arguments:
                return arguments
            call.halves = HalfText()
        return call.halves.take(arguments)


def read_index(index: Json) -> int | None:
    """An index as a number, or None; some servers write it as text."""
    if type(index) is str and index.isascii() and index.isdigit() and len(index) < 10:
        return int(index)
    if type(index) is float and index.is_integer():
        return int(index)
    return index if type(index) is int else None


def read_block_index(index: Json) -> int:
    """The index of a block in a native stream. A delta without one belongs to the latest block without one: -1."""
    number = read_index(index)
    return -1 if number is None else number


def _join_names(so_far: str, piece: str) -> str:
    """The name with its next piece. A repeated name, or a repeated beginning of it, is not added twice."""
    if so_far and piece.startswith(so_far):
        return piece
    return so_far + piece
