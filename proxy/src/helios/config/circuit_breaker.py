"""`[circuit_breaker]`: when a node gets no reads for a while. Read by the engine through the snapshot."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from helios.config.base import Flag, HeliosModel, PositiveCount, PositiveSeconds, Seconds

__all__ = ["CircuitBreakerConfig"]


class CircuitBreakerConfig(HeliosModel):
    """When a standby gets no reads for a while, though it may answer polls. Writes always wait for the primary."""

    enabled: Flag = True
    """Whether there are circuits. On, since reads have other nodes to go to."""

    failure_threshold: PositiveCount = 5
    """Failures in a row that open a node's circuit: connections that cannot be had or are lost without a word, polls
    without an answer. Five, since one backend that is killed is not a dead node."""

    reset_timeout_seconds: PositiveSeconds = 10
    """Seconds that a circuit stays open before the node is tried again. Ten, about what a server takes to restart; it
    is not tried before polls reach it."""

    success_threshold: PositiveCount = 3
    """Answers, to reads or polls, after which a node that is tried is used again. Three, since one may be luck."""

    half_open_requests: PositiveCount = 3
    """Reads at a time that try a node. Few, since they may fail; more than one, so that one slow read does not hold
    up the rest."""

    slow_start_seconds: Seconds = 10
    """Seconds over which a node that is used again comes to its full share of reads; 0 = at once. Ten, since its
    caches are cold."""

    outlier_latency_factor: Annotated[int, Field(strict=True, ge=0, le=1_000)] = 10
    """Times as long as the other standbys of its cluster, on average over five seconds, that a standby may take to
    answer; 0 = any. Beyond that its circuit opens. Ten, which no difference of hardware or of queries makes."""

    outlier_error_percent: Annotated[int, Field(strict=True, ge=0, le=100)] = 30
    """Percentage points of reads that a standby may fail more than the others; 0 = any. Beyond that its circuit opens,
    also when the failures are not in a row."""
