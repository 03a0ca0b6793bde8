"""A webhook's request and answer, without I/O.

Rules:
1. The signature is HMAC-SHA256 over exactly the bytes that are sent.
2. An answer is `allow`, `block` or `replace`; everything else is a failure. Fields that are not read may say anything.
3. `replace` has one text for each text sent, in the same order. A check beside the provider's call comes too late for
   it: there it blocks.
4. A reason is shown to clients: it is cleaned and cut.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import orjson
from attrs import frozen

from pg_trio.domain.guardrails import GuardrailVerdict, Webhook
from pg_trio.domain.secret import Secret, mask_secrets
from pg_trio.domain.upstream import WireRequest
from pg_trio.errors import WebhookBlocked
from pg_trio.stages.guardrails.remote.remote_answer import (
    HEADERS,
    CallTerms,
    RemoteCheckFailed,
    clean,
    cut,
    read_object,
)
from pg_trio.stages.guardrails.remote_guard import RemoteCheck, RemoteVerdict

SIGNATURE_HEADER = "X-PG-Signature"
# Two lines: what a person reads of an error.
REASON_CHARS = 200
# What a client reads if the webhook gives no reason.
NO_REASON = "refused by webhook."
# 64 KiB: a verdict with a reason takes less than one.
MOST_VERDICT_BYTES = 64 * 1024
# JSON that is all escapes (`\u00e4` for the two bytes of ä) is three times as long; a mask is longer than its match.
ANSWER_GROWTH = 4


@frozen(slots=True)
class WebhookWire:
    """A `webhook` rule, in the gateway's own words."""

    guardrail: ClassVar[str] = "webhook"

    rule: Webhook
    terms: CallTerms

    @classmethod
    def of(cls, rule: Webhook) -> WebhookWire:
        """The wire of a rule."""
        return cls(rule, CallTerms(rule.url, "direct", rule.timeout_ms / 1000, rule.on_failure))

    @property
    def parallel(self) -> bool:
        return self.rule.parallel

    def write(self, asked: RemoteCheck) -> WireRequest:
        """The signed request of a check."""
        body = orjson.dumps(
            {
                "phase": asked.phase,
                "project": asked.project,
                "endpoint": asked.endpoint,
                "request_id": str(asked.request_id),
                "texts": list(asked.texts),
            }
        )
        signature = () if self.rule.secret is None else ((SIGNATURE_HEADER, sign(self.rule.secret, body)),)
        return WireRequest(self.rule.url, (*HEADERS, *signature), body, allow_private_addresses=True)

    def most_bytes(self, request: WireRequest, asked: RemoteCheck) -> int:
        """The longest answer that is read: all texts replaced."""
        return MOST_VERDICT_BYTES + ANSWER_GROWTH * len(request.body)

    def read(self, body: bytes, asked: RemoteCheck) -> RemoteVerdict:
        """The webhook's verdict. Raises WebhookBlocked, or RemoteCheckFailed."""
        answer = read_object(body)
        match answer.get("action"):
            case "allow":
                return RemoteVerdict()
            case "block":
                raise WebhookBlocked(self._read_reason(answer), phase=asked.phase, rule="block")
            case "replace":
                return self._replace(answer, asked)
        raise RemoteCheckFailed("answer has no action that is allow, block or replace")

    def _replace(self, answer: Mapping[str, Any], asked: RemoteCheck) -> RemoteVerdict:
        texts = _read_texts(answer, len(asked.texts))
        count = sum(new != old for new, old in zip(texts, asked.texts, strict=True))
        if not count:
            return RemoteVerdict()
        if self.parallel and asked.phase == "input":
            raise WebhookBlocked(self._read_reason(answer), phase=asked.phase, rule="replace")
        return RemoteVerdict((GuardrailVerdict("webhook", "replace", asked.phase, "replace", count),), texts)

    def _read_reason(self, answer: Mapping[str, Any]) -> str:
        reason = answer.get("reason")
        if reason is None:
            return NO_REASON
        if not isinstance(reason, str):
            raise RemoteCheckFailed("answer's reason is not a text")
        known = [] if self.rule.secret is None else [self.rule.secret]
        # Invisible signs are removed first: they could hide a secret from the masks.
        return cut(mask_secrets(clean(reason), known), REASON_CHARS) or NO_REASON


def sign(secret: Secret, body: bytes) -> str:
    """The value of X-PG-Signature."""
    return f"sha256={hmac.new(secret.reveal().encode(), body, hashlib.sha256).hexdigest()}"


def _read_texts(answer: Mapping[str, Any], sent: int) -> Sequence[str]:
    texts = answer.get("texts")
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise RemoteCheckFailed("answer replaces, but its texts are not a list of texts")
    if len(texts) != sent:
        raise RemoteCheckFailed(f"answer replaces {sent} texts by {len(texts)}")
    return texts
