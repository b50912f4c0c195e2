"""What becomes of a text in a transaction that is run again on another server. Called by `decide`; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from helios.planner.parser import Tree, choice, name_of
from helios.planner.plan import Effect, Kind, Rerun

__all__ = ["rerun_of"]

_COMMITS = frozenset(
    {"TRANS_STMT_COMMIT", "TRANS_STMT_PREPARE", "TRANS_STMT_COMMIT_PREPARED", "TRANS_STMT_ROLLBACK_PREPARED"}
)

_ONCE = (Effect.LISTEN, Effect.LOAD, Effect.UNKNOWN)
"""What a server's process has and no transaction brings back; and what nobody knows."""


def rerun_of(statements: Iterable[Tree], kinds: Iterable[Kind], effects: Mapping[Effect, str]) -> Rerun:
    """For a text of these statements, their kinds and effects."""
    if Kind.COPY in kinds or any(effect in effects for effect in _ONCE):
        return Rerun.NEVER
    if any(_commits(statement) for statement in statements):
        return Rerun.COMMITS
    return Rerun.REPEATS


def _commits(statement: Tree) -> bool:
    return name_of(statement) == "TransactionStmt" and choice(statement, "kind") in _COMMITS
