"""`[drain]`: how the proxy leaves. Read by `helios serve`."""

from __future__ import annotations

from helios.config.base import HeliosModel, Seconds

__all__ = ["DrainConfig"]


class DrainConfig(HeliosModel):
    """What happens between SIGTERM and the end of the process."""

    endpoint_delay_seconds: Seconds = 5
    """Seconds to keep accepting clients after /readyz turned to 503. Load balancers and kube-proxy need a few to take
    the address out; closing at once would refuse the clients they still send."""

    timeout_seconds: Seconds = 60
    """Seconds given to running transactions once the listener is closed; 0 ends them at once. A minute, the same as the
    original product; a pod needs a grace period of at least both values."""
