"""The configuration over HTTP: GET /config shows the one in force, secrets masked; POST /config brings a new document,
as the operator does; POST /config/reload reads the file again."""

from __future__ import annotations

from aiohttp import web

from helios.admin.control import CONTROL, Control, ReloadOutcome
from helios.admin.models import ConfigNode, ConfigView, LoadView, ProblemView, ReloadView, answer
from helios.config import ProxyConfig
from helios.config.base import join_address

__all__ = ["ROUTES"]


async def show(request: web.Request) -> web.Response:
    """The original's fields, how the last reload ended, and everything under `config`."""
    control = request.app[CONTROL]
    config = control.config
    view = ConfigView(
        listen_address=config.listen_address,
        admin_address=config.admin.address,
        tr_enabled=config.transaction_replay.enabled,
        tr_mode="transaction" if config.transaction_replay.enabled else "none",
        pool_min_connections=config.pool.min_idle,
        pool_max_connections=config.pool.max_size,
        nodes=_nodes(config),
        generation=config.generation,
        hash=control.config_hash,
        last_reload=_reload_view(control, control.last_reload),
        config=config.model_dump(mode="json"),
    )
    return answer(view)


async def load(request: web.Request) -> web.Response:
    """Apply the helios.toml that the body is; the file stays as it is.

    200 when it is in force; 409 when its generation is not higher than that of another document in force; 422 with
    every problem when it was refused. Only for holders of a token: who may replace the configuration may send every
    client's password elsewhere, so being on loopback is not enough.
    """
    control = request.app[CONTROL]
    if not control.admin_tokens:
        raise web.HTTPForbidden(reason="a configuration is only accepted where admin.token or admin.token_file is set")
    outcome = control.load(await request.read())
    problems = tuple(str(problem) for problem in outcome.problems)
    view = LoadView(
        generation=control.config.generation,
        hash=control.config_hash,
        problems=problems,
        restartNeeded=outcome.restart_needed,
    )
    if outcome.succeeded:
        return answer(view)
    error = "the configuration was refused and the old one kept: " + "; ".join(problems)
    status = web.HTTPConflict.status_code if outcome.outdated else web.HTTPUnprocessableEntity.status_code
    return web.json_response({"error": error, **view.model_dump(mode="json")}, status=status)


async def reload(request: web.Request) -> web.Response:
    """200 when the file is in force, 400 with every problem when it was refused and the old one kept."""
    control = request.app[CONTROL]
    outcome = control.reload()
    view = _reload_view(control, outcome)
    if outcome.succeeded:
        return answer(view)
    error = "the configuration was refused and the old one kept: " + "; ".join(str(p) for p in outcome.problems)
    return web.json_response({"error": error, **view.model_dump(mode="json")}, status=400)


def _nodes(config: ProxyConfig) -> tuple[ConfigNode, ...]:
    return tuple(
        ConfigNode(
            address=join_address(node.host, node.port), role=node.role.value, weight=node.weight, enabled=node.enabled
        )
        for cluster in config.clusters
        for node in cluster.nodes
    )


def _reload_view(control: Control, outcome: ReloadOutcome) -> ReloadView:
    problems = tuple(
        ProblemView(source=p.source, line=p.line, field=p.field, message=p.message, hint=p.hint)
        for p in outcome.problems
    )
    return ReloadView(
        succeeded=outcome.succeeded,
        at=outcome.at,
        generation=control.config.generation,
        problems=problems,
        restart_needed=outcome.restart_needed,
    )


ROUTES = [web.get("/config", show), web.post("/config", load), web.post("/config/reload", reload)]
