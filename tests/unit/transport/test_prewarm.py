"""Connections opened before they are needed: when, how many, and when not."""

from __future__ import annotations

import trio
from attrs import define, field
from trio.testing import MockClock

from pg_trio.transport.prewarm import WarmAddress, keep_warm


@define
class FakeTransport:
    """Always reports `idle` connections, and records the time of each call."""

    idle: int
    asked_at: list[float] = field(factory=list)
    wishes: set[tuple[str, int, bool]] = field(factory=set)

    async def prewarm(self, url: str, count: int, allow_private: bool = False) -> int:
        await trio.lowlevel.checkpoint()
        self.asked_at.append(round(trio.current_time() - self.began_at, 1))
        self.wishes.add((url, count, allow_private))
        return self.idle

    began_at: float = field(factory=trio.current_time)


def address(may_ask: bool = True) -> WarmAddress:
    return WarmAddress("http://api.example/v1", 3, allow_private=True, may_ask=lambda: may_ask)


async def test_missing_ones_are_opened_each_second(autojump_clock: MockClock) -> None:
    transport = FakeTransport(idle=3)

    with trio.move_on_after(3.5):
        await keep_warm(transport, [address()])

    assert [0.0, 1.0, 2.0, 3.0] == transport.asked_at
    assert {("http://api.example/v1", 3, True)} == transport.wishes


async def test_failing_ones_are_tried_ever_later(autojump_clock: MockClock) -> None:
    transport = FakeTransport(idle=2)

    with trio.move_on_after(200):
        await keep_warm(transport, [address()])

    assert [0.0, 2.0, 6.0, 14.0, 30.0, 62.0, 122.0, 182.0] == transport.asked_at


async def test_nothing_is_opened_where_set_aside(autojump_clock: MockClock) -> None:
    transport = FakeTransport(idle=0)

    with trio.move_on_after(100):
        await keep_warm(transport, [address(may_ask=False)])

    assert [] == transport.asked_at
