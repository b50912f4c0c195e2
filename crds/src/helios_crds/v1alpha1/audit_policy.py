"""AuditPolicy: what is recorded, where and for how long. Not acted on by this version, so refused when referenced."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field, StringConstraints

from helios_crds.base import Column, Names, PolicyStatus, Resource, SpecModel
from helios_crds.markers import NotActedOn, Rule, list_set
from helios_crds.problems import Severity

__all__ = ["AuditBackend", "AuditBackendType", "AuditPolicy", "AuditPolicySpec"]

MAX_NAMES: Final = 256
TableName = Annotated[str, StringConstraints(min_length=1, max_length=127)]
UserName = Annotated[str, StringConstraints(min_length=1, max_length=63)]


class AuditBackendType(StrEnum):
    """Kind of store."""

    S3 = "s3"


class AuditBackend(SpecModel):
    """Store that the records are written to."""

    type: AuditBackendType
    """Kind of store: `s3`, or anything that speaks its protocol."""

    bucket: Annotated[str, Field(min_length=3, max_length=63, pattern=r"^[a-z0-9][-.a-z0-9]*[a-z0-9]$")]
    """Name of the bucket."""

    region: Annotated[str, Field(min_length=1, max_length=63)]
    """Region of the bucket."""


def _chain_stays_on(spec: Any, old: Any) -> bool:
    return not old or old.get("hashChain") is not True or spec.get("hashChain") is True


class AuditPolicySpec(SpecModel):
    """What is recorded, where and for how long."""

    rules = (
        Rule(
            "audit-backend-immutable",
            "self.backend == oldSelf.backend",
            "backend is immutable, because a chain of records cannot move; create another AuditPolicy",
            lambda spec, old: not old or spec.get("backend") == old.get("backend"),
        ),
        Rule(
            "audit-chain-stays-on",
            "!has(oldSelf.hashChain) || !oldSelf.hashChain || (has(self.hashChain) && self.hashChain)",
            "hashChain cannot be switched off once it is on, because the gap would look like tampering",
            _chain_stays_on,
        ),
    )

    backend: AuditBackend
    """Store that the records are written to."""

    hash_chain: bool | None = None
    """Whether each record holds the hash of the one before, so that a change or gap can be proved."""

    retention_days: Annotated[int | None, Field(ge=1, le=36_500)] = None
    """Days the records are kept."""

    included_tables: Annotated[tuple[TableName, ...] | None, list_set(), Field(max_length=MAX_NAMES)] = None
    """Tables (`schema.table`) whose statements are recorded; left out: every table."""

    excluded_users: Annotated[tuple[UserName, ...] | None, list_set(), Field(max_length=MAX_NAMES)] = None
    """Roles whose statements are not recorded."""


class AuditPolicy(Resource):
    """What is recorded, where and for how long."""

    names: ClassVar[Names] = Names(
        "auditpolicies",
        ("ap",),
        (
            Column("Backend", ".spec.backend.type"),
            Column("Accepted", '.status.conditions[?(@.type=="Accepted")].status'),
            Column("Age", ".metadata.creationTimestamp", "date"),
            Column("Reason", '.status.conditions[?(@.type=="Accepted")].reason', priority=1),
        ),
    )
    spec_not_acted_on: ClassVar[NotActedOn | None] = NotActedOn(Severity.ERROR, "no record would be written")

    kind: Literal["AuditPolicy"]
    """`AuditPolicy`."""
    spec: AuditPolicySpec
    """The policy."""
    status: PolicyStatus | None = None
    """What the operator observed."""
