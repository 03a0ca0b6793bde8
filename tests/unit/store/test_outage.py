"""What is logged of failures in a row: the first one and the end, as sentences."""

from __future__ import annotations

import logging

import pytest

from pg_trio.store.outage import Outage


@pytest.mark.parametrize("said", ["the disk is full", "the disk is full."])
def test_first_failure_and_first_success_are_told(said: str, caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage(logging.getLogger("test"), "cannot write")

    for _ in range(2):
        outage.failed(OSError(said))
    for _ in range(2):
        outage.succeeded()

    assert [
        "cannot write: the disk is full. Trying again until it works.",
        "cannot write: works again.",
    ] == caplog.messages
