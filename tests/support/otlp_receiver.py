"""A collector of traces: OTLP over HTTP, as the official protobuf reads it. It may hang, refuse, or be gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

import h11
import trio
from attrs import define, field, frozen
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

KINDS = {1: "INTERNAL", 2: "SERVER", 3: "CLIENT"}
WAIT_S = 20


@frozen
class ReceivedSpan:
    """A span as it came; ids in hexadecimal, times in nanoseconds."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    start_ns: int
    end_ns: int
    is_error: bool
    attributes: Mapping[str, Any]
    events: Sequence[tuple[str, int]]


@define(eq=False)
class Receiver:
    """What has come so far. `mode`: how requests are answered from now on."""

    port: int = 0
    mode: Literal["take", "hang", "refuse"] = "take"
    spans: list[ReceivedSpan] = field(factory=list)
    resources: list[dict[str, Any]] = field(factory=list)
    heads: list[dict[str, str]] = field(factory=list)
    bodies: list[bytes] = field(factory=list)
    grown: trio.Event = field(factory=trio.Event)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def wait_spans(self, count: int) -> list[ReceivedSpan]:
        """Wait until so many spans are here."""
        with trio.fail_after(WAIT_S):
            while len(self.spans) < count:
                await self.grown.wait()
        return self.spans

    def take(self, body: bytes) -> None:
        self.bodies.append(body)
        for resource_spans in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resources.append({each.key: read_value(each.value) for each in resource_spans.resource.attributes})
            for scope_spans in resource_spans.scope_spans:
                self.spans += [read_span(span) for span in scope_spans.spans]


async def serve_receiver(*, task_status: trio.TaskStatus[Receiver]) -> None:
    """Receive until cancelled."""
    receiver = Receiver()
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, partial(_serve, receiver), 0, host="127.0.0.1"))
        receiver.port = listeners[0].socket.getsockname()[1]
        task_status.started(receiver)


async def _serve(receiver: Receiver, stream: trio.SocketStream) -> None:
    parser = h11.Connection(h11.SERVER)
    body = b""
    while True:
        event = parser.next_event()
        if event is h11.NEED_DATA:
            try:
                parser.receive_data(await stream.receive_some(65536))
            except trio.BrokenResourceError:
                return
        elif isinstance(event, h11.Request):
            assert b"/v1/traces" == event.target
            receiver.heads.append({name.decode(): value.decode() for name, value in event.headers})
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            if receiver.mode == "hang":
                receiver.grown.set()
                await trio.sleep_forever()
            if receiver.mode == "take":
                receiver.take(body)
            body = b""
            status = 200 if receiver.mode == "take" else 400
            answer = h11.Response(status_code=status, headers=[("content-length", "0")])
            await stream.send_all((parser.send(answer) or b"") + (parser.send(h11.EndOfMessage()) or b""))
            grown, receiver.grown = receiver.grown, trio.Event()
            grown.set()
            parser.start_next_cycle()
        else:
            return


def read_span(span: Any) -> ReceivedSpan:
    """A span of the protobuf."""
    return ReceivedSpan(
        name=span.name,
        kind=KINDS[span.kind],
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        is_error=span.status.code == 2,
        attributes={each.key: read_value(each.value) for each in span.attributes},
        events=[(event.name, event.time_unix_nano) for event in span.events],
    )


def read_value(value: AnyValue) -> Any:
    """A value of an attribute."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [read_value(each) for each in value.array_value.values]
    return None if kind is None else getattr(value, kind)
