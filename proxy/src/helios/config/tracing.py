"""`[tracing]`: spans of statements for OpenTelemetry. Read by the engine, which samples, and by `helios.telemetry`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from helios.config.base import HeliosModel

__all__ = ["TracingConfig"]

Url = Annotated[str, StringConstraints(max_length=2048, pattern=r"^https?://[^\s/?#]+$")]
ServiceName = Annotated[str, StringConstraints(min_length=1, max_length=255)]


class TracingConfig(HeliosModel):
    """A span for each statement whose text has a `traceparent` in a comment, as sqlcommenter writes it."""

    endpoint: Url | None = None
    """Where spans go by OTLP over gRPC, as in `http://collector:4317`; with `https` encrypted. None: there are none,
    and a statement costs nothing for it."""

    sample_ratio: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the statements without a `traceparent` that have a span too. 0, since their callers trace nothing. Those
    with one are as their caller says."""

    service_name: ServiceName = "helios"
    """What the spans are told to come from (`service.name`)."""
