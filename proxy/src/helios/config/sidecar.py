"""The configuration of a proxy, as one of its processes in an application's pod goes by it. Read by `helios.running`.

There is one document for all processes of a proxy; what differs beside an application is told by `helios serve
--sidecar` and decided here.
"""

from __future__ import annotations

from typing import Final

from helios.config.base import join_address, split_address
from helios.config.proxy import ProxyConfig

__all__ = ["as_sidecar"]

LOOPBACK: Final = "127.0.0.1"
FIRST_SHARE: Final = 1
"""Server connections before a share was granted: nobody keeps any aside for pods that applications bring."""


def as_sidecar(config: ProxyConfig) -> ProxyConfig:
    """`config` for the application's own pod: reached from inside only, promoting nobody, gone as soon as it is told.

    Nothing leads clients of other pods there, so no load balancer has to hear that it goes.
    """
    addresses = {name: getattr(config, name) for name in ("listen_address", "read_listen_address")}
    limits = config.limits
    if limits.max_server_connections:
        limits = limits.model_copy(update={"max_server_connections": FIRST_SHARE})
    return config.model_copy(
        update={
            **{name: join_address(LOOPBACK, split_address(at)[1]) for name, at in addresses.items() if at is not None},
            "failover": config.failover.model_copy(update={"enabled": False}),
            "drain": config.drain.model_copy(update={"endpoint_delay_seconds": 0}),
            "limits": limits,
        }
    )
