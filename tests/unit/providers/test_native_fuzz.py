"""Whatever bytes a provider sends: events, or a clear failure of the provider, in time linear in the input."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pg_trio.domain.assembler import Assembler
from pg_trio.domain.events import Broken, ContentDelta, Event, Finished, Opened, ToolCallDelta, events_of
from pg_trio.domain.provider import PROVIDERS
from pg_trio.errors import AttemptFailed
from pg_trio.providers import adapter_for
from pg_trio.providers.openai_tools import MAX_NAME_CHARS, MAX_TOOL_CALLS
from tests.support.recordings import RECORDINGS, load_recording
from tests.support.simulated import candidate_of

WIRES = ("anthropic", "google", "cohere")
EVERY_WIRE = ("openai", *WIRES)
NAMES = sorted(f"{name}/{path.stem}" for name in PROVIDERS for path in (RECORDINGS / name).glob("*.http"))
STREAMS = [name for name in NAMES if "event-stream" in load_recording(name).headers["content-type"]]
WHOLE = [
    name
    for name in NAMES
    if name not in STREAMS and load_recording(name).status == 200 and not name.endswith("cut_short")
]

many = settings(max_examples=200, suppress_health_check=list(HealthCheck))
# What JSON holds, and what providers are known to put where something else belongs.
odd: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.floats(),
        st.text(max_size=8),
        st.sampled_from(
            ["", "STOP", "end_turn", "tool_use", "text", "thinking", "COMPLETE", "error", "\ud83d", "null"]
        ),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=6,
)


ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**70, 1.5, float("nan"), "", "x", "\ud83d", "ü", "error", "null"),
    *([], {}, ["x"], [None], [[]], [{}], {"a": 1}, {"error": "x"}, {"type": "text"}, {"name": 1, "function": 2}),
)


def read_stream(wire: str, *pieces: bytes) -> list[Event]:
    reader = adapter_for(wire).open_stream(candidate_of(wire))
    events = [event for piece in pieces for event in reader.feed(piece)] + reader.close()
    assert reader.is_over
    return events


def check(events: list[Event]) -> None:
    """The rules of `domain.events`, and that what came can be kept and sent on."""
    assert isinstance(events[-1], Finished | Broken)
    assert not any(isinstance(event, Finished | Broken) for event in events[:-1])
    tokens = [event for event in events if event.is_token]
    if tokens:
        assert isinstance(next(event for event in events if not event.shows_life), Opened)
    assert all(event.text for event in events if isinstance(event, ContentDelta))
    begun: set[int] = set()
    for event in events:
        if isinstance(event, ToolCallDelta):
            assert (event.id is not None) == (event.index not in begun)
            begun.add(event.index)
    assembler = Assembler()
    for event in events:
        assembler.add(event)
    reply = assembler.reply_so_far()
    orjson.dumps([reply.content, [[call.id, call.name, call.arguments] for call in reply.tool_calls]])
    if isinstance(events[-1], Broken):
        orjson.dumps(events[-1].failure.said)


def read_whole(wire: str, body: bytes, status: int = 200) -> list[Event]:
    try:
        reply = adapter_for(wire).read_reply(status, {}, body, candidate_of(wire), now_s=0.0)
    except AttemptFailed as failure:
        return [Broken(failure)]
    return events_of(reply)


def places_of(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The place of every value inside a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place] + [inner for key, item in items for inner in places_of(item, (*place, key))]


def changed(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    if not place:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[place[0]] = changed(value[place[0]], place[1:], new)
    return copy


def dump(value: Any) -> bytes:
    """JSON as a careless server writes it: NaN, lone surrogates and long integers included."""
    import json

    return json.dumps(value).encode()


@many
@given(st.sampled_from(EVERY_WIRE), st.binary(max_size=400), st.sampled_from([200, 400, 429, 500]))
def test_any_bytes_as_a_whole(wire: str, body: bytes, status: int) -> None:
    check(read_whole(wire, body, status))


@many
@given(st.sampled_from(EVERY_WIRE), st.lists(st.binary(max_size=80), max_size=6))
def test_any_bytes_as_a_stream(wire: str, pieces: list[bytes]) -> None:
    check(read_stream(wire, *pieces))


@many
@given(st.sampled_from(EVERY_WIRE), st.lists(odd, max_size=4))
def test_any_json_as_a_stream(wire: str, values: list[Any]) -> None:
    check(read_stream(wire, *[b"data: " + dump(value) + b"\n\n" for value in values]))


@pytest.mark.parametrize("name", WHOLE)
def test_answer_with_anything_anywhere(name: str) -> None:
    answer = orjson.loads(load_recording(name).body)

    for place in places_of(answer):
        for new in ODD:
            check(read_whole(name.partition("/")[0], dump(changed(answer, place, new))))


@pytest.mark.parametrize("name", STREAMS)
def test_event_with_anything_anywhere(name: str) -> None:
    blocks = load_recording(name).body.split(b"\n\n")
    for number, block in enumerate(blocks):
        head, _, text = block.rpartition(b"data: ")
        if not text.startswith(b"{"):
            continue
        event = orjson.loads(text)
        for place in places_of(event):
            for new in ODD:
                line = head + b"data: " + dump(changed(event, place, new))
                body = b"\n\n".join([*blocks[:number], line, *blocks[number + 1 :]]) + b"\n\n"
                check(read_stream(name.partition("/")[0], body))


@many
@given(st.data(), st.sampled_from(STREAMS))
def test_events_lost_and_repeated(data: st.DataObject, name: str) -> None:
    blocks = load_recording(name).body.split(b"\n\n")
    kept = data.draw(st.lists(st.sampled_from(blocks), max_size=2 * len(blocks)))

    check(read_stream(name.partition("/")[0], b"\n\n".join(kept) + b"\n\n"))


def test_half_a_character_waits_for_the_other() -> None:
    halves = [
        b'data: {"candidates":[{"content":{"parts":[{"text":"a\\ud83d"}]}}]}\n\n',
        b'data: {"candidates":[{"content":{"parts":[{"text":"\\ude42b"}]},"finishReason":"STOP"}]}\n\n',
    ]

    events = read_stream("google", *halves)

    assert "a🙂b" == "".join(event.text for event in events if isinstance(event, ContentDelta))


def test_half_a_character_at_the_end() -> None:
    events = read_stream(
        "google", b'data: {"candidates":[{"content":{"parts":[{"text":"a\\ud83d"}]},"finishReason":"STOP"}]}\n\n'
    )

    assert "a\ufffd" == "".join(event.text for event in events if isinstance(event, ContentDelta))


@pytest.mark.parametrize("noise", [b": keep-alive\n\n", b"event: ping\ndata:\n\n", b"data: ping\n\n", b"data: 7\n\n"])
@pytest.mark.parametrize("name", ["anthropic/stream", "google/stream", "cohere/stream"])
def test_noise_says_nothing(name: str, noise: bytes) -> None:
    body = noise + (b"\n\n" + noise).join(load_recording(name).body.split(b"\n\n")) + b"\n\n"

    last = read_stream(name.partition("/")[0], body)[-1]

    assert isinstance(last, Finished)


CALLS: dict[str, Callable[[int, str], bytes]] = {
    "anthropic": lambda index, name: (
        b'data: {"type":"content_block_start","index":%d,"content_block":'
        b'{"type":"tool_use","id":"same","name":"%b","input":{}}}\n\n' % (index, name.encode())
    ),
    "google": lambda index, name: (
        b'data: {"candidates":[{"content":{"parts":[{"functionCall":{"id":"same","name":"%b"}}]}}]}\n\n' % name.encode()
    ),
    "cohere": lambda index, name: (
        b'data: {"type":"tool-call-start","index":%d,"delta":{"message":{"tool_calls":'
        b'{"id":"same","function":{"name":"%b"}}}}}\n\n' % (index, name.encode())
    ),
}


@pytest.mark.parametrize("wire", WIRES)
def test_repeated_ids_are_told_apart(wire: str) -> None:
    events = read_stream(wire, *[CALLS[wire](index, "f") for index in range(3)])

    ids = [event.id for event in events if isinstance(event, ToolCallDelta) and event.id]
    assert "same" == ids[0]
    assert 3 == len(set(ids))


@pytest.mark.parametrize("wire", WIRES)
def test_calls_without_end_are_bounded(wire: str) -> None:
    last = read_stream(wire, *[CALLS[wire](index, "f") for index in range(MAX_TOOL_CALLS + 1)])[-1]

    assert isinstance(last, Broken)
    assert "tool calls" in last.failure.said


@pytest.mark.parametrize("wire", WIRES)
def test_names_are_bounded(wire: str) -> None:
    last = read_stream(wire, CALLS[wire](0, "f" * (MAX_NAME_CHARS + 1)))[-1]

    assert isinstance(last, Broken)
    assert "name" in last.failure.said


def steps_of(work: Callable[[], object]) -> int:
    """Lines and calls that this takes: the machine's load has no part in it."""
    count = 0

    def note(frame: object, event: str, argument: object) -> Any:
        nonlocal count
        count += 1
        return note

    sys.settrace(note)
    try:
        work()
    finally:
        sys.settrace(None)
    return count


@pytest.mark.parametrize("name", ["anthropic/stream", "google/stream", "cohere/stream"])
def test_work_is_linear_in_the_events(name: str) -> None:
    wire, blocks = name.partition("/")[0], load_recording(name).body.split(b"\n\n")
    middle = next(block for block in blocks if b"va?" in block)

    def read(times: int) -> Callable[[], object]:
        body = b"\n\n".join([*blocks[:2], *[middle] * times]) + b"\n\n"
        return lambda: read_stream(wire, *[body[at : at + 100] for at in range(0, len(body), 100)])

    first, second = steps_of(read(200)), steps_of(read(400))

    assert second < 2.2 * first


@pytest.mark.parametrize("wire", WIRES)
def test_work_is_linear_in_one_event(wire: str) -> None:
    """However small the pieces are in which it comes."""

    def read(size: int) -> Callable[[], object]:
        body = b'data: {"type":"x","text":"' + b"a" * size + b'"}\n\n'
        return lambda: read_stream(wire, *[body[at : at + 1] for at in range(len(body))])

    assert steps_of(read(4_000)) < 2.2 * steps_of(read(2_000))
