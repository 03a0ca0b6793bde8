from __future__ import annotations

from uuid import UUID

from attrs import evolve
from hypothesis import assume, given
from hypothesis import strategies as st

from pg_trio.domain.chat import ChatRequest, Message, Prompt
from pg_trio.domain.content import Image, Part, Text
from pg_trio.domain.options import NO_OPTIONS, Options, ResponseFormat
from pg_trio.domain.project import Candidate, Credential, Endpoint
from pg_trio.domain.tools import Tool, ToolChoice
from pg_trio.stages.prompt import compile_prompt

IMAGE = Image("https://example.org/a.png")


def make_endpoint(prompt: str | None = None, template: str | None = None) -> Endpoint:
    candidate = Candidate(Credential("main", "openai", "https://api.openai.com/v1"), "gpt-4o-mini")
    return Endpoint(
        uuid=UUID(int=1),
        slug="summarize",
        name="summarize",
        candidates=(candidate,),
        temperature=0.5,
        top_p=0.9,
        max_output_tokens=64,
        prompt=prompt,
        user_prompt_template=template,
    )


def applied(endpoint: Endpoint, *messages: Message) -> tuple[Message, ...]:
    return compile_prompt(endpoint).apply(messages, ChatRequest(messages, {})).messages


def parts_of(*parts: Part) -> Message:
    return Message("user", parts)


text_part = Text


def test_sampling_comes_from_the_endpoint() -> None:
    request = ChatRequest((Message("user", "hi"),), {})

    prompt = compile_prompt(make_endpoint()).apply(request.messages, request)

    assert Prompt((Message("user", "hi"),), Options(temperature=0.5, top_p=0.9, max_output_tokens=64)) == prompt


def test_tools_come_from_the_request() -> None:
    tool, choice = Tool("look_up"), ToolChoice("auto")
    request = ChatRequest((Message("user", "hi"),), {}, tools=(tool,), tool_choice=choice)

    prompt = compile_prompt(make_endpoint()).apply(request.messages, request)

    assert ((tool,), choice) == (prompt.tools, prompt.tool_choice)


def test_shape_of_the_answer_comes_from_the_request() -> None:
    wanted = ResponseFormat.of({"type": "json_object"})
    asked = Options(parallel_tool_calls=False, response_format=wanted, reasoning_effort="low")
    request = ChatRequest((Message("user", "hi"),), {}, options=asked)

    prompt = compile_prompt(make_endpoint()).apply(request.messages, request)

    assert evolve(asked, temperature=0.5, top_p=0.9, max_output_tokens=64) == prompt.options


def test_messages_beside_the_request_win() -> None:
    history = (Message("user", "before"), Message("assistant", "yes"), Message("user", "hi"))

    prompt = compile_prompt(make_endpoint()).apply(history, ChatRequest((Message("user", "hi"),), {}))

    assert history == prompt.messages


def test_endpoint_prompt_goes_first() -> None:
    client_system = Message("system", "Answer in verse.")

    messages = applied(make_endpoint(prompt="Be brief."), client_system, Message("user", "hi"))

    assert (Message("system", "Be brief."), client_system, Message("user", "hi")) == messages


def test_template_wraps_last_user_message() -> None:
    first, reply = Message("user", "one"), Message("assistant", "two")

    messages = applied(make_endpoint(template="<{{input}}>"), first, reply, Message("user", "three"))

    assert (first, reply, Message("user", "<three>")) == messages


def test_template_passes_over_later_roles() -> None:
    result = Message("tool", "12°", tool_call_id="call_1")

    messages = applied(make_endpoint(template="<{{input}}>"), Message("user", "hi"), result)

    assert (Message("user", "<hi>"), result) == messages


def test_template_keeps_name() -> None:
    messages = applied(make_endpoint(template="<{{input}}>"), Message("user", "hi", name="ann"))

    assert (Message("user", "<hi>", name="ann"),) == messages


def test_template_without_user_message() -> None:
    only = Message("assistant", "hi")

    messages = applied(make_endpoint(template="<{{input}}>"), only)

    assert (only,) == messages


def test_every_placeholder_is_filled() -> None:
    messages = applied(make_endpoint(template="{{input}} or {{input}}"), Message("user", "a"))

    assert "a or a" == messages[0].content


def test_input_is_not_scanned_again() -> None:
    messages = applied(make_endpoint(template="<{{input}}>"), Message("user", "{{input}} {{{{input}}}}"))

    assert "<{{input}} {{{{input}}}}>" == messages[0].content


def test_endpoint_prompt_is_no_template() -> None:
    messages = applied(make_endpoint(prompt="Say {{input}}.", template="{{input}}"), Message("user", "hi"))

    assert "Say {{input}}." == messages[0].content


@given(st.text(), st.text(alphabet="{}input \\1"), st.text())
def test_input_arrives_as_written(head: str, text: str, tail: str) -> None:
    # Around it, a placeholder is a placeholder.
    assume("{{input}}" not in head + "|" + tail)

    messages = applied(make_endpoint(template=head + "|{{input}}|" + tail), Message("user", text))

    assert f"{head}|{text}|{tail}" == messages[0].content


def test_text_parts_become_one() -> None:
    message = parts_of(IMAGE, text_part("one"), IMAGE, text_part("two"))

    messages = applied(make_endpoint(template="<{{input}}>"), message)

    assert (parts_of(IMAGE, text_part("<one\ntwo>"), IMAGE),) == messages


def test_message_without_text_is_left_alone() -> None:
    messages = applied(make_endpoint(template="<{{input}}>"), Message("user", "one"), parts_of(IMAGE))

    assert (Message("user", "one"), parts_of(IMAGE)) == messages


def test_endpoint_that_asks_for_nothing_leaves_the_options_alone() -> None:
    bare = evolve(make_endpoint(), temperature=None, top_p=None, max_output_tokens=None)
    request = ChatRequest((Message("user", "hi"),), {})

    assert NO_OPTIONS is compile_prompt(bare).apply(request.messages, request).options


def test_reasoning_is_the_endpoint_s_or_the_client_s_never_both() -> None:
    asked = Options(reasoning_effort="low", thinking_budget_tokens=512)
    request = ChatRequest((Message("user", "hi"),), {}, options=asked)

    def merged(effort: str | None = None, budget: int | None = None) -> tuple[str | None, int | None]:
        endpoint = evolve(make_endpoint(), reasoning_effort=effort, thinking_budget_tokens=budget)
        options = compile_prompt(endpoint).apply(request.messages, request).options
        return options.reasoning_effort, options.thinking_budget_tokens

    assert [("low", 512), ("high", None), (None, 2048), ("high", 2048)] == [
        merged(),
        merged("high"),
        merged(budget=2048),
        merged("high", 2048),
    ]


def test_enforced_schema_takes_the_place_of_the_client_s_format() -> None:
    schema = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    endpoint = evolve(make_endpoint(), output_schema=schema, enforce_output_schema=True)
    request = ChatRequest(
        (Message("user", "hi"),), {}, options=Options(response_format=ResponseFormat.of({"type": "text"}))
    )
    plain = ChatRequest((Message("user", "hi"),), {})

    formats = [compile_prompt(endpoint).apply(each.messages, each).options.response_format for each in (request, plain)]

    assert [schema, schema] == [wanted and wanted.schema for wanted in formats]


def test_template_keeps_the_mark_of_a_cache() -> None:
    """It stands at the end of what is cached."""
    mark = {"cache_control": {"type": "ephemeral"}}
    parts = (Text("One"), IMAGE, Text("two", mark))

    (wrapped,) = applied(make_endpoint(template="<{{input}}>"), Message("user", parts))

    assert (Text("<One\ntwo>", mark), IMAGE) == wrapped.content
