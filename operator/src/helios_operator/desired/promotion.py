"""What pods need that may promote a standby: Lease `<name>-failover`, and an identity that may get and patch that one.

A right to create cannot be given for one name only, so the Lease is made here.
"""

from __future__ import annotations

from typing import Any

from helios.kube.kinds import LEASE, ROLE, ROLE_BINDING, SERVICE_ACCOUNT
from helios_crds.workload import Workload
from helios_operator.desired.metadata import Owner

__all__ = ["account_of", "lease", "role", "role_binding", "service_account"]


def account_of(owner: Owner, work: Workload) -> str | None:
    """ServiceAccount of the pods; None for that of the namespace."""
    return work.service_account or (owner.key.name if work.may_promote else None)


def service_account(owner: Owner, work: Workload) -> dict[str, Any] | None:
    """One of their own; None where none is needed or another one is named."""
    if not work.may_promote or work.service_account is not None:
        return None
    return {**owner.child(SERVICE_ACCOUNT, owner.key.name), "automountServiceAccountToken": False}


def role(owner: Owner, work: Workload) -> dict[str, Any] | None:
    """What the pods may do: nothing but to share the Lease."""
    if not work.may_promote:
        return None
    rule = {
        "apiGroups": [LEASE.group],
        "resources": [LEASE.plural],
        "resourceNames": [owner.key.lease],
        "verbs": ["get", "patch"],
    }
    return {**owner.child(ROLE, owner.key.name), "rules": [rule]}


def role_binding(owner: Owner, work: Workload) -> dict[str, Any] | None:
    """Gives it to their identity."""
    if not work.may_promote:
        return None
    subject = {
        "kind": SERVICE_ACCOUNT.name,
        "name": account_of(owner, work),
        "namespace": owner.key.namespace,
    }
    reference = {"apiGroup": ROLE.group, "kind": ROLE.name, "name": owner.key.name}
    return {**owner.child(ROLE_BINDING, owner.key.name), "roleRef": reference, "subjects": [subject]}


def lease(owner: Owner, work: Workload) -> dict[str, Any] | None:
    """Empty: what is in it is the pods'."""
    return owner.child(LEASE, owner.key.lease) if work.may_promote else None
