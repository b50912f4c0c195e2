"""A plan told to a person. Called by `helios explain` and by the admin API's POST /api/explain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from helios.errors import PlanError
from helios.planner.catalog import Catalog
from helios.planner.context import Context
from helios.planner.decide import plan
from helios.planner.plan import Kind, Route

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
    effects: Mapping[str, str]
    """What it may leave in its session → why."""
    settings: tuple[str, ...]
    """Settings that it names; `*` for one that only its execution shows."""
    exact: bool
    """The plan is for this very text, not for all that differ from it in literals only."""


def explain(sql: str, catalog: Catalog | None) -> Explanation:
    """Plan a text as if reads were split; `catalog` None: the database is not known yet.

    Raises:
        PlanError: PostgreSQL's parser refuses the text, or it is too long or nested too deeply.
    """
    made = plan(sql, Context(lambda: catalog, is_split=True))
    effects = {str(effect): reason for effect, reason in zip(made.effects, made.reasons, strict=True)}
    return Explanation(made.kind, made.route, made.route_reason, effects, made.settings, made.exact)


def refusal(error: PlanError) -> str:
    """Why a text has no plan, in the parser's words, and where."""
    return str(error) if error.position is None else f"{error} at character {error.position}"
