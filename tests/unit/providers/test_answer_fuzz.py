"""Thousands of answers that a provider might have sent, each a good one with something changed in it: never a cut or
failed answer reported as whole, never a whole one refused. `tests/support/answer_reference.py` is the judge.

A seed is an answer: the same one on every machine. The quick slice runs always, all 20,000 with the slow tests.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from pg_trio.domain.assembler import Assembler
from pg_trio.domain.events import Broken, Event, Finished
from pg_trio.domain.project import Candidate, Credential
from pg_trio.domain.secret import Secret
from pg_trio.errors import AttemptFailed
from pg_trio.providers import adapter_for
from pg_trio.providers.openai_stream import OpenAIStreamReader
from tests.support.answer_reference import Said, read_answer, read_chunks

CANDIDATE = Candidate(Credential("main", "openai", "https://api.test/v1", Secret("0a1b2c3d4e5f60718293")), "m")
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "prompt_tokens_details": {"cached_tokens": 0}}

# ── good answers ─────────────────────────────────────────────────────────────────────────────────────────────────────


def call(name: str, arguments: Any, call_id: str = "call_1") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def answer(message: dict[str, Any], finish_reason: str = "stop") -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish_reason, "logprobs": None}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1763800000, "model": "m"}
    return {**head, "choices": [choice], "usage": USAGE, "system_fingerprint": "fp_1"}


WHOLE = [
    answer({"content": "Hello, wörld 🙂", "refusal": None, "annotations": []}),
    answer({"content": "Half", "reasoning_content": "Hm"}, "length"),
    answer({"content": None, "tool_calls": [call("look_up", '{"a":1}'), call("now", "{}", "call_2")]}, "tool_calls"),
    answer({"content": "Wait.", "tool_calls": [call("look_up", {"a": [1, "b"]})]}),
    answer({"content": [{"type": "thinking", "thinking": "Hm"}, {"type": "text", "text": "Hi"}]}),
    answer({"content": None, "refusal": "I can't."}),
    answer({"content": ""}, "content_filter"),
]


def chunk(delta: Any, finish_reason: str | None = None, **more: Any) -> dict[str, Any]:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1763800000, "model": "m"}
    return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}], **more}


def piece(index: int, arguments: str, call_id: str | None = None, name: str | None = None) -> dict[str, Any]:
    begun = {} if name is None else {"id": call_id, "type": "function"}
    named = {} if name is None else {"name": name}
    return {"index": index, **begun, "function": {**named, "arguments": arguments}}


TEXTS = [chunk({"content": text}) for text in ("Hel", "lo, ", "wör", "ld 🙂")]
ROLE = chunk({"role": "assistant", "content": ""})
LAST = [chunk({}, "stop"), {"id": "chatcmpl-1", "choices": [], "usage": USAGE}]
STREAMS: list[tuple[list[Any], tuple[tuple[str, str], ...]]] = [
    ([ROLE, *TEXTS, *LAST], ()),
    ([ROLE, chunk({"reasoning_content": "Hm"}), *TEXTS, chunk({}, "length", usage=USAGE)], ()),
    ([chunk({"content": [{"type": "text", "text": "Hi"}]}), *LAST], ()),
    ([ROLE, chunk({}, "content_filter")], ()),
    (
        [
            ROLE,
            chunk({"tool_calls": [piece(0, "", "call_1", "look_up")]}),
            chunk({"tool_calls": [piece(0, '{"a"')]}),
            chunk({"tool_calls": [piece(0, ":1}")]}),
            chunk({"tool_calls": [piece(1, "{}", "call_2", "now")]}),
            chunk({}, "tool_calls"),
            LAST[1],
        ],
        (("look_up", '{"a":1}'), ("now", "{}")),
    ),
]

# ── what may have happened to them ───────────────────────────────────────────────────────────────────────────────────

ODD: list[Any] = [None, "", "x", 7, -1, 1.5, True, False, [], {}, ["x"], {"a": 1}, [{}], "error", 2**60, "ü🙂"]
ERRORS: list[Any] = [
    None,
    {},
    "",
    [],
    {"message": "", "code": None},
    {"message": "Overloaded"},
    "Overloaded",
    {"code": 7},
]
REASONS = ["", None, "stop", "eos_token", "END_TURN", "endTurn", "COMPLETE", "length", "MAX_TOKENS", "maxOutputTokens"]
REASONS += ["model-length", "content_filter", "SAFETY", "sensitive", "error", "ERROR", "network_error", "cancelled"]
REASONS += ["tool_calls", "toolUse", "FUNCTION_CALL", "unheard_of"]
EXTRAS = ["provider", "logprobs", "extra", "service_tier", "native", "citations", "audio", "x_more"]


def places_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value, but for those in the pieces of a stream's calls: those have changes of their own."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    places = [path] if path else []
    for key, item in inner:
        if key != "tool_calls" or "delta" not in path:
            places += places_of(item, (*path, key))
    return places


def change_one(value: Any, rng: random.Random) -> Any:
    """The value with something else in one of its places, a field more or less, or its fields in another order."""
    value = copy.deepcopy(value)
    path = rng.choice(places_of(value) or [()])
    if not path:
        return value
    parent = value
    for step in path[:-1]:
        parent = parent[step]
    kind = rng.randrange(6)
    if kind == 0 and isinstance(parent, dict):
        del parent[path[-1]]
    elif kind == 1 and isinstance(parent, dict):
        parent[rng.choice(EXTRAS)] = rng.choice(ODD)
    elif kind == 2 and isinstance(parent, dict):
        items = list(parent.items())
        rng.shuffle(items)
        parent.clear()
        parent.update(items)
    elif kind == 3:
        value["error"] = rng.choice(ERRORS)
    elif kind == 4 and isinstance(value.get("choices"), list) and value["choices"]:
        if isinstance(value["choices"][0], dict):
            value["choices"][0]["finish_reason"] = rng.choice(REASONS)
    else:
        parent[path[-1]] = rng.choice(ODD)
    return value


def write(value: Any, rng: random.Random) -> bytes:
    """JSON in one of the ways to write it."""
    written = json.dumps(value, ensure_ascii=rng.random() < 0.5, separators=rng.choice([(",", ":"), (", ", ": ")]))
    return written.encode("utf-8", "surrogatepass")


# ── ways to write the same calls; each takes the pieces in their order ───────────────────────────────────────────────


def without_index(pieces: list[Any]) -> list[Any]:
    return [{name: field for name, field in one.items() if name != "index"} for one in pieces]


def all_of_index_0(pieces: list[Any]) -> list[Any]:
    return [{**one, "index": 0} for one in pieces]


def all_named(pieces: list[Any]) -> list[Any]:
    known: dict[int, dict[str, Any]] = {}
    for one in pieces:
        if "id" in one:
            known[one["index"]] = one
    return [
        {**known[one["index"]], "function": {**known[one["index"]]["function"], **one["function"]}} for one in pieces
    ]


def names_late(pieces: list[Any]) -> list[Any]:
    late: list[Any] = []
    for one in pieces:
        name = one["function"].get("name")
        if name is None:
            late.append(one)
        else:
            late += [
                {**one, "function": {"name": "", "arguments": ""}},
                {"index": one["index"], "function": {"name": name[:2], "arguments": None}},
                {"index": one["index"], "function": {**one["function"], "name": name[2:]}},
            ]
    return late


def odd_types(pieces: list[Any]) -> list[Any]:
    return [
        {**one, "index": str(one["index"]), "type": 7, "id": one.get("id") and int(one["id"][-1])} for one in pieces
    ]


def without_ids(pieces: list[Any]) -> list[Any]:
    return [{name: field for name, field in one.items() if name != "id"} for one in pieces]


def without_ids_at_index_0(pieces: list[Any]) -> list[Any]:
    return without_ids(all_of_index_0(pieces))


REWRITES: list[Callable[[list[Any]], list[Any]]] = [without_index, all_of_index_0, all_named, names_late, odd_types]
REWRITES += [without_ids, without_ids_at_index_0]


def has_calls(one: dict[str, Any]) -> bool:
    return bool(one.get("choices")) and "tool_calls" in one["choices"][0]["delta"]


def rewrite_calls(chunks: list[Any], rng: random.Random) -> list[Any]:
    """The same calls, written in another way, in as many chunks as they take."""
    is_call = [has_calls(one) for one in chunks]
    if not any(is_call):
        return chunks
    pieces = [part for one in chunks if has_calls(one) for part in one["choices"][0]["delta"]["tool_calls"]]
    first = is_call.index(True)
    rewritten = rng.choice(REWRITES)(copy.deepcopy(pieces))
    shapes = [{"tool_calls": [one]} if rng.random() < 0.8 else {"tool_calls": one} for one in rewritten]
    before, after = chunks[:first], [one for one, has in zip(chunks, is_call, strict=True) if not has][first:]
    return [*before, *[chunk({"content": None, **shape}) for shape in shapes], *after]


NOISE = [b": ping\n\n", b"data:\n\n", b"data: : keepalive\n\n", b"event: ping\ndata: {}\n\n", b"id: 7\nretry: 10\n\n"]
NOISE += [b"data: [PING]\n\n", b'data: {"type":"ping"}\n\n', b"\n", b"data: null\n\n", b"event: other\ndata: words\n\n"]

# ── the judgement ────────────────────────────────────────────────────────────────────────────────────────────────────


def said_of(reply_text: str | None, calls: Any, finish_reason: str) -> Said:
    return Said(reply_text or "", tuple((one.name, one.arguments) for one in calls), finish_reason)


def check_whole(seed: int) -> None:
    rng = random.Random(seed)
    changed = rng.choice(WHOLE)
    for _ in range(rng.randrange(1, 4)):
        changed = change_one(changed, rng)
    body = write(changed, rng)
    expected = read_answer(json.loads(body))
    if rng.random() < 0.1:
        body, expected = body[: rng.randrange(len(body))], None
    elif rng.random() < 0.1:
        body = b"\xef\xbb\xbf" + body + b"\r\n"

    try:
        reply = adapter_for("openai").read_reply(200, {"content-type": "application/json"}, body, CANDIDATE, now_s=0.0)
        said = said_of(reply.content, reply.tool_calls, reply.finish_reason)
    except AttemptFailed:
        said = None

    assert expected == said, (seed, body)


def check_stream(seed: int) -> None:
    rng = random.Random(seed)
    good, calls = rng.choice(STREAMS)
    good = rewrite_calls(good, rng)
    chunks = list(good)
    for _ in range(rng.randrange(3)):
        place = rng.randrange(len(chunks))
        chunks[place] = change_one(chunks[place], rng)
    if rng.random() < 0.2:
        chunks = chunks[: rng.randrange(len(chunks) + 1)]
    written = [write(one, rng) for one in chunks]
    expected = read_chunks([json.loads(data) for data in written], calls)
    body = write_stream(written, rng)
    cuts = sorted(rng.randrange(len(body) + 1) for _ in range(rng.randrange(4)))

    reader, got = OpenAIStreamReader(CANDIDATE), list[Event]()
    for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True):
        got += reader.feed(body[start:end])
    got += reader.close()

    if expected is not None and any(one not in chunks for one in good if has_calls(one)):
        # A chunk with a piece of a call was changed or cut off: only where all failed can be judged.
        return
    assert expected == said_of_events(got), (seed, body)


def write_stream(written: list[bytes], rng: random.Random) -> bytes:
    """The events, with what comes in streams beside them, and one of the ways to write an end."""
    events = [b"data: " + data + b"\n\n" for data in written]
    for _ in range(rng.randrange(3)):
        events.insert(rng.randrange(len(events) + 1), rng.choice(NOISE))
    body = b"".join(events) + rng.choice([b"", b"data: [DONE]\n\n", b"data: [DONE]"])
    if rng.random() < 0.1:
        body = b"\xef\xbb\xbf" + body
    return body.replace(b"\n", rng.choice([b"\n", b"\r\n", b"\r"]))


def said_of_events(events: list[Event]) -> Said | None:
    assert isinstance(events[-1], Finished | Broken), events
    if isinstance(events[-1], Broken):
        return None
    assembler = Assembler()
    for event in events:
        assembler.add(event)
    reply = assembler.reply()
    return said_of(reply.content, reply.tool_calls, reply.finish_reason)


# 2,000 answers in a second or two; a finding is a seed, to be run alone.
@pytest.mark.parametrize("check", [check_whole, check_stream])
@pytest.mark.parametrize("tenth", range(4))
def test_quick_slice_is_judged_right(check: Callable[[int], None], tenth: int) -> None:
    for seed in range(tenth * 250, (tenth + 1) * 250):
        check(seed)


@pytest.mark.slow
@pytest.mark.parametrize("check", [check_whole, check_stream])
def test_every_answer_is_judged_right(check: Callable[[int], None]) -> None:
    for seed in range(10_000):
        check(seed)
