"""Settings that are Helios' own and reach no server: what a text does with one. Called by `decide` and `effects`; pure.

The engine answers these statements, so one must be a text of its own: beside others, or inside of one, it is refused.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Final

from helios.planner.parser import Tree, choice, name_of
from helios.planner.plan import Handling, Parameter, ParameterAct

__all__ = ["handling_of", "is_parameter"]

_PREFIX: Final = "helios."
_NAMES: Final = frozenset(f"{_PREFIX}{parameter}" for parameter in Parameter)
_RESETS: Final = frozenset({"VAR_SET_DEFAULT", "VAR_RESET"})


def is_parameter(name: str) -> bool:
    """Whether a setting is one of Helios; any other with its prefix is PostgreSQL's to judge."""
    return name.lower() in _NAMES


def handling_of(statements: Sequence[Tree], named: Set[str]) -> Handling | None:
    """What a text does with a parameter; `named` are those that are named anywhere in it. None: nothing."""
    if not named:
        return None
    parameter = Parameter(min(named).lower().removeprefix(_PREFIX))
    return Handling(parameter, _act(statements[0]) if len(statements) == 1 else ParameterAct.MIX)


def _act(statement: Tree) -> ParameterAct:
    match name_of(statement):
        case "VariableShowStmt":
            return ParameterAct.SHOW
        case "VariableSetStmt" if choice(statement, "kind") == "VAR_SET_VALUE":
            return ParameterAct.SET
        case "VariableSetStmt" if choice(statement, "kind") in _RESETS:
            return ParameterAct.RESET
        case _:
            return ParameterAct.MIX
