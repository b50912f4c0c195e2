"""POST /api/hold: let no transaction begin while somebody else changes who leads, as an operator that is told of it."""

from __future__ import annotations

from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from helios.admin.control import CONTROL
from helios.admin.models import HoldView, answer

__all__ = ["ROUTES"]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    cluster: str | None = None
    """None: all."""
    reason: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """What people are told; None ends it."""
    seconds: Annotated[int, Field(strict=True, ge=1, le=300)] = 30
    """After so long transactions begin again, whoever forgot to say so."""
    primary: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    """Name of the node that gives it up: transactions begin again as soon as another one is primary."""


async def hold(request: web.Request) -> web.Response:
    """What begins waits in the buffer, what is under way goes on. 404 for a cluster that is not configured."""
    try:
        asked = _Request.model_validate_json(await request.read() or b"{}")
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "body"
        raise web.HTTPBadRequest(reason=f"{field}: {first['msg']}") from error
    control = request.app[CONTROL]
    names = [asked.cluster] if asked.cluster is not None else [each.name for each in control.config.clusters]
    for name in names:
        if not control.hold(name, asked.reason, asked.seconds, asked.primary):
            raise web.HTTPNotFound(reason=f"there is no cluster {name!r}")
    return answer(HoldView(clusters=tuple(names), hold=asked.reason))


ROUTES = [web.post("/api/hold", hold)]
