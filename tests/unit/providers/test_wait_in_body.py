"""A failure whose body says when to come back: on any wire, for a chat and for embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import orjson
import pytest

from pg_trio.errors import UpstreamRefused
from pg_trio.providers import adapter_for
from tests.support.simulated import candidate_of

NONE: Mapping[str, str] = MappingProxyType({})
NOW_S = 1_800_000_000.0
GOOGLE = {
    "error": {
        "code": 429,
        "message": "Resource exhausted",
        "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}],
    }
}
OPENROUTER = {
    "error": {
        "code": 429,
        "message": "Rate limit exceeded",
        "metadata": {"headers": {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(NOW_S + 60) * 1000)}},
    }
}


def wait_of(provider: str, body: Any, status: int = 429, headers: Mapping[str, str] = NONE) -> float | None:
    with pytest.raises(UpstreamRefused) as caught:
        adapter_for(provider).read_reply(status, headers, orjson.dumps(body), candidate_of(provider), now_s=NOW_S)
    return caught.value.retry_after_s


@pytest.mark.parametrize("provider", ["google", "openai", "anthropic", "cohere"])
@pytest.mark.parametrize(("body", "expected"), [(GOOGLE, 34.5), ([GOOGLE], 34.5), (OPENROUTER, 60.0)])
def test_wait_in_the_body(provider: str, body: Any, expected: float) -> None:
    assert expected == wait_of(provider, body)
    assert expected == wait_of(provider, body, 503)


def test_header_goes_before_the_body() -> None:
    assert 7.0 == wait_of("openai", GOOGLE, headers={"retry-after": "7"})


@pytest.mark.parametrize("body", [{"retryDelay": "soon"}, {"retryDelay": None}, {"message": '"retryDelay": "9s"'}])
def test_wait_that_is_none(body: Any) -> None:
    assert wait_of("openai", body) is None


def test_no_wait_where_the_request_is_refused() -> None:
    assert wait_of("openai", GOOGLE, 400) is None
