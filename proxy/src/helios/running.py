"""The running proxy: engine and topology under one configuration, and the reload to the next.

Made by `helios.app`; the admin API sees it as `helios.admin.control.Control`, the console as
`helios.console.control.Control`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from helios.admin.control import ReloadOutcome
from helios.admin.server import AdminServer, check_tls
from helios.config import MaintenanceMode, NodeConfig, ProxyConfig
from helios.config.foreign.load import Load
from helios.config.loader import Loaded, load_document, load_with_warnings
from helios.config.reload import diff
from helios.config.secrets import admin_tokens, named_files
from helios.config.sidecar import as_sidecar
from helios.config.snapshot import engine_snapshot, refuse_unusable_secrets, worker_count
from helios.config.tree import Path as KeyPath
from helios.config.tree import put
from helios.config.users import users_of
from helios.config.validation import build
from helios.console.control import Shutdown
from helios.console.service import ConsoleService
from helios.core import ClusterView, Core, NodePosition, NodeSuspect
from helios.engine_state import EngineState, SessionsState
from helios.errors import ConfigError, HeliosError, Problem, ReloadRefused
from helios.failover.controller import FailoverController
from helios.failover.status import FailoverStatus
from helios.planner.explain import Explanation, explain
from helios.planner.service import PlanCounts, PlannerService, policy_of
from helios.telemetry import logs
from helios.telemetry.logs import fields
from helios.threads import on_daemon_thread
from helios.topology.catalogs import CatalogCounts, Catalogs
from helios.topology.credentials import Login, logins_of
from helios.topology.membership.watch import MembershipWatch
from helios.topology.monitor import TopologyMonitor
from helios.topology.status import ClusterStatus

__all__ = ["HANDED_OVER", "RunningProxy"]

_log = logging.getLogger(__name__)

_CATALOG_PATIENCE_SECONDS = 5.0
"""How long an explanation waits for the definitions of its database."""


@dataclass(frozen=True)
class _Prepared:
    """A configuration with everything read that it refers to; having one means that it can be applied."""

    config: ProxyConfig
    loaded: Loaded
    """What `config` was made of."""

    snapshot: bytes
    logins: Mapping[str, Login]
    admin_tokens: tuple[str, ...]
    user_names: tuple[str, ...]


NodeKey = tuple[str, str]
"""Cluster and name of a node."""

_ENDS = {
    Shutdown.AT_ONCE: signal.SIGQUIT,
    Shutdown.WAIT_FOR_SERVERS: signal.SIGINT,
    Shutdown.WAIT_FOR_CLIENTS: signal.SIGTERM,
}
"""Ways to end the process, as PgBouncer's signals for them."""


HANDED_OVER = signal.SIGUSR2
"""What stands for a hand-over among the ways to end; as a signal it means nothing here."""


def _prepare(loaded: Loaded, config: ProxyConfig, for_engine: ProxyConfig | None = None) -> _Prepared:
    """Read all files that `config`, made of `loaded`, names. `ConfigError` with every one that cannot be used.

    `for_engine` is `config` with what the engine shall go by instead.
    """
    refuse_unusable_secrets(loaded)
    check_tls(config.admin)
    tokens = admin_tokens(config)
    return _Prepared(
        config=config,
        loaded=loaded,
        snapshot=engine_snapshot(config if for_engine is None else for_engine),
        logins=logins_of(config),
        admin_tokens=tuple(token.get_secret_value() for token in tokens),
        user_names=tuple(user.name for user in users_of(config)),
    )


class RunningProxy:
    """Lives on one event loop; only `suspect` may be called from another thread."""

    def __init__(self, config_file: Path, load: Load = load_with_warnings, sidecar: bool = False) -> None:
        """Read the configuration and make everything from it, without opening anything. `HeliosError` if it cannot."""
        self._is_sidecar = sidecar
        loaded = self._as_run(load(config_file))
        logs.configure(loaded.config.log.level.value, loaded.config.log.format.value)
        self._config_file = config_file
        self._load = load
        self._warnings: tuple[Problem, ...] = ()
        self._warn(loaded.warnings)
        self._prepared = _prepare(loaded, loaded.config)
        self._workers = worker_count(loaded.config)
        self._loop = asyncio.get_running_loop()
        self.core = Core(self._prepared.snapshot)
        self.topology = TopologyMonitor(self._publish, self._move, self._note_poll)
        self.failover = FailoverController(self.topology, self.core.settle)
        self.membership = MembershipWatch(self.topology, self._join)
        self.catalogs = Catalogs(self.topology.primary, self._outdate)
        self.planner = PlannerService(self.core, self.catalogs)
        self.admin = AdminServer(self, loaded.config.admin)
        self.console = ConsoleService(self, self.core.answer)
        self.ends: asyncio.Queue[signal.Signals] = asyncio.Queue()
        self._halt(ProxyConfig(), loaded.config)
        self.draining = False
        self._granted: int | None = None
        self._switched: dict[NodeKey, bool] = {}
        self._members: dict[str, tuple[NodeConfig, ...]] = {}
        """Cluster → nodes, where they were asked for."""
        self.last_reload = ReloadOutcome(at=datetime.now(UTC))

    @property
    def config(self) -> ProxyConfig:
        """The configuration in force."""
        return self._prepared.config

    @property
    def config_hash(self) -> str:
        """SHA-256 of the document in force, lower-case hex."""
        return self._prepared.loaded.digest

    @property
    def admin_tokens(self) -> tuple[str, ...]:
        """The bearer tokens in force."""
        return self._prepared.admin_tokens

    def files(self) -> tuple[Path, ...]:
        """The configuration file and every file that the configuration in force names."""
        return (self._config_file, *map(Path, named_files(self.config)))

    def engine_state(self) -> EngineState:
        """Counters and gauges of this moment."""
        return self.core.state()

    @property
    def server_connections(self) -> int:
        """Server connections that the process may have; 0 for any number."""
        return self._server_connections(self.config)

    @property
    def is_granted(self) -> bool:
        """Whether that was granted; else it is what the configuration says."""
        return self._granted is not None

    @property
    def awaits_share(self) -> bool:
        """Whether nobody may count on it yet, since nobody has counted its server connections."""
        return self._is_sidecar and self.server_connections > 0 and not self.is_granted

    def _server_connections(self, config: ProxyConfig) -> int:
        """Under `config`: what was granted, unless nothing is limited."""
        limit = config.limits.max_server_connections
        return limit if limit == 0 or self._granted is None else self._granted

    @property
    def user_names(self) -> tuple[str, ...]:
        """Users of the users file in force."""
        return self._prepared.user_names

    def sessions(self) -> SessionsState:
        """Clients and servers of this moment; waits for the workers."""
        return self.core.sessions()

    def order(self, verb: str, **operands: Any) -> None:
        """Have the engine carry out what an administrator orders."""
        self.core.order(verb, **operands)

    def handed_over(self) -> None:
        """Another process has taken over: end once the clients that are here have gone."""
        self.ends.put_nowait(HANDED_OVER)

    def shut_down(self, how: Shutdown) -> None:
        """End as by a signal."""
        self.ends.put_nowait(_ENDS[how])

    def change(self, path: KeyPath, value: Any) -> None:
        """Put one field in force; the next reload goes back to the file. `ConfigError` if it cannot be."""
        tree = self.config.model_dump()
        put(tree, path, value)
        config, findings = build(tree)
        if config is None:
            raise ConfigError(self._prepared.loaded.locator.problem(finding) for finding in findings)
        self._apply(dataclasses.replace(self._prepared.loaded, config=config))

    def switch_node(self, cluster: str, node: str, enabled: bool) -> None:
        """Take a node into use or out of it until the opposite is ordered or the process ends, whatever files say."""
        before = self._switched
        self._switched = {**before, (cluster, node): enabled}
        try:
            self._apply(self._prepared.loaded)
        except HeliosError:
            self._switched = before
            raise

    def _join(self, cluster: str, nodes: tuple[NodeConfig, ...]) -> None:
        """These are the servers of a cluster from now on."""
        before, self._members = self._members, {**self._members, cluster: nodes}
        try:
            self._apply(self._prepared.loaded)
        except HeliosError as error:
            self._members = before
            _log.error("members refused", extra=fields(cluster=cluster, error=error))

    def clusters(self) -> tuple[ClusterStatus, ...]:
        """Nodes and primaries as last polled."""
        return self.topology.clusters()

    def failovers(self) -> tuple[FailoverStatus, ...]:
        """What is decided about each cluster."""
        return self.failover.statuses()

    async def switch_over(self, cluster: str, to: str | None) -> str:
        """Make a standby the primary. `SwitchoverFailure` if nothing has changed."""
        return await self.failover.switch_over(cluster, to)

    def hold(self, cluster: str, reason: str | None, seconds: float, leaver: str | None = None) -> bool:
        """Let no transaction begin, or go on; whether there is such a cluster."""
        return self.topology.hold(cluster, reason, seconds, leaver)

    def catalog_counts(self) -> CatalogCounts:
        """What is known of the functions of databases."""
        return self.catalogs.counts()

    def plan_counts(self) -> PlanCounts:
        """What the planner did."""
        return self.planner.counts()

    async def explain(self, sql: str, database: str, application_name: str) -> Explanation | None:
        """Plan a text on a thread of its own, once the database's definitions are known or could not be had in time."""
        entry = self.config.database_named(database)
        told = self.core.policy(database, application_name, sql)
        if entry is None or entry.cluster is None or told is None:
            return None
        catalog = await self.catalogs.known(entry.cluster, entry.database or database, _CATALOG_PATIENCE_SECONDS)
        return await on_daemon_thread("explain", lambda: explain(sql, catalog, policy_of(told)))

    def watch_nodes(self) -> None:
        """Begin to poll."""
        self.topology.configure(self.config, self._prepared.logins)
        self.catalogs.configure(self.config, self._prepared.logins)
        self.failover.configure(self.config)
        self.membership.configure(self._prepared.loaded.config)

    def suspect(self, event: NodeSuspect) -> None:
        """Poll this node at once; may be called from any thread."""
        self._loop.call_soon_threadsafe(self.topology.wake, event.cluster, event.node)

    def reload(self) -> ReloadOutcome:
        """Read the file again and apply it, or keep the old configuration and say why, here and in the log."""
        return self._ended(self._attempt(self._from_file))

    def load(self, document: bytes) -> ReloadOutcome:
        """Apply a document that was sent, or keep the old configuration and say why; the file stays as it is."""
        outcome = self._attempt(lambda: self._sent(document))
        return outcome if outcome.outdated else self._ended(outcome)

    def grant(self, limit: int) -> ReloadOutcome:
        """From now on, and over reloads, so many server connections, where the configuration limits them at all."""
        before, self._granted = self._granted, limit
        outcome = self._attempt(lambda: self._prepared.loaded)
        if outcome.succeeded:
            _log.info("granted", extra=fields(server_connections=self.server_connections))
        else:
            self._granted = before
        return outcome

    def begin_drain(self) -> None:
        """Not ready any more. What was granted beyond the configuration goes back, for the pod that comes instead."""
        self.draining = True
        if limit := self.config.limits.max_server_connections:
            self.grant(min(self.server_connections, limit))

    def refresh(self) -> None:
        """A file changed: apply it. While the configuration file is older than a document that was sent, the secrets
        that this document names are read again."""
        outcome = self._attempt(self._from_file)
        self._ended(self._attempt(lambda: self._prepared.loaded) if outcome.outdated else outcome)

    def _from_file(self) -> Loaded:
        return self._as_run(self._load(self._config_file))

    def _sent(self, document: bytes) -> Loaded:
        """`ReloadRefused` also for other content under the generation in force: which of both is newer?"""
        loaded = load_document(document, "document", self._config_file.absolute().parent)
        if loaded.config.generation == self.config.generation and loaded.digest != self.config_hash:
            message = f"is {self.config.generation}, as that of the running configuration, which differs"
            raise ReloadRefused([Problem(message, "generation", "give a changed document a higher number")])
        return self._as_run(loaded)

    def _as_run(self, loaded: Loaded) -> Loaded:
        return dataclasses.replace(loaded, config=as_sidecar(loaded.config)) if self._is_sidecar else loaded

    def _attempt(self, source: Callable[[], Loaded]) -> ReloadOutcome:
        """Load and apply; nothing has changed unless the outcome is a success."""
        try:
            restart_needed = self._apply(source())
        except ConfigError as error:
            outdated = isinstance(error, ReloadRefused)
            return ReloadOutcome(datetime.now(UTC), error.problems, outdated=outdated)
        except HeliosError as error:
            return ReloadOutcome(datetime.now(UTC), (Problem(str(error), source=str(self._config_file)),))
        return ReloadOutcome(datetime.now(UTC), restart_needed=restart_needed)

    def _ended(self, outcome: ReloadOutcome) -> ReloadOutcome:
        self.last_reload = outcome
        self._log_reload()
        return outcome

    def _apply(self, loaded: Loaded) -> tuple[str, ...]:
        """Everything that can fail comes before anything is changed; the fields that only a restart can apply."""
        plan = diff(self.config, loaded.config)
        config = _with_members(_kept(loaded.config, self.config, plan.restart), self._members)
        config = _with_switches(config, self._switched)
        prepared = _prepare(loaded, config, self._for_engine(config))
        self.core.reload(prepared.snapshot)
        self.admin.load_certificate()
        self._halt(self.config, config)
        self._prepared = prepared
        logs.configure(prepared.config.log.level.value, prepared.config.log.format.value)
        self._warn(loaded.warnings)
        self.watch_nodes()
        return plan.restart

    def _halt(self, before: ProxyConfig, after: ProxyConfig) -> None:
        """Carry out what `paused` and `maintenance` say where that changed; the console may have said otherwise."""
        if before.is_held != after.is_held:
            self.core.order("pause" if after.is_held else "resume", database=None)
        mode = after.maintenance.mode
        if before.maintenance.mode is not mode:
            stays = mode is not MaintenanceMode.DRAIN
            self.core.order("admit", newcomers=mode.takes_newcomers, present=stays)

    def _for_engine(self, config: ProxyConfig) -> ProxyConfig:
        """`config` with the threads that run, which stay as many as they are, and the server connections granted."""
        limits = config.limits.model_copy(update={"max_server_connections": self._server_connections(config)})
        return config.model_copy(update={"workers": self._workers, "limits": limits})

    def _warn(self, warnings: tuple[Problem, ...]) -> None:
        """Log what the author of the configuration should know, each thing once as long as it stands there."""
        for warning in warnings:
            if warning not in self._warnings:
                _log.warning("%s", warning)
        self._warnings = warnings

    def _publish(self, clusters: Sequence[ClusterView]) -> None:
        try:
            self.core.set_topology(clusters)
        except HeliosError as error:
            _log.error("engine refused the topology", extra=fields(error=error))

    def _move(self, position: NodePosition) -> None:
        try:
            self.core.set_positions((position,))
        except HeliosError as error:
            _log.error("engine refused a position", extra=fields(error=error))

    def _note_poll(self, cluster: str, node: str, error: str | None) -> None:
        try:
            self.core.note_poll(cluster, node, error)
        except HeliosError as failure:
            _log.error("engine refused the outcome of a poll", extra=fields(error=failure))

    def _outdate(self, cluster: str, database: str) -> None:
        try:
            self.core.outdate_plans(cluster, database)
        except HeliosError as error:
            _log.error("engine refused to forget plans", extra=fields(error=error))

    def _log_reload(self) -> None:
        for problem in self.last_reload.problems:
            _log.error("reload refused, old configuration kept", extra=fields(problem=problem))
        if not self.last_reload.succeeded:
            return
        _log.info("reloaded", extra=fields(file=self._config_file, generation=self.config.generation))
        for field in self.last_reload.restart_needed:
            _log.warning("changed in the file, takes effect with the next start only", extra=fields(field=field))


def _with_switches(config: ProxyConfig, switched: Mapping[NodeKey, bool]) -> ProxyConfig:
    """`config` with the nodes enabled and disabled that an administrator has switched."""
    if not switched:
        return config
    clusters = []
    for cluster in config.clusters:
        states = [switched.get((cluster.name, node.name), node.enabled) for node in cluster.nodes]
        pairs = zip(cluster.nodes, states, strict=True)
        nodes = tuple(node.model_copy(update={"enabled": enabled}) for node, enabled in pairs)
        clusters.append(cluster.model_copy(update={"nodes": nodes}))
    return config.model_copy(update={"clusters": tuple(clusters)})


def _with_members(config: ProxyConfig, members: Mapping[str, tuple[NodeConfig, ...]]) -> ProxyConfig:
    """`config` with the nodes that were asked for, of the clusters that still say so."""
    clusters = tuple(
        cluster.model_copy(update={"nodes": members[cluster.name]})
        if cluster.has_source and cluster.name in members
        else cluster
        for cluster in config.clusters
    )
    return config.model_copy(update={"clusters": clusters})


def _kept(loaded: ProxyConfig, running: ProxyConfig, paths: Sequence[str]) -> ProxyConfig:
    """`loaded`, but with the running values of these fields (`name` or `section.name`)."""
    for path in paths:
        section, _, name = path.rpartition(".")
        if not section:
            loaded = loaded.model_copy(update={name: getattr(running, name)})
            continue
        value = getattr(getattr(running, section), name)
        changed = getattr(loaded, section).model_copy(update={name: value})
        loaded = loaded.model_copy(update={section: changed})
    return loaded
