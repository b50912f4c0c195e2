"""POST /api/explain: what the planner makes of a statement for a database, without running it."""

from __future__ import annotations

from dataclasses import asdict

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

from helios.admin.control import CONTROL
from helios.admin.models import ExplainView, answer
from helios.errors import PlanError
from helios.planner.explain import refusal

__all__ = ["ROUTES"]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    sql: str
    database: str
    application_name: str = ""


async def explain(request: web.Request) -> web.Response:
    """200 with the plan; 404 for a database that is not configured.

    400 for a body that is not `{"sql": …, "database": …}`, where rules look at it with an `application_name`, and with
    PostgreSQL's words for a text that it cannot parse.
    """
    control = request.app[CONTROL]
    try:
        asked = _Request.model_validate_json(await request.read() or b"{}")
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "body"
        raise web.HTTPBadRequest(reason=f"{field}: {first['msg']}") from error
    try:
        made = await control.explain(asked.sql, asked.database, asked.application_name)
    except PlanError as error:
        raise web.HTTPBadRequest(reason=f"sql: {refusal(error)}") from error
    if made is None:
        raise web.HTTPNotFound(reason=f'database: "{asked.database}" is not configured')
    return answer(ExplainView(**asdict(made)))


ROUTES = [web.post("/api/explain", explain)]
