"""The `traceparent` of W3C's Trace Context; vectors from its section 3.2."""

from __future__ import annotations

from uuid import UUID

import pytest
from attrs import frozen

from pg_trio.domain.trace_context import OPERATION_SPAN, SERVER_SPAN, RequestTrace, TraceContext, pass_on

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("header", "is_sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-fe", False),
        (f"01-{TRACE}-{SPAN}-01-what-comes-later", True),
    ],
)
def test_trace_is_read(header: str, is_sampled: bool) -> None:
    assert TraceContext(TRACE, SPAN, is_sampled) == TraceContext.read(header)


@pytest.mark.parametrize(
    "header",
    [
        "",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"01-{TRACE}-{SPAN}-01.more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\0 00-{TRACE}-{SPAN}-01",
    ],
)
def test_malformed_trace_is_none(header: str) -> None:
    assert TraceContext.read(header) is None


REQUEST = UUID(int=2**128 - 1)


@frozen
class Called:
    """A candidate and its credential in one."""

    name: str
    model: str

    @property
    def credential(self) -> Called:
        return self


FIRST, SECOND = Called("main", "gpt-4o"), Called("other", "gpt-4o")


def read_lines(head: bytes) -> list[str]:
    """Lines of a head, which all end as they must."""
    *lines, rest = head.decode().split("\r\n")
    assert "" == rest
    return lines


def test_trace_without_parent_has_the_request_s_id() -> None:
    trace = RequestTrace(REQUEST)

    (sent,) = read_lines(trace.tell_call(FIRST, 1.0))

    span_id = trace.call_id("main", "gpt-4o", 1_000_000)
    assert f"traceparent: 00-{REQUEST.hex}-{span_id}-01" == sent
    assert TraceContext.read(sent.partition(": ")[2]) is not None


def test_every_call_has_a_span_of_its_own() -> None:
    trace = RequestTrace(REQUEST)
    calls = ((FIRST, 1.0), (SECOND, 1.0), (FIRST, 1.00001), (FIRST, 1.0))

    ids = {trace.tell_call(candidate, started_at).split(b"-")[2].decode() for candidate, started_at in calls}
    ids |= {trace.span_id(SERVER_SPAN), trace.span_id(OPERATION_SPAN)}
    assert 5 == len(ids)
    assert {16} == {len(each) for each in ids}


def test_spans_ids_are_never_zero() -> None:
    assert "0" * 15 + "1" == RequestTrace(UUID(int=1 << 64)).span_id(SERVER_SPAN)


@pytest.mark.parametrize(("parent_is_sampled", "is_sampled", "flags"), [(True, False, "01"), (False, True, "00")])
def test_parent_s_flag_goes_on(parent_is_sampled: bool, is_sampled: bool, flags: str) -> None:
    parent = TraceContext(TRACE, SPAN, parent_is_sampled)
    trace = RequestTrace(REQUEST, 0.0, parent, "vendor=1", b"01" if is_sampled else b"00")

    sent, state = read_lines(trace.tell_call(FIRST, 1.0))

    assert sent.startswith(f"traceparent: 00-{TRACE}-")
    assert sent.endswith(f"-{flags}")
    assert "tracestate: vendor=1" == state


def test_ratio_of_nothing_is_told() -> None:
    assert RequestTrace(REQUEST, flags=b"00").tell_call(FIRST, 1.0).endswith(b"-00\r\n")


def test_client_s_fields_are_passed_on() -> None:
    parent = f"00-{TRACE}-{SPAN}-00"

    def passed(traceparent: str | None, tracestate: str | None) -> list[str] | None:
        found = pass_on(traceparent, tracestate)
        return None if found is None else read_lines(found.tell_call(FIRST, 1.0))

    assert [f"traceparent: {parent}", "tracestate: a=1"] == passed(parent, "a=1")
    for bad in ("a=1\0b=2", "a=1\r\nx: y", "a" * 513, "é=1"):
        assert [f"traceparent: {parent}"] == passed(parent, bad)
    assert passed("nonsense", "a=1") is None
    assert passed(None, None) is None
