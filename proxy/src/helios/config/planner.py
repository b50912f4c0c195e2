"""`[planner]`: how statements are understood. Read by `helios.topology.catalogs`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from helios.config.base import HeliosModel

__all__ = ["PlannerConfig"]


class PlannerConfig(HeliosModel):
    """What is known about the databases beside the statements themselves."""

    catalog_interval_seconds: Annotated[int, Field(strict=True, ge=1, le=3600)] = 60
    """Seconds between two looks at the functions of a database that statements call. Those defined through Helios are
    noticed at once, so this is how long one that was replaced past it may be taken for what it was. A look that finds
    nothing new takes a login and about ten milliseconds."""
