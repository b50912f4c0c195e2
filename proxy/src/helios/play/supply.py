"""Supply what the resource leaves to its surroundings: servers, users, the monitor's role, databases.

Called by helios.play.session. A cluster without nodes gets an embedded PostgreSQL with every role and database that the
resource supposes; a resource without users gets the role `app`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from helios.config import ANY_DATABASE, NodeConfig, ProxyConfig
from helios.config.secrets import monitor_password, secret
from helios.config.users import SecretKind, User, users_of
from helios.play.data_folder import DataFolder
from helios.play.embedded import SUPERUSER, EmbeddedCluster
from helios.play.folders import write_private
from helios.play.manifest import Manifest
from helios.play.roles import Role, ensure_database, ensure_monitor, ensure_role
from helios_crds.placement import Placement
from helios_crds.render import discoveries

__all__ = ["APP", "Plan", "complete_monitor", "plan", "populate", "write_files"]

APP: Final = "app"
"""Role and database of a resource that names none."""
MONITOR: Final = "helios_monitor"


@dataclass(frozen=True)
class Plan:
    """What will run where, decided before anything is started."""

    placement: Placement
    embedded: tuple[str, ...]
    """Names of the clusters that play supplies."""
    fails_over: bool
    """Helios promotes among their servers."""


def plan(manifest: Manifest, folder: DataFolder, ports: tuple[int, int]) -> Plan:
    """Decide what is embedded and check the resource with stand-ins for it, before anything is started.

    `ports` are those for clients and for the admin API. Raises ResourceError.
    """
    embedded = tuple(discovery.cluster for discovery in discoveries(manifest.proxy))
    own_users = str(folder.users_file) if embedded else None
    placement = Placement.local(PurePosixPath(folder.path / "secrets"), *ports, own_users, str(folder.path / "lease"))
    result = manifest.render(placement, {name: (NodeConfig(host="127.0.0.1"),) for name in embedded})
    return Plan(placement, embedded, result.config is not None and result.config.failover.enabled)


def write_files(manifest: Manifest, folder: DataFolder) -> None:
    """Put the Secrets and our own users file and passwords where the configuration looks for them. Raises PlayError."""
    folder.write_secrets(manifest.secrets)
    write_private(folder.users_file, f'"{APP}" "{folder.password(APP)}"\n'.encode())
    write_private(folder.monitor_password_file, f"{folder.password(MONITOR)}\n".encode())


def complete_monitor(config: ProxyConfig, folder: DataFolder, embedded: Sequence[str]) -> ProxyConfig:
    """Let the monitor log in with a role of its own where every node is ours and the resource names no role."""
    theirs = [cluster for cluster in config.clusters if cluster.name not in embedded]
    if theirs or config.monitor.user is not None:
        return config
    login = {"user": MONITOR, "password_file": str(folder.monitor_password_file)}
    return config.model_copy(update={"monitor": config.monitor.model_copy(update=login)})


def populate(config: ProxyConfig, clusters: Mapping[str, EmbeddedCluster]) -> None:
    """Make roles and databases on every embedded primary. Raises PostgresError and SecretError."""
    users = users_of(config)
    forced = _forced_logins(config)
    for name, cluster in clusters.items():
        target = cluster.primary.target()
        for role in [*(_role(user) for user in users), *forced.get(name, ())]:
            ensure_role(target, role)
        if config.monitor.user not in (None, SUPERUSER):
            password = monitor_password(config)
            known = {user.name: _role(user).secret for user in users}
            given = known.get(config.monitor.user) if password is None else password.get_secret_value()
            ensure_database(target, config.monitor.database, SUPERUSER)
            monitor = Role(config.monitor.user, given)
            ensure_monitor(cluster.primary.target(config.monitor.database), monitor, config.failover.enabled)
        for database, owner in _databases(config, name, users).items():
            ensure_database(target, database, owner)


def _role(user: User) -> Role:
    return Role(user.name, None if user.kind is SecretKind.NONE or not user.secret else user.secret.get_secret_value())


def _forced_logins(config: ProxyConfig) -> dict[str, list[Role]]:
    """Roles that `databases` log in as, by cluster."""
    forced: dict[str, list[Role]] = {}
    for index, entry in enumerate(config.resolved_databases()):
        if entry.user is not None and entry.cluster is not None:
            password = secret(entry.password, entry.password_file, f"databases[{index}].password_file")
            role = Role(entry.user, None if password is None else password.get_secret_value())
            forced.setdefault(entry.cluster, []).append(role)
    return forced


def _databases(config: ProxyConfig, cluster: str, users: Sequence[User]) -> dict[str, str]:
    """Databases of a cluster with their owners; `app` where the client may choose the name."""
    first = users[0].name if users else SUPERUSER
    wanted: dict[str, str] = {}
    for entry in config.resolved_databases():
        if entry.cluster == cluster:
            name = entry.database or (APP if entry.name == ANY_DATABASE else entry.name)
            wanted.setdefault(name, entry.user or first)
    return wanted
