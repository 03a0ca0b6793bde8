"""`input` of the Responses API as messages.

Rules:
1. A message item is a message. A function's output is a `tool` message.
2. What a model made in one turn is one assistant message: its reasoning, its text, its calls. Other wires want a call
   and its turn's text together, and the outputs right behind them. Only a text behind a text begins another message.
3. `item_reference` stands for the text of an earlier answer that a session stores. AI SDKs send it in place of the
   text. A reference to reasoning is dropped, since no session stores reasoning.
4. Reasoning without a seal of this gateway's is dropped: no wire can use it. See sealed_reasoning.py.
5. Each call needs an output, and each output an earlier call, as with OpenAI. The call may be in the stored
   conversation that the request continues.
6. An item without a type is a message, as clients write it. Items of built-in tools are refused by name.
7. A message without content says nothing and is left out: Codex writes such messages, and OpenAI takes them. A function
   may give nothing, too.
8. The general rules of chat_request.py hold: a null field counts as absent, ids and functions' names are accepted
   unchanged, unknown fields are dropped, and error texts quote nothing.

Source: OpenAI's openapi.yaml, InputParam and InputItem, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias, cast
from uuid import UUID

from pg_trio.domain.chat import NO_QUOTES, Json, Message, Reasoning, Role
from pg_trio.domain.content import Part, Text
from pg_trio.domain.tools import ToolCall
from pg_trio.domain.value import value
from pg_trio.errors import BadRequest
from pg_trio.surfaces.reading.field_checks import check_object, check_text
from pg_trio.surfaces.v1.responses.item_content import Content, join_texts, read_item_content
from pg_trio.surfaces.v1.responses.response_id import ResponseIds
from pg_trio.surfaces.v1.responses.sealed_reasoning import unseal

_ROLES: dict[str, Role] = {"user": "user", "system": "system", "developer": "system", "assistant": "assistant"}
# Items that only OpenAI's own tools and stores have. An error may name these, since they are no client's text.
# fmt: off
_FOREIGN_ITEMS = frozenset({
    "additional_tools", "apply_patch_call", "apply_patch_call_output", "code_interpreter_call", "compaction",
    "compaction_trigger", "computer_call", "computer_call_output", "custom_tool_call", "custom_tool_call_output",
    "file_search_call", "image_generation_call", "local_shell_call", "local_shell_call_output", "mcp_approval_request",
    "mcp_approval_response", "mcp_call", "mcp_list_tools", "program", "program_output", "shell_call",
    "shell_call_output", "tool_search_call", "tool_search_output", "web_search_call",
})
# fmt: on


@value(slots=True)
class ReadInput:
    """The messages of an input. `quotes` are those whose text is stored: the answers' tags by the messages' places.

    `quoted_id` is the session that stores them: that of the last one, as each conversation's newest has all of it.
    """

    messages: tuple[Message, ...]
    quotes: Mapping[int, str] = NO_QUOTES
    quoted_id: UUID | None = None


def read_input(given: Json, max_messages: int, *, continues: bool) -> ReadInput:
    """The field `input`. `continues`: a stored conversation comes before its messages. Raises: BadRequest."""
    if isinstance(given, str):
        return ReadInput((Message("user", given),))
    if given is None:
        raise BadRequest("input: is required.")
    if not isinstance(given, list):
        raise BadRequest("input: must be a string or a list of items.")
    if not given:
        raise BadRequest("input: must not be empty.")
    reader = _ItemReader(continues=continues)
    for index, item in enumerate(given):
        reader.add(check_object(item, f"input[{index}]"), f"input[{index}]")
        if len(reader.messages) > max_messages:
            break
    read = reader.finish()
    if len(read.messages) > max_messages:
        raise BadRequest(f"input: has more than {max_messages} messages, which is the limit.")
    return read


class _ItemReader:
    """Collects messages from items, one after the other."""

    def __init__(self, *, continues: bool) -> None:
        self.messages: list[Message] = []
        self._continues = continues
        # The assistant's turn under way: see rule 2.
        self._reasoning: list[Reasoning] = []
        self._texts: list[Content] = []
        self._calls: list[ToolCall] = []
        self._signatures: dict[str, str] = {}
        self._quote: str | None = None
        self._quotes: dict[int, str] = {}
        self._quoted_id: UUID | None = None
        # The paths of calls without an output yet, by their ids.
        self._unanswered: dict[str, str] = {}
        self._called: set[str] = set()

    def add(self, item: dict[str, Json], path: str) -> None:
        """Read the next item. Raises: BadRequest."""
        kind = item.get("type")
        if kind is None:
            kind = "message" if item.get("role") is not None else "item_reference"
        read = _READERS.get(kind) if isinstance(kind, str) else None
        if read is not None:
            read(self, item, path)
        elif isinstance(kind, str) and kind in _FOREIGN_ITEMS:
            raise BadRequest(f"{path}.type: {kind} is not supported.")
        else:
            raise BadRequest(f"{path}.type: must be one of {', '.join(_KINDS)}.")

    def finish(self) -> ReadInput:
        """All that was read. Raises: BadRequest for a call without an output."""
        self._end_turn()
        for path in self._unanswered.values():
            raise BadRequest(f"{path}: no function_call_output has this call's call_id.")
        if not self.messages:
            raise BadRequest("input: has no message.")
        return ReadInput(tuple(self.messages), self._quotes, self._quoted_id)

    def read_message(self, item: dict[str, Json], path: str) -> None:
        named = item.get("role")
        role = _ROLES.get(named) if isinstance(named, str) else None
        if role is None:
            raise BadRequest(f"{path}.role: must be one of {', '.join(_ROLES)}.")
        given = item.get("content")
        if given is None or given == []:
            return
        content = read_item_content(given, role, f"{path}.content")
        if role == "assistant":
            if self._has_text and not self._calls:
                self._end_turn()
            self._texts.append(content)
        else:
            self._end_turn()
            self.messages.append(Message(role, content))

    def read_call(self, item: dict[str, Json], path: str) -> None:
        call_id, name = _read_text(item, "call_id", path), _read_text(item, "name", path)
        arguments = item.get("arguments")
        if arguments is None:
            # Go and Java clients send the arguments of a function without parameters back as null.
            arguments = "{}"
        elif not isinstance(arguments, str):
            raise BadRequest(f"{path}.arguments: must be a string.")
        if call_id in self._called:
            raise BadRequest(f"{path}.call_id: an earlier call has the same.")
        self._called.add(call_id)
        self._unanswered[call_id] = path
        self._calls.append(ToolCall(call_id, name, arguments, self._signatures.get(call_id)))

    def read_output(self, item: dict[str, Json], path: str) -> None:
        call_id = _read_text(item, "call_id", path)
        if self._unanswered.pop(call_id, None) is None and (call_id in self._called or not self._continues):
            raise BadRequest(f"{path}.call_id: must be that of an earlier function_call without an output.")
        self._called.add(call_id)
        given = item.get("output")
        content = "" if given == [] else read_item_content(given, "tool", f"{path}.output")
        self._end_turn()
        self.messages.append(Message("tool", content, tool_call_id=call_id))

    def read_reasoning(self, item: dict[str, Json], path: str) -> None:
        encrypted = item.get("encrypted_content")
        if encrypted is None:
            return
        if not isinstance(encrypted, str):
            raise BadRequest(f"{path}.encrypted_content: must be a string.")
        sealed = unseal(encrypted)
        if sealed.block is not None:
            if self._has_text and not self._calls:
                # It was made after that text, and a message has its reasoning first.
                self._end_turn()
            self._reasoning.append(sealed.block)
        self._signatures |= sealed.call_signatures or {}

    def read_reference(self, item: dict[str, Json], path: str) -> None:
        item_id = item.get("id")
        if not isinstance(item_id, str) or not item_id:
            raise BadRequest(f"{path}.type: must be one of {', '.join(_KINDS)}.")
        if item_id.startswith("rs_"):
            return
        ids = ResponseIds.read_message(item_id)
        if ids is None or (self._texts and self._calls):
            raise BadRequest(f"{path}.id: must be that of a message or of reasoning.")
        if ids.tag in self._quotes.values() or ids.tag == self._quote:
            # A stream may have written the answer's text in several items.
            return
        if self._has_text:
            self._end_turn()
        self._quote, self._quoted_id = ids.tag, ids.session_id

    @property
    def _has_text(self) -> bool:
        return bool(self._texts) or self._quote is not None

    def _end_turn(self) -> None:
        if self._has_text or self._calls:
            if self._quote is not None:
                self._quotes[len(self.messages)] = self._quote
                self._quote = None
            content = _join_contents(self._texts)
            calls, reasoning = tuple(self._calls), tuple(self._reasoning)
            self.messages.append(Message("assistant", content, tool_calls=calls, reasoning=reasoning))
            self._texts, self._calls = [], []
        self._reasoning, self._signatures = [], {}


def _read_text(item: dict[str, Json], field: str, path: str) -> str:
    check_text(item.get(field), f"{path}.{field}")
    return cast(str, item[field])


def _join_contents(contents: list[Content]) -> Content | None:
    if len(contents) < 2:
        return contents[0] if contents else None
    parts: list[Part] = []
    for content in contents:
        parts += [Text(content)] if isinstance(content, str) else content
    return join_texts(parts)


_Reader: TypeAlias = Callable[[_ItemReader, dict[str, Json], str], None]
_READERS: dict[str, _Reader] = {
    "message": _ItemReader.read_message,
    "function_call": _ItemReader.read_call,
    "function_call_output": _ItemReader.read_output,
    "reasoning": _ItemReader.read_reasoning,
    "item_reference": _ItemReader.read_reference,
}
_KINDS = ("message", "function_call", "function_call_output", "reasoning")
