"""GET /version: which Helios this is and when its engine was built."""

from __future__ import annotations

from aiohttp import web

from helios import __version__
from helios.admin.models import Version, answer
from helios.core import engine_built_at

__all__ = ["ROUTES"]


async def version(_request: web.Request) -> web.Response:
    """Version of the package, build time of the engine's binary."""
    return answer(Version(version=__version__, build_time=engine_built_at()))


ROUTES = [web.get("/version", version)]
