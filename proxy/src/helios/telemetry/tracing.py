"""Spans of statements, pulled from the engine by a thread of their own and sent by OpenTelemetry's exporter.

Started and stopped by `helios.app` where `[tracing]` names an endpoint. OpenTelemetry is an extra (`helios[tracing]`)
and loaded only then. The engine decides which statements have spans, and gives no literal of them away.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from helios import __version__
from helios.config import TracingConfig
from helios.core import Core
from helios.errors import HeliosError, StartError
from helios.telemetry.logs import fields

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

__all__ = ["SpanPump", "StatementSpan", "attributes", "pump_of"]

_log = logging.getLogger(__name__)

_WAIT_MS = 250
"""How long one call waits for a span; bounds how long `stop` takes."""
_FLUSH_SECONDS = 3.0
"""For the last spans when the process ends; a receiver that is gone does not hold it up."""


class StatementSpan(BaseModel):
    """One run of a statement that is traced, as the engine tells it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    trace: str | None
    """Id of the caller's trace, in hexadecimal digits; None if the caller said nothing."""
    parent: str | None
    """Id of the caller's span."""
    start_ns: int
    """Since 1970, when the statement was asked for."""
    end_ns: int
    waited_ns: int
    """Of that, waiting for a server."""
    text: str
    """Without literals and comments; empty where the text is not known."""
    tag: str
    """Of its last CommandComplete."""
    sqlstate: str | None
    """How it failed."""
    extended: bool
    database: str
    node: str
    host: str
    port: int


def attributes(span: StatementSpan) -> dict[str, str | int | float]:
    """By OpenTelemetry's conventions for databases; ours begin with `helios.`."""
    operation, _, rest = span.tag.partition(" ")
    said: dict[str, str | int | float] = {
        "db.system.name": "postgresql",
        "db.namespace": span.database,
        "server.address": span.host,
        "server.port": span.port,
        "helios.node": span.node,
        "helios.protocol": "extended" if span.extended else "simple",
        "helios.wait_ms": span.waited_ns / 1e6,
    }
    if operation:
        said["db.operation.name"] = operation
    if span.text:
        said["db.query.text"] = span.text
    if operation == "SELECT" and rest.isdecimal():
        said["db.response.returned_rows"] = int(rest)
    if span.sqlstate is not None:
        said |= {"db.response.status_code": span.sqlstate, "error.type": span.sqlstate}
    return said


def pump_of(config: TracingConfig, core: Core) -> SpanPump | None:
    """What sends spans, where the configuration says so. `StartError` if the extra is not installed."""
    if config.endpoint is None:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise StartError(f"tracing.endpoint: needs OpenTelemetry: install helios[tracing] ({error})") from error
    exporter = OTLPSpanExporter(endpoint=config.endpoint, insecure=config.endpoint.startswith("http:"))
    return SpanPump(core, BatchSpanProcessor(exporter), config.service_name)


class SpanPump:
    """Pulls spans and gives them to an exporter, which batches them and drops what it cannot get rid of."""

    def __init__(self, core: Core, processor: SpanProcessor, service_name: str) -> None:
        from opentelemetry.sdk.resources import Resource

        self._core = core
        self._processor = processor
        self._resource = Resource.create({"service.name": service_name, "service.version": __version__})
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)

    def start(self) -> None:
        """Begin to pull."""
        self._thread.start()

    def stop(self) -> None:
        """Send what is there, if the receiver takes it soon."""
        self._stopping.set()
        self._thread.join(_FLUSH_SECONDS)

    def _run(self) -> None:
        while True:
            try:
                told = self._core.next_span(0 if self._stopping.is_set() else _WAIT_MS)
                if told is not None:
                    self._processor.on_end(self._readable(StatementSpan.model_validate_json(told)))
                elif self._stopping.is_set():
                    self._processor.shutdown()
                    return
            except (ValidationError, HeliosError) as error:
                _log.error("spans end", extra=fields(error=error))
                return

    def _readable(self, span: StatementSpan) -> ReadableSpan:
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
        from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

        ids = RandomIdGenerator()
        trace = int(span.trace, 16) if span.trace else ids.generate_trace_id()
        flags = TraceFlags(TraceFlags.SAMPLED)
        said = attributes(span)
        name = str(said.get("db.operation.name", "postgresql"))
        return ReadableSpan(
            name=f"{name} {span.database}",
            context=SpanContext(trace, ids.generate_span_id(), is_remote=False, trace_flags=flags),
            parent=SpanContext(trace, int(span.parent, 16), is_remote=True, trace_flags=flags) if span.parent else None,
            resource=self._resource,
            attributes=said,
            kind=SpanKind.CLIENT,
            status=Status(StatusCode.ERROR if span.sqlstate else StatusCode.UNSET),
            start_time=span.start_ns,
            end_time=span.end_ns,
        )
