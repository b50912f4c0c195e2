"""The shapes of the admin API's answers: the original's fields are there, with its names and types."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from aiohttp.test_utils import TestClient, TestServer
from fakes.core import ScriptedControl, cluster_status, engine_state, node, node_status, pool, proxy_config

from helios import __version__
from helios.admin.app import build_app
from helios.admin.control import ReloadOutcome
from helios.errors import Problem
from helios.topology.status import ClusterStatus


@pytest.fixture
def control() -> ScriptedControl:
    return ScriptedControl()


@pytest_asyncio.fixture
async def admin(control: ScriptedControl) -> AsyncIterator[TestClient[Any, Any]]:
    async with TestClient(TestServer(build_app(control))) as client:
        yield client


async def get(admin: TestClient[Any, Any], path: str, status: int = 200, **headers: str) -> Any:
    async with admin.get(path, headers=headers) as answer:
        assert answer.status == status, await answer.text()
        assert answer.content_type == "application/json"
        return await answer.json()


async def test_health_and_liveness(admin: TestClient[Any, Any]) -> None:
    assert await get(admin, "/health") == await get(admin, "/healthz") == {"status": "ok"}
    assert await get(admin, "/health/live") == await get(admin, "/livez") == {"alive": True}


async def test_ready_while_accepting_with_a_primary(admin: TestClient[Any, Any]) -> None:
    answer = await get(admin, "/readyz")

    assert answer == await get(admin, "/health/ready")
    assert answer["ready"] is True
    assert answer["message"] == "accepting clients, every cluster has a primary"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"draining": True}, "draining: the process is about to end"),
        ({"state": engine_state(accepting=False)}, "not listening for clients yet"),
        ({"topology": (cluster_status(None),)}, "no primary in main; /topology says why"),
        ({"topology": (cluster_status(), ClusterStatus("two", None, "?", None, 0, ()))}, "no primary in two"),
    ],
)
async def test_not_ready(
    admin: TestClient[Any, Any], control: ScriptedControl, changes: dict[str, Any], message: str
) -> None:
    for name, value in changes.items():
        setattr(control, name, value)

    answer = await get(admin, "/readyz", 503)

    assert answer["ready"] is False
    assert answer["message"].startswith(message)


async def test_a_refused_reload_keeps_the_proxy_ready_and_is_told(
    admin: TestClient[Any, Any], control: ScriptedControl
) -> None:
    control.last_reload = ReloadOutcome(datetime.now(UTC), (Problem("is private"),))

    answer = await get(admin, "/readyz")

    assert answer["reload_failed"] is True
    assert "private" not in str(answer)


async def test_version(admin: TestClient[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    built = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
    monkeypatch.setattr("helios.admin.routes.version.engine_built_at", lambda: built)

    assert await get(admin, "/version") == {"version": __version__, "build_time": "2026-01-31T12:00:00Z"}


async def test_config_has_the_originals_fields_and_no_secret(
    admin: TestClient[Any, Any], control: ScriptedControl
) -> None:
    control.config = proxy_config(token="s3cret").model_copy(update={"generation": 7})

    answer = await get(admin, "/config")

    assert answer["listen_address"] == "0.0.0.0:6432"
    assert answer["admin_address"] == "127.0.0.1:0"
    assert (answer["tr_enabled"], answer["tr_mode"]) == (False, "none")
    assert (answer["pool_min_connections"], answer["pool_max_connections"]) == (0, 100)
    assert answer["nodes"][0] == {"address": "db-0:5432", "role": "standby", "weight": 100, "enabled": True}
    assert answer["generation"] == 7
    assert answer["config"]["admin"]["token"] == "**********"
    assert "s3cret" not in str(answer)


async def test_topology(admin: TestClient[Any, Any], control: ScriptedControl) -> None:
    moment = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
    sick = node_status("db-2", healthy=False)
    unused = node_status("db-3", healthy=False, enabled=False)
    first = cluster_status()
    second = ClusterStatus("two", None, "nobody", moment, 1, (sick, unused))
    control.topology = (first, second)

    answer = await get(admin, "/topology")

    assert {name: value for name, value in answer.items() if name != "clusters"} == {
        "currentPrimary": "db-0:5432",
        "healthyNodes": 2,
        "unhealthyNodes": 1,
        "totalNodes": 3,
        "lastFailoverAt": "2026-01-31T12:00:00Z",
        "reason": None,
    }
    assert answer["clusters"][1]["primary"] is None
    assert answer["clusters"][1]["reason"] == "nobody"


async def test_nodes_by_list_address_and_name(admin: TestClient[Any, Any]) -> None:
    nodes = await get(admin, "/nodes")

    assert nodes[1] == await get(admin, "/nodes/db-1:5432") == await get(admin, "/nodes/db-1")
    original = ("address", "healthy", "last_check", "failure_count", "last_error", "latency_ms")
    assert [nodes[1][name] for name in original] == ["db-1:5432", True, "2026-01-31T12:00:00Z", 0, None, 0.5]
    assert (nodes[1]["replication_lag_bytes"], nodes[1]["replication_lag_ms"]) == (4096, 20.0)
    assert (nodes[0]["role"], nodes[1]["role"]) == ("primary", "standby")
    assert (nodes[1]["running"], nodes[1]["circuit"], nodes[1]["zone"]) == (2, "closed", None)


async def test_circuits(admin: TestClient[Any, Any], control: ScriptedControl) -> None:
    broken = node("db-1", state="open", failures=5, cause="connection refused", opened_total=1)
    control.state = engine_state(nodes=[broken])

    first, second = (await get(admin, "/api/circuit"))["circuits"]

    assert (first["node"], first["state"], first["reason"]) == ("db-0:5432", "closed", None)
    assert (second["node"], second["state"], second["reason"]) == ("db-1:5432", "open", "connection refused")
    assert (second["failures"], second["failures_total"], second["opened_total"]) == (5, 3, 1)


async def test_a_node_is_taken_out_of_use_and_into_it_unless_it_is_the_primary(
    admin: TestClient[Any, Any], control: ScriptedControl
) -> None:
    async def post(path: str) -> tuple[int, Any]:
        async with admin.post(path) as answer:
            return answer.status, await answer.json()

    assert await post("/nodes/db-1:5432/disable") == (200, {"status": "disabled"})
    assert await post("/nodes/db-1/enable") == (200, {"status": "enabled"})
    assert control.switched == [("main", "db-1", False), ("main", "db-1", True)]
    status, refusal = await post("/nodes/db-0/disable")
    assert status == 409
    assert refusal["error"].startswith("db-0 is the primary of cluster main: promote another node first")
    assert await post("/nodes/db-9/disable") == (404, {"error": "no node 'db-9'; /nodes lists them"})
    assert len(control.switched) == 2


async def test_sessions(admin: TestClient[Any, Any]) -> None:
    assert await get(admin, "/sessions") == {
        "active_sessions": 3,
        "waiting_sessions": 1,
        "pinned_sessions": {"advisory_lock": 2},
        "listening_sessions": 4,
        "sessions": None,
    }


async def test_pools(admin: TestClient[Any, Any], control: ScriptedControl) -> None:
    control.state = engine_state(pools=[pool("db-0", active=2, idle=1), pool("removed")])

    shown, removed = await get(admin, "/pools")

    assert shown == {
        "node": "db-0:5432",
        "active_connections": 2,
        "idle_connections": 1,
        "pending_requests": 1,
        "total_connections_created": 9,
        "total_connections_closed": 6,
        "cluster": "main",
        "node_name": "db-0",
        "database": "app",
        "user": "app",
        "server_user": "app_server",
        "mode": "transaction",
        "max_size": 20,
    }
    assert removed["node"] == "removed"


async def test_share_of_server_connections(admin: TestClient[Any, Any], control: ScriptedControl) -> None:
    pools = [{"name": "app", "total": 5, "closing": 1}, {"name": "other", "total": 2, "closing": 0}]
    control.state = engine_state(open=pools)
    assert await get(admin, "/share") == {"limit": 0, "open": 7, "granted": False}

    granted = await admin.put("/share", json={"limit": 4})
    assert await granted.json() == {"limit": 4, "open": 7, "granted": True}

    bodies: tuple[Any, ...] = ({}, {"limit": 0}, {"limit": "4"}, {"limit": True}, {"limit": 4, "more": 1}, [], 4)
    for body in bodies:
        refused = await admin.put("/share", json=body)
        assert refused.status == 400, body
        assert (await refused.json())["error"]
    control.next_reload = ReloadOutcome(at=datetime.now(UTC), problems=(Problem("is not readable", "users_file"),))
    assert (await admin.put("/share", json={"limit": 9})).status == 409
    assert (await get(admin, "/share"))["limit"] == 4


async def test_metrics_as_json(admin: TestClient[Any, Any]) -> None:
    assert await get(admin, "/metrics", Accept="application/json") == {
        "connections_accepted": 10,
        "connections_closed": 7,
        "connections_active": 3,
        "queries_processed": 25,
        "bytes_received": 1000,
        "bytes_sent": 2000,
        "failovers": 0,
    }


async def test_a_reload_that_worked(admin: TestClient[Any, Any], control: ScriptedControl) -> None:
    moment = datetime(2026, 1, 31, 12, 0, tzinfo=UTC) + timedelta(seconds=1)
    control.next_reload = ReloadOutcome(moment, restart_needed=("workers",))

    async with admin.post("/config/reload") as answer:
        assert answer.status == 200
        body = await answer.json()

    assert body == {
        "succeeded": True,
        "at": "2026-01-31T12:00:01Z",
        "generation": 0,
        "problems": [],
        "restart_needed": ["workers"],
    }
    assert (await get(admin, "/config"))["last_reload"] == body


async def test_a_refused_reload_tells_every_problem(admin: TestClient[Any, Any], control: ScriptedControl) -> None:
    problems = (
        Problem("must be positive", "pool.max_size", "write 20", "helios.toml", 7),
        Problem("is unknown", "pool.siez", "did you mean size?", "helios.toml", 8),
    )
    control.next_reload = ReloadOutcome(datetime.now(UTC), problems)

    async with admin.post("/config/reload") as answer:
        assert answer.status == 400
        body = await answer.json()

    assert body["succeeded"] is False
    assert body["problems"][0] == {
        "source": "helios.toml",
        "line": 7,
        "field": "pool.max_size",
        "message": "must be positive",
        "hint": "write 20",
    }
    assert "helios.toml:8: pool.siez: is unknown" in body["error"]
