"""Plans: the steps of an answer, without a socket."""

from __future__ import annotations

import json
import time
from typing import Any

import orjson
import pytest

from pg_trio.simulator.behaviour import parse_behaviour
from pg_trio.simulator.chat_call import ChatCall
from pg_trio.simulator.chat_completion import Occasion
from pg_trio.simulator.plan import Close, Reset, Send, Stall, Step, Wait, render
from pg_trio.simulator.simulated_faults import FAULT_ARGUMENTS, STREAM_FAULTS

ARGUMENTS = {"status": ":503", "huge": ":100000"}
EVERY_FAULT = [kind + ARGUMENTS.get(kind, "") for kind in FAULT_ARGUMENTS]


def plan(text: str = "", *, number: int = 1, seed: int = 0, **fields: Any) -> list[Step]:
    call = ChatCall(model="sim", said="Hello you", prompt_tokens=3, **fields)
    return list(render(parse_behaviour(text), call, Occasion(seed, "sim", number)).steps)


def sent(steps: list[Step]) -> bytes:
    return b"".join(step.data for step in steps if isinstance(step, Send))


def waits(steps: list[Step]) -> list[float]:
    return [step.seconds for step in steps if isinstance(step, Wait)]


def completion(steps: list[Step]) -> Any:
    return json.loads(sent(steps).partition(b"\r\n\r\n")[2])


def events(steps: list[Step]) -> list[Any]:
    """The JSON events of a stream; chunk sizes are skipped."""
    lines = sent(steps).decode().split("\n")
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]


def test_plain_answer_is_one_write() -> None:
    assert [Send] == [type(step) for step in plan()]


def test_plain_answer_waits_for_all_its_tokens() -> None:
    assert [pytest.approx(0.5)] == waits(plan("latency=200ms&pace=100ms&tokens=4"))


def test_stream_waits_before_each_token() -> None:
    steps = plan("latency=200ms&pace=100ms&tokens=4", stream=True)

    assert [0.2, 0.1, 0.1, 0.1] == waits(steps)
    assert isinstance(steps[0], Wait)


def test_stamp_is_the_time_of_sending() -> None:
    call = ChatCall(model="sim", said="Hello", prompt_tokens=2, stream=True)
    steps = iter(render(parse_behaviour("stamps=on&tokens=3&pace=1ms&latency=1ms"), call, Occasion(0, "sim", 1)).steps)

    assert isinstance(next(steps), Wait)
    waited_until = time.monotonic_ns()
    first, *rest = steps

    stamps = [int(event["choices"][0]["delta"].get("content") or 0) for event in events([first, *rest])][1:4]
    assert waited_until <= stamps[0] <= stamps[1] <= stamps[2] <= time.monotonic_ns()


def test_plain_answer_has_no_stamps() -> None:
    assert completion(plan()) == completion(plan("stamps=on"))


def test_cut_inside_leaves_half_an_event() -> None:
    *_, half, end = plan("tokens=4&fault=cut:2:inside", stream=True)

    assert Close() == end
    assert isinstance(half, Send)
    assert b"data: {" in half.data
    assert b"}" not in half.data.rpartition(b"finish")[2]
    assert b"\n\n" not in half.data


def test_early_head_comes_before_the_wait() -> None:
    head, wait, *_ = plan("head=early&latency=200ms", stream=True)

    assert isinstance(head, Send)
    assert b'"role":"assistant"' in head.data
    assert Wait(0.2) == wait


@pytest.mark.parametrize("tokens", [0, 1, 4, 100])
def test_tokens_are_counted(tokens: int) -> None:
    answer = completion(plan(f"tokens={tokens}"))
    streamed = events(plan(f"tokens={tokens}", stream=True))

    texts = [event["choices"][0]["delta"].get("content") for event in streamed]
    assert tokens == answer["usage"]["completion_tokens"]
    assert tokens == sum(bool(text) for text in texts)
    assert answer["choices"][0]["message"]["content"] == "".join(text or "" for text in texts)


def test_content_keeps_its_spaces() -> None:
    answer = completion(plan("content=a  b%0A c "))

    assert "a  b\n c " == answer["choices"][0]["message"]["content"]


def test_caller_limits_the_tokens() -> None:
    answer = completion(plan("tokens=40", max_tokens=5))

    assert (5, "length") == (answer["usage"]["completion_tokens"], answer["choices"][0]["finish_reason"])


@pytest.mark.parametrize(
    ("text", "include_usage", "expected"),
    [
        ("", True, {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}),
        ("usage=38:87", True, {"prompt_tokens": 38, "completion_tokens": 87, "total_tokens": 125}),
        ("usage=off", True, None),
        ("", False, None),
    ],
)
def test_usage_of_a_stream(text: str, include_usage: bool, expected: object) -> None:
    last = events(plan(text, stream=True, include_usage=include_usage))[-1]

    assert expected == last.get("usage")


def test_no_usage_in_a_plain_answer() -> None:
    assert "usage" not in completion(plan("usage=off"))


def test_tool_is_called() -> None:
    choice = completion(plan("tool=get_weather:%7B%22city%22:%22Bonn%22%7D"))["choices"][0]

    call = choice["message"]["tool_calls"][0]
    assert ("tool_calls", None) == (choice["finish_reason"], choice["message"]["content"])
    assert {"name": "get_weather", "arguments": '{"city":"Bonn"}'} == call["function"]


def test_tool_is_streamed_in_pieces() -> None:
    first, *others, last = events(plan("tool=get_weather:%7B%22city%22:%22Bonn%22%7D", stream=True))

    pieces = [event["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"] for event in others]
    assert "get_weather" == first["choices"][0]["delta"]["tool_calls"][0]["function"]["name"]
    assert (4, '{"city":"Bonn"}') == (len(pieces), "".join(pieces))
    assert "tool_calls" == last["choices"][0]["finish_reason"]


def test_pings_and_thoughts_come_first() -> None:
    steps = plan("pings=2&reasoning=1&pace=1ms", stream=True)

    data = sent(steps)
    assert 2 == data.count(b": ping\n\n")
    assert data.rindex(b": ping") < data.index(b"reasoning_content") < data.index(b'"content":"You"')
    assert [0.001] * 6 == waits(steps)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ["", *EVERY_FAULT])
def test_same_seed_and_number_plan_the_same(fault: str, stream: bool) -> None:
    text = f"latency=lognormal:200ms:0.5&pace=tail:1ms:50%:9ms&fault={fault or 'none'}"

    once, again = (plan(text, seed=7, number=3, stream=stream) for _ in range(2))

    assert once == again


def test_other_numbers_draw_others() -> None:
    draws = {waits(plan("latency=lognormal:200ms:0.5", number=number))[0] for number in range(1, 11)}

    assert 10 == len(draws)


def test_fail_rate_repeats_in_every_run() -> None:
    once, again = (
        [b"503" in sent(plan("fault=status:503&fail_rate=30%", number=number))[:20] for number in range(1, 101)]
        for _ in range(2)
    )

    assert once == again
    assert 15 < sum(once) < 45


@pytest.mark.parametrize("fault", EVERY_FAULT)
def test_every_fault_spoils_a_stream(fault: str) -> None:
    assert plan(stream=True) != plan(f"fault={fault}", stream=True)


@pytest.mark.parametrize("fault", EVERY_FAULT)
def test_every_fault_but_the_streams_spoils_a_plain_answer(fault: str) -> None:
    assert (fault in STREAM_FAULTS) == (plan() == plan(f"fault={fault}"))


@pytest.mark.parametrize(
    ("fault", "last"),
    [("reset:body", Reset()), ("stall:body", Stall()), ("truncate", Close()), ("cut:1", Close()), ("stall:1", Stall())],
)
def test_fault_ends_the_stream(fault: str, last: Step) -> None:
    assert last == plan(f"fault={fault}", stream=True)[-1]


@pytest.mark.parametrize("size", [1_000, 65_536, 65_537, 1_000_000])
def test_huge_body_has_its_size(size: int) -> None:
    data = sent(plan(f"fault=huge:{size}"))

    head, _, body = data.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert size == len(body)
    orjson.loads(body)


def test_huge_stream_has_its_size() -> None:
    streamed = events(plan("fault=huge:100000", stream=True))

    assert 100_000 == sum(len(event["choices"][0]["delta"].get("content") or "") for event in streamed)


def test_drip_is_a_byte_a_write() -> None:
    steps = plan("fault=drip:5ms")

    assert sent(plan()) == sent(steps)
    assert {1} == {len(step.data) for step in steps if isinstance(step, Send)}
    assert len(sent(steps)) == len(waits(steps))


@pytest.mark.parametrize("status", [304, 404, 429, 500, 520, 529])
def test_status_has_an_error_object(status: int) -> None:
    head, _, body = sent(plan(f"fault=status:{status}")).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"" == body if status == 304 else "message" in json.loads(body)["error"]
