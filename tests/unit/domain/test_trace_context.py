"""The `traceparent` of W3C's Trace Context; vectors from its section 3.2."""

from __future__ import annotations

from uuid import UUID

import pytest

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
FIRST, SECOND = ("main", "gpt-4o"), ("other", "gpt-4o")


def test_trace_without_parent_has_the_request_s_id() -> None:
    trace = RequestTrace(REQUEST, None)

    ((name, sent),) = trace.begin_attempt(FIRST, 1.0)

    assert ("traceparent", f"00-{REQUEST.hex}-{trace.attempts[FIRST, 1.0]}-01") == (name, sent)
    assert TraceContext.read(sent) is not None


def test_every_call_has_a_span_of_its_own() -> None:
    trace = RequestTrace(REQUEST, None)
    for candidate, started_ms in ((FIRST, 1.0), (SECOND, 1.0), (FIRST, 2.0), (FIRST, 1.0)):
        trace.begin_attempt(candidate, started_ms)

    ids = {*trace.attempts.values(), trace.span_id(SERVER_SPAN), trace.span_id(OPERATION_SPAN)}
    assert 5 == len(ids)
    assert {16} == {len(each) for each in ids}


def test_spans_ids_are_never_zero() -> None:
    assert "0" * 15 + "1" == RequestTrace(UUID(int=1 << 64), None).span_id(SERVER_SPAN)


@pytest.mark.parametrize(("parent_is_sampled", "is_sampled", "flags"), [(True, False, "01"), (False, True, "00")])
def test_parent_s_flag_goes_on(parent_is_sampled: bool, is_sampled: bool, flags: str) -> None:
    parent = TraceContext(TRACE, SPAN, parent_is_sampled)
    trace = RequestTrace(REQUEST, parent, "vendor=1", is_sampled=is_sampled)

    sent, state = trace.begin_attempt(FIRST, 1.0)

    assert (f"00-{TRACE}-", f"-{flags}") == (sent[1][:36], sent[1][-3:])
    assert ("tracestate", "vendor=1") == state


def test_ratio_of_nothing_is_told() -> None:
    assert RequestTrace(REQUEST, None, is_sampled=False).begin_attempt(FIRST, 1.0)[0][1].endswith("-00")


def test_client_s_fields_are_passed_on() -> None:
    parent = f"00-{TRACE}-{SPAN}-00"

    def passed(traceparent: str | None, tracestate: str | None) -> list[tuple[str, str]] | None:
        found = pass_on(traceparent, tracestate)
        return None if found is None else list(found.begin_attempt(FIRST, 1.0))

    assert [("traceparent", parent), ("tracestate", "a=1")] == passed(parent, "a=1")
    assert [("traceparent", parent)] == passed(parent, "a=1\0b=2")
    assert [("traceparent", parent)] == passed(parent, "a" * 513)
    assert passed("nonsense", "a=1") is None
    assert passed(None, None) is None
