"""The phases of a connection: what its end makes of each."""

from __future__ import annotations

import pytest

from pg_trio.server.http1.phase import GONE, OVER, WAITING, Phase


@pytest.mark.parametrize("phase", Phase)
def test_end_is_over_and_final(phase: Phase) -> None:
    ended = phase.after_end()

    assert ended in OVER
    assert ended is ended.after_end()


@pytest.mark.parametrize("phase", Phase)
def test_client_that_left_stays_gone(phase: Phase) -> None:
    assert (phase in GONE) == (phase.after_end() in GONE)


def test_waiting_connections_are_not_over() -> None:
    assert not set(WAITING) & {*OVER, *GONE, Phase.SERVING, Phase.HEAD, Phase.HANDED_OVER}
