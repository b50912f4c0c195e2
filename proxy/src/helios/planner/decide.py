"""`plan`: the planner's one decision. Called by `service`; pure, so any thread may call it.

What it cannot see, because the text does not say it: code that tables and types bring along (views, triggers, rules,
row policies, column defaults, domains, user-defined operators and casts, functions of a row written as `t.f`), neither
here nor in the bodies of functions; a user's function that has the name of a built-in one with other argument types, or
that comes first because search_path names pg_catalog late; creating without a schema while search_path begins with
pg_temp; and texts of a session that has turned standard_conforming_strings off.
"""

from __future__ import annotations

from helios.planner.context import Context
from helios.planner.effects import Findings, examine
from helios.planner.holding import holding_of
from helios.planner.kept import kept_of
from helios.planner.kinds import kind_of, strongest
from helios.planner.parameter import handling_of
from helios.planner.parser import parse_statements
from helios.planner.plan import Effect, Kind, Place, Plan
from helios.planner.purity import add_calls
from helios.planner.rerun import rerun_of
from helios.planner.routing import decide_routing, tables_of
from helios.planner.transaction import block_of

__all__ = ["plan"]


def plan(text: str, context: Context) -> Plan:
    """The plan of a text, which may hold several statements: their effects together, the strongest kind.

    Raises:
        PlanError: PostgreSQL's parser refuses the text, or it is nested too deeply.
    """
    statements = parse_statements(text)
    findings = Findings()
    kinds = {kind_of(statement, examine(statement, findings)) for statement in statements}
    if findings.calls:
        add_calls(findings, context)
    effects = tuple(effect for effect in Effect if effect in findings.reasons)
    reasons = tuple(findings.reasons[effect] for effect in effects)
    kind = strongest(kinds)
    kept = kept_of(statements, context)
    return Plan(
        kind=kind,
        effects=effects,
        reasons=reasons,
        settings=tuple(sorted(findings.settings)),
        # Which sequence is asked is a literal.
        exact=findings.exact or (kept is not None and kept.place is Place.ALONE),
        is_multi=len(statements) > 1,
        defines=findings.defines,
        block=block_of(statements),
        handling=handling_of(statements, findings.parameters),
        rerun=rerun_of(statements, kinds, findings.reasons),
        # What only reads tells its client all that it makes of such values, unless code of others has them.
        mutable=findings.mutable and (kind is not Kind.READ or bool(findings.calls)),
        kept=kept,
        holding=holding_of(statements),
        routing=decide_routing(statements, kind, reasons, findings, context),
        tables=tables_of(findings, context),
    )
