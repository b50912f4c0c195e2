"""What becomes of a text in a transaction that is run again on another server. Called by `decide`; pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from helios.planner.parser import Tree, choice, name_of
from helios.planner.plan import Effect, Kind, Rerun

__all__ = ["rerun_of"]

_ENDS = frozenset({"TRANS_STMT_COMMIT_PREPARED", "TRANS_STMT_ROLLBACK_PREPARED"})
_COMMITS = _ENDS | {"TRANS_STMT_COMMIT", "TRANS_STMT_PREPARE"}

_ONCE = (Effect.LISTEN, Effect.LOAD, Effect.UNKNOWN)
"""What a server's process has and no transaction brings back; and what nobody knows."""


_DML = frozenset({"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt", "SelectStmt"})
"""What runs in a transaction of its caller whatever it calls: no procedure that commits."""


def rerun_of(statements: Sequence[Tree], kinds: Collection[Kind], effects: Mapping[Effect, str]) -> Rerun:
    """For a text of these statements, their kinds and effects."""
    if Kind.COPY in kinds or any(effect in effects for effect in _ONCE):
        return Rerun.NEVER
    controls = [_control(statement) for statement in statements]
    if len(controls) == 1 and controls[0] in _ENDS:
        return Rerun.ENDS
    if any(control in _COMMITS for control in controls):
        return Rerun.COMMITS
    if set(kinds) == {Kind.READ}:
        return Rerun.LOOKS
    is_dml = len(statements) == 1 and name_of(statements[0]) in _DML
    return Rerun.ROWS if is_dml and Kind.WRITE in kinds else Rerun.REPEATS


def _control(statement: Tree) -> str:
    """What it does with transactions, in the parser's words; empty if nothing."""
    return choice(statement, "kind") if name_of(statement) == "TransactionStmt" else ""
