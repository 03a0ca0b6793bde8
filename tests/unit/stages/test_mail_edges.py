"""What stands around an e-mail address stays: quotes, Markdown, keys, URLs."""

from __future__ import annotations

import pytest

from pg_trio.stages.guardrails.detection import mask_matches
from pg_trio.stages.guardrails.detectors import pii_finder

MAILS = pii_finder(("email",))


@pytest.mark.parametrize(
    "text",
    [
        "'{}'",
        "`{}`",
        "*{}*",
        "**{}**",
        "~~{}~~",
        "{{{}}}",
        "|{}|",
        "| Anna |{}|",
        "#{}",
        "...{}...",
        "--{}--",
        "+{}",
        "-{}",
        "email={}",
        "e='{}'",
        "?email={}&x=1",
        "https://x.org/?a=1&email={}&x=1",
        "https://x.org/users/{}/edit",
        "https://{}/x",
        "--user={}",
        "user.email={}",
        "%20{}",
        "a={0}&b={0}",
        "{0}/{0}",
        "{{'e':'{}'}}",
        "INSERT INTO t VALUES ('{0}','{0}');",
    ],
)
def test_signs_around_an_address_stay(text: str) -> None:
    given = text.format("max.m+x@example.com")

    assert text.format("[E-Mail REDACTED]") == mask_matches(given, MAILS.find(given))


@pytest.mark.parametrize(
    "address",
    [
        "customer/department=shipping@example.com",
        "o'brien@example.com",
        "user%example.com@example.org",
        "_max@example.com",
        "a&b@example.com",
        "x=@example.com",
    ],
)
def test_unusual_name_is_masked_whole(address: str) -> None:
    assert "to [E-Mail REDACTED]." == mask_matches(f"to {address}.", MAILS.find(f"to {address}."))
