"""What a new configuration changes. Called by `helios serve` on SIGHUP and by the operator, which rolls pods instead
where a change needs a restart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

from helios.config.base import HeliosModel
from helios.config.proxy import ProxyConfig
from helios.errors import Problem, ReloadRefused

__all__ = ["RESTART_FIELDS", "ReloadPlan", "diff"]

RESTART_FIELDS: Final = {
    "listen_address": "the listening socket is bound at start",
    "read_listen_address": "the listening socket is bound at start",
    "unix_socket_dir": "the listening socket is bound at start",
    "unix_socket_mode": "the listening socket is bound at start",
    "workers": "the threads are made at start",
    "io": "the threads are made at start",
    "tracing.endpoint": "the exporter is made at start",
    "tracing.service_name": "the exporter is made at start",
    "handover.socket_file": "the listening socket is bound at start",
    "failover.enabled": "the lease is taken at start",
    "failover.lease_file": "the lease is taken at start",
    "failover.lease_name": "the lease is taken at start",
    "failover.service_account_dir": "the lease is taken at start",
    "failover.lease_seconds": "the lease is taken at start",
    "admin.address": "the admin API's socket is bound at start",
    "admin.tls_cert_file": "the admin API's TLS is set up at start",
    "admin.tls_key_file": "the admin API's TLS is set up at start",
}
"""Fields that a running process cannot take over, and why."""


@dataclass(frozen=True, slots=True)
class ReloadPlan:
    """The difference between two configurations."""

    changed: tuple[str, ...]
    """Paths of the fields that differ; `clusters` and `databases` as a whole, `generation` never."""

    restart: tuple[str, ...]
    """Those of `changed` that take effect with the next start only."""

    @property
    def live(self) -> tuple[str, ...]:
        """Those of `changed` that a reload brings into force."""
        return tuple(path for path in self.changed if path not in self.restart)


def diff(old: ProxyConfig, new: ProxyConfig) -> ReloadPlan:
    """Compare. Raises `ReloadRefused` where `new` has a lower generation than `old`."""
    if new.generation < old.generation:
        message = f"is {new.generation}, lower than the running configuration's {old.generation}"
        hint = "an older file never replaces a newer one; raise the number to go back on purpose"
        raise ReloadRefused([Problem(message, "generation", hint)])
    changed = tuple(path for path in _changed(old, new, "") if path not in ("generation", "config_version"))
    return ReloadPlan(changed, tuple(path for path in changed if path in RESTART_FIELDS))


def _changed(old: HeliosModel, new: BaseModel, prefix: str) -> list[str]:
    paths = []
    for name in type(old).model_fields:
        before: Any = getattr(old, name)
        after: Any = getattr(new, name)
        if isinstance(before, HeliosModel):
            paths += _changed(before, after, f"{prefix}{name}.")
        elif before != after:
            paths.append(prefix + name)
    return paths
