"""What becomes of a text in a transaction that is run again on another server. Called by `decide`; pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from helios.planner.parser import Tree, choice, name_of
from helios.planner.plan import Effect, Kind, Rerun

__all__ = ["rerun_of"]

_COMMITS = frozenset(
    {"TRANS_STMT_COMMIT", "TRANS_STMT_PREPARE", "TRANS_STMT_COMMIT_PREPARED", "TRANS_STMT_ROLLBACK_PREPARED"}
)

_ONCE = (Effect.LISTEN, Effect.LOAD, Effect.UNKNOWN)
"""What a server's process has and no transaction brings back; and what nobody knows."""


_DML = frozenset({"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt", "SelectStmt"})
"""What runs in a transaction of its caller whatever it calls: no procedure that commits."""


def rerun_of(statements: Sequence[Tree], kinds: Collection[Kind], effects: Mapping[Effect, str]) -> Rerun:
    """For a text of these statements, their kinds and effects."""
    if Kind.COPY in kinds or any(effect in effects for effect in _ONCE):
        return Rerun.NEVER
    if any(_commits(statement) for statement in statements):
        return Rerun.COMMITS
    if set(kinds) == {Kind.READ}:
        return Rerun.LOOKS
    is_dml = len(statements) == 1 and name_of(statements[0]) in _DML
    return Rerun.ROWS if is_dml and Kind.WRITE in kinds else Rerun.REPEATS


def _commits(statement: Tree) -> bool:
    return name_of(statement) == "TransactionStmt" and choice(statement, "kind") in _COMMITS
