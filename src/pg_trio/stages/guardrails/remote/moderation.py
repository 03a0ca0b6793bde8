"""A moderation's request and answer, without I/O: OpenAI's `POST /moderations`, which other servers have too.

Rules:
1. All texts go in one request, as a list. The answer has one result for each, in the same order.
2. A category of the rule that is true in a result blocks. Without categories any that is true does, and `flagged`.
3. A category that the rule does not name is not looked at. One that the answer does not have is not found.
4. A result may lack `flagged` (Mistral's do), or `categories` where no category is named; one of them it must have.

Sources: OpenAI API reference, "Moderations", 2026-11: {"results": [{"flagged": bool, "categories": {name: bool}}]};
Mistral's OpenAPI document, ModerationObject, read 2026-12: {"categories": {name: bool}, "category_scores": …}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import urlencode

import orjson
from attrs import frozen

from pg_trio.domain.guardrails import Moderation
from pg_trio.domain.project import Credential
from pg_trio.domain.provider import PROVIDERS
from pg_trio.domain.upstream import Headers, WireRequest
from pg_trio.errors import ModerationBlocked
from pg_trio.stages.guardrails.remote.remote_answer import (
    HEADERS,
    CallTerms,
    RemoteCheckFailed,
    clean,
    cut,
    read_provider_object,
)
from pg_trio.stages.guardrails.remote_guard import RemoteCheck, RemoteVerdict

# The category of a result that is flagged and names none.
FLAGGED = "flagged"
# OpenAI's longest name has 22 characters.
CATEGORY_CHARS = 64
# A result of OpenAI's has 13 categories, their scores and their input types: 1.5 KiB.
RESULT_BYTES = 8 * 1024
HEAD_BYTES = 16 * 1024


@frozen(slots=True)
class ModerationWire:
    """A `moderation` rule, on OpenAI's wire."""

    guardrail: ClassVar[str] = "moderation"

    rule: Moderation
    credential: Credential
    terms: CallTerms

    @classmethod
    def of(cls, rule: Moderation, credential: Credential) -> ModerationWire:
        """The wire of a rule, with its credential."""
        url = f"{credential.base_url}/moderations"
        return cls(rule, credential, CallTerms(url, credential.carrier, rule.timeout_ms / 1000, rule.on_failure))

    @property
    def parallel(self) -> bool:
        return self.rule.parallel

    def write(self, asked: RemoteCheck) -> WireRequest:
        """The request of a check."""
        credential = self.credential
        query = urlencode([(name, secret.reveal()) for name, secret in credential.query])
        body: dict[str, object] = {"input": list(asked.texts)}
        if self.rule.model is not None:
            body["model"] = self.rule.model
        return WireRequest(
            f"{self.terms.url}{'?' if query else ''}{query}",
            _write_headers(credential),
            orjson.dumps(body),
            allow_private_addresses=credential.allow_private_addresses,
        )

    def most_bytes(self, request: WireRequest, asked: RemoteCheck) -> int:
        """The longest answer that is read."""
        return HEAD_BYTES + RESULT_BYTES * len(asked.texts)

    def read(self, body: bytes, asked: RemoteCheck) -> RemoteVerdict:
        """The verdict: nothing was found. Raises ModerationBlocked with the first category that was, or
        RemoteCheckFailed."""
        results = read_provider_object(body).get("results")
        if not isinstance(results, list) or len(results) != len(asked.texts):
            raise RemoteCheckFailed(f"answer does not have one result for each of {len(asked.texts)} texts")
        found = [self._find_categories(result) for result in results]
        first = next((names[0] for names in found if names), None)
        if first is None:
            return RemoteVerdict()
        name, count = cut(clean(first), CATEGORY_CHARS), sum(first in names for names in found)
        raise ModerationBlocked(name, phase=asked.phase, rule=name, count=count)

    def _find_categories(self, result: object) -> Sequence[str]:
        """What is flagged in one text, in the answer's order."""
        if not isinstance(result, dict):
            raise RemoteCheckFailed("a result is not an object")
        flagged, categories = result.get("flagged"), result.get("categories")
        if flagged is None and not categories:
            raise RemoteCheckFailed("a result lacks flagged and categories")
        if not isinstance(flagged, bool | None) or not isinstance(categories, dict | None):
            raise RemoteCheckFailed("flagged is no boolean, or categories are no object")
        found = _find_true(categories or {})
        if self.rule.categories is None:
            return found or ([FLAGGED] if flagged else [])
        if categories is None and flagged:
            raise RemoteCheckFailed("a result is flagged, and does not say in which categories")
        return [name for name in found if name in self.rule.categories]


def _find_true(categories: Mapping[str, Any]) -> Sequence[str]:
    # Null: a category that the model does not know (OpenAI's `illicit`, with an older one).
    if not all(verdict is None or isinstance(verdict, bool) for verdict in categories.values()):
        raise RemoteCheckFailed("a category is neither true nor false")
    return [name for name, verdict in categories.items() if verdict]


def _write_headers(credential: Credential) -> Headers:
    headers = [*HEADERS]
    if credential.api_key is not None:
        provider = PROVIDERS[credential.provider]
        headers.append((provider.key_header, f"{provider.key_prefix}{credential.api_key.reveal()}"))
    return (*headers, *[(name, secret.reveal()) for name, secret in credential.headers])
