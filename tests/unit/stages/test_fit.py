"""Candidates that cannot carry what a request holds: left out of its plan, with a row, and no word to breakers."""

from __future__ import annotations

from uuid import UUID

import pytest
import trio
import trio.testing
from attrs import evolve

from pg_trio.domain.chat import Message, Prompt
from pg_trio.domain.content import Image
from pg_trio.domain.log_row import Attempts
from pg_trio.domain.options import Options
from pg_trio.domain.project import Candidate, Credential, Endpoint
from pg_trio.domain.tools import Tool, ToolCall, ToolChoice
from pg_trio.errors import UNFIT_SHOWN, NoFitCandidate, ProviderCallFailed, UpstreamBroken
from pg_trio.stages.provider_call.fit import holds_more_than_text
from tests.unit.stages.test_provider_call import FakeResponse, FakeTransport, provider_call

HI = Message("user", "Hi")
TEXT_ONLY = "text-only"
TOOLS = Prompt((HI,), tools=(Tool("f", None, {}),))


def candidate(name: str, model: str = "all") -> Candidate:
    return Candidate(Credential(name, "openai", "http://127.0.0.1:1"), model)


def endpoint(*candidates: Candidate) -> Endpoint:
    return Endpoint(uuid=UUID(int=2), slug="a", name="a", candidates=candidates, attempt_timeout_ms=50)


@pytest.mark.parametrize(
    ("prompt", "holds"),
    [
        (Prompt((Message("system", "Be brief."), HI)), False),
        (Prompt((HI, Message("assistant", "Hello", name="a"))), False),
        (TOOLS, True),
        (Prompt((HI,), tool_choice=ToolChoice("none")), True),
        (Prompt((HI,), Options(temperature=1)), True),
        (Prompt((HI, Message("user", (Image("https://example.org/a.png"),)))), True),
        (Prompt((HI, Message("assistant", None, tool_calls=(ToolCall("1", "f", "{}"),)))), True),
    ],
)
def test_what_is_judged(prompt: Prompt, holds: bool) -> None:
    assert holds == holds_more_than_text(prompt)


async def test_one_that_cannot_is_left_out_with_a_row() -> None:
    transport = FakeTransport({"b": FakeResponse([b"hello"])})
    attempts = Attempts(0.0)

    answered = await provider_call(transport).ask(
        endpoint(candidate("a", TEXT_ONLY), candidate("b")), TOOLS, trio.current_time() + 5, attempts
    )

    assert "hello" == answered.reply.content
    assert [("a", "cannot take the request", False), ("b", "", True)] == [
        (row.credential, row.why, row.is_try) for row in attempts.rows
    ]


async def test_one_that_is_left_alone_has_all_the_time_there_is(autojump_clock: trio.testing.MockClock) -> None:
    # 50 ms are an attempt's limit where another candidate is left.
    transport = FakeTransport({"a": FakeResponse([b"hello"])}, after_s={"a": 1.0})
    whole = endpoint(candidate("a"), candidate("b", TEXT_ONLY))

    answered = await provider_call(transport).ask(whole, TOOLS, trio.current_time() + 5, Attempts(0.0))

    assert "hello" == answered.reply.content


async def test_failures_are_those_who_were_asked(autojump_clock: trio.testing.MockClock) -> None:
    transport = FakeTransport({"a": UpstreamBroken("broke")})
    whole = endpoint(candidate("a"), candidate("b", TEXT_ONLY))

    with pytest.raises(ProviderCallFailed) as caught:
        await provider_call(transport).ask(whole, TOOLS, trio.current_time() + 1, Attempts(0.0))

    assert "broke" == caught.value.said
    assert {"a"} == set(transport.asked)


async def test_none_that_can_says_what_and_whose() -> None:
    many = [candidate(f"c{number}", f"{TEXT_ONLY}-{number}") for number in range(UNFIT_SHOWN + 1)]
    call = provider_call(FakeTransport({"c0": FakeResponse([b"hello"])}))

    with pytest.raises(NoFitCandidate) as caught:
        await call.ask(endpoint(*many), TOOLS, trio.current_time() + 1, Attempts(0.0))
    with pytest.raises(NoFitCandidate) as streamed:
        await call.open_stream(endpoint(*many[:1]), TOOLS, trio.current_time() + 1, Attempts(0.0))
    answered = await call.ask(endpoint(*many), evolve(TOOLS, tools=()), trio.current_time() + 1, Attempts(0.0))

    named = "; ".join(f"tools is not supported by openai/{TEXT_ONLY}-{number}" for number in range(UNFIT_SHOWN))
    assert f"No candidate can take this request: {named}; …" == caught.value.text
    assert "No candidate can take this request: tools is not supported by openai/text-only-0" == streamed.value.text
    assert "hello" == answered.reply.content
