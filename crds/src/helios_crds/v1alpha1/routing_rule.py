"""RoutingRule: which statements go to which node, in the words of the SQL hints. Not acted on by this version."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field, StringConstraints

from helios_crds.base import Column, Names, PolicyStatus, Resource, SpecModel
from helios_crds.markers import NotActedOn, Rule, list_set
from helios_crds.problems import Severity

__all__ = ["Consistency", "Route", "RoutingRule", "RoutingRuleSpec", "StatementMatch"]

Glob = Annotated[str, StringConstraints(min_length=1, max_length=128)]
MAX_GLOBS: Final = 64


class Route(StrEnum):
    """Where a matching statement goes."""

    PRIMARY = "primary"
    STANDBY = "standby"
    SYNC = "sync"
    SEMISYNC = "semisync"
    ASYNC = "async"
    ANY = "any"
    NEAREST = "nearest"
    VECTOR = "vector"


class Consistency(StrEnum):
    """How old the data may be that a matching read sees."""

    STRONG = "strong"
    BOUNDED = "bounded"
    EVENTUAL = "eventual"


class StatementMatch(SpecModel):
    """Which statements are meant; all given conditions must hold."""

    rules = (
        Rule(
            "match-not-empty",
            "has(self.applicationName) || has(self.queryPattern)",
            "must have applicationName or queryPattern",
            lambda match, _old: "applicationName" in match or "queryPattern" in match,
        ),
    )

    application_name: Annotated[tuple[Glob, ...] | None, list_set(), Field(min_length=1, max_length=MAX_GLOBS)] = None
    """Globs over the client's `application_name`; one of them must match."""

    query_pattern: Annotated[str | None, Field(min_length=1, max_length=1024)] = None
    """Regular expression over the text of the statement."""


def _fresh_reads_stay(spec: Any, _old: Any) -> bool:
    return spec.get("consistency") != Consistency.STRONG or (
        spec.get("route") == Route.PRIMARY and "maxLagMillis" not in spec
    )


class RoutingRuleSpec(SpecModel):
    """What to match and where to send it."""

    rules = (
        Rule(
            "routing-strong-is-primary",
            "!has(self.consistency) || self.consistency != 'strong' || "
            "(self.route == 'primary' && !has(self.maxLagMillis))",
            "strong consistency needs route: primary and has no maxLagMillis, because only the primary is never behind",
            _fresh_reads_stay,
        ),
    )

    match: StatementMatch
    """Which statements are meant."""

    route: Route
    """Kind of node they go to, in the words of the `route` hint."""

    consistency: Consistency | None = None
    """How old the data may be, in the words of the `consistency` hint."""

    max_lag_millis: Annotated[int | None, Field(ge=0, le=86_400_000)] = None
    """Milliseconds a standby may be behind and still serve these statements."""


class RoutingRule(Resource):
    """Which statements go to which kind of node. HeliosProxies name their rules in order; the first match wins."""

    names: ClassVar[Names] = Names(
        "routingrules",
        ("rr",),
        (
            Column("Route", ".spec.route"),
            Column("Consistency", ".spec.consistency"),
            Column("Accepted", '.status.conditions[?(@.type=="Accepted")].status'),
            Column("Age", ".metadata.creationTimestamp", "date"),
            Column("Reason", '.status.conditions[?(@.type=="Accepted")].reason', priority=1),
        ),
    )
    spec_not_acted_on: ClassVar[NotActedOn | None] = NotActedOn(
        Severity.WARNING, "every statement goes to the primary, which is never wrong, only slower"
    )

    kind: Literal["RoutingRule"]
    """`RoutingRule`."""
    spec: RoutingRuleSpec
    """The rule."""
    status: PolicyStatus | None = None
    """What the operator observed."""
