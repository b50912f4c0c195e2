"""GET /share shows how many server connections this process may have and has; PUT /share says how many from now on.

`limits.max_server_connections` of a document is what a process may have that was told nothing. Where several share a
total, as the pods of a HeliosProxy do, whoever divides it grants each of them more or less of it here.
"""

from __future__ import annotations

from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from helios.admin.control import CONTROL, Control
from helios.admin.models import ShareView, answer

__all__ = ["ROUTES"]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: Annotated[int, Field(strict=True, ge=1, le=1_000_000)]


async def show(request: web.Request) -> web.Response:
    """The limit in force; those that are open may be more for a while after it was lowered."""
    return answer(_view(request.app[CONTROL]))


async def grant(request: web.Request) -> web.Response:
    """200 with the limit that is in force then, which is 0 where the configuration limits nothing.

    400 for a body that is not `{"limit": …}`, 409 where a file that the configuration names cannot be read just now.
    """
    control = request.app[CONTROL]
    try:
        asked = _Request.model_validate_json(await request.read() or b"{}")
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "body"
        raise web.HTTPBadRequest(reason=f"{field}: {first['msg']}") from error
    outcome = control.grant(asked.limit)
    if not outcome.succeeded:
        problems = "; ".join(map(str, outcome.problems))
        raise web.HTTPConflict(reason=f"the limit stays as it is: {problems}")
    return answer(_view(control))


def _view(control: Control) -> ShareView:
    present = sum(pool.total for pool in control.engine_state().open)
    return ShareView(limit=control.server_connections, open=present, granted=control.is_granted)


ROUTES = [web.get("/share", show), web.put("/share", grant)]
