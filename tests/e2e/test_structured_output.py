"""Requests that not every candidate can carry, and answers that must match a schema: over sockets, on every wire."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from attrs import frozen

from pg_trio.simulator import Simulator, serve_simulator
from tests.e2e.test_streaming import chunks_of
from tests.support.gateway import Gateway, endpoint, project, start_gateway
from tests.support.wire import HttpResponse

NATIVE = ("anthropic", "google", "cohere")
WIRES = ("openai", *NATIVE)
MODELS = {"openai": "gpt-5.1", "anthropic": "claude-sonnet-4-5", "google": "gemini-2.5-flash", "cohere": "command-a"}
CREDENTIAL = (
    '[[credentials]]\nname = "{wire}"\nprovider = "{wire}"\napi_key = "key-of-{wire}-0000"\nbase_url = "{url}"\n'
)
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "required": ["a"],
    "additionalProperties": False,
}
AUDIO = {"type": "input_audio", "input_audio": {"data": "aGVsbG8=", "format": "wav"}}
HEARD = {"messages": [{"role": "user", "content": [{"type": "text", "text": "What is said?"}, AUDIO]}]}
OTHER_FORMAT = {"message": "Hi", "response_format": {"type": "grammar", "grammar": "root ::= x"}}


def to(*wires: str) -> list[dict[str, str]]:
    return [{"credential": "sim" if wire == "openai" else wire, "model": MODELS[wire]} for wire in wires]


def on(slug: str, wire: str, *failover: str, **settings: object) -> str:
    text = endpoint(slug, MODELS[wire], failover=to(*failover), **settings)
    return text if wire == "openai" else text.replace('"sim"', f'"{wire}"', 1)


def matched(slug: str, wire: str, *failover: str, **settings: object) -> str:
    return on(slug, wire, *failover, output_schema=SCHEMA, **settings)


PRICED = {"monthly_budget_usd": 1, "estimated_cost_per_1k_tokens_usd": 1}
ENDPOINTS = "\n".join(
    [
        project(),
        on("heard", "anthropic", "cohere", "google", streaming_enabled=True),
        on("heard-hedged", "google", "anthropic", "openai", streaming_enabled=True, hedge_after_ms=0),
        on("deaf", "anthropic", "cohere", streaming_enabled=True),
        on("retried", "cohere", "google", max_attempts=3),
        *[matched(f"enforced-{wire}", wire, enforce_output_schema=True) for wire in WIRES],
        *[on(f"thinks-{wire}", wire, reasoning_effort="high") for wire in WIRES],
        on("budgets", "anthropic", thinking_budget_tokens=2048, max_output_tokens=4096),
        matched("plain", "openai"),
        matched("lenient", "openai", output_repair="lenient"),
        *[matched(f"again-{wire}", wire, output_repair_attempts=2) for wire in WIRES],
        matched("again-paid", "openai", output_repair_attempts=2, max_output_tokens=10, **PRICED),
        matched("too-dear", "openai", output_repair_attempts=5, max_output_tokens=250, **PRICED),
        matched("dear-once", "openai", max_output_tokens=250, **PRICED),
        endpoint("tagged", "sonar-reasoning-pro", output_schema=SCHEMA).replace('"sim"', '"tagged"'),
        endpoint("tagged-stream", "sonar-reasoning-pro", streaming_enabled=True).replace('"sim"', '"tagged"'),
        matched("late", "openai", output_repair_attempts=5, deadline_ms=400),
    ]
)


@frozen
class Site:
    """A gateway and the providers behind it, by their wire."""

    gateway: Gateway
    providers: dict[str, Simulator]

    def behave(self, wire: str, behaviour: str = "", **changes: Any) -> None:
        self.providers[wire].behave(MODELS[wire], behaviour, **changes)

    def sent(self, wire: str) -> list[Any]:
        """The bodies that a provider was sent."""
        return [request.body for request in self.providers[wire].requests]

    async def answer_then(self, wire: str, *contents: str) -> None:
        """The provider's first answer, its second, …: each from the request on that asks for it."""
        provider = self.providers[wire]
        provider.behave(MODELS[wire], content=contents[0])
        for number, content in enumerate(contents[1:], 1):
            await provider.wait_answered(await provider.wait_request(number))
            provider.behave(MODELS[wire], content=content)


@pytest.fixture
async def site(nursery: trio.Nursery, tmp_path: Path) -> Site:
    native: dict[str, Simulator] = {wire: await nursery.start(serve_simulator) for wire in NATIVE}
    credentials = [CREDENTIAL.format(wire=wire, url=native[wire].url_of(wire)) for wire in NATIVE]
    tagged = CREDENTIAL.format(wire="perplexity", url=native["cohere"].url_of("openai"))
    credentials.append(tagged.replace('name = "perplexity"', 'name = "tagged"'))
    gateway = await start_gateway(nursery, tmp_path, "\n".join([*credentials, ENDPOINTS]))
    return Site(gateway, {"openai": gateway.simulator, **native})


def attempts_of(row: dict[str, Any]) -> list[tuple[str, str]]:
    return [(provider, outcome) for provider, _, _, _, _, outcome, *_ in json.loads(row["attempts"])]


def error_of(response: HttpResponse) -> tuple[int, str]:
    return response.status, response.json()["error"]


# ── who can take it ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("stream", [False, True])
async def test_candidate_that_cannot_hear_is_passed_over(site: Site, stream: bool) -> None:
    answer = await site.gateway.call("heard", {**HEARD, "stream": stream})
    await site.gateway.stop()

    assert (200, "google", "1") == (answer.status, answer.headers["x-pg-provider"], answer.headers["x-pg-attempts"])
    assert [0, 0, 1] == [len(site.sent(wire)) for wire in ("anthropic", "cohere", "google")]
    assert [
        ("anthropic", "passed over: anthropic cannot take audio"),
        ("cohere", "passed over: cohere cannot take audio"),
        ("google", "won"),
    ] == attempts_of(site.gateway.log_rows()[-1])


@pytest.mark.parametrize("stream", [False, True])
async def test_none_that_can_is_the_client_s_mistake(site: Site, stream: bool) -> None:
    answer = await site.gateway.call("deaf", {**HEARD, "stream": stream})

    assert error_of(answer) == (
        422,
        "No candidate can take this request: audio is not supported by anthropic/claude-sonnet-4-5; "
        "audio is not supported by cohere/command-a",
    )
    assert [] == site.sent("anthropic") + site.sent("cohere")


async def test_what_was_passed_over_once_may_be_asked_for_text(site: Site) -> None:
    await site.gateway.call("deaf", HEARD)

    answer = await site.gateway.call("deaf")

    assert (200, "anthropic") == (answer.status, answer.headers["x-pg-provider"])


@pytest.mark.parametrize("stream", [False, True])
async def test_hedge_goes_to_one_that_can(site: Site, stream: bool) -> None:
    site.behave("google", "fault=stall")

    answer = await site.gateway.call("heard-hedged", {**HEARD, "stream": stream})

    assert (200, "openai") == (answer.status, answer.headers["x-pg-provider"])
    assert [] == site.sent("anthropic")


async def test_retries_leave_it_out_too(site: Site) -> None:
    site.behave("google", "fault=status:503&fail_first=2")

    answer = await site.gateway.call("retried", HEARD)

    assert (200, "3") == (answer.status, answer.headers["x-pg-attempts"])
    assert [0, 3] == [len(site.sent(wire)) for wire in ("cohere", "google")]


async def test_what_one_that_can_says_is_the_failure(site: Site) -> None:
    site.behave("google", "fault=status:401")

    status, error = error_of(await site.gateway.call("heard", HEARD))

    assert 502 == status
    assert error.startswith("Provider call failed: HTTP 401")


async def test_format_that_a_wire_lacks(site: Site) -> None:
    answer = await site.gateway.call("deaf", OTHER_FORMAT)

    assert error_of(answer)[1].startswith("No candidate can take this request: response_format is not supported by")


async def test_reasoning_before_the_json_does_not_spoil_it(site: Site) -> None:
    """The models of Perplexity that reason write it in their text, also with a schema."""
    site.providers["cohere"].behave("sonar-reasoning-pro", content='<think>\nJSON, then.</think>\n\n{"a":1}')

    answer = await site.gateway.call("tagged")
    body = answer.json()

    assert (200, "JSON, then.", '{"a":1}') == (answer.status, body["reasoning_content"], body["content"])


async def test_reasoning_in_a_streamed_text_is_told_as_reasoning(site: Site) -> None:
    site.providers["cohere"].behave("sonar-reasoning-pro", content="<think>\nHmm.</think>\n\nHello there")

    answer = await site.gateway.call("tagged-stream", {"message": "Hi", "stream": True})
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks_of(answer) if chunk["choices"]]

    assert "Hmm." == "".join([delta.get("reasoning_content") or "" for delta in deltas])
    assert "Hello there" == "".join([delta.get("content") or "" for delta in deltas])


# ── the schema as the provider's own mechanism, and reasoning ────────────────────────────────────────────────────────


@pytest.mark.parametrize("wire", WIRES)
async def test_schema_is_sent_along(site: Site, wire: str) -> None:
    site.behave(wire, content='{"a":1}')

    answer = await site.gateway.call(f"enforced-{wire}", {"message": "Hi", "response_format": {"type": "text"}})
    [body] = site.sent(wire)

    assert '{"a":1}' == answer.json()["content"]
    found = {
        "openai": lambda: body["response_format"],
        "anthropic": lambda: body["output_config"]["format"]["schema"],
        "google": lambda: body["generationConfig"]["responseJsonSchema"],
        "cohere": lambda: body["response_format"]["json_schema"],
    }[wire]()
    described = {"name": "enforced-openai", "schema": SCHEMA, "strict": True}
    assert found == ({"type": "json_schema", "json_schema": described} if wire == "openai" else SCHEMA)


@pytest.mark.parametrize("wire", WIRES)
async def test_effort_is_the_endpoint_s(site: Site, wire: str) -> None:
    await site.gateway.call(f"thinks-{wire}", {"message": "Hi", "reasoning_effort": "low"})
    [body] = site.sent(wire)

    found = {
        "openai": lambda: body["reasoning_effort"] == "high",
        "anthropic": lambda: body["thinking"]["budget_tokens"] > 8_192,
        "google": lambda: body["generationConfig"]["thinkingConfig"]["thinkingBudget"] > 8_192,
        "cohere": lambda: body["thinking"]["token_budget"] > 8_192,
    }[wire]()
    assert found


async def test_budget_takes_the_place_of_the_client_s_effort(site: Site) -> None:
    await site.gateway.call("budgets", {"message": "Hi", "reasoning_effort": "high"})

    assert 2048 == site.sent("anthropic")[0]["thinking"]["budget_tokens"]


# ── repair ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_fence_is_a_failure_unless_told_otherwise(site: Site) -> None:
    site.behave("openai", content='```json\n{"a": 1,}\n```')

    strict, lenient = await site.gateway.call("plain"), await site.gateway.call("lenient")

    assert 502 == strict.status
    assert (200, '{"a": 1}') == (lenient.status, lenient.json()["content"])


@pytest.mark.parametrize("wire", WIRES)
async def test_model_is_asked_again(nursery: trio.Nursery, site: Site, wire: str) -> None:
    nursery.start_soon(site.answer_then, wire, "no JSON", '{"a":"b"}', '{"a":1}')

    await trio.testing.wait_all_tasks_blocked()
    answer = await site.gateway.call(f"again-{wire}")
    await site.gateway.stop()

    assert (200, '{"a":1}', "3") == (answer.status, answer.json()["content"], answer.headers["x-pg-attempts"])
    [row] = site.gateway.log_rows()
    assert [(wire, "won")] * 3 == attempts_of(row)
    third = json.dumps(site.sent(wire)[2])
    assert "no JSON" in third
    assert "$.a: value is not of type" in third
    assert "repair" in answer.headers["server-timing"]


async def test_usage_of_all_rounds_counts(nursery: trio.Nursery, site: Site) -> None:
    site.behave("openai", "usage=100:7", content="no JSON")

    answer = await site.gateway.call("again-paid")
    await site.gateway.stop()

    assert error_of(answer)[0] == 502
    assert error_of(answer)[1].startswith("Validation failed: $: content is not valid JSON")
    [row] = site.gateway.log_rows()
    assert (300, 21) == (row["prompt_tokens"], row["completion_tokens"])
    assert 321_000_000 == row["cost_nano_usd"]


async def test_failed_round_leaves_the_answer_s_failure(nursery: trio.Nursery, site: Site) -> None:
    site.behave("openai", content="no JSON")

    async def fail_second() -> None:
        await site.providers["openai"].wait_answered(await site.providers["openai"].wait_request())
        site.behave("openai", "fault=status:401")

    nursery.start_soon(fail_second)
    await trio.testing.wait_all_tasks_blocked()
    answer = await site.gateway.call("again-openai")

    assert error_of(answer)[1].startswith("Validation failed: $: content is not valid JSON")
    assert 2 == len(site.sent("openai"))


async def test_budget_reserves_for_all_rounds(site: Site) -> None:
    site.behave("openai", content='{"a":1}')

    once, often = await site.gateway.call("dear-once"), await site.gateway.call("too-dear")

    assert 200 == once.status
    assert (422, True) == (often.status, "would be exceeded" in often.json()["error"])


async def test_deadline_ends_the_rounds(site: Site) -> None:
    site.behave("openai", "latency=150ms", content="no JSON")

    answer = await site.gateway.call("late")

    assert (504, "Deadline exceeded: no answer within 400 ms.") == error_of(answer)
