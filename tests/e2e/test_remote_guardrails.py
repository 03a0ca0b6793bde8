"""`webhook` and `moderation`: what their services are sent, and what clients and providers get, over real sockets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support.gateway import PROJECT, Gateway, endpoint, project, start_gateway
from tests.support.guard_service import GuardService, allow, block, moderate, replace, serve_guard_service
from tests.support.resuming import Streams, text_of
from tests.support.wire import bearer, get, post, send_raw

SECRET = "a-secret-of-forty-letters-for-signatures"
CREDENTIAL = """
[[credentials]]
name = "mod"
provider = "openai"
api_key = "sk-mod-key-000000"
base_url = "{base_url}"
"""
UNAVAILABLE = (503, "Guardrail unavailable.")


@pytest.fixture
async def service(nursery: trio.Nursery) -> GuardService:
    found: GuardService = await nursery.start(serve_guard_service)
    return found


@pytest.fixture
async def gateway(nursery: trio.Nursery, tmp_path: Path, service: GuardService) -> Gateway:
    hook: dict[str, Any] = {"url": service.url, "secret": SECRET, "phase": ["input"], "timeout_ms": 5000}
    moderation = {"credential": "mod", "timeout_ms": 5000}
    rules: dict[str, dict[str, Any]] = {
        "hook": {"webhook": hook},
        "quick": {"webhook": {**hook, "timeout_ms": 700}},
        "open": {"webhook": {**hook, "timeout_ms": 700, "on_failure": "open"}},
        "masked": {"pii_filter": {"enabled": True}, "webhook": hook},
        "moderated": {"moderation": moderation},
        "violence": {"moderation": {**moderation, "categories": ["violence"], "model": "text-moderation-007"}},
        "both": {"webhook": hook, "moderation": moderation},
        "answers": {"webhook": {**hook, "phase": ["output"]}},
        "answers-too": {"output": {"webhook": {name: hook[name] for name in ("url", "secret")}}},
        "twice": {"webhook": {name: hook[name] for name in ("url", "secret")}},
        "moderated-answers": {"output": {"moderation": moderation}},
        "flagged-answers": {"output": {"moderation": {**moderation, "mode": "flag"}}},
        "off": {"webhook": {"enabled": False}, "moderation": {"enabled": False}},
    }
    credential = CREDENTIAL.format(base_url=service.base_url)
    endpoints = [endpoint(slug, guardrails=each, streaming_enabled=True) for slug, each in rules.items()]
    patient = {"webhook": {**hook, "phase": ["output"], "timeout_ms": 700}}
    endpoints.append(endpoint("impatient", guardrails=patient, streaming_enabled=True, idle_timeout_ms=200))
    kept = {"webhook": {**hook, "phase": ["output"]}}
    endpoints.append(endpoint("kept", guardrails=kept, streaming_enabled=True, resumable_streams=True))
    lines = [credential, project(), *endpoints]
    return await start_gateway(nursery, tmp_path, "\n".join(lines))


def seen(gateway: Gateway) -> list[str]:
    """The bodies that the provider got."""
    return [json.dumps(request.body) for request in gateway.simulator.requests]


# ── webhook ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_webhook_is_sent_signed_texts(gateway: Gateway, service: GuardService) -> None:
    messages = [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Größe?"}]

    response = await gateway.call("hook", {"messages": messages})

    assert 200 == response.status
    [asked] = service.asked
    assert asked.is_signed(SECRET)
    assert {
        "phase": "input",
        "project": str(PROJECT),
        "endpoint": "hook",
        "request_id": response.headers["x-request-id"],
        "texts": ["Be brief", "Größe?"],
    } == asked.body


async def test_webhook_blocks_with_its_reason(gateway: Gateway, service: GuardService) -> None:
    service.decide = block("no secrets, please")

    response = await gateway.call("hook")

    assert (422, "Request blocked: no secrets, please") == (response.status, response.json()["error"])
    assert [] == seen(gateway)


async def test_webhook_replaces_what_the_provider_gets(gateway: Gateway, service: GuardService) -> None:
    service.decide = replace("Anna", "[NAME]")

    response = await gateway.call("hook", {"message": "Write to Anna"})

    assert 200 == response.status
    [wire] = seen(gateway)
    assert ("Write to [NAME]" in wire, "Anna" in wire) == (True, False)


async def test_webhook_sees_masked_text(gateway: Gateway, service: GuardService) -> None:
    await gateway.call("masked", {"message": "to max@example.com"})

    assert ["to [E-Mail REDACTED]"] == service.asked[0].body["texts"]


async def test_webhook_connection_is_kept(gateway: Gateway, service: GuardService) -> None:
    for _ in range(3):
        assert 200 == (await gateway.call("hook")).status

    assert (3, 1) == (len(service.asked), service.connections)


FAILURES: dict[str, dict[str, Any]] = {
    "hang": {"mode": "hang"},
    "hang in body": {"mode": "hang_in_body"},
    "slow drip": {"mode": "drip"},
    "closed": {"mode": "close"},
    "early end": {"mode": "early_end"},
    "huge": {"mode": "huge"},
    "status 204": {"status": 204},
    "status 500": {"status": 500},
    "redirect": {"status": 307, "headers": [("Location", "/other")]},
    "not JSON": {"decide": lambda asked: b"yes"},
    "a list": {"decide": lambda asked: ["allow"]},
    "unknown action": {"decide": lambda asked: {"action": "Allow"}},
    "no texts": {"decide": lambda asked: {"action": "replace"}},
    "too few texts": {"decide": lambda asked: {"action": "replace", "texts": []}},
    "texts are numbers": {"decide": lambda asked: {"action": "replace", "texts": [1]}},
}


@pytest.mark.parametrize("failure", FAILURES)
async def test_failing_webhook_closes(gateway: Gateway, service: GuardService, failure: str) -> None:
    for name, value in FAILURES[failure].items():
        setattr(service, name, value)

    response = await gateway.call("quick")

    assert UNAVAILABLE == (response.status, response.json()["error"])
    assert "1" == response.headers["retry-after"]
    assert [] == seen(gateway)
    assert 1 == len(service.asked)


@pytest.mark.parametrize("failure", FAILURES)
async def test_failing_webhook_opens_if_told(gateway: Gateway, service: GuardService, failure: str) -> None:
    for name, value in FAILURES[failure].items():
        setattr(service, name, value)

    response = await gateway.call("open")

    assert 200 == response.status
    assert 1 == len(seen(gateway))


async def test_hanging_webhook_loses_its_connection(gateway: Gateway, service: GuardService) -> None:
    service.mode = "hang"

    await gateway.call("quick")

    await service.wait_left(service.asked[0])


async def test_dead_webhook_is_not_asked_each_time(gateway: Gateway, service: GuardService) -> None:
    service.mode = "close"
    answers = [await gateway.call("hook") for _ in range(9)]

    assert {UNAVAILABLE} == {(answer.status, answer.json()["error"]) for answer in answers}
    # A fresh connection each time: no try is repeated.
    assert 5 == len(service.asked)


async def test_open_webhook_is_always_asked(gateway: Gateway, service: GuardService) -> None:
    service.mode = "close"
    for _ in range(7):
        assert 200 == (await gateway.call("open")).status

    assert 7 == len(service.asked)


async def test_secret_is_in_no_answer_and_no_log(
    gateway: Gateway, service: GuardService, caplog: pytest.LogCaptureFixture
) -> None:
    service.decide = block(f"key {SECRET} {SECRET[::-1]}\x1b[31m\n\u202eok")

    response = await gateway.call("hook")
    described = await send_raw(gateway.port, get(f"/api/{PROJECT}/endpoints", bearer(gateway.token)))
    service.status = 500
    await gateway.call("hook")

    assert f"Request blocked: key [redacted] {SECRET[::-1]}[31m ok" == response.json()["error"]
    assert 200 == described.status
    assert SECRET not in described.body.decode()
    assert "fails: HTTP 500" in caplog.text
    assert SECRET not in caplog.text


# ── moderation ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_moderation_blocks_with_its_category(gateway: Gateway, service: GuardService) -> None:
    service.decide = moderate("violence", word="hurt")

    response = await gateway.call("moderated", {"message": "I will hurt you"})

    assert (422, "Request blocked: moderation category 'violence' in input.") == (
        response.status,
        response.json()["error"],
    )
    [asked] = service.asked
    assert ("/v1/moderations", {"input": ["I will hurt you"]}) == (asked.path, asked.body)
    assert "Bearer sk-mod-key-000000" == asked.headers["authorization"]
    assert [] == seen(gateway)


async def test_moderation_passes_other_categories(gateway: Gateway, service: GuardService) -> None:
    service.decide = moderate("hate")

    response = await gateway.call("violence", {"message": "anything"})

    assert 200 == response.status
    assert {"input": ["anything"], "model": "text-moderation-007"} == service.asked[0].body


async def test_failing_moderation_closes(gateway: Gateway, service: GuardService) -> None:
    service.decide = lambda asked: {"results": []}

    response = await gateway.call("moderated")

    assert UNAVAILABLE == (response.status, response.json()["error"])


async def test_moderation_sees_replaced_text(gateway: Gateway, service: GuardService) -> None:
    service.decide = lambda asked: (
        moderate("hate")(asked) if "input" in asked.body else replace("Hello", "Good day")(asked)
    )

    response = await gateway.call("both", {"message": "Hello"})

    assert 422 == response.status
    assert ["Good day"] == service.asked[1].body["input"]


async def test_switched_off_services_are_not_asked(gateway: Gateway, service: GuardService) -> None:
    assert 200 == (await gateway.call("off")).status

    assert [] == service.asked
    assert allow is service.decide


# ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_answer_is_sent_as_an_answer(gateway: Gateway, service: GuardService) -> None:
    gateway.simulator.behave("answers", content="Ask Anna")

    response = await gateway.call("answers")

    assert 200 == response.status
    asked = service.asked[0]
    assert ("output", ["Ask Anna"]) == (asked.body["phase"], asked.body["texts"])
    assert asked.is_signed(SECRET)


@pytest.mark.parametrize("slug", ["answers", "answers-too"])
async def test_answer_is_blocked(gateway: Gateway, service: GuardService, slug: str) -> None:
    service.decide = block("not for you")

    response = await gateway.call(slug)
    await gateway.stop()

    assert (422, "Response blocked: not for you") == (response.status, response.json()["error"])
    (row,) = gateway.log_rows()
    assert row["completion_tokens"] > 0


async def test_answer_is_replaced(gateway: Gateway, service: GuardService) -> None:
    gateway.simulator.behave("answers", content="Ask Anna")
    service.decide = replace("Anna", "[NAME]")

    response = await gateway.call("answers")

    assert "Ask [NAME]" == response.json()["content"]


async def test_failing_webhook_closes_answers(gateway: Gateway, service: GuardService) -> None:
    service.status = 500

    response = await gateway.call("answers")

    assert UNAVAILABLE == (response.status, response.json()["error"])


async def test_answer_s_moderation_blocks_with_its_words(gateway: Gateway, service: GuardService) -> None:
    service.decide = moderate("violence")

    response = await gateway.call("moderated-answers")

    assert "Response blocked: moderation category 'violence' in output." == response.json()["error"]


async def test_flagged_answer_passes(gateway: Gateway, service: GuardService) -> None:
    service.decide = moderate("violence")

    response = await gateway.call("flagged-answers")

    assert 200 == response.status
    assert 1 == len(service.asked)


async def test_stream_fails_at_its_end(gateway: Gateway, service: GuardService) -> None:
    gateway.simulator.behave("answers", "tokens=20&pace=1ms")
    service.decide = block("not for you")

    response = await gateway.call("answers", {"message": "Hi", "stream": True})
    await gateway.stop()

    assert 200 == response.status
    events = [json.loads(line[6:]) for line in response.body.decode().splitlines() if line.startswith("data: {")]
    assert "Response blocked: not for you" == events[-1]["error"]
    text = "".join(choice["delta"].get("content") or "" for event in events[:-1] for choice in event["choices"])
    [checked] = service.asked[0].body["texts"]
    assert checked.startswith(text)
    assert len(text) > 20
    (row,) = gateway.log_rows()
    assert row["completion_tokens"] > 0


async def test_check_is_no_silence_of_the_provider(gateway: Gateway, service: GuardService) -> None:
    gateway.simulator.behave("impatient", "tokens=20&pace=1ms")
    service.mode = "hang"

    response = await gateway.call("impatient", {"message": "Hi", "stream": True})

    # The check's own time limit came later than `idle_timeout_ms`.
    assert "Guardrail unavailable." in response.body.decode()
    assert 1 == len(gateway.simulator.requests)


@pytest.mark.parametrize("is_refused", [False, True])
async def test_stopped_stream_is_checked_as_far_as_it_came(
    gateway: Gateway, service: GuardService, is_refused: bool
) -> None:
    gateway.simulator.behave("kept", "tokens=2000&pace=20ms")
    if is_refused:
        service.decide = block("not for you")
    streams = Streams(gateway.token, f"/api/{PROJECT}")

    async with await streams.ask(gateway.port, "kept", {"message": "Hi", "stream": True}) as client:
        await client.read_events(3)
        stopped = await streams.stop(gateway.port, client.headers["x-request-id"], "kept")
        body = await client.read_rest()
    await gateway.stop()

    # A refused answer has ended in its own way.
    assert {"ok": True, "stopped": not is_refused} == stopped.json()
    assert gateway.simulator.requests[0].closed_early
    [checked] = service.asked[0].body["texts"]
    assert checked.startswith(text_of(body))
    assert is_refused == (b"Response blocked: not for you" in body)
    assert is_refused != (b'"finish_reason":"stop"' in body)


async def test_stream_passes_with_its_verdict(gateway: Gateway, service: GuardService) -> None:
    response = await gateway.call("answers", {"message": "Hi", "stream": True})

    assert response.body.endswith(b"data: [DONE]\n\n")
    assert 1 == len(service.asked)


async def test_stream_that_comes_at_once_is_refused_before_its_head(gateway: Gateway, service: GuardService) -> None:
    gateway.simulator.behave("answers", "tokens=1")
    service.decide = block("not for you")

    response = await gateway.call("answers", {"message": "Hi", "stream": True})

    assert response.status in (200, 422)
    assert "Response blocked: not for you" in response.body.decode()


async def test_webhook_of_both_phases_is_asked_twice(gateway: Gateway, service: GuardService) -> None:
    await gateway.call("twice")

    assert ["input", "output"] == [asked.body["phase"] for asked in service.asked]


# ── cancellation ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("slug", "stream"), [("hook", False), ("hook", True), ("answers", False), ("answers", True)])
async def test_client_that_leaves_ends_the_check(
    gateway: Gateway, service: GuardService, slug: str, stream: bool
) -> None:
    service.mode = "hang"
    with trio.fail_after(20):
        client = await trio.open_tcp_stream("127.0.0.1", gateway.port)
        async with client:
            body = {"message": "Hello there", "stream": stream}
            await client.send_all(post(f"/api/{PROJECT}/{slug}", body, bearer(gateway.token)))
            asked = await service.wait_asked()
        await service.wait_left(asked)
    await gateway.stop()

    (row,) = gateway.log_rows()
    assert 499 == row["status"]
    # An answer that was there is paid, though nobody got it.
    assert (slug == "answers") == bool(row["completion_tokens"])


@pytest.mark.parametrize("slug", ["hook", "answers"])
async def test_deadline_ends_the_check(gateway: Gateway, service: GuardService, slug: str) -> None:
    service.mode = "hang"

    response = await gateway.call(slug, None, ("x-pg-timeout-ms", "900"))

    assert (504, "Deadline exceeded: no answer within 900 ms.") == (response.status, response.json()["error"])
    await service.wait_left(service.asked[0])


async def test_deadline_ends_the_check_of_a_stream(gateway: Gateway, service: GuardService) -> None:
    gateway.simulator.behave("answers", "tokens=20&pace=1ms")
    service.mode = "hang"

    response = await gateway.call("answers", {"message": "Hi", "stream": True}, ("x-pg-timeout-ms", "900"))

    assert "Deadline exceeded: no answer within 900 ms." in response.body.decode()
    await service.wait_left(service.asked[0])


# ── verdicts ─────────────────────────────────────────────────────────────────────────────────────────────────────────

VERDICTS: dict[str, tuple[str, Any, list[list[Any]]]] = {
    "block": ("hook", {"decide": block("no")}, [["webhook", "block", "input", "block", 1]]),
    "replace": ("hook", {"decide": replace("Hello", "Hi")}, [["webhook", "replace", "input", "replace", 1]]),
    "closed": ("quick", {"status": 500}, [["webhook", "unavailable", "input", "block", 1]]),
    "open": ("open", {"status": 500}, [["webhook", "unavailable", "input", "flag", 1]]),
    "category": ("moderated", {"decide": moderate("hate")}, [["moderation", "hate", "input", "block", 1]]),
    "answer": ("moderated-answers", {"decide": moderate("hate")}, [["moderation", "hate", "output", "block", 1]]),
    "flag": ("flagged-answers", {"decide": moderate("hate")}, [["moderation", "hate", "output", "flag", 1]]),
}


@pytest.mark.parametrize("name", VERDICTS)
async def test_verdict_is_in_the_row(gateway: Gateway, service: GuardService, name: str) -> None:
    slug, settings, verdicts = VERDICTS[name]
    for key, each in settings.items():
        setattr(service, key, each)

    response = await gateway.call(slug)
    await gateway.stop()

    (row,) = gateway.log_rows()
    assert verdicts == json.loads(row["guardrails"])
    [[guardrail, _, _, action, _]] = verdicts
    shown = None if action == "block" else f"{guardrail}={action}"
    assert shown == response.headers.get("x-pg-guardrails")


async def test_passed_request_has_no_verdict(gateway: Gateway, service: GuardService) -> None:
    await gateway.call("hook")
    await gateway.stop()

    (row,) = gateway.log_rows()
    assert row["guardrails"] is None


async def test_large_texts_are_checked_and_replaced(gateway: Gateway, service: GuardService) -> None:
    text = "Größe von Anna " * 20_000
    service.decide = replace("Anna", "[NAME]")

    response = await gateway.call("hook", {"messages": [{"role": "user", "content": text}] * 2})

    assert 200 == response.status
    assert [text] == service.asked[0].body["texts"]
    assert service.asked[0].is_signed(SECRET)
    sent = gateway.simulator.requests[0].body
    assert isinstance(sent, dict)
    assert [text.replace("Anna", "[NAME]")] * 2 == [message["content"] for message in sent["messages"]]
