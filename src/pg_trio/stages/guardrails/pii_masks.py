"""Replace personal data in a request by its masks: in every text that a provider would receive, and nowhere else.

Rules:
1. A name, an id or an object's key must not change. Where one matches, `UnmaskableError` says so.
2. The words of a format are not masked, and neither is data that a provider encrypted or signed.
3. A value without a match stays the same object.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Mapping
from typing import TypeVar

import attrs
import orjson

from pg_trio.domain.chat import TOOL_WORDS, ChatRequest, Json, Message, Reasoning, ToolCall
from pg_trio.domain.content import File, Image, NativePart, Part, Text
from pg_trio.domain.embeddings import EmbeddingRequest
from pg_trio.domain.json_value import JsonObject
from pg_trio.domain.native_fields import NATIVE_WORDS, NativeRequest, is_opaque_field, native_texts
from pg_trio.domain.options import NO_OPTIONS, Options, ResponseFormat
from pg_trio.domain.tools import ForeignTool, ForeignToolChoice, Tool, ToolChoice

Guarded = TypeVar("Guarded", ChatRequest, EmbeddingRequest)

# The masked text of each piece. Pieces without a match (nearly all) are not in it.
Masks = Mapping[str, str]

# The objects of `tools`, `tool_choice` and `response_format` whose name is used by calls and answers.
_NAMED_OBJECTS = ("function", "json_schema")


class UnmaskableError(Exception):
    """A key or a name that matches."""

    def __init__(self, text: str) -> None:
        self.text = text


def parse_arguments(arguments: str) -> Json:
    """The JSON value of a call's arguments; None if they are not JSON."""
    try:
        return orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return None


def mask_request(request: Guarded, masks: Masks) -> Guarded:
    """The request with these masks in it. Raises: UnmaskableError."""
    if isinstance(request, EmbeddingRequest):
        inputs = tuple([masks.get(each, each) if isinstance(each, str) else each for each in request.inputs])
        user = None if request.user is None else masks.get(request.user, request.user)
        return attrs.evolve(request, inputs=inputs, user=user, unknown=mask_json(request.unknown, masks))
    options, native = _mask_options(request.options, masks), request.native
    return attrs.evolve(
        request,
        messages=tuple([_mask_message(message, masks) for message in request.messages]),
        tools=tuple([_mask_tool(tool, masks) for tool in request.tools]),
        tool_choice=None if request.tool_choice is None else _mask_choice(request.tool_choice, masks),
        options=options,
        unknown=mask_json(request.unknown, masks),
        native=None if native is None else _mask_native(native, options, masks),
    )


def _mask_native(native: NativeRequest, asked: Options, masks: Masks) -> NativeRequest:
    return attrs.evolve(native, fields=mask_json(native.fields, masks, NATIVE_WORDS), asked=asked)


def _mask_fields(fields: JsonObject | None, masks: Masks) -> JsonObject | None:
    """The native fields of one value, masked."""
    masked: JsonObject | None = mask_json(fields, masks, NATIVE_WORDS)
    return masked


def _mask_message(message: Message, masks: Masks) -> Message:
    content = message.content
    if isinstance(content, str):
        masked: str | tuple[Part, ...] | None = masks.get(content, content)
    elif content is None:
        masked = None
    else:
        parts = _mask_parts(content, masks)
        masked = content if len(parts) == len(content) and all(map(operator.is_, parts, content)) else parts
    calls = tuple([_mask_tool_call(call, masks) for call in message.tool_calls])
    # A signature holds for the text as it was: masked reasoning is left out.
    reasoning = tuple([block for block in message.reasoning if not _is_masked(block, masks)])
    turn = message.native
    if turn is not None:
        fields, result = _mask_fields(turn.fields, masks), _mask_fields(turn.result, masks)
        if fields is not turn.fields or result is not turn.result:
            turn = attrs.evolve(turn, fields=fields, result=result)
    if masked is content and turn is message.native and calls == message.tool_calls and reasoning == message.reasoning:
        return message
    return attrs.evolve(message, content=masked, tool_calls=calls, reasoning=reasoning, native=turn)


def _is_masked(block: Reasoning, masks: Masks) -> bool:
    texts = [] if block.native is None else native_texts(block.native)
    return block.text in masks or any(text in masks for text in texts)


def _mask_parts(parts: tuple[Part, ...], masks: Masks) -> tuple[Part, ...]:
    """The parts, masked. A match that spans adjacent texts makes one text of them."""
    masked: list[Part] = []
    for is_text, run in itertools.groupby(parts, lambda part: isinstance(part, Text)):
        given = tuple(run)
        each = [_mask_part(part, masks) for part in given]
        whole = masks.get("".join([part.free_text or "" for part in given])) if is_text else None
        if whole is None or whole == "".join([part.free_text or "" for part in each]):
            masked += each
        else:
            natives = [part.native for part in each if isinstance(part, Text) and part.native is not None]
            masked.append(Text(whole, natives[-1] if natives else None))
    return tuple(masked)


def _mask_other(part: Text | Image, masks: Masks) -> Text | Image:
    return part.with_free_text(masks.get(part.text, part.text)) if isinstance(part, Text) else part


def _mask_part(part: Part, masks: Masks) -> Part:
    if isinstance(part, NativePart):
        raw = mask_json(part.raw, masks, NATIVE_WORDS)
        if raw is part.raw:
            return part
        others = part.others
        return NativePart(raw, None if others is None else tuple([_mask_other(one, masks) for one in others]))
    text = None if part.free_text is None else masks.get(part.free_text)
    masked = part if text is None else part.with_free_text(text)
    if isinstance(masked, Text | Image | File) and masked.native is not None:
        fields = _mask_fields(masked.native, masks)
        return masked if fields is masked.native else attrs.evolve(masked, native=fields)
    return masked


def _mask_tool(tool: Tool | ForeignTool, masks: Masks) -> Tool | ForeignTool:
    if isinstance(tool, ForeignTool):
        return attrs.evolve(tool, raw=mask_json(tool.raw, masks, TOOL_WORDS))
    _refuse_name(tool.name, masks)
    return attrs.evolve(
        tool,
        description=mask_json(tool.description, masks, TOOL_WORDS),
        parameters=mask_json(tool.parameters, masks, TOOL_WORDS),
        more=mask_json(tool.more, masks, TOOL_WORDS),
        native=_mask_fields(tool.native, masks),
    )


def _mask_choice(choice: ToolChoice | ForeignToolChoice, masks: Masks) -> ToolChoice | ForeignToolChoice:
    if isinstance(choice, ForeignToolChoice):
        return attrs.evolve(choice, raw=mask_json(choice.raw, masks, TOOL_WORDS))
    _refuse_name(choice.name, masks)
    return choice


def _mask_options(options: Options, masks: Masks) -> Options:
    if options is NO_OPTIONS or not options.holds_text:
        return options
    wanted = options.response_format
    if wanted is not None:
        masked = mask_json(wanted.raw, masks, TOOL_WORDS)
        wanted = wanted if masked is wanted.raw else ResponseFormat.of(masked)
    return attrs.evolve(
        options,
        response_format=wanted,
        stop=tuple([masks.get(text, text) for text in options.stop]),
        user=None if options.user is None else masks.get(options.user, options.user),
        more=mask_json(options.more, masks),
    )


def _mask_tool_call(call: ToolCall, masks: Masks) -> ToolCall:
    """The call with masked arguments: inside their JSON strings, so that they stay JSON; as plain text if they are not
    JSON.

    The arguments are written anew if a part was masked or may be hidden. This drops the first of two equal keys, as
    parsers do.
    """
    if call.native is not None:
        call = attrs.evolve(call, native=_mask_fields(call.native, masks))
    arguments = call.arguments
    try:
        value = orjson.loads(arguments)
        masked = mask_json(value, masks)
        if masked is value and arguments in masks:
            masked = _read_masked(masks[arguments], value)
        elif masked is value and "\\u" not in arguments:
            return call
        return attrs.evolve(call, arguments=orjson.dumps(masked).decode())
    except (orjson.JSONDecodeError, orjson.JSONEncodeError, RecursionError):
        # Not JSON, or nested deeper than orjson writes (254 levels) or Python recurses (some 900).
        return attrs.evolve(call, arguments=masks.get(arguments, arguments))


def _read_masked(text: str, original: Json) -> Json:
    """For arguments that match only in their written form (a word in one value, a number in the next). The original if
    the masked text is not JSON with the same keys."""
    masked = parse_arguments(text)
    return masked if _keys_of(masked) == _keys_of(original) else original


def _keys_of(value: Json) -> list[str]:
    keys: list[str] = []
    rest = [value]
    while rest:
        node = rest.pop()
        if isinstance(node, dict):
            keys += node
            rest.extend(node.values())
        elif isinstance(node, list):
            rest.extend(node)
    return keys


def _refuse_name(name: Json, masks: Masks) -> None:
    if isinstance(name, str) and name in masks:
        raise UnmaskableError(name)


def _mask_pair(key: str, item: Json, masks: Masks) -> str | None:
    """The value, masked because of its key ("phone": "2125552368"); None if nothing in it was masked."""
    if isinstance(item, dict | list):
        return None
    before = f"{key}: "
    masked = masks.get(f"{before}{item}")
    return None if masked is None or not masked.startswith(before) else masked.removeprefix(before)


def mask_json(value: Json, masks: Masks, kept: frozenset[str] = frozenset()) -> Json:
    """The masked value; the same object if nothing matched. Numbers are checked as they are written, because a card may
    be a number.

    `kept`: the words of a format, which are not masked. Raises: UnmaskableError for a key or a name that matches.
    """
    # Loops, because in Python 3.11 comprehensions take a second frame for each level.
    if isinstance(value, str):
        return value if value in kept else masks.get(value, value)
    if isinstance(value, dict):
        changed, masked_items = False, {}
        for key, item in value.items():
            if key in masks and key not in kept:
                raise UnmaskableError(key)
            if kept and key in _NAMED_OBJECTS and isinstance(item, dict):
                _refuse_name(item.get("name"), masks)
            if kept is NATIVE_WORDS and is_opaque_field(key, item):
                masked_items[key] = item
                continue
            masked_item = _mask_pair(key, item, masks) or mask_json(item, masks, kept)
            changed = changed or masked_item is not item
            masked_items[key] = masked_item
        return masked_items if changed else value
    if isinstance(value, list):
        changed, masked_list = False, []
        for item in value:
            masked_item = mask_json(item, masks, kept)
            changed = changed or masked_item is not item
            masked_list.append(masked_item)
        return masked_list if changed else value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return masks.get(str(value), value)
    return value
