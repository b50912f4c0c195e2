"""`[watch]`: noticing that files changed. Read by `helios serve`."""

from __future__ import annotations

from helios.config.base import HeliosModel, Milliseconds

__all__ = ["WatchConfig"]


class WatchConfig(HeliosModel):
    """Reload without being asked to."""

    interval_ms: Milliseconds = 0
    """Milliseconds between two looks at the configuration file and the secrets it names; a change reloads. 0 = only on
    SIGHUP or by the admin API, as an editor may save a file half done. In a pod, whose mounted files change whole, it
    is on."""
