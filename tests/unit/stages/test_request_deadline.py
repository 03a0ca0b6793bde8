"""The request's deadline: which limit holds, and what its passing is called."""

from __future__ import annotations

import math
from uuid import UUID

import pytest
import trio
from attrs import evolve
from trio.testing import MockClock

from pg_trio.domain.call import RequestHead
from pg_trio.domain.project import Candidate, Credential, Endpoint
from pg_trio.errors import BadRequest, BodyTooSlow, DeadlineExceeded
from pg_trio.stages.request_deadline import RequestDeadline, parse_read_timeout_ms, parse_timeout_ms


def head(*timeout_ms: str) -> RequestHead:
    return RequestHead(
        request_id=UUID(int=1),
        project="p",
        slug=None,
        authorization=[],
        content_type=None,
        timeout_ms=timeout_ms,
        head_at=trio.current_time(),
        at=0.0,
    )


def endpoint(deadline_ms: int) -> Endpoint:
    candidate = Candidate(Credential("c", "openai", "http://127.0.0.1:1"), "m")
    return Endpoint(uuid=UUID(int=2), slug="a", name="a", candidates=(candidate,), deadline_ms=deadline_ms)


async def run(deadline: RequestDeadline, endpoint: Endpoint | None) -> None:
    with deadline:
        with deadline.limit_body():
            await trio.sleep(math.inf if endpoint is None else 0.25)  # the body, the endpoint's name
        if endpoint is not None:
            deadline.start(endpoint)
        await trio.sleep_forever()


async def test_endpoint_deadline_holds_while_body_is_awaited(autojump_clock: MockClock) -> None:
    started = trio.current_time()

    async def wait_for_body(deadline: RequestDeadline) -> None:
        deadline.start(endpoint(300))
        with deadline.limit_body():
            await trio.sleep_forever()

    with pytest.raises(DeadlineExceeded) as caught, RequestDeadline(head(), body_timeout_ms=500) as deadline:
        await wait_for_body(deadline)

    assert 300 == caught.value.limit_ms
    assert 0.3 == pytest.approx(trio.current_time() - started)


async def test_body_limit_holds_below_a_longer_deadline(autojump_clock: MockClock) -> None:
    async def wait_for_body(deadline: RequestDeadline) -> None:
        deadline.start(endpoint(9_000))
        with deadline.limit_body():
            await trio.sleep_forever()

    with pytest.raises(BodyTooSlow) as caught, RequestDeadline(head(), body_timeout_ms=500) as deadline:
        await wait_for_body(deadline)

    assert 500 == caught.value.limit_ms


async def test_endpoint_deadline_counts_from_head(autojump_clock: MockClock) -> None:
    started = trio.current_time()

    with pytest.raises(DeadlineExceeded) as caught:
        await run(RequestDeadline(head(), body_timeout_ms=500), endpoint(800))

    assert "Deadline exceeded: no answer within 800 ms." == caught.value.text
    assert 0.8 == pytest.approx(trio.current_time() - started)


async def test_sdk_read_timeout_shortens(autojump_clock: MockClock) -> None:
    sdk_head = evolve(head(), read_timeout=["0.3"])

    with pytest.raises(DeadlineExceeded) as caught:
        await run(RequestDeadline(sdk_head, body_timeout_ms=500), endpoint(800))

    assert 300 == caught.value.limit_ms
    assert 0.3 == pytest.approx(trio.current_time())


async def test_sdk_read_timeout_never_lengthens(autojump_clock: MockClock) -> None:
    sdk_head = evolve(head(), read_timeout=["600"])

    with pytest.raises(DeadlineExceeded) as caught:
        await run(RequestDeadline(sdk_head, body_timeout_ms=500), endpoint(800))

    assert 800 == caught.value.limit_ms


async def test_smaller_of_own_header_and_sdk_s_holds(autojump_clock: MockClock) -> None:
    both = evolve(head("700"), read_timeout=["0.3"])

    with pytest.raises(DeadlineExceeded) as caught:
        await run(RequestDeadline(both, body_timeout_ms=500), endpoint(800))

    assert 300 == caught.value.limit_ms


async def test_sdk_read_timeout_is_no_limit_of_a_stream(autojump_clock: MockClock) -> None:
    sdk_head = evolve(head(), read_timeout=["0.3"])

    with RequestDeadline(sdk_head, body_timeout_ms=500) as deadline:
        deadline.start(endpoint(800))
        deadline.start_stream(evolve(endpoint(800), stream_deadline_ms=9_000))
        ends_at = deadline.at
        limit_ms = deadline.hand_over()

    assert (9, 9_000) == (ends_at, limit_ms)


async def test_sdk_read_timeout_is_dropped_before_the_endpoint_is_known(autojump_clock: MockClock) -> None:
    both = evolve(head("700"), read_timeout=["0.3"])

    with RequestDeadline(both, body_timeout_ms=500) as deadline:
        deadline.hold_client_limit()
        deadline.drop_sdk_limit()
        deadline.start(endpoint(800))

        assert (700, 0.7) == (deadline.limit_ms, deadline.at)


@pytest.mark.parametrize(
    ("value", "expected_ms"),
    [("600", 600_000), ("600.0", 600_000), ("1.1", 1_100), ("0.0001", 1), ("99999", 99_999_000)],
)
def test_sdk_read_timeout_is_seconds(value: str, expected_ms: int) -> None:
    assert expected_ms == parse_read_timeout_ms([value])


@pytest.mark.parametrize(
    "value", ["", "0", "0.0", "-1", "None", "inf", "nan", "1e-05", "100000", "٣", "1_0", " 5", "5."]
)
def test_other_sdk_read_timeout_is_nothing(value: str) -> None:
    assert parse_read_timeout_ms([value]) is None


async def test_client_may_shorten(autojump_clock: MockClock) -> None:
    started = trio.current_time()

    with pytest.raises(DeadlineExceeded) as caught:
        await run(RequestDeadline(head("300"), body_timeout_ms=500), endpoint(800))

    assert 300 == caught.value.limit_ms
    assert 0.3 == pytest.approx(trio.current_time() - started)


async def test_client_never_lengthens(autojump_clock: MockClock) -> None:
    with pytest.raises(DeadlineExceeded) as caught:
        await run(RequestDeadline(head("99999"), body_timeout_ms=500), endpoint(800))

    assert 800 == caught.value.limit_ms


async def test_body_limit_until_endpoint_known(autojump_clock: MockClock) -> None:
    started = trio.current_time()

    with pytest.raises(BodyTooSlow) as caught:
        await run(RequestDeadline(head(), body_timeout_ms=500), None)

    assert "Request body not received within 500 ms." == caught.value.text
    assert 0.5 == pytest.approx(trio.current_time() - started)


async def test_body_limit_ends_with_the_body(autojump_clock: MockClock) -> None:
    """A body that names its endpoint may be read for longer: what has come was not too slow."""
    with RequestDeadline(head(), body_timeout_ms=500) as deadline:
        with deadline.limit_body():
            await trio.sleep(0.4)
        await trio.sleep(9)
        deadline.start(endpoint(10_000))

    assert 9.4 == pytest.approx(trio.current_time())


async def test_endpoint_deadline_holds_behind_a_body_in_parts(autojump_clock: MockClock) -> None:
    async def ask(deadline: RequestDeadline) -> None:
        deadline.start(endpoint(800))
        with deadline.limit_body():
            await trio.sleep(0.4)
        await trio.sleep_forever()

    with pytest.raises(DeadlineExceeded) as caught, RequestDeadline(head(), body_timeout_ms=500) as deadline:
        await ask(deadline)

    assert 800 == caught.value.limit_ms
    assert 0.8 == pytest.approx(trio.current_time())


async def test_body_that_is_here_was_not_too_slow(autojump_clock: MockClock) -> None:
    async def look_up(deadline: RequestDeadline) -> None:
        with deadline.limit_body(has_body=True):
            await trio.sleep_forever()

    with pytest.raises(DeadlineExceeded) as caught, RequestDeadline(head(), body_timeout_ms=500) as deadline:
        await look_up(deadline)

    assert 500 == caught.value.limit_ms


async def test_client_limit_holds_while_endpoint_is_unknown(autojump_clock: MockClock) -> None:
    async def read(deadline: RequestDeadline) -> None:
        deadline.hold_client_limit()
        await trio.sleep_forever()

    with pytest.raises(DeadlineExceeded) as caught, RequestDeadline(head("700"), body_timeout_ms=500) as deadline:
        await read(deadline)

    assert 700 == caught.value.limit_ms
    assert 0.7 == pytest.approx(trio.current_time())


async def test_body_that_is_read_late_was_here_in_time(mock_clock: MockClock) -> None:
    """This process did not run for a while, and nothing cut the body."""
    with RequestDeadline(head(), body_timeout_ms=500) as deadline:
        with deadline.limit_body():
            mock_clock.jump(2)
        deadline.start(endpoint(10_000))


async def test_late_mistake_is_late(mock_clock: MockClock) -> None:
    def mistake(deadline: RequestDeadline) -> None:
        with deadline.limit_body(has_body=True):
            mock_clock.jump(9)
            deadline.start(endpoint(800))

    with pytest.raises(DeadlineExceeded), RequestDeadline(head("soon"), body_timeout_ms=500) as deadline:
        mistake(deadline)


async def test_deadline_already_past_cuts_at_once(autojump_clock: MockClock) -> None:
    started = trio.current_time()

    with pytest.raises(DeadlineExceeded):
        await run(RequestDeadline(head(), body_timeout_ms=500), endpoint(100))

    assert 0.25 == pytest.approx(trio.current_time() - started)


async def test_client_limit_holds_while_body_is_awaited(autojump_clock: MockClock) -> None:
    started = trio.current_time()

    with pytest.raises(DeadlineExceeded) as caught:
        await run(RequestDeadline(head("100"), body_timeout_ms=500), None)

    assert 100 == caught.value.limit_ms
    assert 0.1 == pytest.approx(trio.current_time() - started)


async def test_bad_timeout_is_said_once_caller_is_known(autojump_clock: MockClock) -> None:
    deadline = RequestDeadline(head("soon"), body_timeout_ms=500)

    with pytest.raises(BadRequest, match="X-PG-Timeout-Ms"):
        deadline.start(endpoint(800))


@pytest.mark.parametrize("value", ["", "0", "-1", "1.5", "1e3", "abc", "999999999", "٣", "0x10", "+5", "5 5", "inf"])
def test_bad_timeout_is_no_limit(value: str) -> None:
    assert parse_timeout_ms([value]) is None


def test_two_timeouts_are_no_limit() -> None:
    assert parse_timeout_ms(["100", "100"]) is None


def test_good_timeout_is_read() -> None:
    assert 250 == parse_timeout_ms([" 250 "])


async def test_deadline_that_has_come_is_not_handed_over(mock_clock: MockClock) -> None:
    async def hand_over(deadline: RequestDeadline) -> None:
        deadline.start(endpoint(300))
        mock_clock.jump(0.3)  # the first token and the deadline come in one pass of the loop
        deadline.hand_over()
        pytest.fail("a stream begins that the next wait would cut without a word")

    with pytest.raises(DeadlineExceeded), RequestDeadline(head(), body_timeout_ms=500) as deadline:
        await hand_over(deadline)
