"""The process that exports a worker's traces: `python -m pg_trio.observe.trace_exporter ENDPOINT VERSION SEAT`.

It reads a request a line from its standard input (see trace_facts.py), builds its spans, and exports them by OTLP over
HTTP, in protobuf, with the OpenTelemetry SDK. While it exports, it reads nothing: the pipe bounds what waits. For each
batch it writes a line with the number of traces that the collector did not take. It ends when its input ends.

Header fields, certificates and time limits of the exporter are the SDK's own environment variables
(`OTEL_EXPORTER_OTLP_HEADERS`, …), the resource's are `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`.
"""

from __future__ import annotations

import logging
import math
import os
import select
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from pg_trio.observe.span_building import build_spans, find_trace
from pg_trio.observe.trace_facts import Servers, TraceFacts, read_facts, read_servers

# The SDK's own batches: 512 spans. A request has three or more.
BATCH_TRACES = 128
# A batch is exported this long after its first trace came, at the latest.
BATCH_WAIT_S = 0.2
READ_BYTES = 65_536
# Beside a busy worker on the same processor, Linux gives it 3 % of the time: some 600 traces a second.
NICENESS = 15
# After the input's end the collector gets this long.
LAST_EXPORT_S = 10
_INT64 = 2**63 - 1


def main(endpoint: str, version: str, seat: str) -> None:
    """Export until the input ends."""
    # Ctrl-C and a closed terminal reach the whole process group; the input's end is what counts.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # Workers serve first; on a machine without a processor to spare, traces are dropped instead.
    os.nice(NICENESS)
    # The worker says that the collector does not take traces, once a minute; the SDK would at each batch.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    exporter, builder = OTLPSpanExporter(endpoint=endpoint or None), Builder(version, seat)
    for lines in read_batches(sys.stdin.fileno()):
        failed = export(exporter, builder, lines)
        try:
            os.write(sys.stdout.fileno(), b"%d\n" % failed)
        except BrokenPipeError:
            # The worker is gone; what it left is still exported.
            continue
    exporter.shutdown()  # type: ignore[no-untyped-call]


def read_batches(descriptor: int) -> Iterator[list[bytes]]:
    """Lines from a pipe, those together that come within BATCH_WAIT_S. Empty lines are left out."""
    rest, is_open = b"", True
    while is_open:
        lines, ends_at = list[bytes](), math.inf
        while len(lines) < BATCH_TRACES and (left_s := ends_at - time.monotonic()) > 0:
            if not select.select([descriptor], [], [], left_s if lines else None)[0]:
                break
            data = os.read(descriptor, READ_BYTES)
            if not data:
                is_open = False
                signal.alarm(LAST_EXPORT_S)
                break
            *complete, rest = (rest + data).split(b"\n")
            lines += [line for line in complete if line]
            if lines and ends_at == math.inf:
                ends_at = time.monotonic() + BATCH_WAIT_S
        if lines:
            yield lines


def export(exporter: SpanExporter, builder: Builder, lines: Sequence[bytes]) -> int:
    """Export the traces of these lines. Returns how many were not taken."""
    spans, failed = builder.build_all(lines)
    try:
        taken = exporter.export(spans) is SpanExportResult.SUCCESS
    except Exception:  # noqa: BLE001 - an exporter may raise anything, and the next batch may go well
        taken = False
    return failed if taken else len(lines)


class Builder:
    """Makes the SDK's spans of a worker."""

    def __init__(self, version: str, seat: str) -> None:
        names = {"service.version": version, "service.instance.id": f"worker-{seat}"}
        if "OTEL_SERVICE_NAME" not in os.environ:
            names["service.name"] = "pg_trio"
        self._resource = Resource.create(names)
        self._scope = InstrumentationScope("pg_trio", version)

        self._servers: Servers = {}

    def build_all(self, lines: Sequence[bytes]) -> tuple[list[ReadableSpan], int]:
        """The spans of these lines, and how many lines were no request."""
        spans, failed = list[ReadableSpan](), 0
        for line in lines:
            servers = read_servers(line)
            facts = read_facts(line) if servers is None else None
            if servers is not None:
                self._servers = servers
            elif facts is None:
                failed += 1
            else:
                spans += self._build(facts)
        return spans, failed

    def _build(self, facts: TraceFacts) -> list[ReadableSpan]:
        trace_id = int(find_trace(facts).trace_id, 16)
        return [self._build_span(trace_id, span) for span in build_spans(facts, self._servers)]

    def _build_span(self, trace_id: int, span: Mapping[str, Any]) -> ReadableSpan:
        flags, error = TraceFlags(TraceFlags.SAMPLED), span["error"]
        context = SpanContext(trace_id, int(span["id"], 16), is_remote=False, trace_flags=flags)
        parent = None
        if span["parent"] is not None:
            is_remote = span["kind"] == "SERVER"
            parent = SpanContext(trace_id, int(span["parent"], 16), is_remote=is_remote, trace_flags=flags)
        return ReadableSpan(
            name=span["name"],
            context=context,
            parent=parent,
            resource=self._resource,
            attributes={name: _fit(value) for name, value in span["attributes"].items()},
            events=[Event(name, more, at_ns) for name, at_ns, more in span["events"]],
            kind=SpanKind[span["kind"]],
            status=Status(StatusCode.UNSET) if error is None else Status(StatusCode.ERROR, error),
            start_time=span["start"],
            end_time=span["end"],
            instrumentation_scope=self._scope,
        )


def _fit(value: Any) -> Any:
    """An attribute's value as protobuf has it: integers have 64 bits."""
    return str(value) if isinstance(value, int) and abs(value) > _INT64 else value


if __name__ == "__main__":
    main(*sys.argv[1:])
