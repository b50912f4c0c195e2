"""`[maintenance]`: whom the proxy serves while somebody works on the servers. Read by `helios serve`."""

from __future__ import annotations

from enum import StrEnum

from helios.config.base import HeliosModel

__all__ = ["MaintenanceConfig", "MaintenanceMode"]


class MaintenanceMode(StrEnum):
    """What becomes of clients."""

    NONE = "none"
    HOLD = "hold"
    REJECT = "reject"
    DRAIN = "drain"

    @property
    def takes_newcomers(self) -> bool:
        """Whether new clients are let in."""
        return self in (MaintenanceMode.NONE, MaintenanceMode.HOLD)


class MaintenanceConfig(HeliosModel):
    """Maintenance. It begins and ends with a reload, and no client of the console is concerned."""

    mode: MaintenanceMode = MaintenanceMode.NONE
    """`hold`: clients wait between transactions, as with `paused`. `reject`: new clients are refused with 57P03, those
    that are here go on. `drain`: these are ended too, between their transactions (57P01), and the process stays. None
    cuts a transaction off. `none` rather than `off`, which YAML takes for a boolean."""
