"""A receiver of OTLP over gRPC, by OpenTelemetry's own classes: what an exporter sends is what a test looks at."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from harness.wait import until


class OtlpReceiver(trace_service_pb2_grpc.TraceServiceServicer):
    """Listens on loopback at `endpoint`, and keeps each request."""

    def __init__(self) -> None:
        self.requests: list[trace_service_pb2.ExportTraceServiceRequest] = []
        self._server = grpc.server(ThreadPoolExecutor(2))
        add = trace_service_pb2_grpc.add_TraceServiceServicer_to_server
        add(self, self._server)  # type: ignore[no-untyped-call] # generated without types
        self.endpoint = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> OtlpReceiver:
        self._server.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._server.stop(None)

    def Export(
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        """Take spans."""
        self.requests.append(request)
        return trace_service_pb2.ExportTraceServiceResponse()

    def spans(self, trace: str | None = None) -> list[Any]:
        """What has come so far, of one trace or of all, in the order in which it came."""
        scopes = [scope for request in self.requests for each in request.resource_spans for scope in each.scope_spans]
        spans = [span for scope in scopes for span in scope.spans]
        return [span for span in spans if trace is None or span.trace_id.hex() == trace]

    def wait(self, trace: str, count: int = 1) -> list[Any]:
        """The spans of a trace, once there are so many."""
        until(lambda: len(self.spans(trace)) >= count, f"{count} spans of {trace}", deadline=30)
        return self.spans(trace)


def said(span: Any) -> dict[str, Any]:
    """The attributes of a span as plain values."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}
