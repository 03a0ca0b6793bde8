"""A webhook's request and answer, on bytes."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any
from uuid import UUID

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.domain.guardrails import GuardrailVerdict, Webhook
from pg_trio.domain.secret import Secret
from pg_trio.errors import GuardrailBlocked, WebhookBlocked
from pg_trio.stages.guardrails.remote.remote_answer import RemoteCheckFailed
from pg_trio.stages.guardrails.remote.webhook import NO_REASON, WebhookWire
from pg_trio.stages.guardrails.remote_guard import RemoteCheck, RemoteVerdict

SECRET = "a-secret-of-forty-letters-for-signatures"
RULE = Webhook(url="https://guard.test/check?code=1", secret=Secret(SECRET))
WIRE = WebhookWire.of(RULE)
ASKED = RemoteCheck("input", ["one", "two"], "6f1c", "summarize", UUID(int=7), 5.0)

TEXTS = st.lists(st.text(), min_size=1, max_size=5)


def read(answer: Any, wire: WebhookWire = WIRE, asked: RemoteCheck = ASKED) -> RemoteVerdict:
    return wire.read(answer if isinstance(answer, bytes) else json.dumps(answer).encode(), asked)


@given(texts=TEXTS)
def test_request_is_signed_as_it_is(texts: list[str]) -> None:
    request = WIRE.write(evolve(ASKED, texts=texts))

    signature = hmac.new(SECRET.encode(), request.body, hashlib.sha256).hexdigest()
    assert f"sha256={signature}" == dict(request.headers)["X-PG-Signature"]
    assert {
        "phase": "input",
        "project": "6f1c",
        "endpoint": "summarize",
        "request_id": "00000000-0000-0000-0000-000000000007",
        "texts": texts,
    } == json.loads(request.body)


def test_request_goes_to_the_url_and_private_addresses() -> None:
    request = WIRE.write(ASKED)

    assert ("POST", RULE.url, True) == (request.method, request.url, request.allow_private_addresses)


def test_request_without_secret_is_not_signed() -> None:
    request = WebhookWire.of(Webhook(url="http://x/")).write(ASKED)

    assert "X-PG-Signature" not in dict(request.headers)


def test_secret_is_in_no_repr() -> None:
    assert SECRET not in f"{WIRE!r} {WIRE.write(ASKED)!r} {RULE!r}"
    assert "code=1" not in f"{WIRE!r} {RULE!r}"


def test_allow_changes_nothing() -> None:
    assert RemoteVerdict() == read({"action": "allow", "texts": ["other", "texts"], "reason": "none", "more": 1})


@pytest.mark.parametrize("phase", ["input", "output"])
def test_block_says_its_reason(phase: Any) -> None:
    with pytest.raises(WebhookBlocked) as blocked:
        read({"action": "block", "reason": "no names"}, asked=evolve(ASKED, phase=phase))

    assert f"{'Request' if phase == 'input' else 'Response'} blocked: no names" == blocked.value.text
    assert ("webhook", "block", phase) == (blocked.value.guardrail, blocked.value.rule, blocked.value.phase)


REASONS = {
    "none": (None, NO_REASON),
    "empty": ("", NO_REASON),
    "white space": (" \n\t", NO_REASON),
    "lines": ("one\r\ntwo", "one two"),
    "terminal": ("\x1b[31mred\x07", "[31mred"),
    "directions": ("a\u202eb\u2066c\u200bd", "abcd"),
    "secret": (f"it is {SECRET}", "it is [redacted]"),
    "hidden secret": (f"it is {SECRET[:9]}\u2066{SECRET[9:]}", "it is [redacted]"),
    "credential": ("use sk-abcdefghijkl", "use [redacted]"),
}


@pytest.mark.parametrize("name", REASONS)
def test_reason_is_cleaned(name: str) -> None:
    said, shown = REASONS[name]

    with pytest.raises(WebhookBlocked) as blocked:
        read({"action": "block", "reason": said})

    assert shown == blocked.value.reason


@given(reason=st.text(max_size=1000))
def test_reason_is_one_short_printable_line(reason: str) -> None:
    with pytest.raises(WebhookBlocked) as blocked:
        read({"action": "block", "reason": reason})

    shown = blocked.value.reason
    assert shown.isprintable()
    assert 0 < len(shown) <= 200


@given(texts=TEXTS, data=st.data())
def test_replacements_come_in_order(texts: list[str], data: st.DataObject) -> None:
    new = data.draw(st.lists(st.text(), min_size=len(texts), max_size=len(texts)))

    verdict = read({"action": "replace", "texts": new}, asked=evolve(ASKED, texts=texts))

    changed = sum(one != other for one, other in zip(texts, new, strict=True))
    wanted = RemoteVerdict((GuardrailVerdict("webhook", "replace", "input", "replace", changed),), new)
    assert (wanted if changed else RemoteVerdict()) == verdict


def test_replacement_beside_the_call_blocks() -> None:
    beside = WebhookWire.of(evolve(RULE, parallel=True))

    with pytest.raises(WebhookBlocked) as blocked:
        read({"action": "replace", "texts": ["one", "TWO"]}, beside)

    assert ("replace", f"Request blocked: {NO_REASON}") == (blocked.value.rule, blocked.value.text)


def test_replacement_by_the_same_texts_passes_beside_the_call() -> None:
    beside = WebhookWire.of(evolve(RULE, parallel=True))

    assert RemoteVerdict() == read({"action": "replace", "texts": ["one", "two"]}, beside)


def test_answers_are_replaced_also_by_a_parallel_rule() -> None:
    beside = WebhookWire.of(evolve(RULE, parallel=True))

    verdict = read({"action": "replace", "texts": ["one", "TWO"]}, beside, evolve(ASKED, phase="output"))

    assert ["one", "TWO"] == verdict.texts


NO_VERDICTS: dict[str, Any] = {
    "nothing": b"",
    "text": b"allow",
    "cut": b'{"action": "allow"',
    "two": b'{"action": "allow"}{"action": "block"}',
    "not UTF-8": b'{"action": "block", "reason": "\xff"}',
    "lone surrogate": b'{"action": "block", "reason": "\\ud800"}',
    "list": ["allow"],
    "null": None,
    "no action": {},
    "unknown action": {"action": "ALLOW"},
    "action is a list": {"action": ["allow"]},
    "action is true": {"action": True},
    "reason is a number": {"action": "block", "reason": 1},
    "no texts": {"action": "replace"},
    "null for texts": {"action": "replace", "texts": None},
    "one text": {"action": "replace", "texts": "one"},
    "few texts": {"action": "replace", "texts": ["one"]},
    "many texts": {"action": "replace", "texts": ["one", "two", "three"]},
    "no text among them": {"action": "replace", "texts": ["one", None]},
    "deep": b'{"action": ' + b"[" * 100_000,
    "many nodes": b'{"action": "allow", "more": [' + b"[]," * 250_000 + b"1]}",
}


@pytest.mark.parametrize("name", NO_VERDICTS)
def test_everything_else_is_no_verdict(name: str) -> None:
    with pytest.raises(RemoteCheckFailed):
        read(NO_VERDICTS[name])


@given(st.recursive(st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(), st.lists) | st.binary())
def test_any_answer_is_a_verdict_or_a_failure(answer: Any) -> None:
    try:
        verdict = read(answer)
    except (RemoteCheckFailed, GuardrailBlocked):
        return
    assert RemoteVerdict() == verdict


def test_answer_may_be_as_long_as_its_texts_escaped() -> None:
    asked = evolve(ASKED, texts=["ä" * 100_000])
    longest = json.dumps({"action": "replace", "texts": asked.texts, "reason": "x" * 1000}).encode()

    assert len(longest) <= WIRE.most_bytes(WIRE.write(asked), asked)
