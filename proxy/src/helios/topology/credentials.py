"""As whom the monitor logs in to the nodes of a cluster, and where that login comes from.

Called by `helios.app` at start and before each reload. In this order: `[monitor]`, the cluster's first database entry
with a user and a password, the first user of the users file with a plain password, and last the role `postgres`
without a password, which servers that trust the proxy's address let in.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from pydantic import SecretStr

from helios.config import ProxyConfig, ServerTlsConfig
from helios.config.secrets import monitor_password, secret
from helios.config.users import SecretKind, users_of

__all__ = ["Login", "logins_of"]

_LAST_RESORT = "postgres"
"""A role that every cluster has."""


@dataclass(frozen=True)
class Login:
    """A role, its password and where they were found."""

    user: str
    database: str
    source: str
    """For people: the part of the configuration."""
    password: str | None = field(default=None, repr=False)
    tls: ServerTlsConfig = field(default_factory=ServerTlsConfig)
    """How the connection is encrypted."""


def logins_of(config: ProxyConfig) -> dict[str, Login]:
    """The monitor's login by name of the cluster. `SecretError` if a file it takes a password from cannot be used."""
    return {cluster.name: replace(_login(cluster.name, config), tls=cluster.tls) for cluster in config.clusters}


def _login(cluster: str, config: ProxyConfig) -> Login:
    return (
        _from_monitor(config)
        or _from_databases(cluster, config)
        or _from_users_file(config)
        or Login(_LAST_RESORT, config.monitor.database, "no login configured, tried without a password")
    )


def _from_monitor(config: ProxyConfig) -> Login | None:
    user = config.monitor.user
    if user is None:
        return None
    return Login(user, config.monitor.database, "[monitor]", _revealed(monitor_password(config)))


def _from_databases(cluster: str, config: ProxyConfig) -> Login | None:
    for index, entry in enumerate(config.resolved_databases()):
        if entry.cluster != cluster or entry.user is None:
            continue
        password = secret(entry.password, entry.password_file, f"databases[{index}].password_file")
        if password is not None:
            return Login(entry.user, config.monitor.database, f'database entry "{entry.name}"', _revealed(password))
    return None


def _from_users_file(config: ProxyConfig) -> Login | None:
    for user in users_of(config):
        if user.kind is SecretKind.PLAIN:
            return Login(user.name, config.monitor.database, "auth.users_file", _revealed(user.secret))
    return None


def _revealed(password: SecretStr | None) -> str | None:
    return None if password is None else password.get_secret_value()
