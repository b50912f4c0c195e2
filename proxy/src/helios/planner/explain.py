"""A plan told to a person. Called by `helios explain` and by the admin API's POST /api/explain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from helios.errors import PlanError
from helios.planner.catalog import Catalog
from helios.planner.context import Context, Policy
from helios.planner.decide import plan
from helios.planner.plan import Kind, Origin, Route, Routing, Workload

__all__ = ["NO_OBJECTS", "Explanation", "explain", "refusal"]

NO_OBJECTS = Catalog("none")
"""Of a database that holds nothing but plain tables: what is assumed where no server can be asked."""


@dataclass(frozen=True)
class Explanation:
    """What the planner makes of a text."""

    kind: Kind
    route: Route
    """Which nodes may run it where reads are split from writes."""
    reason: str
    """Why this route; one sentence."""
    origin: Origin
    """Whether the statement itself, a hint or a rule decides it."""
    node: str | None
    """The node that a hint or rule names."""
    workload: Workload | None
    """The kind of work that it is, where nodes of their own answer it."""
    target: tuple[str, ...]
    """Those nodes, by globs over their names."""
    consistency: str | None
    """What a hint or rule says of how old the data may be, as below."""
    max_lag_ms: int | None
    timeout_ms: int | None
    notices: tuple[str, ...]
    """What its client is told."""
    effects: Mapping[str, str]
    """What it may leave in its session → why."""
    settings: tuple[str, ...]
    """Settings that it names; `*` for one that only its execution shows."""
    rerun: str
    """What becomes of it in a transaction whose server is lost: `looks`, `rows`, `repeats`, `commits` or `never`."""
    mutable: bool
    """It may leave values that would be others if it were run again, and that its client has not seen."""
    exact: bool
    """The plan is for this very text, not for all that differ from it in literals only."""


def explain(sql: str, catalog: Catalog | None, policy: Policy) -> Explanation:
    """Plan a text as if reads were split; `catalog` None: the database is not known yet.

    Raises:
        PlanError: PostgreSQL's parser refuses the text, or it is too long or nested too deeply.
    """
    made = plan(sql, Context(lambda: catalog, replace(policy, is_split=True)))
    routing = made.routing
    effects = {str(effect): reason for effect, reason in zip(made.effects, made.reasons, strict=True)}
    return Explanation(
        kind=made.kind,
        route=routing.route,
        reason=routing.reason,
        origin=routing.origin,
        node=routing.node,
        workload=routing.workload,
        target=_target(routing, policy),
        consistency=routing.consistency,
        max_lag_ms=routing.max_lag_ms,
        timeout_ms=routing.timeout_ms,
        notices=routing.notices,
        effects=effects,
        settings=made.settings,
        rerun=made.rerun,
        mutable=made.mutable,
        exact=made.exact,
    )


def _target(routing: Routing, policy: Policy) -> tuple[str, ...]:
    if policy.workloads is None or routing.workload is None:
        return ()
    return policy.workloads.targets.get(routing.workload, ())


def refusal(error: PlanError) -> str:
    """Why a text has no plan, in the parser's words, and where."""
    return str(error) if error.position is None else f"{error} at character {error.position}"
