"""What guardrails mask, refuse or put back is found nowhere afterwards: every place that could hold it is searched for
its bytes, and for the mask in its stead, so that the search can fail.

Places: what the provider and the webhook received (of requests), what the client got (of answers), every file of the
data folder (log, sessions, kept answers), `/metrics`, traces with contents, the server's own log.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import trio
from attrs import define

from pg_trio.simulator.behaviour import CalledTool
from tests.support.gateway import Gateway, Operators, endpoint, project, start_gateway, start_pages
from tests.support.guard_service import GuardService, serve_guard_service
from tests.support.otlp_receiver import Receiver, serve_receiver
from tests.support.wire import HttpResponse, get, send_raw

# Rows and refusals name the configured word, so the texts have another writing of it.
MAIL, KEY, WORD, CONFIGURED = "max.geheim@example.com", "AKIAIOSFODNN7QWERTYU", "ZyxB0mb", "zyxbomb"
PRIVATE = (MAIL, KEY, WORD)
TEXT = f"Write to {MAIL} with {KEY} about the {WORD}, please."
MASKS = ("[E-Mail REDACTED]", "[AWS access key REDACTED]", "[Keyword REDACTED]")
MASKED = f"Write to {MASKS[0]} with {MASKS[1]} about the {MASKS[2]}, please."
TOOLS = [{"type": "function", "function": {"name": "send"}}]
CALLED = CalledTool("send", json.dumps({"to": MAIL, "note": [TEXT]}))
KEPT: dict[str, Any] = {
    "streaming_enabled": True,
    "resumable_streams": True,
    "sessions_enabled": True,
    "log_bodies": "full",
}


def rules(mode: str) -> dict[str, Any]:
    return {
        "pii_filter": {"mode": mode, "types": ["email"]},
        "secret_scanner": {"mode": mode},
        "keyword_blocklist": {"mode": mode, "words": [CONFIGURED]},
    }


@define
class Site:
    """A gateway with everything that keeps texts, and all that came out of it."""

    gateway: Gateway
    service: GuardService
    receiver: Receiver
    operators: Operators
    folder: Path

    async def ask(self, slug: str, message: str = "Tell me", **fields: Any) -> HttpResponse:
        """Each call has a key of its own, so that its answer is kept for a repetition."""
        return await self.gateway.call(slug, {"message": message, **fields}, ("idempotency-key", str(uuid4())))

    async def collect(self, caplog: pytest.LogCaptureFixture) -> dict[str, bytes]:
        """What each place holds; the gateway has stopped then."""
        metrics = await send_raw(self.operators.port, get("/metrics", ("connection", "close")))
        with trio.fail_after(20):
            while not self.receiver.bodies:
                await self.receiver.grown.wait()
        places = {f"{name} (running)": data for name, data in files_of(self.folder)}
        await self.gateway.stop()
        places |= dict(files_of(self.folder))
        assert b"pg_trio_guardrail_hits_total" in metrics.body
        return places | {
            "metrics": metrics.body,
            "traces": b"\n".join(self.receiver.bodies),
            "server's log": "\n".join(record.getMessage() + str(record.exc_info) for record in caplog.records).encode(),
        }


def files_of(folder: Path) -> Iterable[tuple[str, bytes]]:
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            yield str(file.relative_to(folder)), file.read_bytes()


@pytest.fixture
async def site(nursery: trio.Nursery, tmp_path: Path) -> Site:
    service: GuardService = await nursery.start(serve_guard_service)
    receiver: Receiver = await nursery.start(serve_receiver)
    hook = {"url": service.url, "secret": "shh-0123456789"}
    observe = f'[observe]\notlp_endpoint = "{receiver.endpoint}"\ncapture_content = true\n'
    configuration = [
        observe,
        project(),
        endpoint("in", guardrails={**rules("mask"), "webhook": hook}, **KEPT),
        endpoint("in-block", guardrails=rules("block"), **KEPT),
        endpoint(
            "redacted", guardrails={"reversible_redaction": {"types": ["email"]}, "output": {"webhook": hook}}, **KEPT
        ),
        endpoint("out", guardrails={"output": {**rules("mask"), "webhook": hook}}, **KEPT),
        endpoint("out-block", guardrails={"output": rules("block")}, **KEPT),
        endpoint("out-flag", guardrails={"output": rules("flag")}, streaming_enabled=True),
    ]
    gateway = await start_gateway(nursery, tmp_path, "\n".join(configuration))
    return Site(gateway, service, receiver, await start_pages(nursery, gateway), tmp_path)


def received(site: Site) -> dict[str, bytes]:
    """What left for other services."""
    bodies = [json.dumps(request.body, ensure_ascii=False) for request in site.gateway.simulator.requests]
    return {"provider": "\n".join(bodies).encode(), "webhook": b"\n".join(asked.raw for asked in site.service.asked)}


def forms_of(text: str) -> set[bytes]:
    """As it is, escaped in JSON, and in Base64 wherever it begins."""
    encoded = {base64.b64encode(b"x" * shift + text.encode())[4:-4] for shift in range(3)}
    return {text.encode(), json.dumps(text)[1:-1].encode(), text.upper().encode(), *encoded}


def assert_nowhere(places: dict[str, bytes], texts: Iterable[str] = PRIVATE) -> None:
    found = [
        (place, text) for text in texts for place, data in places.items() for form in forms_of(text) if form in data
    ]
    assert "" == "; ".join(f"{text} in {place}" for place, text in found)


def holders_of(text: str, places: dict[str, bytes]) -> set[str]:
    return {place for place, data in places.items() if text.encode() in data}


async def test_masked_request_is_nowhere(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    answers = [await site.ask("in", TEXT, stream=stream) for stream in (False, True)]
    answers.append(await site.ask("in", TEXT, tools=TOOLS))

    places = {**await site.collect(caplog), **received(site)}

    assert [200, 200, 200] == [answer.status for answer in answers]
    assert_nowhere(places)
    assert {"provider", "webhook", "traces", "data/log.db"} <= holders_of(MASKS[0], places)
    assert any("sessions" in place for place in holders_of(MASKED, places))


@pytest.mark.parametrize("text", [f"to {MAIL}", f"with {KEY}", f"the {WORD}"])
async def test_refused_request_is_nowhere(site: Site, caplog: pytest.LogCaptureFixture, text: str) -> None:
    answers = [await site.ask("in-block", text, stream=stream) for stream in (False, True)]

    places = {**await site.collect(caplog), **received(site), "answers": b"".join(answer.body for answer in answers)}

    assert [422, 422] == [answer.status for answer in answers]
    assert_nowhere(places)
    assert (b"", b"") == (places["provider"], places["webhook"])
    assert b"Request blocked: " in places["answers"]


async def test_redacted_text_is_with_the_caller_alone(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.gateway.simulator.behave("redacted", content="I wrote to [[EMAIL_001]].")
    answers = [await site.ask("redacted", f"Write to {MAIL}!", stream=stream) for stream in (False, True)]
    site.gateway.simulator.behave("redacted", tool=CalledTool("send", '{"to": "[[EMAIL_001]]"}'))
    answers.append(await site.ask("redacted", f"Write to {MAIL}!", tools=TOOLS))

    places = {**await site.collect(caplog), **received(site)}

    assert all(MAIL.encode() in answer.body for answer in answers)
    kept = {place: data for place, data in places.items() if is_kept_answer(place)}
    assert_nowhere({place: data for place, data in places.items() if place not in kept}, (MAIL,))
    assert {"provider", "webhook", "traces", "data/log.db"} <= holders_of("[[EMAIL_001]]", places)


def is_kept_answer(place: str) -> bool:
    """A client's own answer, kept for its repetition and its resumption."""
    return "/answers/" in place


async def test_masked_answer_is_nowhere(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    answers = []
    for pace in ("", "pace=1ms"):
        site.gateway.simulator.behave("out", pace, content=TEXT)
        answers += [await site.ask("out", f"Tell me {pace}", stream=stream) for stream in (False, True)]
    site.gateway.simulator.behave("out", "", tool=CALLED)
    answers += [await site.ask("out", "Send it", stream=stream, tools=TOOLS) for stream in (False, True)]

    places = {**await site.collect(caplog), "webhook": received(site)["webhook"]}
    places["answers"] = b"\n".join(answer.body for answer in answers)

    assert {200} == {answer.status for answer in answers}
    assert_nowhere(places)
    assert {"answers", "webhook", "traces", "data/log.db"} <= holders_of(MASKS[2], places)


async def test_refused_answer_is_nowhere(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    answers = []
    for text in (f"{MAIL} now", f"Please do it {'well ' * 30} with {KEY} now"):
        site.gateway.simulator.behave("out-block", "pace=1ms", content=text)
        answers += [await site.ask("out-block", text[:6], stream=stream) for stream in (False, True)]
    site.gateway.simulator.behave("out-block", "", tool=CALLED)
    answers += [await site.ask("out-block", "Send it", stream=stream, tools=TOOLS) for stream in (False, True)]

    places = {**await site.collect(caplog), "answers": b"\n".join(answer.body for answer in answers)}

    assert [422, 422, 422, 200, 422] == [answer.status for answer in answers][:5]
    assert 6 == places["answers"].count(b"Response blocked: ")
    assert_nowhere(places, (MAIL, KEY))


async def test_flagged_answer_is_with_the_caller_alone(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.gateway.simulator.behave("out-flag", content=f"Write to {MAIL} with {KEY}.")
    answers = [
        await site.gateway.call("out-flag", {"message": "Tell me", "stream": stream}) for stream in (False, True)
    ]

    places = await site.collect(caplog)

    assert all(MAIL.encode() in answer.body for answer in answers)
    # With `capture_content`, spans have what the caller got.
    assert_nowhere({place: data for place, data in places.items() if place != "traces"}, (MAIL, KEY))
