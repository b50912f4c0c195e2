"""A proxy without an engine for unit tests of the admin API: what a real one cannot be made to show at will.

`ScriptedControl` is a `helios.admin.control.Control` whose every answer a test sets; `engine_state` makes a state.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from helios.admin.control import ReloadOutcome
from helios.config import ClusterConfig, NodeConfig, ProxyConfig
from helios.engine_state import EngineState, SessionsState
from helios.errors import HeliosError
from helios.failover.obstacle import Obstacle
from helios.failover.record import Loss
from helios.failover.status import FailoverStatus, SwitchoverFailure
from helios.planner.context import PRIMARY_ONLY
from helios.planner.explain import NO_OBJECTS, Explanation, explain
from helios.planner.service import PlanCounts
from helios.topology.catalogs import CatalogCounts
from helios.topology.status import ClusterStatus, NodeStatus

HISTOGRAM = {"le": [0.001, 0.01], "counts": [3, 2, 1], "sum": 0.5}


def engine_state(**changes: Any) -> EngineState:
    """The state of an engine that has served a few clients; `changes` replace fields of the top level."""
    state = {
        "generation": 1,
        "listen": [{"host": "127.0.0.1", "port": 6432}],
        "accepting": True,
        "workers": 2,
        "clients": {
            "active": 3,
            "waiting": 1,
            "accepted_total": 10,
            "closed_total": 7,
            "unauthenticated": 1,
            "refused": [{"reason": "total", "total": 4}, {"reason": "user", "total": 0}],
            "cut": [{"reason": reason, "total": 0} for reason in ("told", "torn")],
        },
        "queries": {"read_total": 20, "write_total": 5},
        "plans": {"kept": 7, "made_total": 9, "missed_total": 1},
        "pins": [
            {"reason": "advisory_lock", "sessions": 2, "total": 3},
            {"reason": "library", "sessions": 0, "total": 0},
        ],
        "listening": {"sessions": 4, "links": 1, "notifications_total": 8, "lost_total": 1},
        "consistency_keys": {
            "redis": "redis:6379",
            "connections": 2,
            "fault": None,
            "kept_total": 6,
            "unkept_total": 1,
            "told_total": 9,
            "untold_total": 2,
        },
        "buffer": {"clients": 2, "bytes": 80, "entered_total": 6, "refused_total": 1},
        "replays": {
            "active": 1,
            "journal_bytes": 70_000,
            "completed_total": 12,
            "acknowledged_total": 4,
            "statements_total": 40,
            "sessions_total": 3,
            "failed": [{"reason": "answer", "total": 3}, {"reason": "outcome", "total": 0}],
        },
        "optimistic": {
            "begun_total": 30,
            "stayed_total": 20,
            "departed": [{"reason": "write", "total": 9}, {"reason": "lost", "total": 0}],
            "moved_total": 8,
            "failed": [{"reason": "answer", "total": 1}],
        },
        "bytes": {"received_total": 1000, "sent_total": 2000},
        "pools": [pool("db-0", active=2, idle=1), pool("db-0", database="other", active=1), pool("db-1", idle=4)],
        "open": [],
        "traffic": [],
        "nodes": [node("db-0"), node("db-1")],
        "halts": {"all": False, "paused": [], "disabled": []},
        "histograms": {"query_duration_seconds": HISTOGRAM, "pool_acquire_duration_seconds": HISTOGRAM},
    }
    return EngineState.model_validate({**state, **changes})


def pool(node: str, database: str = "app", active: int = 0, idle: int = 0) -> dict[str, Any]:
    """One pool as the engine shows it."""
    identity = {"cluster": "main", "node": node, "database": database, "user": "app", "server_user": "app_server"}
    counts = {"active": active, "idle": idle, "waiting": 1, "created_total": 9, "closed_total": 6}
    console = {"name": database, "paused": False, "leased": active, "cleaned": 0, "connecting": 0, "oldest_wait_us": 0}
    return {**identity, "mode": "transaction", "max_size": 20, **counts, **console}


def node(name: str, **circuit: Any) -> dict[str, Any]:
    """What traffic shows of a node as the engine tells it; `circuit` are fields of its circuit."""
    routed = [{"reason": "read", "total": 5}, {"reason": "write", "total": 0}]
    return {"cluster": "main", "name": name, "running": 2, "failures_total": 3, "routed": routed, "circuit": circuit}


def node_status(name: str, **changes: Any) -> NodeStatus:
    """A healthy standby; `changes` replace fields."""
    status: dict[str, Any] = {
        "cluster": "main",
        "name": name,
        "address": f"{name}:5432",
        "configured_role": "standby",
        "role": "standby",
        "weight": 100,
        "zone": None,
        "enabled": True,
        "healthy": True,
        "last_check": datetime(2026, 1, 31, 12, 0, tzinfo=UTC),
        "failure_count": 0,
        "last_error": None,
        "latency_ms": 0.5,
        "replication_lag_bytes": 4096,
        "replication_lag_ms": 20.0,
        "replayed_lsn": "0/3000060",
        "timeline": 1,
        "system_identifier": "7000000000000000001",
    }
    return NodeStatus(**{**status, **changes})


def cluster_status(primary: str | None = "db-0:5432") -> ClusterStatus:
    """A primary db-0 and a standby db-1; `None`: nobody is primary."""
    role = "unknown" if primary is None else "primary"
    first = node_status("db-0", role=role, replication_lag_bytes=0, replication_lag_ms=0.0)
    reason = None if primary else "no node is primary: db-0 cannot be asked (connection refused)"
    return ClusterStatus("main", primary, reason, None, 0, (first, node_status("db-1")))


def proxy_config(**admin: Any) -> ProxyConfig:
    """A configuration with two nodes; `admin` are fields of `[admin]`."""
    nodes = (NodeConfig(host="db-0", name="db-0"), NodeConfig(host="db-1", name="db-1"))
    settings = {"address": "127.0.0.1:0", **admin}
    return ProxyConfig.model_validate({"admin": settings, "clusters": (ClusterConfig(name="main", nodes=nodes),)})


@dataclass
class ScriptedControl:
    """Answers what the test has set."""

    config: ProxyConfig = field(default_factory=proxy_config)
    config_hash: str = "0" * 64
    admin_tokens: tuple[str, ...] = ()
    draining: bool = False
    state: EngineState | HeliosError | Exception = field(default_factory=engine_state)
    topology: tuple[ClusterStatus, ...] = field(default_factory=lambda: (cluster_status(),))
    last_reload: ReloadOutcome = field(default_factory=lambda: ReloadOutcome(at=datetime.now(UTC)))
    next_reload: ReloadOutcome | None = None
    reloads: int = 0
    granted: int | None = None
    awaits_share: bool = False
    switched: list[tuple[str, str, bool]] = field(default_factory=list)

    @property
    def server_connections(self) -> int:
        """What was granted, else as the configuration says."""
        return self.config.limits.max_server_connections if self.granted is None else self.granted

    @property
    def is_granted(self) -> bool:
        """Whether something was."""
        return self.granted is not None

    def engine_state(self) -> EngineState:
        """What was set, raised if it is an exception."""
        if isinstance(self.state, Exception):
            raise self.state
        return self.state

    def sessions(self) -> SessionsState:
        """Nobody."""
        return SessionsState(logins=0, clients=(), servers=(), sizes={})

    def clusters(self) -> tuple[ClusterStatus, ...]:
        """What was set."""
        return self.topology

    def switch_node(self, cluster: str, node: str, enabled: bool) -> None:
        """Noted."""
        self.switched.append((cluster, node, enabled))

    def failovers(self) -> tuple[FailoverStatus, ...]:
        """One cluster that nobody may promote in."""
        loss = Loss(node="db-0", timeline=1, from_lsn="0/10", to_lsn="0/30", bytes=32, was_synchronous=False)
        status = FailoverStatus(
            cluster="main",
            enabled=True,
            policy="prefer_sync",
            holds_lease=True,
            hold=None,
            verdict=None,
            step=None,
            refused="no standby answers",
            obstacle=Obstacle.QUORUM,
            promoting=None,
            promotions=2,
            last_promotion_at=None,
            fence=None,
            fenced=("db-0",),
            xid_bound=700,
            losses=(loss,),
        )
        return (status,)

    def hold(self, cluster: str, reason: str | None, seconds: float, leaver: str | None = None) -> bool:
        del reason, seconds
        return any(each.name == cluster for each in self.config.clusters)

    async def switch_over(self, cluster: str, to: str | None) -> str:
        """Nobody can."""
        raise SwitchoverFailure(f"{cluster} stays as it is")

    def catalog_counts(self) -> CatalogCounts:
        """One database, compared a while ago."""
        return CatalogCounts(kept=1, age_seconds=2.5, reads=4, failures=1)

    def plan_counts(self) -> PlanCounts:
        """A planner that has failed once."""
        return PlanCounts(planned=7, refused=2, failed=1)

    async def explain(self, sql: str, database: str, application_name: str) -> Explanation | None:
        """As for a database of plain tables."""
        return explain(sql, NO_OBJECTS, PRIMARY_ONLY) if database == "app" else None

    def reload(self) -> ReloadOutcome:
        """What was set."""
        self.reloads += 1
        self.last_reload = self.next_reload or self.last_reload
        return self.last_reload

    def grant(self, limit: int) -> ReloadOutcome:
        """Taken where the next reload is set to succeed."""
        outcome = self.next_reload or self.last_reload
        self.granted = limit if outcome.succeeded else self.granted
        return outcome

    def load(self, document: bytes) -> ReloadOutcome:
        """What was set."""
        del document
        return self.reload()
