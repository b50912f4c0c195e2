"""What hints and rules ask of the node that answers a read, and of the writes. Called by `routing`; pure.

A hint is a comment, `/*helios:route=standby, lag=500*/` or `/*+ route=standby */`; the lexer finds it. Of hint and rule
the hint counts, and of what one asks a node goes before a route, and a route before a consistency.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from helios.planner.plan import Consistency, Origin, Route, Workload, WriteMode

__all__ = ["Hint", "Rule", "Wish", "wish_of"]

Hint = tuple[str, str]
"""Key, in small letters, and value."""

_ROUTES = {
    **dict.fromkeys(("primary", "master", "leader"), Route.PRIMARY),
    **dict.fromkeys(("standby", "replica", "secondary"), Route.STANDBY),
    **dict.fromkeys(("any", "local", "nearest"), Route.ANY),
}

_WORKLOADS = {"vector": Workload.VECTOR}
"""Values of `route` that say what kind of work a read is."""

_MODES = {mode.value: mode for mode in WriteMode}
"""Values of `route` that say how far a write must have come."""

_LABELS = frozenset(
    {
        *("pool", "cache", "cache_ttl", "cache_tables", "cache_refresh", "priority", "retry", "branch"),
        *("tool", "workflow", "prefetch"),
    }
)
"""Keys that this version knows and does not act on."""

_ACTING = frozenset({"route", "node", "consistency", "lag", "timeout", "twr"})
"""Keys that are acted on; the lexer has the same (`helios-sql`, `hint`), for their values are part of a shape."""

_CARRIES = "lsn"
"""A key that is acted on by the engine: its value is no part of a shape."""

_DAY_MS = 86_400_000
_MAX_NOTICES = 4
_SHOWN = 40
"""Characters of a key that are repeated to its author."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule whose conditions hold for a statement."""

    name: str
    route: str
    """One of the words of the `route` hint."""
    node: str | None = None
    consistency: str | None = None
    max_lag_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked; None: nothing of that kind."""

    route: Route | None = None
    node: str | None = None
    workload: Workload | None = None
    consistency: Consistency | None = None
    max_lag_ms: int | None = None
    timeout_ms: int | None = None
    has_token: bool = False
    write_mode: WriteMode | None = None
    notices: tuple[str, ...] = ()
    origin: Origin = Origin.STATEMENT
    said: str = ""
    """In the words in which it was asked, for reasons."""

    @property
    def places(self) -> bool:
        """Whether it says where."""
        return bool(self.node or self.route or self.workload or self.consistency is Consistency.STRONG)


NO_WISH: Final = Wish()


def wish_of(hints: Iterable[Hint], rules: Iterable[Rule]) -> Wish:
    """What the hints of a text and the first of the rules that hold for it ask together."""
    hint = _of_hints(hints)
    rule = next((_of_rule(rule) for rule in rules), None)
    if rule is None:
        return hint
    write_mode = hint.write_mode or rule.write_mode
    if hint.places:
        return replace(hint, write_mode=write_mode)
    return Wish(
        route=rule.route,
        node=rule.node,
        workload=rule.workload,
        consistency=hint.consistency or rule.consistency,
        max_lag_ms=rule.max_lag_ms if hint.max_lag_ms is None else hint.max_lag_ms,
        timeout_ms=hint.timeout_ms,
        has_token=hint.has_token,
        write_mode=write_mode,
        notices=hint.notices,
        origin=Origin.RULE,
        said=rule.said,
    )


def _of_rule(rule: Rule) -> Wish:
    consistency = None if rule.consistency is None else Consistency(rule.consistency)
    return _settled(
        Wish(
            route=_ROUTES.get(rule.route),
            node=rule.node,
            workload=_WORKLOADS.get(rule.route),
            write_mode=_MODES.get(rule.route),
            consistency=consistency,
            max_lag_ms=rule.max_lag_ms,
            origin=Origin.RULE,
            said=f"rule {rule.name}",
        )
    )


def _of_hints(hints: Iterable[Hint]) -> Wish:
    """Of a key that is given twice the first value counts."""
    given: dict[str, str] = {}
    for key, value in hints:
        given.setdefault(key, value)
    if not given:
        return NO_WISH
    known = _LABELS | _ACTING | {_CARRIES}
    notices = [f'hint "{key[:_SHOWN]}" is not known and has no effect' for key in given if key not in known]
    said = ", ".join(f"{key}={given[key]}" for key in ("node", "route", "consistency") if given.get(key))
    wish = Wish(
        route=_route(given.get("route"), notices),
        node=given.get("node") or None,
        workload=_WORKLOADS.get(given.get("route", "").lower()),
        consistency=_consistency(given.get("consistency"), notices),
        max_lag_ms=_milliseconds("lag", given.get("lag"), notices),
        timeout_ms=_milliseconds("timeout", given.get("timeout"), notices),
        has_token=_CARRIES in given,
        write_mode=_write_mode(given, notices),
        origin=Origin.HINT,
        said=f"hint {said}",
    )
    return replace(_settled(wish), notices=tuple(notices[:_MAX_NOTICES]))


def _settled(wish: Wish) -> Wish:
    """Without what goes after something else that is asked."""
    route = Route.STANDBY if wish.node else wish.route
    if wish.consistency is not Consistency.STRONG:
        return replace(wish, route=route)
    if route is Route.STANDBY:
        return replace(wish, route=route, consistency=None)
    return replace(wish, route=Route.PRIMARY)


def _write_mode(given: Mapping[str, str], notices: list[str]) -> WriteMode | None:
    """`twr` says it, or `route` in a value that says nothing of nodes."""
    if "twr" not in given:
        return _MODES.get(given.get("route", "").lower())
    value = given["twr"].lower()
    if value in list(WriteMode):
        return WriteMode(value)
    notices.append(f"hint twr must be {', '.join(WriteMode)}, and has no effect")
    return None


def _route(value: str | None, notices: list[str]) -> Route | None:
    if value is None or value.lower() in _ROUTES.keys() | _WORKLOADS.keys() | _MODES.keys():
        return None if value is None else _ROUTES.get(value.lower())
    notices.append("hint route must be a kind of node, vector or a write mode, and has no effect")
    return None


def _consistency(value: str | None, notices: list[str]) -> Consistency | None:
    if value is None or value.lower() in list(Consistency):
        return None if value is None else Consistency(value.lower())
    notices.append(f"hint consistency must be {', '.join(Consistency)}, and has no effect")
    return None


def _milliseconds(key: str, value: str | None, notices: list[str]) -> int | None:
    if value is None:
        return None
    if value.isascii() and value.isdigit() and len(value) <= len(str(_DAY_MS)) and 0 < int(value) <= _DAY_MS:
        return int(value)
    notices.append(f"hint {key} must be a number of milliseconds from 1 to {_DAY_MS}, and has no effect")
    return None
