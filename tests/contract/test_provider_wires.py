"""One contract for the adapters of every wire: the same answer is the same events, whichever provider gives it.

The other side is the simulator, which reads requests as strictly as the providers' documentation is.
"""

from __future__ import annotations

import base64

import pytest
from attrs import evolve

from pg_trio.domain.chat import Message, Prompt, Usage
from pg_trio.domain.content import Image, Text
from pg_trio.domain.events import Broken, Event, Finished
from pg_trio.domain.options import Options, ResponseFormat
from pg_trio.domain.provider import PROVIDERS
from pg_trio.domain.tools import Tool, ToolCall, ToolChoice
from pg_trio.errors import UpstreamBroken, UpstreamNonsense, UpstreamRefused
from pg_trio.providers import adapter_for
from tests.support.simulated import KEY, Exchange, ask, candidate_of, meaning, read_events

# One of each wire; rows of OpenAI's wire share its adapter. Their table is data, so what is cheap runs for all of them.
WIRES = ("openai", "anthropic", "google", "cohere")
NATIVE = ("anthropic", "google", "cohere")
WAYS = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
EVERY = pytest.mark.parametrize("provider", PROVIDERS)
EACH_WIRE = pytest.mark.parametrize("provider", WIRES)

USAGE = "usage=38:87"
COUNTED = Usage(38, 87)
CITY = '{"city":"Ulm","days":[1,2]}'
WEATHER = Tool("get_weather", "Weather of a city", {"type": "object", "properties": {"city": {"type": "string"}}})
SCHEMA = {"type": "object", "properties": {"score": {"type": "integer"}}, "required": ["score"]}
AS_SCHEMA = ResponseFormat.of({"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}})
PIXEL = base64.b64encode(b"not a picture").decode()

HELLO = Prompt((Message("system", "Be brief."), Message("user", "Hello")))
WITH_TOOLS = Prompt((Message("user", "Weather in Ulm?"),), tools=(WEATHER,), tool_choice=ToolChoice("required"))
PROMPTS = {
    "text": HELLO,
    "tools": WITH_TOOLS,
    "image": Prompt((Message("user", (Text("What is it?"), Image(f"data:image/png;base64,{PIXEL}"))),)),
    "address": Prompt((Message("user", (Text("What is it?"), Image("https://example.org/a.png"))),)),
    "json_schema": evolve(HELLO, options=Options(response_format=AS_SCHEMA)),
    "options": evolve(HELLO, options=Options(temperature=2.0, top_p=1.0, stop=("a", "b", "c", "d", "e", "f"), seed=-1)),
    "effort": evolve(HELLO, options=Options(reasoning_effort="high")),
    "round": Prompt(
        (
            *WITH_TOOLS.messages,
            Message("assistant", None, tool_calls=(ToolCall("call_1", "get_weather", CITY),)),
            Message("tool", "7 degrees", tool_call_id="call_1"),
        ),
        tools=(WEATHER,),
    ),
    "conversation": Prompt((Message("assistant", "Hello!"), Message("user", "Hi"), Message("user", "Hello?"))),
}
# What is answered, and what it means.
ANSWERS: dict[str, tuple[str, list[object]]] = {
    "text": ("content=Hello%20there,%0A%C3%A7a va?", ["opened", "Hello there,\nça va?", [], "stop", COUNTED]),
    "one character": ("content=%F0%9F%99%82", ["opened", "🙂", [], "stop", COUNTED]),
    "tool": (
        f"tool=get_weather:{CITY}",
        ["opened", "", [("get_weather", {"city": "Ulm", "days": [1, 2]})], "tool_calls", COUNTED],
    ),
    "tool without arguments": ("tool=get_time", ["opened", "", [("get_time", {})], "tool_calls", COUNTED]),
    "limit": ("content=Once upon&finish=length", ["opened", "Once upon", [], "length", COUNTED]),
    "limit before a word": ("tokens=0&finish=length", ["opened", "", [], "length", COUNTED]),
    "filter": ("content=Once&finish=content_filter", ["opened", "Once", [], "content_filter", COUNTED]),
    "json": ("content=%7B%22score%22: 1%7D", ["opened", '{"score": 1}', [], "stop", COUNTED]),
    "no usage": ("content=Hello&usage=off", ["opened", "Hello", [], "stop", None]),
    "pings": ("content=Hello&pings=3", ["opened", "Hello", [], "stop", COUNTED]),
    "no mark of the end": ("content=Hello&fault=no_done", ["opened", "Hello", [], "stop", COUNTED]),
}


def behaviour_of(name: str) -> str:
    text = ANSWERS[name][0]
    return text if "usage" in text else f"{text}&{USAGE}"


def failure_of(events: list[Event]) -> Broken:
    last = events[-1]
    assert isinstance(last, Broken)
    assert not any(isinstance(event, Finished) for event in events)
    return last


@EVERY
@WAYS
@pytest.mark.parametrize("name", PROMPTS)
def test_prompt_is_understood(provider: str, stream: bool, name: str) -> None:
    prompt = PROMPTS[name]
    assert adapter_for(provider).why_unfit(prompt, candidate_of(provider)) is None

    exchange = ask(provider, prompt, f"content=Yes&{USAGE}", stream=stream)

    assert ["opened", "Yes", [], "stop", COUNTED] == meaning(read_events(provider, exchange))


@EVERY
@WAYS
@pytest.mark.parametrize("name", ANSWERS)
def test_answer_means_the_same(provider: str, stream: bool, name: str) -> None:
    exchange = ask(provider, HELLO, behaviour_of(name), stream=stream)

    assert ANSWERS[name][1] == meaning(read_events(provider, exchange))


@EVERY
@WAYS
@pytest.mark.parametrize("tag", ["think", "reasoning"])
def test_reasoning_in_a_text_is_apart_where_models_write_it(provider: str, stream: bool, tag: str) -> None:
    text = f"<{tag}>\nHmm.</{tag}>\n\nHello"
    behaviour = f"content={text.replace(chr(10), '%0A')}&{USAGE}"

    told = meaning(read_events(provider, ask(provider, HELLO, behaviour, stream=stream)))

    if PROVIDERS[provider].thinking_tag == tag:
        assert ["Hmm.", "opened", "Hello", [], "stop", COUNTED] == told
    else:
        assert ["opened", text, [], "stop", COUNTED] == told


@EACH_WIRE
@pytest.mark.parametrize("name", ANSWERS)
def test_stream_means_the_same_however_it_is_split(provider: str, name: str) -> None:
    exchange = ask(provider, HELLO, behaviour_of(name), stream=True)
    body = exchange.body

    for cut in range(1, len(body)):
        assert ANSWERS[name][1] == meaning(read_events(provider, exchange, [body[:cut], body[cut:]]))


@EVERY
@pytest.mark.parametrize("name", ANSWERS)
def test_stream_means_the_same_byte_by_byte(provider: str, name: str) -> None:
    exchange = ask(provider, HELLO, behaviour_of(name), stream=True)
    body = exchange.body

    dripped = [body[place : place + 1] for place in range(len(body))]

    assert ANSWERS[name][1] == meaning(read_events(provider, exchange, dripped))


@pytest.mark.parametrize("provider", [*NATIVE, "openai"])
def test_reasoning_is_told_apart(provider: str) -> None:
    exchange = ask(provider, HELLO, f"content=21&reasoning=3&{USAGE}", stream=True)

    assert ["Hm. Hm. Hm. ", "opened", "21", [], "stop", COUNTED] == meaning(read_events(provider, exchange))


@pytest.mark.parametrize("provider", NATIVE)
def test_reasoning_of_a_whole_answer(provider: str) -> None:
    exchange = ask(provider, HELLO, "content=21&reasoning=2")

    reply = adapter_for(provider).read_reply(200, exchange.headers, exchange.body, candidate_of(provider), now_s=0.0)

    assert ("21", "Hm. Hm. ") == (reply.content, reply.reasoning)


@EVERY
@WAYS
@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529])
def test_refusal_means_the_same(provider: str, stream: bool, status: int) -> None:
    exchange = ask(provider, HELLO, f"fault=status:{status}&retry_after=7", stream=stream)

    failure = failure_of(read_events(provider, exchange)).failure

    assert isinstance(failure, UpstreamRefused)
    assert (status, 7.0) == (failure.upstream_status, failure.retry_after_s)
    assert f"HTTP {status}: Simulated failure with status {status}." == failure.said
    assert (status not in (400, 413, 422)) == failure.fails_over


@EVERY
@WAYS
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("truncate", UpstreamBroken),
        ("truncate:chunked", UpstreamBroken),
        ("reset:body", UpstreamBroken),
        ("notjson", UpstreamNonsense),
        ("wrong_type", UpstreamNonsense),
        ("error200", UpstreamNonsense),
        ("nochoices", UpstreamNonsense),
        ("empty", UpstreamNonsense),
    ],
)
def test_fault_means_the_same(provider: str, stream: bool, fault: str, kind: type[Exception]) -> None:
    exchange = ask(provider, HELLO, f"tokens=10&fault={fault}", stream=stream)

    failure = failure_of(read_events(provider, exchange)).failure

    # A stream without an answer in it looks cut.
    assert isinstance(failure, (kind, UpstreamBroken) if stream and fault == "nochoices" else kind)
    assert failure.fails_over


@EVERY
@pytest.mark.parametrize("fault", ["cut:3", "cut:3:clean", "cut:3:inside", "malformed_chunk", "stream_error:3"])
@pytest.mark.parametrize("answer", ["tokens=6", f"tool=get_weather:{CITY}"])
def test_fault_inside_a_stream_breaks_it(provider: str, fault: str, answer: str) -> None:
    exchange = ask(provider, HELLO, f"{answer}&fault={fault}", stream=True)

    told = meaning(read_events(provider, exchange))

    assert "opened" == told[0]
    assert told[2] in (UpstreamBroken, UpstreamNonsense)


@EVERY
def test_error_inside_a_stream_is_passed_on(provider: str) -> None:
    exchange = ask(provider, HELLO, "tokens=6&fault=stream_error:3", stream=True)

    said = failure_of(read_events(provider, exchange)).failure.said

    assert said.endswith("Simulated error in the middle of a stream.")


@EACH_WIRE
def test_stream_that_was_cut_never_looks_whole(provider: str) -> None:
    whole = ask(provider, HELLO, f"tokens=6&{USAGE}", stream=True)
    finish_at = max(whole.body.rfind(word) for word in (b'"finish_reason":"', b'"finishReason"', b'"stop_reason":"'))

    for cut in range(finish_at):
        events = read_events(provider, evolve(whole, body=whole.body[:cut]))
        failure_of(events)


@EVERY
@WAYS
def test_key_never_shows_in_a_failure(provider: str, stream: bool) -> None:
    body = b'{"error": {"message": "%b is wrong"}, "message": "%b"}' % (KEY.encode(), KEY.encode())

    for status in (200, 401):
        failure = failure_of(read_events(provider, Exchange(status, {"content-type": "application/json"}, body, False)))
        assert KEY not in failure.failure.said


@EACH_WIRE
@WAYS
def test_huge_answer_is_refused(provider: str, stream: bool) -> None:
    exchange = ask(provider, HELLO, f"tokens=1&fault=huge:{5 * 1024 * 1024}", stream=stream)

    if stream:
        assert "longer than" in (said := failure_of(read_events(provider, exchange)).failure.said) or "over" in said
