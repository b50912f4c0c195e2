"""RoutingRule: which statements go to which node, in the words of the SQL hints."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from helios.config import RoutingRuleConfig, RuleConsistency, RuleRoute
from helios.config.workload import Glob
from helios_crds.base import Column, Names, PolicyStatus, Resource, SpecModel
from helios_crds.markers import Rule, list_set, mirrors

__all__ = ["RoutingRule", "RoutingRuleSpec", "StatementMatch"]

MAX_GLOBS: Final = 64


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

    query_pattern: Annotated[str | None, mirrors(RoutingRuleConfig, "query_pattern")] = None


def _fresh_reads_stay(spec: Any, _old: Any) -> bool:
    return spec.get("consistency") != RuleConsistency.STRONG or (
        spec.get("route") == RuleRoute.PRIMARY and "maxLagMillis" not in spec
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

    route: RuleRoute
    """Kind of node they go to, in the words of the `route` hint, if they only read; `sync`, `semisync` and `async` say
    instead how far they must have come if they write."""

    node: Annotated[str | None, mirrors(RoutingRuleConfig, "node")] = None
    consistency: Annotated[RuleConsistency | None, mirrors(RoutingRuleConfig, "consistency")] = None
    max_lag_millis: Annotated[int | None, mirrors(RoutingRuleConfig, "max_lag_ms")] = None


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
    kind: Literal["RoutingRule"]
    """`RoutingRule`."""
    spec: RoutingRuleSpec
    """The rule."""
    status: PolicyStatus | None = None
    """What the operator observed."""
